"""Smooth clips: anti-aliased shapes, textures and stick figures that move, turn, grow, fade, bounce and
hide each other, at 64x64 pixels and 9 frames.  The counterpart of grids.py below the size of a cell.

Every shape is a signed distance field in its own frame of reference: coverage = clip(0.5 - distance).
"""
import numpy as np
import torch
import torch.nn.functional as tf

from grids import FRAMES, PALETTE, coin, content, grid_clips, palette, per, sprite

PX = 64


def colour(rng, *shape):
    """Random RGB floats 0..255: half from the ARC palette, half any."""
    c = rng.uniform(0, 255, shape + (3,))
    return np.where((rng.random(shape) < .5)[..., None], PALETTE[rng.integers(0, 10, shape)], c)


def backdrop(rng, b):
    """[b,64,64,3]: black, one colour, a gradient, or a dimmed grid."""
    mode = rng.choice(4, b, p=[.4, .25, .15, .2])
    y, x = np.mgrid[:PX, :PX] / PX
    c0, c1, th = colour(rng, b), colour(rng, b), rng.uniform(0, 2 * np.pi, b)
    ramp = (.5 + (y - .5) * per(np.sin(th)) + (x - .5) * per(np.cos(th))).clip(0, 1)[..., None]
    grad = (1 - ramp) * c0[:, None, None] + ramp * c1[:, None, None]
    g, _ = content(rng, b, 8)
    tex = palette(rng, b)[np.arange(b)[:, None, None], g].repeat(8, 1).repeat(8, 2) * rng.uniform(.3, 1, b)[:, None, None, None]
    out = np.zeros((b, PX, PX, 3))
    flat = np.broadcast_to(c0[:, None, None], out.shape)
    for m, v in ((1, flat), (2, grad), (3, tex)):
        out = np.where((mode == m)[:, None, None, None], v, out)
    return out.astype(np.float32)


SHAPES = [
    lambda x, y, ax, ay: np.sqrt(x * x + y * y) - 1,                                                # disc
    lambda x, y, ax, ay: np.maximum(ax, ay) - .85,                                                  # square
    lambda x, y, ax, ay: np.maximum(ax - 1, ay - .35),                                              # bar
    lambda x, y, ax, ay: np.maximum(.866 * ax + .5 * y, -y) - .5,                                   # triangle
    lambda x, y, ax, ay: np.abs(np.sqrt(x * x + y * y) - .75) - .25,                                # ring
    lambda x, y, ax, ay: np.minimum(np.maximum(ax - 1, ay - .33), np.maximum(ay - 1, ax - .33)),    # cross
    lambda x, y, ax, ay: np.minimum(np.maximum(np.abs(x + .5) - .35, ay - .9),
                                    np.maximum(ax - .85, np.abs(y - .6) - .35)),                    # L
    lambda x, y, ax, ay: (ax + ay - 1) * .707,                                                      # diamond
]


def sdf(kind, x, y):
    """Distance to a unit-size shape of kind[i]; x, y [n,9,64,64] in units of its radius."""
    out = np.empty_like(x)
    for k in np.unique(kind):
        of = kind == k
        out[of] = SHAPES[k](x[of], y[of], np.abs(x[of]), np.abs(y[of]))
    return out


def over(img, cover, rgb):
    """Paint rgb on img [b,9,64,64,3] where cover [b,9,64,64] says."""
    return img + cover[..., None] * (rgb.astype(np.float32) - img)


def ease(rng, b):
    """[b,9] from 0 to 1: at constant speed, abruptly in the middle, or somewhere between."""
    i = np.arange(FRAMES)[None]
    mode = rng.choice(3, b, p=[.5, .3, .2])[:, None]
    a, w = rng.integers(0, 5, b)[:, None], rng.integers(2, 7, b)[:, None]
    return np.where(mode == 0, i / 8, np.where(mode == 1, i >= 4, ((i - a) / w).clip(0, 1))).astype(np.float32)


def shapes(rng, b, frames=FRAMES):
    """One to four shapes: each moves on a line (and bounces), turns, grows, changes colour, fades in or out."""
    img = np.repeat(backdrop(rng, b)[:, None], frames, 1)
    yy, xx = np.mgrid[:PX, :PX].astype(np.float32)
    for i in range(4):
        use = coin(rng, b, [1, .7, .5, .3][i])
        e = ease(rng, b)[:, :frames]
        lerp = lambda p, q: per(p, 1) + e * per(q - p, 1)
        still_ = coin(rng, b, .25)
        r0 = rng.uniform(4, 16, b)
        r1 = np.where(coin(rng, b, .3), rng.uniform(3, 20, b), r0)
        p0 = rng.uniform(6, PX - 6, (2, b))
        p1 = np.where(still_, p0, p0 + rng.uniform(-40, 40, (2, b)))
        fold = coin(rng, b, .6)
        cy, cx = (np.where(per(fold, 1), PX - np.abs(PX - np.abs(lerp(p0[j], p1[j])) % (2 * PX)), lerp(p0[j], p1[j]))
                  for j in (0, 1))
        th0 = rng.uniform(0, 2 * np.pi, b) * coin(rng, b)
        th = lerp(th0, th0 + np.where(coin(rng, b, .5), rng.uniform(-np.pi, np.pi, b), 0))
        r = lerp(r0, r1)
        kind = rng.integers(0, 8, b)
        al0 = np.where(coin(rng, b, .15), 0, 1)
        al1 = np.where(coin(rng, b, .15), 0, 1)
        k0 = colour(rng, b)
        k1 = np.where(coin(rng, b, .25)[:, None], colour(rng, b), k0)
        rgb = k0[:, None] + e[..., None] * (k1 - k0)[:, None]
        at = lambda p: p[use][..., None, None].astype(np.float32)           # [clips that have this shape,9,1,1]
        dx, dy, ca, sa, rr = xx - at(cx), yy - at(cy), at(np.cos(th)), at(np.sin(th)), at(r)
        d = sdf(kind[use], (ca * dx + sa * dy) / rr, (ca * dy - sa * dx) / rr) * rr
        img[use] = over(img[use], (.5 - d).clip(0, 1) * at(lerp(al0, al1)), rgb[use][:, :, None, None])
    return np.rint(img).clip(0, 255).astype(np.uint8)


