"""Pictures, videos, transitions and scores against Pillow, numpy and torch.

    python tests/peer/pictures.py [--seed N] [--cases N]
    python tests/peer/pictures.py --golden     the table of test_resize in tests/test_io.c"""

import io
import struct
import sys
import zlib

import numpy as np
import PIL
from PIL import Image

SIZES = [
    (1, 1, 5, 3), (5, 3, 1, 1), (2, 2, 3, 3), (8, 8, 16, 16), (16, 16, 8, 8), (31, 17, 7, 40), (17, 31, 40, 7),
    (100, 80, 99, 80), (100, 80, 100, 79), (64, 64, 48, 32), (90, 60, 16, 16), (3, 200, 50, 11),
]  # fmt: skip


def lanczos(rgb, width, height):
    """Pillow's resize in the order of passes of version 13, whatever version this is."""
    h, w = rgb.shape[:2]
    rows_first = h > height and h - height > 2 * (w - width)
    image = Image.fromarray(rgb).resize((w, height) if rows_first else (width, h), Image.Resampling.LANCZOS)
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS))


def golden():
    for w, h, width, height in SIZES:
        state, data, fnv = 11, bytearray(), 14695981039346656037
        for _ in range(w * h * 3):
            state = (state * 1664525 + 1013904223) % 2**32
            data.append(state >> 24)
        resized = lanczos(np.frombuffer(bytes(data), np.uint8).reshape(h, w, 3), width, height)
        for byte in resized.tobytes():
            fnv = (fnv ^ byte) * 1099511628211 % 2**64
        print(f"    {{{w}, {h}, {width}, {height}, 0x{fnv:016x}}},")


if __name__ == "__main__" and "--golden" in sys.argv:
    golden()
    sys.exit(0)

import torch  # noqa: E402
from common import Cases, options, run  # noqa: E402


def random_rgb(c, H, W):
    """Noise, or flat areas with sharp edges: what overshoots in a resize and repeats in a PNG."""
    noise = torch.randint(0, 256, (H, W, 3), generator=c.rng, dtype=torch.uint8)
    if c.integer(0, 1):
        return noise.numpy()
    colours = torch.tensor([[0, 0, 0], [255, 255, 255], [0, 116, 217], [255, 65, 54]], dtype=torch.uint8)
    cells = torch.randint(0, 4, (1 + H // 5, 1 + W // 5), generator=c.rng)
    grid = cells.repeat_interleave(5, 0).repeat_interleave(5, 1)[:H, :W]
    return colours[grid].contiguous().numpy()


def side(c, maximum=90):
    return 1 if c.integer(0, 9) == 0 else c.integer(1, maximum)


def same(c, what, ours, expected):
    ours = np.asarray(ours)
    equal = ours.shape == expected.shape and ours.dtype == expected.dtype and (ours == expected).all()
    c.check(what, equal)


def read(path, **size):
    return run("picture", "-", {}, path=path, **size)["rgb"].numpy()


def write(path, frames):
    run("write", "-", {"frames": torch.from_numpy(frames)}, path=path)


def check_resize(c, i):
    H, W, height, width = (side(c) for _ in range(4))
    rgb = random_rgb(c, H, W)
    path = c.folder / "resize.ppm"
    Image.fromarray(rgb).save(path)
    ours = read(path, width=width, height=height)
    same(c, f"resize {i}: {W}x{H} -> {width}x{height}", ours, lanczos(rgb, width, height))
    if int(PIL.__version__.split(".")[0]) >= 13:
        direct = np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS))
        same(c, f"resize {i}: as Pillow {PIL.__version__}", ours, direct)


def check_png(c, i):
    rgb = random_rgb(c, side(c, 300), side(c, 300))
    path = c.folder / "a.png"
    write(path, rgb[None])
    with Image.open(path) as image:
        image.verify()  # checksums of the chunks
    with Image.open(path) as image:
        mode, pixels = image.mode, np.array(image)
    size = path.stat().st_size
    c.check(f"png {i}: mode {mode}, {size} of {rgb.size} bytes", mode == "RGB" and size < rgb.size * 1.2 + 500)
    same(c, f"png {i}: {rgb.shape[1]}x{rgb.shape[0]}", pixels, rgb)
    write(c.folder / "a.ppm", rgb[None])
    same(c, f"ppm {i}: written", np.array(Image.open(c.folder / "a.ppm")), rgb)


CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
KINDS = [(t, d) for t, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items() for d in depths]
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(row, depth):
    """One row of samples as bytes."""
    if depth >= 8:
        return row.astype(">u2" if depth == 16 else np.uint8).tobytes()
    bits = (row.reshape(-1, 1) >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def paeth(left, above, corner):
    p = left + above - corner
    return min((left, above, corner), key=lambda x: abs(p - x))  # the first of equals


def filtered(rows, bpp, choose):
    above, out = bytes(len(rows[0])), b""
    for row in rows:
        kind, line = choose(), bytearray()
        for i, byte in enumerate(row):
            left, corner = (row[i - bpp], above[i - bpp]) if i >= bpp else (0, 0)
            guess = (0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], corner))[kind]
            line.append((byte - guess) % 256)
        above, out = row, out + bytes([kind]) + bytes(line)
    return out


def png(samples, kind, depth, interlaced, choose, level, extra=b"", cut=1 << 20):
    """samples [H,W,channels] as a PNG file; Pillow writes neither all kinds nor any interlaced ones."""
    H, W, channels = samples.shape
    bpp, raw = max(1, channels * depth // 8), b""
    for x, y, dx, dy in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = samples[y::dy, x::dx]
        if part.size:
            raw += filtered([packed(row, depth) for row in part], bpp, choose)
    strategy = zlib.compressobj(level, zlib.DEFLATED, 15, 8, level % 5)  # Huffman alone, runs, fixed codes, ...
    data = strategy.compress(raw) + strategy.flush()
    head = struct.pack(">IIBBBBB", W, H, depth, kind, 0, 0, interlaced)
    parts = b"".join(chunk(b"IDAT", data[i : i + cut]) for i in range(0, len(data), cut))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + parts + chunk(b"IEND", b"")


def over_black(image):
    """By Pillow. It clips grey of 16 bits at 255: there the upper byte, which it takes of all other kinds."""
    if image.mode == "I;16":
        grey = (np.array(image).astype(np.uint16) >> 8).astype(np.uint8)
        rgba = np.stack([grey] * 3 + [np.full_like(grey, 255)], -1)
        if "transparency" in image.info:
            rgba[np.array(image) == image.info["transparency"], 3] = 0
        image = Image.fromarray(rgba, "RGBA")
    image = image.convert("RGBA")
    return np.array(Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB"))


def check_png_kinds(c, i):
    """Every colour type, depth, interlacing and transparency, with all filters, as Pillow reads them."""
    for kind, depth in KINDS:
        for interlaced in (0, 1):
            H, W, channels = side(c, 40), side(c, 40), CHANNELS[kind]
            samples = torch.randint(0, 1 << depth, (H, W, channels), generator=c.rng).numpy()
            if c.integer(0, 1):
                samples = np.repeat(np.repeat(samples[::4, ::4], 4, 0), 4, 1)[:H, :W]
            extra, keyed = b"", kind in (0, 2, 3) and c.integer(0, 1)
            if kind == 3:
                colours = torch.randint(0, 256, (1 << depth, 3), generator=c.rng, dtype=torch.uint8).numpy()
                extra += chunk(b"PLTE", colours.tobytes())
            if keyed:
                alpha = torch.randint(0, 256, (c.integer(1, 1 << depth),), generator=c.rng, dtype=torch.uint8).numpy()
                extra += chunk(b"tRNS", alpha.tobytes() if kind == 3 else samples[0, 0].astype(">u2").tobytes())
            filters = c.choice([(0,), (1,), (2,), (3,), (4,), (0, 1, 2, 3, 4)])
            data = png(samples, kind, depth, interlaced, lambda: c.choice(filters), c.integer(0, 9), extra, c.integer(1, 300))
            path = c.folder / "kind.png"
            path.write_bytes(data)
            expected = over_black(Image.open(io.BytesIO(data)))
            if keyed and kind != 3 and depth != 8:  # Pillow compares a colour before with one after it was made 8 bits
                opaque = samples >> 8 if depth == 16 else samples * (255 // ((1 << depth) - 1))
                expected = np.where((samples == samples[0, 0]).all(-1)[..., None], 0, opaque).astype(np.uint8)
                expected = np.broadcast_to(expected, (H, W, 3))
            same(c, f"png {i}: type {kind}, {depth} bits, interlace {interlaced}, filters {filters}, tRNS {keyed}", read(path), expected)


def check_pbm(c, i):
    rgb = random_rgb(c, side(c), side(c))
    image, path = Image.fromarray(rgb).convert("1"), c.folder / "a.pbm"
    expected = np.repeat(np.array(image)[..., None], 3, 2).astype(np.uint8) * 255
    image.save(path)
    same(c, f"P4 {i}: of Pillow", read(path), expected)
    digits = "\n".join("".join(str(int(not v)) for v in row) for row in np.array(image))
    path.write_text(f"P1\n# numpy\n{image.width} {image.height}\n{digits}\n")
    same(c, f"P1 {i}", read(path), expected)


def check_pnm(c, i):
    """Files of Pillow, and every kind and maximum value by numpy."""
    H, W = side(c), side(c)
    rgb, path = random_rgb(c, H, W), c.folder / "a.pnm"
    Image.fromarray(rgb).save(path, format="PPM")
    same(c, f"P6 {i}: of Pillow", read(path), rgb)
    Image.fromarray(rgb[..., 0]).save(path, format="PPM")
    same(c, f"P5 {i}: of Pillow", read(path), np.repeat(rgb[..., :1], 3, 2))
    maxval = c.choice([1, 2, 15, 100, 254, 255, 256, 1023, 4095, 65534, 65535, c.integer(1, 65535)])
    channels = c.choice([1, 3])
    samples = torch.randint(0, maxval + 1, (H, W, channels), generator=c.rng).numpy()
    expected = np.floor(samples * 255 / maxval + 0.5).astype(np.uint8)
    expected = np.broadcast_to(expected, (H, W, 3))
    binary = samples.astype(">u2" if maxval > 255 else np.uint8).tobytes()
    kind = 2 if channels == 1 else 3
    head = f"{W} {H}\n# numpy\n{maxval}\n".encode()
    path.write_bytes(f"P{kind + 3}\n".encode() + head + binary)
    same(c, f"P{kind + 3} {i}: maximum value {maxval}", read(path), expected)
    if channels == 3 and maxval != 255:  # Pillow rounds halves to even: at most one apart
        pillow = np.array(Image.open(path)).astype(int)
        c.check(f"P6 {i}: within one of Pillow", abs(pillow - expected).max() <= 1)
    lines = "\n".join(" ".join(map(str, row)) for row in samples.reshape(H, -1))
    path.write_bytes(f"P{kind}\n".encode() + head + lines.encode())
    same(c, f"P{kind} {i}: maximum value {maxval}", read(path), expected)


def check_y4m(c, i):
    """Pillow's YCbCr has the full range of JPEG: Y = 16 + 219/255 Y_full, C = 128 + 224/255 (C_full - 128). It
    cuts off fractions (of 1/64 and of 1), so that it is up to 1.5 away; the way back to RGB is a closer check."""
    T, H, W = c.integer(1, 5), side(c), side(c)
    frames = np.stack([random_rgb(c, H, W) for _ in range(T)])
    path = c.folder / "a.y4m"
    write(path, frames)
    head, _, data = path.read_bytes().partition(b"\n")
    c.check(f"y4m {i}: header", head == f"YUV4MPEG2 W{W} H{H} F8:1 Ip A1:1 C444".encode())
    data = np.frombuffer(data, np.uint8).reshape(T, 6 + 3 * H * W)
    c.check(f"y4m {i}: frames", all(bytes(f[:6]) == b"FRAME\n" for f in data))
    planes = data[:, 6:].reshape(T, 3, H, W).astype(float)
    full = np.stack([np.array(Image.fromarray(f).convert("YCbCr")) for f in frames]).transpose(0, 3, 1, 2)
    zero, centre, span = (np.array(v)[:, None, None] for v in ([16, 128, 128], [0, 128, 128], [219, 224, 224]))
    pillow = zero + (full - centre) * span / 255
    c.check(f"y4m {i}: {T} frames of {W}x{H}", abs(planes - pillow).max() <= 1.5, f"{abs(planes - pillow).max():.2f}")
    y, cb, cr = (planes - np.array([16, 128, 128])[:, None, None]).transpose(1, 0, 2, 3)
    y, cb, cr = y * 255 / 219, cb * 255 / 224, cr * 255 / 224  # and back, by the standard's inverse
    r, b = y + 1.402 * cr, y + 1.772 * cb
    back = np.stack([r, (y - 0.299 * r - 0.114 * b) / 0.587, b], -1)
    c.check(f"y4m {i}: back to RGB", abs(back - frames).max() < 2.1, f"{abs(back - frames).max():.2f}")


def blended(x, y, T, name, seed):
    """frames [T,H,W,3] by numpy and torch, of every transition that has no tolerance."""
    frames = []
    H, W = x.shape[:2]
    kind, _, numbers = name.partition(":")
    black = int(numbers) if kind == "black" else 0
    n, m = map(int, numbers.split("x")) if kind == "tiles" else (1, 1)
    order = torch.randperm(n * m, generator=torch.Generator().manual_seed(seed)).tolist()
    before = (T - black) // 2
    for i in range(T):
        t = i / (T - 1)
        if kind in ("discrete", "black"):
            frame = x if i < before else np.zeros_like(x) if i < before + black else y
        elif kind == "tiles":
            frame = x.copy()
            for r, q in (divmod(k, m) for k in order[: n * m * i // (T - 1)]):
                part = np.s_[r * H // n : (r + 1) * H // n, q * W // m : (q + 1) * W // m]
                frame[part] = y[part]
        else:
            s = {"linear": t, "quadratic": t * t, "sqrt": np.sqrt(t)}[kind]
            frame = np.rint((1 - s) * x.astype(float) + s * y).astype(np.uint8)
        frames.append(frame)
    return np.stack(frames)


def noisy(x, y, T, quadratic, seed):
    rng, frames = torch.Generator().manual_seed(seed), [x]
    for i in range(1, T - 1):
        t = i / (T - 1)
        s = t * t if quadratic else t
        noise = torch.randn(x.shape, generator=rng).numpy().astype(float)
        frames.append(np.rint(np.clip((1 - s) * x + s * y.astype(float) + 127.5 * t * (1 - t) * noise, 0, 255)))
    return np.stack([*frames, y])


def check_interp(c, i):
    H, W, T, seed = c.integer(4, 40), c.integer(4, 40), c.integer(7, 49), c.integer(0, 2**31)
    x, y = random_rgb(c, H, W), random_rgb(c, H, W)
    pair = {"pair": torch.from_numpy(np.stack([x, y]))}
    tiles = f"tiles:{c.integer(1, H)}x{c.integer(1, W)}"
    for name in ("linear", "quadratic", "sqrt", "discrete", "black:3", "tiles:4x4", tiles):
        ours = run("interp", "-", pair, phi=name, frames=T, seed=seed)["frames"].numpy()
        same(c, f"interp {i}: {name}, {T} frames of {W}x{H}", ours, blended(x, y, T, name, seed))
    for name in ("noisy", "noisy:quadratic"):  # the last places of torch's logarithm and cosine may differ
        ours = run("interp", "-", pair, phi=name, frames=T, seed=seed)["frames"].numpy()
        apart = abs(ours.astype(float) - noisy(x, y, T, "quad" in name, seed))
        few = apart.max() <= 1 and (apart > 0).mean() < 1e-3
        c.check(f"interp {i}: {name}", few, f"{(apart > 0).sum()} of {ours.size} differ by one")


PALETTE = np.array([
    (0, 0, 0), (0, 116, 217), (255, 65, 54), (46, 204, 64), (255, 220, 0),
    (170, 170, 170), (240, 18, 190), (255, 133, 27), (127, 219, 255), (135, 12, 37),
])  # fmt: skip


def decode(rgb, rows, cols, cell, border):
    step = cell + border
    top = (rgb.shape[0] - rows * step - border) // 2 + border
    left = (rgb.shape[1] - cols * step - border) // 2 + border
    grid = np.zeros((rows, cols), int)
    for r in range(rows):
        for q in range(cols):
            part = rgb[top + r * step :, left + q * step :][:cell, :cell].astype(int)
            grid[r, q] = ((part.mean((0, 1)).astype(int) - PALETTE) ** 2).sum(1).argmin()
    return grid


def check_scores(c, i):
    rows, cols, cell, border = c.integer(1, 9), c.integer(1, 9), c.integer(1, 6), c.integer(0, 3)
    H, W = rows * (cell + border) + border + c.integer(0, 5), cols * (cell + border) + border + c.integer(0, 5)
    x = random_rgb(c, H, W)
    y = np.where(c.randn(H, W, 1).numpy() > c.integer(-3, 3), x, random_rgb(c, H, W))
    pair = {"pair": torch.from_numpy(np.stack([x, y]))}
    ours = run("score", "-", pair, rows=rows, cols=cols, cell=cell, border=border)
    mse = ((x.astype(float) - y) ** 2).mean()
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(255**2 / mse)
    c.check(f"psnr {i}", ours["psnr"].item() == psnr or abs(ours["psnr"].item() - psnr) < 1e-9, f"{psnr:.4f}")
    p, g = (a.astype(np.int64) @ [299, 587, 114] > 127500 for a in (x, y))
    iou = (p & g).sum() / (p | g).sum() if (p | g).any() else 1.0
    c.check(f"iou {i}", abs(ours["iou"].item() - iou) < 1e-12, f"{iou:.4f}")
    cells = (decode(x, rows, cols, cell, border) == decode(y, rows, cols, cell, border)).mean()
    c.check(f"cells {i}", abs(ours["cells"].item() - cells) < 1e-12, f"{cells:.4f}")


if __name__ == "__main__":
    o = options(cases=50)
    with Cases("pictures", o.seed) as c:
        for i in range(o.cases):
            check_resize(c, i)
        for i in range(o.cases // 5):
            for check in (check_png, check_png_kinds, check_pbm, check_pnm, check_y4m, check_interp, check_scores):
                check(c, i)
