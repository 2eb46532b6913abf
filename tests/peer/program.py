"""The program from its command line against diffusers and peft: fit with injected numbers on a task folder of
pictures, its adapter loaded by diffusers, and predict with injected numbers on it."""

import pathlib
import subprocess

import numpy
import torch
from diffusers import CogVideoXImageToVideoPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from safetensors.torch import load_file, save_file

import train
from common import Cases, add_lora, distance, lora_parameters, options, sample, save, save_lora, scheduler
from common import transformer, vae, vdm

H, W, FRAMES, PAIRS, BATCH = 32, 48, 9, 3, 2
F, LATENT = 4, (16, H // 8, W // 8)  # three latent frames and one of padding


def program(*arguments):
    done = subprocess.run([vdm(), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stderr


def draw_task(c, H=H, W=W, name="task"):
    """Folder of random pictures; [PAIRS,2,3,H,W] in -1..1."""
    folder = c.folder / name / "train"
    folder.mkdir(parents=True)
    pixels = torch.randint(0, 256, (PAIRS, 2, H, W, 3), generator=c.rng, dtype=torch.uint8)
    for i in range(PAIRS):
        for k, name in enumerate(("in", "out")):
            Image.fromarray(pixels[i, k].numpy()).save(folder / f"p{i}.{name}.ppm")
    return folder.parent, pixels.permute(0, 1, 4, 2, 3).double() / 255 * 2 - 1


def encode(coder, video, noise, factor):
    """video [3,T,H,W], noise [16,F,h,w] -> latents [F,16,h,w]"""
    with torch.no_grad():
        d = DiagonalGaussianDistribution(coder._encode(video[None]))
    return factor * (d.mean + d.std * noise.double())[0].transpose(0, 1)


def latents(coder, pictures, video_noise, image_noise):
    videos, images = [], []
    for (x, y), nv, ni in zip(pictures, video_noise, image_noise):
        z = encode(coder, torch.stack([x] * 4 + [y] * 5, 1), nv, 0.7)  # discrete
        videos.append(torch.cat([z[:1], z]))
        images.append(encode(coder, x[:, None], ni[:, None], 1 / 0.7)[0])
    return torch.stack(videos), torch.stack(images)


def check_fit(c, model, coder, folder):
    task, pictures = draw_task(c)
    d = dict(
        t=torch.randint(0, 1000, (train.STEPS, BATCH), generator=c.rng),  # integers, as torch makes them
        pair=torch.randint(0, PAIRS, (train.STEPS, BATCH), generator=c.rng),
        noise=c.randn(train.STEPS, BATCH, F, *LATENT),
    )
    video_noise, image_noise = c.randn(PAIRS, 16, 3, *LATENT[1:]), c.randn(PAIRS, *LATENT)
    injected, out, dump = (c.folder / n for n in ("fit.safetensors", "run", "dump.safetensors"))
    save_file(
        {**d, "video_noise": video_noise, "image_noise": image_noise, "image_sigma": torch.zeros(PAIRS)}, injected
    )
    prompt = c.randn(1, model.config.max_text_seq_length, model.config.text_embed_dim)
    save_file({"prompt_embeds": prompt}, pathlib.Path(folder) / "prompt_embeds.safetensors")
    adapted = train.transformer_without_lora(model)
    add_lora(adapted, 4, 8, c.rng)
    start = {k: p.detach().clone() for k, p in lora_parameters(adapted).items()}
    init = save_lora(adapted, c.folder / "start")
    program(
        "fit", task, "--model", folder, "-o", out, "--steps", train.STEPS, "--batch", BATCH, "--init", init, "--lr", 1e-3,
        "--inject", injected, "--dump", dump, "--dump-grads",
    )  # fmt: skip
    coder.double()
    d["videos"], d["images"] = latents(coder, pictures, video_noise, image_noise)
    coder.float()
    d["text"] = prompt[0].double()
    o = dict(lr=1e-3, weight_decay=1e-4, schedule=0, warmup=0, accumulate=1, batch=BATCH, clip=1.0)
    losses, norms, _, grads, after = train.train(train.restart(adapted, start, torch.float64), scheduler(), d, o, True)
    ours = load_file(dump)
    e = ((ours["loss"] - losses).abs() / losses).max().item()
    c.check("fit: loss of 10 steps", e < 1e-5, f"worst {e:.1e}")
    e = ((ours["grad_norm"] - norms).abs() / norms).max().item()
    c.check("fit: gradient norms", e < 1e-4, f"worst {e:.1e}")
    e = train.worst({k.removeprefix("grad."): v for k, v in ours.items() if k.startswith("grad.")}, grads)
    c.check("fit: gradients of step 0", e < 1e-4, f"worst tensor {e:.1e}")
    e = train.worst(load_file(out / "lora.safetensors"), after)
    c.check("fit: the adapter after 10 steps", e < 1e-3, f"worst tensor {e:.1e}")
    return out / "lora.safetensors"


def check_predict(c, model, coder, folder, lora, dpm):
    steps = 5
    picture = torch.randint(0, 256, (H, W, 3), generator=c.rng, dtype=torch.uint8)
    Image.fromarray(picture.numpy()).save(c.folder / "x.ppm")
    text = (model.config.max_text_seq_length, model.config.text_embed_dim)
    inputs = dict(noise=c.randn(F, *LATENT), image_noise=c.randn(*LATENT))
    if dpm:
        inputs["step_noise"] = c.randn(steps, 2, F, *LATENT)
    prompts = dict(prompt_embeds=c.randn(*text), negative_prompt_embeds=c.randn(*text))
    injected, dump = c.folder / "predict.safetensors", c.folder / "predicted.safetensors"
    save_file({**inputs, **prompts}, injected)
    program(
        "predict", "--model", folder, "--image", c.folder / "x.ppm", "-o", c.folder / "y.png", "--lora", lora, "--steps", steps,
        "--sampler", "dpm" if dpm else "ddim", "--inject", injected, "--dump", dump,
    )  # fmt: skip
    theirs_model = train.transformer_without_lora(model)
    CogVideoXImageToVideoPipeline(None, None, None, theirs_model, scheduler()).load_lora_weights(str(lora))
    inputs["image"] = picture.permute(2, 0, 1).float() / 255 * 2 - 1
    inputs["prompt"], inputs["negative"] = prompts["prompt_embeds"], prompts["negative_prompt_embeds"]
    call = dict(num_inference_steps=steps, guidance_scale=6, use_dynamic_cfg=False)
    theirs = sample(theirs_model, coder, scheduler(dpm), inputs, FRAMES, **call)
    ours = load_file(dump)
    for name, other in (("image_latents", "image_latents"), ("latents.5", "latents.5"), ("frames", "video")):
        c.near(f"predict {'DPM' if dpm else 'DDIM'}: {name}", ours[name], theirs[other], 1e-4)
    last = torch.from_numpy(numpy.array(Image.open(c.folder / "y.png"))).permute(2, 0, 1)
    e = (last.double() - (255 * theirs["video"][-1].double()).round()).abs().max().item()
    c.check("predict: the PNG is the last frame", e <= 1, f"largest difference {e:.0f} of 255")


if __name__ == "__main__":
    o = options()
    with Cases("program", o.seed) as c:
        model = transformer(
            "1.5-5B-I2V", c.rng, num_layers=2, num_attention_heads=2, attention_head_dim=32, max_text_seq_length=6,
            sample_height=H // 8, sample_width=W // 8, sample_frames=FRAMES,
        )  # fmt: skip
        coder = vae(c.rng, invert_scale_latents=True)
        folder = save(c.folder / "model", transformer=model, vae=coder, scheduler=scheduler())
        lora = check_fit(c, model, coder, folder)
        for dpm in (False, True):
            check_predict(c, model, coder, folder, lora, dpm)