def camera(rng, b):
    """A picture (grid or shapes) turns, zooms, shears or drifts as a whole under a camera."""
    pic = np.concatenate([grid_clips(rng, b - b // 3, _any_grid)[0][:, 0], shapes(rng, b // 3, 1)[:, 0]]) \
        if b >= 3 else grid_clips(rng, b, _any_grid)[0][:, 0]
    e = ease(rng, b)
    pick = lambda p, lo, hi: np.where(coin(rng, b, p), rng.uniform(lo, hi, b), 0)[:, None] * e
    th, lz = pick(.5, -np.pi, np.pi), pick(.3, -.7, .7)
    sx, tx, ty = pick(.1, -.5, .5), pick(.5, -1, 1), pick(.5, -1, 1)
    # squeeze: the card narrows about an axis, without passing through
    qz = pick(.15, .1, .8)
    z = np.exp(lz)
    a = np.stack([np.stack([z * np.cos(th) / (1 - qz), z * (np.sin(th) + sx), tx], -1),
                  np.stack([-z * np.sin(th), z * np.cos(th), ty], -1)], -2)          # [b,9,2,3]
    src = torch.from_numpy(pic.astype(np.float32)).permute(0, 3, 1, 2)
    src = src[:, None].expand(b, FRAMES, 3, PX, PX).reshape(-1, 3, PX, PX)
    flow = tf.affine_grid(torch.from_numpy(a.reshape(-1, 2, 3).astype(np.float32)), src.shape, align_corners=False)
    wrap = coin(rng, b, .4)
    if wrap.any():
        w = torch.from_numpy(np.repeat(wrap, FRAMES))
        flow[w] = (flow[w] + 1) % 2 - 1
    out = tf.grid_sample(src, flow, mode="bilinear", padding_mode="zeros", align_corners=False)
    return out.reshape(b, FRAMES, 3, PX, PX).permute(0, 1, 3, 4, 2).round().clamp(0, 255).to(torch.uint8).numpy()


def _any_grid(rng, n, g):
    a, _ = content(rng, n, g)
    return np.stack([a] * 9, 1), ()


def segment(xx, yy, a, c):
    """Distance of every pixel to the segments a-c; a, c [2,b,9]."""
    (ax, ay), (vx, vy) = (p[..., None, None].astype(np.float32) for p in (a, c - a))
    dx, dy = xx - ax, yy - ay
    t = ((dx * vx + dy * vy) / (vx * vx + vy * vy + np.float32(1e-6))).clip(0, 1)
    dx, dy = dx - t * vx, dy - t * vy
    return np.sqrt(dx * dx + dy * dy)


def figures(rng, b):
    """A stick figure of one colour walks, waves or bends."""
    img = np.repeat(backdrop(rng, b)[:, None], FRAMES, 1)
    yy, xx = np.mgrid[:PX, :PX].astype(np.float32)
    ph = np.arange(FRAMES)[None] / 8 * rng.uniform(0, 2 * np.pi, b)[:, None] + rng.uniform(0, 6.3, b)[:, None]
    s = rng.uniform(.7, 1.2, b)[:, None]
    hip = np.stack([rng.uniform(20, 44, b)[:, None] + np.arange(FRAMES) * rng.uniform(-2, 2, b)[:, None],
                    rng.uniform(32, 40, b)[:, None] + 0 * ph])
    limb = lambda p, ang, length: np.stack([p[0] + s * length * np.sin(ang), p[1] + s * length * np.cos(ang)])
    swing = lambda lo, hi: rng.uniform(lo, hi, b)[:, None] + rng.uniform(0, .8, b)[:, None] * np.sin(ph + rng.uniform(0, 6.3, b)[:, None])
    neck = limb(hip, np.pi + swing(-.2, .2) * .5, 15)
    head = limb(neck, np.pi + 0 * ph, 5)
    d = segment(xx, yy, head, head) - (s * 4)[..., None, None].astype(np.float32)
    wide = rng.uniform(1, 2.2, b)[:, None, None, None].astype(np.float32)
    d = np.minimum(d, segment(xx, yy, hip, neck) - wide)
    for side in (-1, 1):
        for root, len_ in ((neck, 8), (hip, 9)):
            a0 = side * swing(.1, 1.6)
            mid = limb(root, a0, len_)
            d = np.minimum(d, segment(xx, yy, root, mid) - wide)
            d = np.minimum(d, segment(xx, yy, mid, limb(mid, a0 + swing(-1, 1), len_)) - wide)
    return np.rint(over(img, (.5 - d).clip(0, 1), colour(rng, b)[:, None, None, None])).clip(0, 255).astype(np.uint8)


def blend(rng, b):
    """One picture dissolves into another, or is cut to it."""
    a, c = shapes(rng, b, 1)[:, 0].astype(np.float32), shapes(rng, b, 1)[:, 0].astype(np.float32)
    dark = coin(rng, b, .3)[:, None, None, None]
    c = np.where(dark, a * .4, c)
    e = ease(rng, b)[:, :, None, None, None]
    return np.rint((1 - e) * a[:, None] + e * c[:, None]).astype(np.uint8)


SMOOTH_FAMILIES = [shapes, camera, figures, blend]
