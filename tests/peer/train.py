"""vdm's learning against PyTorch and peft: random small models, drawn again at every run.

A run of ten AdamW steps with injected t, noise and pairs is made three times from one starting adapter: by vdm,
by torch in float32, and by torch in float64 with the loss as the public trainer writes it (x0 prediction
weighed by 1/(1 - abar)), which vdm writes as plain velocity error. Then LoRA files both ways, and the
latents that pairs become."""

import torch
from diffusers import CogVideoXImageToVideoPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.optimization import get_scheduler
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from common import (
    FF_TARGETS,
    LORA_TARGETS,
    Cases,
    add_lora,
    distance,
    lora_parameters,
    options,
    run,
    save,
    save_lora,
    scheduler,
    transformer,
    vae,
    velocity,
)

STEPS = 10
SCHEDULES = ["constant", "constant_with_warmup", "linear", "cosine"]  # vdm_lr_schedule


def draw_model(c, variant):
    """A small image-to-video model, its adapter, and a latent size that it can take."""
    h, w, F = 2 * c.integer(1, 4), 2 * c.integer(1, 4), c.integer(1, 3)
    F = 2 * F if "1.5" in variant else F
    model = transformer(
        variant,
        c.rng,
        num_layers=c.integer(1, 3),
        num_attention_heads=c.integer(1, 3),
        attention_head_dim=c.choice([16, 32]),
        max_text_seq_length=c.choice([3, 10]),
        sample_height=h,
        sample_width=w,
        sample_frames=4 * F - 3,
    )
    return model, (F, 16, h, w)


def draw_data(c, model, size, videos):
    """What a run works on: [P,F,C,h,w] latents and so on, N = videos in a step."""
    pairs = c.integer(1, 4)
    F, C, h, w = size
    t = torch.randint(0, 1000, (STEPS, videos), generator=c.rng)
    t[c.integer(0, STEPS - 1), 0] = c.choice([0, 999])  # the ends: abar 0.99915 and 0
    return dict(
        videos=c.randn(pairs, *size),
        images=c.randn(pairs, C, h, w),
        text=c.randn(model.config.max_text_seq_length, model.config.text_embed_dim),
        noise=c.randn(STEPS, videos, *size),
        t=t,
        pair=torch.randint(0, pairs, (STEPS, videos), generator=c.rng),
    )


def batch_loss(model, sched, d, step, chosen, trainer_form):
    """The loss of one batch, from the videos `chosen` of a step."""
    dtype = next(model.parameters()).dtype
    z, t = d["videos"][d["pair"][step, chosen]].to(dtype), d["t"][step, chosen]
    noise, image = d["noise"][step, chosen].to(dtype), d["images"][d["pair"][step, chosen]].to(dtype)
    condition = torch.zeros_like(z)
    condition[:, 0] = image
    noisy = sched.add_noise(z, noise, t)
    out = velocity(model, torch.cat([noisy, condition], 2), d["text"].expand(len(t), -1, -1), t)
    if not trainer_form:
        return ((out - sched.get_velocity(z, noise, t)) ** 2).mean()
    prediction = sched.get_velocity(out, noisy, t)  # the trainer's way to get x0
    weight = (1 / (1 - sched.alphas_cumprod[t])).to(dtype).view(-1, 1, 1, 1, 1)
    return (weight * (prediction - z) ** 2).reshape(len(t), -1).mean(1).mean()


def train(model, sched, d, o, trainer_form):
    """Losses and norms of every step, gradients of step 0, the adapter afterwards."""
    parameters = lora_parameters(model)
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=o["lr"], betas=(0.9, 0.95), eps=1e-8, weight_decay=o["weight_decay"]
    )
    rate = get_scheduler(
        SCHEDULES[o["schedule"]], optimizer, num_warmup_steps=o["warmup"], num_training_steps=STEPS
    )
    losses, norms, rates = [], [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        total = 0
        for i in range(o["accumulate"]):
            chosen = slice(i * o["batch"], (i + 1) * o["batch"])
            loss = batch_loss(model, sched, d, step, chosen, trainer_form) / o["accumulate"]
            loss.backward()
            total += loss.item()
        if step == 0:
            grads = {k.removeprefix("transformer."): p.grad.detach().clone() for k, p in parameters.items()}
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), o["clip"]).item())
        losses.append(total)
        rates.append(rate.get_last_lr()[0])
        optimizer.step()
        rate.step()
    after = {k: p.detach().clone() for k, p in parameters.items()}
    return [torch.tensor(x, dtype=torch.float64) for x in (losses, norms, rates)] + [grads, after]


def restart(model, start, dtype):
    """The model in that precision with the starting adapter."""
    model.to(dtype)
    for k, p in lora_parameters(model).items():
        p.data = start[k].to(dtype, copy=True)
        p.requires_grad_(True)
    return model


