"""vdm's VAE against diffusers' AutoencoderKLCogVideoX, run in float64: random small models, drawn again at every
run. First every number of frames that the chunk rules tell apart, whole and in tiles, on one model of four
levels; then random shapes: levels, channels, groups, layers, temporal ratio, quant convolutions, dtypes, odd
sides. With --full, the published width as well."""

import torch

from common import Cases, DriverError, both, options, run, save, vae

FULL = dict(block_out_channels=(128, 256, 256, 512), layers_per_block=3, norm_num_groups=32)


def encode(model, video, tiled):
    """[T,3,H,W] -> moments [F,2C,h,w], in the dtype that the model has now."""
    model.use_tiling = tiled
    x = video.to(next(model.parameters()).dtype).movedim(0, 1)[None]
    with torch.no_grad():
        return model._encode(x)[0].movedim(0, 1)


def decode(model, latents, tiled):
    """[F,C,h,w] -> video [T,3,H,W]"""
    model.use_tiling = tiled
    z = latents.to(next(model.parameters()).dtype).movedim(0, 1)[None]
    with torch.no_grad():
        return model._decode(z).sample[0].movedim(0, 1)


def compare_encode(c, what, model, folder, video, tiled):
    f32, f64 = both(model, lambda m: encode(m, video, tiled))
    ours = run("vae-encode", folder, {"video": video}, tiled=int(tiled))["moments"]
    T, _, H, W = video.shape
    c.within(f"encode {what} T{T} {H}x{W}{' tiled' if tiled else ''}", ours, f32, f64)


def compare_decode(c, what, model, folder, latents, tiled):
    f32, f64 = both(model, lambda m: decode(m, latents, tiled))
    ours = run("vae-decode", folder, {"latents": latents}, tiled=int(tiled))["video"]
    F, _, h, w = latents.shape
    c.within(f"decode {what} F{F} {h}x{w}{' tiled' if tiled else ''}", ours, f32, f64)


def every_count(c):
    """Published proportions: tiles of 48 x 40 pixels, 6 x 5 latents."""
    model = vae(c.rng, sample_height=96, sample_width=80)
    folder = save(c.folder / "counts", vae=model)
    for T in (1, 2, 7, 8, 9, 12, 15, 17, 49):
        compare_encode(c, "4 levels", model, folder, c.randn(T, 3, 16, 24).clamp(-1, 1), False)
    for F in (1, 2, 3, 4, 5, 6, 13):
        compare_decode(c, "4 levels", model, folder, c.randn(F, 16, 2, 3), False)
    for T, H, W in ((1, 56, 104), (9, 88, 48), (17, 48, 48), (49, 56, 40), (9, 40, 40)):
        compare_encode(c, "4 levels", model, folder, c.randn(T, 3, H, W).clamp(-1, 1), True)
    for F, h, w in ((1, 7, 13), (3, 11, 5), (2, 6, 6), (5, 8, 6), (13, 7, 4), (3, 6, 5)):
        compare_decode(c, "4 levels", model, folder, c.randn(F, 16, h, w), True)


def draw_model(c):
    levels = c.integer(1, 4)
    groups = c.choice([1, 2, 4, 8])
    quant, down = c.integer(0, 3) == 0, 2 ** (levels - 1)
    sides = {"down": "Down", "up": "Up"}
    return dict(
        block_out_channels=tuple(groups * c.integer(2, 5) for _ in range(levels)),
        layers_per_block=c.integer(1, 2),
        norm_num_groups=groups,
        latent_channels=3 if quant else c.choice([2, 4, 16]),  # diffusers' quant_conv has the pictures' channels
        use_quant_conv=quant,
        use_post_quant_conv=quant,
        temporal_compression_ratio=c.choice([r for r in (8, 4, 4, 2, 1) if r <= down]),
        sample_height=12 * down * c.integer(1, 2),
        sample_width=10 * down * c.integer(1, 2),
        **{f"{way}_block_types": (f"CogVideoX{side}Block3D",) * levels for way, side in sides.items()},
    )


def random_case(c, number):
    config, dtype = draw_model(c), c.choice([torch.float32, torch.float16, torch.bfloat16])
    model = vae(c.rng, **config)
    folder = save(c.folder / str(number), vae=model, dtype=dtype)
    down = 2 ** (len(config["block_out_channels"]) - 1)
    what = (
        f"{config['block_out_channels']} layers {config['layers_per_block']} groups {config['norm_num_groups']} "
        f"C{config['latent_channels']} ratio {config['temporal_compression_ratio']} "
        f"{'quant ' if config['use_quant_conv'] else ''}{str(dtype)[6:]}"
    )
    # Whole, with sides that the levels don't divide; then in tiles, unless the sides happen to fit one.
    # No side is tiny: two errors of a few numbers each have no steady ratio.
    H, W = c.integer(3 * down, 6 * down), c.integer(3 * down, 6 * down)
    compare_encode(c, what, model, folder, c.randn(c.integer(1, 26), 3, H, W).clamp(-1, 1), False)
    C, F = config["latent_channels"], c.integer(1, 7)
    compare_decode(c, what, model, folder, c.randn(F, C, H // down, W // down), False)
    h, w = c.integer(3, 14), c.integer(3, 14)
    compare_encode(c, what, model, folder, c.randn(c.integer(1, 10), 3, h * down, w * down).clamp(-1, 1), True)
    compare_decode(c, what, model, folder, c.randn(c.integer(1, 4), C, h, w), True)


def rejected(c):
    """Sample sizes whose tiles join to another size than the picture's: diffusers gives that, vdm rejects."""
    model = vae(c.rng, sample_height=64, sample_width=64)
    folder = save(c.folder / "rejected", vae=model)
    video = c.randn(1, 3, 64, 64)
    try:
        run("vae-encode", folder, {"video": video}, tiled=1)
        c.check("tiles that don't join are rejected", False)
    except DriverError as e:
        c.check("tiles that don't join are rejected", encode(model, video, True).shape[2] != 8, str(e))


def another_eps(c):
    """norm_eps large enough to show: it reaches the encoder's resnets, and no other norm."""
    model = vae(c.rng, norm_eps=0.1)
    folder = save(c.folder / "eps", vae=model)
    compare_encode(c, "norm_eps 0.1", model, folder, c.randn(9, 3, 32, 48).clamp(-1, 1), False)
    compare_decode(c, "norm_eps 0.1", model, folder, c.randn(3, 16, 4, 6), False)


def full_width(c):
    model = vae(c.rng, **FULL)
    folder = save(c.folder / "full", vae=model, dtype=torch.bfloat16)
    compare_encode(c, "full width", model, folder, c.randn(9, 3, 48, 64).clamp(-1, 1), False)
    compare_decode(c, "full width", model, folder, c.randn(3, 16, 6, 8), False)


if __name__ == "__main__":
    o = options(cases=12)
    with Cases("vae", o.seed) as c:
        every_count(c)
        rejected(c)
        another_eps(c)
        for i in range(o.cases):
            random_case(c, i)
        if o.full:
            full_width(c)
