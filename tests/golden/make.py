"""Makes the golden files of tests/test_golden.c: what diffusers, peft and PyTorch give on tiny random models,
computed in float64 and stored as f32. Next to every result NAME is NAME.bound [1]: four times the distance
of PyTorch's own f32 run from it (relative L2), and at least 1e-6, since a lucky run on tiny tensors is no
yardstick. Inputs are rounded to bf16, to be small.

    python tests/golden/make.py        (writes next to itself; the numbers change with the seed alone)"""

import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "peer"))
import common  # noqa: E402
from common import save_file  # noqa: E402

SIZES = dict(
    num_attention_heads=2,
    attention_head_dim=16,
    time_embed_dim=32,
    text_embed_dim=20,
    max_text_seq_length=5,
    sample_height=4,
    sample_width=6,
    sample_frames=9,
)
VAE = dict(block_out_channels=(16, 16, 16, 24), norm_num_groups=4, sample_height=96, sample_width=80)
rng = torch.Generator().manual_seed(20251)


def randn(*shape):
    return torch.randn(*shape, generator=rng).bfloat16()


class Golden:
    """The tensors of one file."""

    def __init__(self, name):
        self.path, self.tensors = HERE / f"{name}.safetensors", {}

    def put(self, **inputs):
        self.tensors.update(inputs)
        return [x.float() if x.is_floating_point() else x for x in inputs.values()]

    def result(self, name, f32, f64):
        e = common.distance(f32, f64)
        self.tensors[name] = f64.float()
        self.tensors[f"{name}.bound"] = torch.tensor([max(4 * e, 1e-6)])
        print(f"  {name:60} {tuple(f64.shape)}  f32 {e:.1e}")

    def write(self):
        save_file({k: v.detach().contiguous() for k, v in self.tensors.items()}, self.path)
        print(f"{self.path.name}: {self.path.stat().st_size:,} bytes")


def model(variant, **overrides):
    """The transformer of that variant, in its folder."""
    m = common.transformer(variant, rng, **{**SIZES, **overrides})
    common.save(HERE / variant, m, dtype=torch.bfloat16)
    return m


def transformer(variant, m, F, h, w):
    g = Golden(f"transformer-{variant}")
    x, text, t = g.put(
        x=randn(2, F, m.config.in_channels, h, w),
        text=randn(2, m.config.max_text_seq_length, m.config.text_embed_dim),
        t=torch.tensor([999.0, 321.0]),
    )
    with torch.no_grad():
        g.result("v", *common.both(m, lambda m: common.velocity(m, x, text, t)))
    g.write()


def vae(m):
    g = Golden("vae")
    dist = lambda m, x: m.encode(x[None].transpose(1, 2).to(m.dtype)).latent_dist.parameters[0].transpose(0, 1)
    decode = lambda m, z: m.decode(z[None].transpose(1, 2).to(m.dtype)).sample[0].transpose(0, 1)
    with torch.no_grad():
        (video,) = g.put(video=randn(9, 3, 24, 16))
        g.result("moments", *common.both(m, lambda m: dist(m, video)))
        for name, frames in (("odd", 3), ("even", 2)):
            (z,) = g.put(**{f"latents.{name}": randn(frames, 16, 2, 3)})
            g.result(f"video.{name}", *common.both(m, lambda m: decode(m, z)))
        m.enable_tiling()
        (image, z) = g.put(**{"image.tiled": randn(1, 3, 56, 48), "latents.tiled": randn(1, 16, 7, 6)})
        g.result("moments.tiled", *common.both(m, lambda m: dist(m, image)))
        g.result("video.tiled", *common.both(m, lambda m: decode(m, z)))
        m.disable_tiling()
    g.write()


def sample(transformer, vae, dpm):
    """Five steps of the whole pipeline: 9 frames of 32x48."""
    g = Golden("sample-dpm" if dpm else "sample-ddim")
    c = transformer.config
    inputs = dict(
        image=(torch.rand(3, 32, 48, generator=rng) * 2 - 1).bfloat16(),
        prompt=randn(c.max_text_seq_length, c.text_embed_dim),
        negative=randn(c.max_text_seq_length, c.text_embed_dim),
        noise=randn(4, 16, 4, 6),
        image_noise=randn(16, 4, 6),
    )
    if dpm:
        inputs["step_noise"] = randn(5, 2, 4, 16, 4, 6)
    g.put(**inputs)
    call = dict(num_inference_steps=5, guidance_scale=6.0, use_dynamic_cfg=dpm)
    of = lambda dtype: common.sample(
        transformer, vae, common.scheduler(dpm), {k: v.float() for k, v in inputs.items()}, 9, dtype, **call
    )
    f32, f64 = of(torch.float32), of(torch.float64)
    for name in f64:
        g.result(name, f32[name], f64[name])
    g.write()


