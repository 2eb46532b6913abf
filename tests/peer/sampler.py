"""vdm's sampler against torch and diffusers, live:

  random     torch.randn, rand and randint of a seeded CPU generator, many sizes one after another
  scheduler  CogVideoXDDIMScheduler and CogVideoXDPMScheduler driven by given velocities and noise
  pipeline   CogVideoXImageToVideoPipeline on random tiny models: latents after every step, with injected
             noise, and one with nothing but a seed

Bounds: random numbers 1e-6 (torch's own vectorized logarithm and cosine differ between machines), whole
numbers exactly; schedulers 1e-5 and pipelines 1e-4, relative L2.

A diffusers pipeline makes one step too many, to timestep -1, for 62 numbers of steps (61, 103, 121, ...):
vdm doesn't, and those numbers aren't drawn here."""

import math
from unittest import mock

import torch
from diffusers import CogVideoXImageToVideoPipeline

from common import Cases, distance, options, run, sample, save, scheduler, transformer, vae

# ---- Random numbers

SIZES = [1, 5, 15, 16, 17, 31, 1000, 65536 + 7]


def check_random(c, seed):
    order = [SIZES[i] for i in torch.randperm(len(SIZES), generator=c.rng)] + SIZES  # spares in many places
    g = torch.Generator().manual_seed(seed)
    theirs = torch.cat([torch.randn(n, generator=g) for n in order])
    ours = run("randn", "-", None, seed=seed, n=",".join(map(str, order)))["x"]
    worst = (ours - theirs).abs().max().item()
    c.check(f"randn seed {seed}", worst <= 1e-6, f"largest difference {worst:.2e}")

    g = torch.Generator().manual_seed(seed)
    theirs = torch.cat([torch.rand(n, generator=g) for n in SIZES])
    ours = run("rand", "-", None, seed=seed, n=",".join(map(str, SIZES)))["x"]
    c.check(f"rand seed {seed}", torch.equal(ours, theirs), f"{theirs.numel()} numbers equal")

    for below in (7, 1000, 2**28 - 1, 2**28, 2**32 + 1, 2**62 + 12345):
        g = torch.Generator().manual_seed(seed)
        theirs = torch.cat([torch.randint(below, (1,), generator=g) for _ in range(20)])
        ours = run("randint", "-", None, seed=seed, n=20, below=below)["x"]
        c.check(f"randint below {below} seed {seed}", torch.equal(ours, theirs), "20 numbers equal")


# ---- Schedulers


def extra_timestep(steps):
    s = scheduler()
    s.set_timesteps(steps)
    return len(s.timesteps) != steps