def worst(ours, reference):
    """Largest distance of a named tensor; one that is zero in the reference has to be zero."""
    if set(ours) != set(reference):
        return float("inf")

    def one(a, b):
        return distance(a, b) if b.any() else float("inf") if a.any() else 0.0

    return max(one(ours[k], v) for k, v in reference.items())


def moved(after, reference, start):
    """Distance of the way that the adapter went."""
    def way(x):
        return torch.cat([(x[k].double() - start[k].double()).flatten() for k in start])
    return distance(way(after), way(reference))


def training_case(c, number):
    variant = ["1.5-5B-I2V", "5b-I2V"][number % 2]
    model, size = draw_model(c, variant)
    rank, alpha = c.choice([1, 4, 8]), c.choice([1, 4, 12])
    feed_forward = number % 3 == 1
    add_lora(model, rank, alpha, c.rng, LORA_TARGETS + FF_TARGETS if feed_forward else LORA_TARGETS)
    zero_b = number // 2 % 2 == 0
    for k, p in lora_parameters(model).items():
        p.data *= 0 if zero_b and "lora_B" in k else 0.5
    start = {k: p.detach().clone() for k, p in lora_parameters(model).items()}
    o = dict(
        batch=c.integer(1, 2),
        accumulate=c.integer(1, 2),
        lr=c.choice([1e-4, 1e-3]),
        clip=c.choice([1e-2, 1.0, 100.0]),
        weight_decay=c.choice([1e-4, 0.1]),
        schedule=c.integer(0, 3),
        warmup=c.integer(0, 3),
    )
    d = draw_data(c, model, size, o["batch"] * o["accumulate"])
    sched = scheduler(snr_shift_scale=c.choice([1.0, 3.0]))
    adapter = save_lora(model, c.folder / f"start{number}")
    plain = transformer_without_lora(model)
    folder = save(c.folder / f"model{number}", plain, scheduler=sched)
    f32 = train(restart(model, start, torch.float32), sched, d, o, False)
    f64 = train(restart(model, start, torch.float64), sched, d, o, True)
    tensors = {k: v.float() for k, v in d.items()}
    written = c.folder / f"vdm{number}.safetensors"
    ours = run("fit", folder, tensors, steps=STEPS, lora=adapter, save=written, **o)
    losses, norms, rates, grads, after = f64
    what = (
        f"{variant:10} layers {model.config.num_layers} {size} rank {rank} alpha {alpha} "
        f"B {'= 0' if zero_b else 'random'}{', ff' if feed_forward else ''} "
        f"{o['batch']}x{o['accumulate']} {SCHEDULES[o['schedule']]}/{o['warmup']} lr {o['lr']:.0e} clip {o['clip']}"
    )
    e = ((ours["loss"] - losses).abs() / losses).max().item()
    e32 = ((f32[0] - losses).abs() / losses).max().item()
    c.check(f"loss      {what}", e < 1e-5, f"worst of {STEPS} {e:.1e}, of torch f32 {e32:.1e}")
    e = ((ours["grad_norm"] - norms).abs() / norms).max().item()
    c.check("grad norm", e < 1e-3, f"worst of {STEPS} {e:.1e}")
    e = (ours["lr"] - rates).abs().max().item()
    c.check("lr", e < 1e-15, f"{e:.1e}")
    dumped = {k.removeprefix("grad."): v for k, v in ours.items() if k.startswith("grad.")}
    e = worst(dumped, grads)
    c.check("gradients", e < 1e-4, f"worst tensor {e:.1e}, of torch f32 {worst(f32[3], grads):.1e}")
    adapted = {k: v for k, v in ours.items() if k.startswith("transformer.")}
    e = worst(adapted, after)
    c.check(
        "adapter",
        e < 1e-3,
        f"worst tensor {e:.1e}, of torch f32 {worst(f32[4], after):.1e}; of the way it went "
        f"{moved(adapted, after, start):.1e}, torch f32 {moved(f32[4], after, start):.1e}",
    )
    same = all(torch.equal(v, adapted[k]) for k, v in load_file(written).items())
    c.check("file", same and len(adapted) == len(load_file(written)))
    file_case(c, "vdm -> diffusers", plain, folder, size, written, alpha / rank)


def transformer_without_lora(model):
    """The model as it was before add_lora: the same weights."""
    plain = type(model).from_config(model.config)
    weights = {
        k.replace(".base_layer", ""): v.detach().clone() for k, v in model.state_dict().items() if "lora_" not in k
    }
    plain.load_state_dict(weights)
    return plain.eval().requires_grad_(False)


def effect(model, x, text, t):
    with torch.no_grad():
        return velocity(model.double(), x, text, t)