# ---- Learning


def step_loss(m, alphas, z, image, text, t, noise):
    """The velocity form of the trainers' loss: mean (v - (sqrt(abar) noise - sqrt(1 - abar) z))^2."""
    a = alphas[t].to(z.dtype)[:, None, None, None, None]
    x = a.sqrt() * z + (1 - a).sqrt() * noise
    target = a.sqrt() * noise - (1 - a).sqrt() * z
    condition = torch.zeros_like(z)
    condition[:, 0] = image
    v = common.velocity(m, torch.cat([x, condition], dim=2), text.expand(len(z), -1, -1), t)
    return (v - target).square().mean()


def train(m, start, g, data, steps, batch, dtype):
    """AdamW on the adapter from `start`: losses and norms of every step, gradients of the first, the result."""
    m.to(dtype)
    params = common.lora_parameters(m)
    for name, p in params.items():
        p.data.copy_(start[name])
        p.requires_grad_(True)
    alphas = common.scheduler().alphas_cumprod
    short = {name.removeprefix("transformer."): p for name, p in params.items()}  # as in vdm_lora_name
    adam = torch.optim.AdamW(params.values(), lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=1e-4)
    out = {"loss": [], "grad_norm": []}
    videos, images, text, noise = (data[k].to(dtype) for k in ("videos", "images", "text", "noise"))
    for step in range(steps):
        pair, t = data["pair"][step].long(), data["t"][step].long()
        loss = step_loss(m, alphas, videos[pair], images[pair], text, t, noise[step])
        adam.zero_grad()
        loss.backward()
        if step == 0:
            out.update({f"grad.{name}": p.grad.clone() for name, p in short.items()})
        out["grad_norm"].append(torch.nn.utils.clip_grad_norm_(params.values(), 1.0).detach())
        out["loss"].append(loss.detach())
        adam.step()
    out.update({f"trained.{name}": p.detach().clone() for name, p in short.items()})
    return {k: torch.stack(v) if isinstance(v, list) else v for k, v in out.items()}


def learning(m, steps=4, batch=2, pairs=3):
    common.add_lora(m, 3, 6, rng)
    for name, p in m.named_parameters():
        if "lora_B" in name:
            p.data.mul_(0.3)
    common.save_lora(m, HERE).rename(HERE / "adapter.safetensors")
    start = {name: p.detach().clone() for name, p in common.lora_parameters(m).items()}
    c = m.config
    g = Golden("learning")
    data = dict(
        videos=randn(pairs, 4, 16, 4, 6),
        images=randn(pairs, 16, 4, 6),
        text=randn(c.max_text_seq_length, c.text_embed_dim),
        noise=randn(steps, batch, 4, 16, 4, 6),
        t=torch.tensor([[999, 20], [400, 701], [3, 650], [120, 880]]).float(),
        pair=torch.tensor([[0, 1], [2, 0], [1, 2], [1, 1]]).float(),
    )
    g.put(**data)
    f32 = train(m, start, g, data, steps, batch, torch.float32)
    f64 = train(m, start, g, data, steps, batch, torch.float64)
    m.float()
    for name in f64:
        g.result(name, f32[name], f64[name])
    g.write()


def main():
    torch.set_num_threads(1)
    i2v = model("1.5-5B-I2V")
    transformer("1.5-5B-I2V", i2v, 4, 4, 6)
    transformer("2b", model("2b", num_layers=1), 3, 6, 4)  # not the sample size: positions are computed
    transformer("5b-I2V", model("5b-I2V", num_layers=1), 3, 4, 6)
    autoencoder = common.vae(rng, **VAE)
    common.save(HERE / "1.5-5B-I2V", i2v, autoencoder, common.scheduler(), dtype=torch.bfloat16)
    vae(autoencoder)
    for dpm in (False, True):
        sample(i2v, autoencoder, dpm)
    learning(i2v)


if __name__ == "__main__":
    main()
