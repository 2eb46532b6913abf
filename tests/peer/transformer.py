"""vdm's transformer against diffusers' CogVideoXTransformer3DModel: random small models of every variant,
drawn again at every run; with --full two blocks of the published width as well."""

import torch

from common import (
    VARIANTS,
    Cases,
    both,
    diffusers_timestep_embedding,
    options,
    run,
    save,
    timestep_embedding,
    transformer,
    velocity,
)


def draw_sizes(c, variant):
    """A configuration and a latent size that the variant can take."""
    in_channels = VARIANTS[variant]["in_channels"]
    h, w = 2 * c.integer(1, 5), 2 * c.integer(1, 6)
    frames = c.integer(1, 4) * 2 if "1.5" in variant else c.integer(1, 5)
    sample_frames = 4 * frames - 3
    if c.integer(0, 1):  # another number of frames than the sample's: tables are computed again
        sample_frames = 4 * c.integer(0, 5) + 1
    sample_h, sample_w = h, w
    if variant != "5b-I2V" and c.integer(0, 2):  # learned positions take the sample size alone
        sample_h, sample_w = h + 2 * c.integer(0, 4), w + 2 * c.integer(0, 4)
        if variant in ("2b", "5b") and c.integer(0, 1):  # 1.5 cuts a table: the sample is never smaller
            sample_h, sample_w = 2 * c.integer(1, 8), 2 * c.integer(1, 8)
    config = dict(
        num_layers=c.integer(1, 3),
        num_attention_heads=c.integer(1, 4),
        attention_head_dim=c.choice([16, 32, 48, 64]),
        in_channels=c.choice([in_channels, in_channels // 2]),
        time_embed_dim=c.choice([16, 24, 64]),
        text_embed_dim=c.choice([8, 20, 33, 64]),
        max_text_seq_length=c.choice([1, 2, 7, 16, 31]),
        sample_frames=sample_frames,
        sample_height=sample_h,
        sample_width=sample_w,
        spatial_interpolation_scale=c.choice([1.875, 1.0]),
        temporal_interpolation_scale=c.choice([1.0, 2.0]),
    )
    config["out_channels"] = 16 if config["in_channels"] == in_channels else 8
    if "ofs_embed_dim" in VARIANTS[variant]:
        config["ofs_embed_dim"] = config["time_embed_dim"]  # they are added
    elif "1.5" not in variant:
        config["patch_bias"] = c.choice([True, True, False])
    return config, (c.integer(1, 2), frames, h, w)


def describe(variant, config, size, dtype, shards):
    B, F, h, w = size
    return (
        f"{variant:10} layers {config['num_layers']} heads {config['num_attention_heads']}x"
        f"{config['attention_head_dim']} text {config['max_text_seq_length']}x{config['text_embed_dim']} "
        f"B{B} F{F} {h}x{w} of {config['sample_frames']},{config['sample_height']}x{config['sample_width']} "
        f"{str(dtype)[6:]}{' sharded' if shards else ''}"
    )


def compare(c, what, model, folder, size, draws=3):
    """All draws of inputs as one distance: with a handful of tokens, a single draw is a matter of luck."""
    B, F, h, w = size
    config = model.config
    results = []
    for _ in range(draws):
        x = c.randn(B, F, config.in_channels, h, w)
        text = c.randn(B, config.max_text_seq_length, config.text_embed_dim)
        t = torch.randint(0, 1000, (B,), generator=c.rng)
        with torch.no_grad():
            f32, f64 = both(model, lambda m: velocity(m, x, text, t))
        results.append((run("transformer", folder, {"x": x, "text": text, "t": t.float()})["v"], f32, f64))
    c.within(what, *(torch.cat(v) for v in zip(*results)))


def random_case(c, number):
    variant = list(VARIANTS)[number % len(VARIANTS)]
    config, size = draw_sizes(c, variant)
    dtype = c.choice([torch.float32, torch.float16, torch.bfloat16])
    shards = c.integer(0, 2) == 0
    model = transformer(variant, c.rng, **config)
    folder = save(c.folder / str(number), model, dtype=dtype, max_shard_size="40KB" if shards else "10GB")
    compare(c, describe(variant, config, size, dtype, shards), model, folder, size)


def sinusoids(c):
    """What pinning down the timestep's sinusoid changes: a unit in the last place of the frequencies."""
    t = torch.arange(1000).float()
    for width in (32, 1920, 3072):
        theirs, ours = (f(t, width, True, 0) for f in (diffusers_timestep_embedding, timestep_embedding))
        e = (theirs - ours).abs().max().item()
        c.check(f"sinusoid of width {width}", e < 999 * 2**-23, f"largest difference {e:.1e}")


def full_width(c):
    """Two blocks of CogVideoX1.5-5B-I2V: D 3072, 226 text tokens, 1,250 video tokens."""
    sizes = dict(
        num_attention_heads=48,
        attention_head_dim=64,
        num_layers=2,
        time_embed_dim=512,
        ofs_embed_dim=512,
        text_embed_dim=4096,
        max_text_seq_length=226,
        sample_frames=81,
        sample_height=300,
        sample_width=300,
    )
    model = transformer("1.5-5B-I2V", c.rng, **sizes)
    folder = save(c.folder / "full", model, dtype=torch.bfloat16, max_shard_size="300MB")
    compare(c, "full width, two blocks, 226 + 1250 tokens, bf16", model, folder, (1, 4, 50, 50), draws=1)


if __name__ == "__main__":
    o = options(cases=30)
    with Cases("transformer", o.seed) as c:
        sinusoids(c)
        for i in range(o.cases):
            random_case(c, i)
        if o.full:
            full_width(c)