def file_case(c, what, plain, folder, size, path, scale=None):
    """An adapter's file acts in vdm as it does in diffusers, and it does act."""
    F, C, h, w = size
    x, t = c.randn(2, F, 2 * C, h, w), torch.randint(0, 1000, (2,), generator=c.rng)
    text = c.randn(2, plain.config.max_text_seq_length, plain.config.text_embed_dim)
    fresh = transformer_without_lora(plain)
    without = effect(fresh, x, text, t)
    fresh.float()
    pipeline = CogVideoXImageToVideoPipeline(None, None, None, fresh, scheduler())
    pipeline.load_lora_weights(str(path))
    config = fresh.peft_config["default_0"]
    with_it = effect(fresh, x, text, t)
    ours = run("transformer", folder, {"x": x, "text": text, "t": t.float()}, lora=path)["v"]
    e, size_of_effect = distance(ours, with_it), distance(without, with_it)
    acts = scale is None or abs(config.lora_alpha / config.r - scale) < 1e-12
    figures = f"distance {e:.1e}, effect {size_of_effect:.1e}, alpha {config.lora_alpha} r {config.r}"
    c.check(what, e < 1e-4 and size_of_effect > 10 * e and acts, figures)


def files(c):
    """Files that diffusers writes: with and without metadata, some targets only, half precision, no prefix."""
    for variant in ("1.5-5B-I2V", "5b-I2V"):
        plain, size = draw_model(c, variant)
        folder = save(c.folder / f"files-{variant}", plain)
        for metadata in (True, False):
            for targets in (LORA_TARGETS, ["to_q", "to_out.0"], LORA_TARGETS + FF_TARGETS, ["to_v", "ff.net.2"]):
                model = transformer_without_lora(plain)
                rank, alpha = c.integer(2, 6), c.choice([1, 16, 0.75])
                model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets))
                for k, p in lora_parameters(model).items():
                    p.data.copy_(c.randn(*p.shape) / p.shape[1] ** 0.5)
                path = save_lora(model, c.folder / f"saved-{variant}-{metadata}-{'-'.join(targets)}", metadata)
                what = f"diffusers -> vdm {variant:10} {len(targets)} targets, {'with' if metadata else 'no'} metadata"
                file_case(c, what, plain, folder, size, path, alpha / rank if metadata else 1)
        half = c.folder / f"half-{variant}.safetensors"
        save_file({k: v.to(torch.bfloat16) for k, v in load_file(path).items()}, half)
        file_case(c, f"diffusers -> vdm {variant:10} bfloat16", plain, folder, size, half)


def data_case(c, number):
    """Pairs become latents as the trainer's encode_video and encode_image make them, padding included."""
    small, model = transformer("1.5-5B-I2V", c.rng), vae(c.rng)
    folder = save(c.folder / f"data{number}", small, model, scheduler())
    P, H, W, frames = c.integer(1, 2), 16 * c.integer(1, 3), 16 * c.integer(1, 3), c.choice([9, 17])
    x, y = (torch.randint(0, 256, (P, H, W, 3), generator=c.rng) for _ in range(2))
    latent = ((frames - 1) // 4 + 1, H // 8, W // 8)
    noise, image_noise = c.randn(P, 16, *latent), c.randn(P, 16, *latent[1:])
    pixels, sigma = c.randn(P, 3, H, W), torch.exp(-3 + 0.5 * c.randn(P))
    convention = c.choice(["pipeline", "trainer"])

    def reference(dtype):
        model.to(dtype)
        videos, images = [], []
        for i in range(P):
            both = [p[i].to(dtype).permute(2, 0, 1) / 255 * 2 - 1 for p in (x, y)]
            video = torch.stack([both[0] if f < frames // 2 else both[1] for f in range(frames)], 1)

            def sample(v, e):
                d = DiagonalGaussianDistribution(model._encode(v[None]))
                return (d.mean + d.std * e.to(dtype))[0].transpose(0, 1)

            z = 0.7 * sample(video, noise[i])
            videos.append(torch.cat([z[:1]] * (len(z) % 2) + [z]))
            noisy = both[0] + sigma[i].to(dtype) * pixels[i].to(dtype)
            factor = 0.7 if convention == "trainer" else 1 / 0.7
            images.append(factor * sample(noisy[:, None], image_noise[i, :, None])[0])
        return torch.stack(videos), torch.stack(images)

    with torch.no_grad():
        f32, f64 = reference(torch.float32), reference(torch.float64)
    injected = dict(video_noise=noise, image_noise=image_noise, image_pixel_noise=pixels, image_sigma=sigma)
    tensors = dict(x=x.float(), y=y.float(), **injected)
    ours = run("fit-data", folder, tensors, frames=frames, augment=1, image_scale=convention)
    c.within(f"videos    {P} pairs of {frames} frames {H}x{W}", ours["videos"], f32[0], f64[0])
    c.within(f"images    scaled as the {convention} does", ours["images"], f32[1], f64[1])


if __name__ == "__main__":
    o = options(cases=8)
    with Cases("train", o.seed) as c:
        for i in range(o.cases):
            training_case(c, i)
        files(c)
        for i in range(max(2, o.cases // 4)):
            data_case(c, i)
