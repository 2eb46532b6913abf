"""The models of the repository: diffusers' own pipeline, made from the folder as anyone would make it, answers a picture as
`vdm predict` does from the same noise; alone, and with an adapter that `vdm fit` made, loaded by diffusers; by 20
steps, and as the folder's vdm.json says: there an ensemble is diffusers run from every noise, the mean of the latents
decoded. The timestep's embedding is diffusers', roundings and all.

    python tests/peer/embedded.py [MODEL...]      (models/tiny and models/cells)"""

import argparse
import json
import pathlib

import numpy
import torch
from diffusers import CogVideoXImageToVideoPipeline
from diffusers.models import embeddings
from PIL import Image
from safetensors.torch import load_file, save_file

from common import ROOT, Cases, answer, diffusers_timestep_embedding, distance
from program import draw_task, program

FRAMES, FIT_STEPS, BOUND = 9, 30, 1e-3


def sampling(folder):
    """What vdm does without options: the defaults of the program, those of the model over them."""
    own = folder / "vdm.json"
    settings = json.loads(own.read_text()).get("sample", {}) if own.exists() else {}
    return {"steps": 50, "guidance": 6, "sampler": "ddim", "ensemble": 1, **settings}


def draw_inputs(c, pipeline, folder, maximum):
    """The picture, as a file and as numbers; noise of `maximum` videos."""
    config = pipeline.transformer.config
    h, w, C = config.sample_height, config.sample_width, config.out_channels
    F = (FRAMES - 1) // 4 + 1
    F += F % (config.patch_size_t or 1)
    picture = torch.randint(0, 256, (8 * h, 8 * w, 3), generator=c.rng, dtype=torch.uint8)
    Image.fromarray(picture.numpy()).save(c.folder / "x.ppm")
    noise = dict(noise=c.randn(maximum, F, C, h, w), image_noise=c.randn(C, h, w))
    prompt = load_file(folder / "prompt_embeds.safetensors")["prompt_embeds"].float()
    prompt = prompt.reshape(config.max_text_seq_length, config.text_embed_dim)
    image = picture.permute(2, 0, 1).float() / 255 * 2 - 1
    return dict(**noise, image=image, prompt=prompt, negative=torch.zeros_like(prompt))


def their_answer(pipeline, inputs, steps, guidance, ensemble):
    """diffusers from each of the first noises; latents of them all, one behind another, and the video of their mean."""
    call = dict(num_inference_steps=steps, guidance_scale=guidance, use_dynamic_cfg=False)
    each = [answer(pipeline, {**inputs, "noise": x}, FRAMES, **call) for x in inputs["noise"][:ensemble]]
    out = {name: torch.cat([x[name] for x in each]) for name in ("image_latents", f"latents.{steps}")}
    if ensemble == 1:
        return {**out, "video": each[0]["video"]}
    mean = torch.stack([x[f"latents.{steps}"] for x in each]).mean(0)
    padding = len(mean) - ((FRAMES - 1) // 4 + 1)  # latent frames that the patches want, in front
    with torch.no_grad():
        video = pipeline.video_processor.postprocess_video(pipeline.decode_latents(mean[None, padding:]), "pt")[0]
    return {**out, "video": video}


def compare(c, what, pipeline, folder, inputs, own, *adapter):
    dump, png, steps = c.folder / "dump.safetensors", c.folder / "y.png", own["steps"]
    noise = inputs["noise"][: own["ensemble"]].flatten(0, 1)
    save_file(dict(noise=noise.contiguous(), image_noise=inputs["image_noise"]), c.folder / "noise.safetensors")
    program(
        "predict", "--model", folder, "--image", c.folder / "x.ppm", "-o", png, "--dump", dump,
        "--inject", c.folder / "noise.safetensors", "--steps", steps, "--ensemble", own["ensemble"], *adapter,
    )  # fmt: skip
    theirs, ours = their_answer(pipeline, inputs, steps, own["guidance"], own["ensemble"]), load_file(dump)
    last = f"latents.{steps}"
    for name, other in (("image_latents", "image_latents"), (last, last), ("frames", "video")):
        c.near(f"{what}: {name}", ours[name], theirs[other], BOUND)
    picture = torch.from_numpy(numpy.array(Image.open(png))).permute(2, 0, 1)
    e = (picture.double() - (255 * theirs["video"][-1].double()).round()).abs().max().item()
    c.check(f"{what}: the picture", e <= 1, f"largest difference {e:.0f} of 255")
    return ours[last]


def check_model(c, folder):
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(
        str(folder), text_encoder=None, tokenizer=None, dtype=torch.float32
    )
    name, own = folder.name, sampling(folder)
    c.check(f"{name}: the model's sampler is DDIM", own["sampler"] == "ddim")
    usual = {**own, "steps": 20, "ensemble": 1}
    inputs = draw_inputs(c, pipeline, folder, own["ensemble"])
    before = compare(c, f"{name} alone, 20 steps", pipeline, folder, inputs, usual)
    compare(c, f"{name} alone, {own['steps']} step, {own['ensemble']} videos", pipeline, folder, inputs, own)
    task, _ = draw_task(c, *inputs["image"].shape[1:], f"task-{name}")
    run = c.folder / f"run-{name}"
    program("fit", task, "--model", folder, "-o", run, "--steps", FIT_STEPS, "--lr", 1e-3, "--views", 1)
    lora = run / "lora.safetensors"
    pipeline.load_lora_weights(str(lora))
    after = compare(c, f"{name} with an adapter, 20 steps", pipeline, folder, inputs, usual, "--lora", lora)
    compare(c, f"{name} with an adapter, as the model has it", pipeline, folder, inputs, own, "--lora", lora)
    moved = distance(after, before)
    c.check(f"{name}: the adapter matters", moved > 10 * BOUND, f"it moves the latents by {moved:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    shipped = [ROOT / "models" / name for name in ("tiny", "cells")]
    parser.add_argument("models", nargs="*", type=pathlib.Path, default=shipped)
    parser.add_argument("--seed", type=int)
    o = parser.parse_args()
    embeddings.get_timestep_embedding = diffusers_timestep_embedding
    with Cases("embedded", o.seed) as c:
        for model in o.models:
            check_model(c, model)