def scheduler_steps(theirs, x, v, noise):
    """The latents after each step; v [steps,n], noise [steps,2,n]."""
    latents, old, back = [], None, None
    for k, t in enumerate(theirs.timesteps):
        if "DPM" in type(theirs).__name__:
            pair = iter(noise[k] if k and t - 1000 // len(v) >= 0 else noise[k, :1])
            with mock.patch("diffusers.schedulers.scheduling_dpm_cogvideox.randn_tensor", lambda *_, **__: next(pair)):
                x, old = theirs.step(v[k], old, t, back, x, return_dict=False)
            back = t
        else:
            x = theirs.step(v[k], t, x, return_dict=False)[0]
        latents.append(x)
    return torch.stack(latents)


def guidance_apart(ours, left, guidance=6.0):
    """From the pipeline's use_dynamic_cfg. C libraries differ in the last place of left ** 5 (down to -3e15), and the
    cosine makes any number of one place: the power's two neighbours are as right."""
    power = left**5.0
    turns = [power, math.nextafter(power, -math.inf), math.nextafter(power, math.inf)]
    return min(abs(ours - (1 + guidance * ((1 - math.cos(math.pi * turn)) / 2))) for turn in turns)


def check_scheduler(c, dpm, steps, shift):
    theirs = scheduler(dpm, snr_shift_scale=shift)
    theirs.set_timesteps(steps)
    n, kind = 5000, "DPM" if dpm else "DDIM"
    x, v, noise = c.randn(n), c.randn(steps, n), c.randn(steps, 2, n)
    folder = save(c.folder / f"scheduler-{kind}-{shift}", scheduler=theirs)
    ours = run(
        "steps", folder, {"x": x, "v": v, "noise": noise}, steps=steps, sampler=kind.lower(), guidance=6
    )
    what = f"{kind} {steps} steps, shift {shift}"
    c.check(f"{what}: timesteps", torch.equal(ours["timesteps"], theirs.timesteps))
    apart = (ours["alphas"] - theirs.alphas_cumprod).abs().max().item()
    c.check(f"{what}: alphas", apart <= 1e-13, f"largest difference {apart:.1e}")
    pairs = zip(ours["guidance"].tolist(), theirs.timesteps.tolist())
    apart = max(guidance_apart(g, (steps - t) / steps) for g, t in pairs)
    c.check(f"{what}: dynamic guidance", apart <= 1e-12, f"largest difference {apart:.1e}")
    reference = scheduler_steps(theirs, x, v, noise)
    worst = max(distance(a, b) for a, b in zip(ours["latents"], reference))
    c.check(f"{what}: latents", worst <= 1e-5, f"worst distance {worst:.2e}")


# ---- The pipeline

VARIANTS = ["1.5-5B-I2V", "5b-I2V"]
FRAMES, H, W = 9, 32, 48  # 3 latent frames: padded to 4 where patches are 2 deep


def draw_model(c, variant):
    model = transformer(variant, c.rng, sample_height=H // 8, sample_width=W // 8, sample_frames=FRAMES)
    coder = vae(c.rng, invert_scale_latents="1.5" in variant)
    folder = save(c.folder / variant, transformer=model, vae=coder, scheduler=scheduler())
    return model, coder, folder


def draw_inputs(c, model, steps, dpm):
    F = (FRAMES - 1) // 4 + 1
    F += F % (model.config.patch_size_t or 1)
    shape = (F, 16, H // 8, W // 8)
    text = (model.config.max_text_seq_length, model.config.text_embed_dim)
    inputs = {
        "image": (0.7 * c.randn(3, H, W)).clamp(-1, 1),  # has negative numbers: the pipeline takes it as -1..1
        "prompt": c.randn(*text),
        "negative": c.randn(*text),
        "noise": c.randn(*shape),
        "image_noise": c.randn(*shape[1:]),
    }
    if dpm:
        inputs["step_noise"] = c.randn(steps, 2, *shape)
    return inputs


def check_pipeline(c, variant, parts, steps, dpm, guidance, dynamic):
    model, coder, folder = parts
    inputs = draw_inputs(c, model, steps, dpm)
    call = dict(num_inference_steps=steps, guidance_scale=guidance, use_dynamic_cfg=dynamic)
    theirs = sample(model, coder, scheduler(dpm), inputs, FRAMES, **call)
    ours = run(
        "sample",
        folder,
        inputs,
        frames=FRAMES,
        steps=steps,
        sampler="dpm" if dpm else "ddim",
        guidance=guidance,
        dynamic=int(dynamic),
    )
    last = f"latents.{steps}"
    figures = {k: distance(ours[k], theirs[k]) for k in ("image_latents", "latents.1", last, "video")}
    what = f"{variant:10} {'DPM' if dpm else 'DDIM'} {steps} steps, guidance {guidance}{' dynamic' if dynamic else ''}"
    text = ", ".join(f"{k} {v:.1e}" for k, v in figures.items())
    c.check(what, max(figures.values()) <= 1e-4, text)


def check_seed(c, variant, parts, dpm):
    """Nothing injected: the same seed gives the same video."""
    model, coder, folder = parts
    inputs = {k: v for k, v in draw_inputs(c, model, 1, False).items() if "noise" not in k}
    seed = c.integer(0, 2**31)
    pipeline = CogVideoXImageToVideoPipeline(None, None, coder, model, scheduler(dpm))
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():
        theirs = pipeline(
            image=inputs["image"][None],
            height=H,
            width=W,
            num_frames=FRAMES,
            num_inference_steps=7,
            guidance_scale=6,
            generator=torch.Generator().manual_seed(seed),
            prompt_embeds=inputs["prompt"][None],
            negative_prompt_embeds=inputs["negative"][None],
            output_type="latent",
        ).frames[0]
    kind = "dpm" if dpm else "ddim"
    ours = run("sample", folder, inputs, frames=FRAMES, steps=7, sampler=kind, guidance=6, seed=seed)
    c.near(f"{variant:10} {kind.upper()} seed {seed}, nothing injected: latents", ours["latents.7"], theirs, 1e-4)


def main():
    o = options(cases=4)
    with Cases("sampler", o.seed) as c:
        for seed in [0, 42, 2**40 + 7] + [c.integer(0, 2**62) for _ in range(o.cases)]:
            check_random(c, seed)
        drawn = [n for n in (c.integer(1, 1000) for _ in range(o.cases)) if not extra_timestep(n)]
        for steps in [1, 2, 5, 7, 28, 50] + drawn:
            for dpm in (False, True):
                check_scheduler(c, dpm, steps, c.choice([1.0, 3.0]))
        for variant in VARIANTS:
            parts = draw_model(c, variant)
            for dpm in (False, True):
                for steps in (5, 7, 28, 50):
                    for guidance, dynamic in ((1, False), (6, False), (6, True)):
                        check_pipeline(c, variant, parts, steps, dpm, guidance, dynamic)
                check_seed(c, variant, parts, dpm)


if __name__ == "__main__":
    main()
