"""Grid clips: procedural families of motion on small grids of coloured cells.

A family maps (rng, B, G) to a sequence of states [B, K+1, G, G] (uint8 palette indices), state 0 is the
first frame, one state follows from the one before it; and to words, the parameters of its rule (captions.py).
`timeline` then spreads states over the 9 frames: step by step, or abruptly in the middle of the clip (the
discrete transition that few-shot fits use), or as a cross-fade.  All of it is vectorised over the batch B;
parameters are drawn per clip.

Held out: the evaluation rules themselves (see KIN in families.py) and every first frame whose hash is
reserved for evaluation (`reserved`): evaluation inputs are drawn from the reserved eighth of all grids,
so that no evaluation pair can occur in the training stream.  families.py drops such clips by their pixels.
"""
import numpy as np

import captions

K = 8          # steps in a sequence: K+1 states
FRAMES = 9

# The ARC palette (as evaluation renders it): index -> RGB.
PALETTE = np.array([(0, 0, 0), (0, 116, 217), (255, 65, 54), (46, 204, 64), (255, 220, 0), (170, 170, 170),
                    (240, 18, 190), (255, 133, 27), (127, 219, 255), (135, 12, 37)], np.uint8)


def fnv1a(grid):
    """32-bit FNV-1a over the cells, row by row: [B, G, G] -> [B] uint32."""
    h = np.full(grid.shape[0], 2166136261, np.uint64)
    for cell in grid.reshape(grid.shape[0], -1).astype(np.uint64).T:
        h = ((h ^ cell) * np.uint64(16777619)) & np.uint64(0xFFFFFFFF)
    return h.astype(np.uint32)


def reserved(grid):
    """True for grids that only evaluation may use as inputs: a fixed eighth of all grids.
    The top bits decide: the low bits of FNV are weak (bit 0 is the parity of the cells)."""
    return (fnv1a(grid) >> 29) == 0


def shows_reserved(frames):
    """uint8 [B,64,64,3] -> True where a frame is a reserved 8x8 grid in the palette."""
    c = frames.reshape(-1, 8, 8, 8, 8, 3)
    corner = c[:, :, 0, :, 0]
    flat = (c == corner[:, :, None, :, None]).all((1, 2, 3, 4, 5))
    same = (corner[..., None, :] == PALETTE).all(-1)                        # [B,8,8,10]
    return flat & same.any(-1).all((1, 2)) & reserved(same.argmax(-1).astype(np.uint8))


# ---------------------------------------------------------------- small helpers

def coin(rng, b, p=0.5):
    return rng.random(b) < p


def per(x, n=2):
    """[B] -> [B,1,...] with n more axes."""
    return np.reshape(x, (-1,) + (1,) * n)


def take(a, sy, sx, wrap, bg):
    """out[b,y,x] = a[b, sy, sx]; outside: wrapped where wrap[b], else bg[b]."""
    b, g, _ = a.shape
    out = a[np.arange(b)[:, None, None], sy % g, sx % g]
    inside = (sy >= 0) & (sy < g) & (sx >= 0) & (sx < g)
    return np.where(inside | per(wrap), out, per(bg)).astype(np.uint8)


def shift(a, dy, dx, fill=255):
    """Constant shift of [B,G,G] by (dy,dx): out[y,x] = a[y-dy,x-dx], cells from outside are fill."""
    out = np.full_like(a, fill)
    g = a.shape[1]
    out[:, max(dy, 0):g + min(dy, 0), max(dx, 0):g + min(dx, 0)] = \
        a[:, max(-dy, 0):g + min(-dy, 0), max(-dx, 0):g + min(-dx, 0)]
    return out


NEAR4 = [(1, 0), (-1, 0), (0, 1), (0, -1)]
NEAR8 = NEAR4 + [(1, 1), (1, -1), (-1, 1), (-1, -1)]


def touches(mask, eight):
    """mask [B,G,G] bool -> True where a 4- (or, where eight[b], 8-) neighbour is in mask."""
    m4 = np.zeros_like(mask)
    for d in NEAR4:
        m4 |= shift(mask, *d, fill=False)
    m8 = m4.copy()
    for d in NEAR8[4:]:
        m8 |= shift(mask, *d, fill=False)
    return np.where(per(eight), m8, m4)


def dihedral(seq, op):
    """Turn/flip the last two axes of [B,...,G,G] by op[b] in 0..7 (the same for all states of a clip)."""
    out = seq.copy()
    for o in range(1, 8):
        s = seq[op == o]
        if len(s):
            s = np.rot90(s, o % 4, (-2, -1))
            out[op == o] = s[..., ::-1] if o >= 4 else s
    return out


def roll_out(a, step, k=K):
    """States [B,k+1,G,G] of k applications of step(a, i)."""
    seq = [a]
    for i in range(k):
        seq.append(step(seq[-1], i))
    return np.stack(seq, 1).astype(np.uint8)


def ends(a, y):
    """A family of one step: x then y for good."""
    return np.stack([a] + [y] * K, 1).astype(np.uint8)


# ---------------------------------------------------------------- what is on the grid

def colours(rng, b, m=10):
    """[B,m] distinct palette indices; the first, the background, is black in most clips."""
    p = rng.permuted(np.tile(np.arange(10, dtype=np.uint8), (b, 1)), axis=1)
    for i in np.flatnonzero(coin(rng, b, 0.6)):
        j = np.flatnonzero(p[i] == 0)[0]
        p[i, j], p[i, 0] = p[i, 0], 0
    return p[:, :m]


def rects(rng, a, col, n, hollow, distinct=True):
    """Paint up to n rectangles on a."""
    b, g, _ = a.shape
    y, x = np.mgrid[:g, :g]
    for i in range(n):
        y0, x0 = rng.integers(0, g - 1, (2, b))
        h, w = rng.integers(1, max(g // 2, 2) + 1, (2, b))
        m = (y >= per(y0)) & (y < per(y0 + h)) & (x >= per(x0)) & (x < per(x0 + w))
        core = (y > per(y0)) & (y < per(y0 + h - 1)) & (x > per(x0)) & (x < per(x0 + w - 1))
        m &= ~(core & per(hollow))
        m &= per(coin(rng, b, 0.8)) | (i == 0)
        c = col[np.arange(b), 1 + (i % 4 if distinct else 0)]
        a = np.where(m, per(c), a)
    return a.astype(np.uint8)


def smooth_noise(rng, b, g):
    f = rng.standard_normal((b, g + 4, g + 4))
    for ax in (1, 2):
        f = f + np.roll(f, 1, ax) + 0.5 * np.roll(f, 2, ax)
    return f[:, 2:g + 2, 2:g + 2]


def content(rng, b, g, kind=None, bg_black=False):
    """First states [B,g,g], a mixture of kinds from dense noise to single blobs; and backgrounds [B]."""
    kind = rng.choice(9, b, p=[.2, .14, .16, .14, .1, .08, .06, .06, .06]) if kind is None else np.full(b, kind)
    col = colours(rng, b)
    if bg_black:
        col[:, 0], col[:, 1:] = 0, rng.permuted(np.tile(np.arange(1, 10, dtype=np.uint8), (b, 1)), axis=1)
    y, x = np.mgrid[:g, :g]
    a = np.zeros((b, g, g), np.uint8)
    pick = lambda idx, m: np.take_along_axis(col[m], idx.reshape(len(idx), -1), 1).reshape(idx.shape)
    for k in range(9):
        m = np.flatnonzero(kind == k)
        n = len(m)
        if n == 0:
            continue
        if k == 0:                                          # dense, all colours
            v = rng.integers(0, 10, (n, g, g))
        elif k == 1:                                        # dense, few colours
            v = (rng.random((n, g, g)) * per(rng.integers(2, 6, n))).astype(int)
        elif k == 2:                                        # sparse cells
            on = rng.random((n, g, g)) < per(rng.uniform(.03, .5, n))
            v = on * (1 + (rng.random((n, g, g)) * per(rng.integers(1, 5, n))).astype(int))
        elif k == 3:                                        # rectangles, some hollow
            a[m] = rects(rng, np.broadcast_to(per(col[m, 0]), (n, g, g)), col[m], 4, coin(rng, n, .4))
            continue
        elif k == 4:                                        # blobs
            f = smooth_noise(rng, n, g)
            lo, hi = np.quantile(f, [.6, .85], axis=(1, 2))
            v = (f > per(lo)).astype(int) + (f > per(hi)) * per(coin(rng, n, .5))
        elif k == 5:                                        # stripes and checkers
            w, q = rng.integers(1, 4, n), rng.integers(2, 5, n)
            cy, cx = rng.integers(0, 2, (2, n))
            cx = np.where(cy + cx == 0, 1, cx)
            chk = (y // per(w) + x // per(w)) % 2
            v = np.where(per(coin(rng, n, .3)), chk, ((per(cy) * y + per(cx) * x) // per(w)) % per(q))
        elif k == 6:                                        # a motif, tiled
            p, q = rng.integers(2, 5, (2, n))
            mo = rng.integers(0, 4, (n, 4, 4))
            v = mo[np.arange(n)[:, None, None], y % per(p), x % per(q)]
        elif k == 7:                                        # two colours, as in cell games
            v = (rng.random((n, g, g)) < per(rng.uniform(.2, .6, n))).astype(int)
        else:                                               # smooth field in bands
            f = smooth_noise(rng, n, g)
            f = (f - f.min((1, 2), keepdims=True)) / np.ptp(f, axis=(1, 2), keepdims=True)
            v = np.minimum((f * per(rng.integers(3, 8, n))).astype(int), 9)
        a[m] = pick(v, m)
    return a, col[:, 0]


def one_colour(rng, a, avoid=None):
    """[B]: a colour that occurs on each grid (other than avoid[b], where there is one)."""
    b = len(a)
    flat = a.reshape(b, -1)
    c = flat[np.arange(b), rng.integers(0, flat.shape[1], b)]
    for _ in range(4 if avoid is not None else 0):
        again = flat[np.arange(b), rng.integers(0, flat.shape[1], b)]
        c = np.where(c == avoid, again, c)
    return c


# ---------------------------------------------------------------- the families

def still(rng, b, g):
    """Nothing moves."""
    a, _ = content(rng, b, g)
    return ends(a, a), ()


def translate(rng, b, g):
    """The whole picture moves at constant speed; the edge wraps or background comes in."""
    a, bg = content(rng, b, g)
    v = rng.integers(-2, 3, (2, b))
    v[0] = np.where((v == 0).all(0), 1, v[0])
    wrap = coin(rng, b)
    y, x = np.mgrid[:g, :g]
    return np.stack([take(a, y - per(k * v[0]), x - per(k * v[1]), wrap, bg) for k in range(K + 1)], 1), (*(v + 2), wrap)


def slide(rng, b, g):
    """Every row (or column) slides at its own speed, some not at all."""
    a, bg = content(rng, b, g)
    v = rng.integers(-2, 3, (b, g)) * coin(rng, (b, g), .7)
    wrap = coin(rng, b, .7)
    y, x = np.mgrid[:g, :g]
    seq = np.stack([take(a, np.broadcast_to(y, a.shape), x - k * v[:, :, None], wrap, bg) for k in range(K + 1)], 1)
    op = rng.integers(0, 2, b)
    return dihedral(seq, op), (*(v + 2).T, wrap, op)


def fall(rng, b, g):
    """Cells of some colours fall one cell a step until something holds them; others are obstacles."""
    a, bg = content(rng, b, g)
    loose = coin(rng, (b, 10), .6)
    loose[coin(rng, b, .4)] = True

    def step(s, _):
        s = s.copy()
        for y in range(g - 2, -1, -1):
            up, dn = s[:, y], s[:, y + 1]
            m = (up != bg[:, None]) & (dn == bg[:, None]) & np.take_along_axis(loose, up.astype(int), 1)
            s[:, y + 1] = np.where(m, up, dn)
            s[:, y] = np.where(m, bg[:, None], up)
        return s
    op = rng.integers(0, 8, b)
    return dihedral(roll_out(a, step), op), (*loose.T, op)


def grow(rng, b, g):
    """A colour spreads over the background to 4 or 8 neighbours, or in one direction only."""
    a, bg = content(rng, b, g, kind=rng.choice([2, 2, 3, 4]))
    c = one_colour(rng, a, bg)
    eight, oneway = coin(rng, b), coin(rng, b, .4)

    def step(s, _):
        m = s == per(c)
        t = np.where(per(oneway), shift(m, 1, 0, False), touches(m, eight))
        return np.where(t & (s == per(bg)), per(c), s)
    op = rng.integers(0, 8, b)
    return dihedral(roll_out(a, step), op), (c, eight, oneway, op)


def shrink(rng, b, g):
    """Regions of one colour lose their edge cells."""
    a, bg = content(rng, b, g, kind=rng.choice([3, 4, 7]))
    c, eight = one_colour(rng, a, bg), coin(rng, b)

    def step(s, _):
        m = s == per(c)
        return np.where(m & touches(~m, eight), per(bg), s)
    return roll_out(a, step), (c, eight)


def spread(rng, b, g):
    """All colours grow at once over the background; the lowest (or highest) index wins a tie."""
    a, bg = content(rng, b, g, kind=2)
    rank = rng.permuted(np.tile(np.arange(10, dtype=np.int8), (b, 1)), axis=1)
    rank[np.arange(b), bg] = -1
    eight = coin(rng, b)

    def step(s, _):
        r = np.take_along_axis(rank, s.reshape(b, -1).astype(int), 1).reshape(s.shape)
        m4 = np.maximum.reduce([shift(r, *d, fill=-1) for d in NEAR4])
        m8 = np.maximum.reduce([m4] + [shift(r, *d, fill=-1) for d in NEAR8[4:]])
        best = np.where(per(eight), m8, m4)
        new = np.where(r < 0, best, r)
        lut = np.zeros((b, 11), np.uint8)
        for v in range(10):
            lut[np.arange(b), rank[:, v].astype(int) + 1] = v
        return np.take_along_axis(lut, new.reshape(b, -1).astype(int) + 1, 1).reshape(s.shape)
    return roll_out(a, step), (*(rank.T + 1), eight)


def cyclic(rng, b, g):
    """Each colour is eaten by the next one in a cycle of m colours, where enough neighbours have it."""
    m = rng.integers(3, 6, b)
    v = (rng.random((b, g, g)) * per(m)).astype(np.uint8)
    col = colours(rng, b)
    eight, need = coin(rng, b), rng.integers(1, 3, b)

    def step(s, _):
        nxt = (s + 1) % per(m)
        n4 = sum((shift(s, *d) == nxt).astype(int) for d in NEAR4)
        n8 = n4 + sum((shift(s, *d) == nxt) for d in NEAR8[4:])
        return np.where(np.where(per(eight), n8, n4) >= per(need), nxt, s)
    seq = roll_out(v, step)
    return np.take_along_axis(col, seq.reshape(b, -1).astype(int), 1).reshape(seq.shape), (m, eight, need, *col.T[:5])


EVALUATED = {("3", "23"), ("3", "2"), ("3678", "34678"), ("3", "12345"), ("2", "")}


def bits(s):
    return sum(1 << int(ch) for ch in s)


def draw_rules(rng, b):
    """Random births and survivals as bit sets over 0..8 neighbours, none of them evaluated."""
    bad = {(bits(x), bits(y)) for x, y in EVALUATED}
    birth = (coin(rng, (b, 9), .3) * (1 << np.arange(9))).sum(1) & ~1        # no birth from nothing
    keep = (coin(rng, (b, 9), .45) * (1 << np.arange(9))).sum(1)
    for i in range(b):
        while (birth[i], keep[i]) in bad:
            keep[i] = rng.integers(0, 512)
    return birth, keep


def cellrule(rng, b, g):
    """Two-colour games with a random birth/survival rule of their own in every clip.
    The five rules of the evaluation never occur."""
    col = colours(rng, b)
    dens = rng.uniform(.15, .6, b)
    on = rng.random((b, g, g)) < per(dens)
    birth, keep = draw_rules(rng, b)
    wrap = coin(rng, b, .3)

    def step(s, _):
        n = sum(shift(s, *d, fill=0) for d in NEAR8)
        w = sum(np.roll(s, d, (1, 2)) for d in NEAR8)
        n = np.where(per(wrap), w, n)
        return ((np.where(s > 0, per(keep), per(birth)) >> n) & 1).astype(np.uint8)
    seq = roll_out(on.astype(np.uint8), step)
    words = [(rule >> n & 1) > 0 for rule in (birth, keep) for n in range(9)]
    return np.take_along_axis(col, seq.reshape(b, -1).astype(int), 1).reshape(seq.shape), (*words, wrap, col[:, 1])


def vote(rng, b, g):
    """A cell takes the colour that three of its four neighbours agree on (or any two opposite ones do)."""
    a, _ = content(rng, b, g, kind=rng.choice([1, 4, 8]))
    opposite = coin(rng, b)

    def step(s, _):
        n = [shift(s, *d) for d in NEAR4]
        opp = np.where(n[0] == n[1], n[0], np.where(n[2] == n[3], n[2], s))
        maj = s
        for i in range(4):
            same = sum((n[i] == n[j]).astype(int) for j in range(4))
            maj = np.where((same >= 3) & (n[i] != 255), n[i], maj)
        opp = np.where(opp == 255, s, opp)
        return np.where(per(opposite), opp, maj)
    return roll_out(a, step), (opposite,)


def recolour(rng, b, g):
    """One to four colours become other colours, everywhere at once or one colour a step."""
    a, _ = content(rng, b, g)
    lut = np.tile(np.arange(10, dtype=np.uint8), (b, 1))
    n = rng.integers(1, 5, b)
    cyc, at_once = coin(rng, b), coin(rng, b, .6)

    def step(s, i):
        for j in range(4):
            go = (j < n) & np.where(at_once, i == 0, i == 2 * j)
            src = src0[j]
            dst = np.where(cyc, src0[(j + 1) % 4], new[j])
            hit = (a == per(src)) & per(go)
            s = np.where(hit, per(dst), s)
        return s
    src0 = [one_colour(rng, a) for _ in range(4)]
    new = rng.integers(0, 10, (4, b)).astype(np.uint8)
    becomes = np.full((b, 10), -1)
    for j in range(4):
        i = np.flatnonzero(j < n)
        becomes[i, src0[j][i]] = np.where(cyc, src0[(j + 1) % 4], new[j])[i]
    return roll_out(a, step), (*becomes.T, at_once)


def touched(rng, b, g):
    """Cells of colour p that touch colour q turn into r, at once or as a wave.
    p is not the background: that would be the outline task."""
    a, bg = content(rng, b, g, kind=rng.choice([1, 2, 3, 4, 5]))
    p = one_colour(rng, a, bg)
    p = np.where(p == bg, 255, p)                            # nothing but background: nothing happens
    q = one_colour(rng, a, p)
    r = np.where(coin(rng, b, .4), q, rng.integers(0, 10, b)).astype(np.uint8)
    eight = coin(rng, b)
    words = (np.where(p == 255, 10, p), q, r, eight)
    return roll_out(a, lambda s, _: np.where((s == per(p)) & touches(s == per(q), eight), per(r), s)), words


def blink(rng, b, g):
    """Cells of one colour go on and off."""
    a, bg = content(rng, b, g)
    c = one_colour(rng, a, bg)
    off = np.where(coin(rng, b), bg, rng.integers(0, 10, b)).astype(np.uint8)
    return roll_out(a, lambda s, i: np.where(a == per(c), per(off) if i % 2 == 0 else a, a)), (c, off)


def sprite(rng, b, n=4):
    """Small random objects [B,n,n] with 255 where empty."""
    ncol = per(rng.integers(1, 4, b))
    c = rng.integers(0, 10, (b, 3)).astype(np.uint8)
    s = (rng.random((b, n, n)) * ncol).astype(int)
    s = np.take_along_axis(c, s.reshape(b, -1), 1).reshape(b, n, n)
    h, w = rng.integers(1, n + 1, (2, b))
    y, x = np.mgrid[:n, :n]
    hole = (rng.random((b, n, n)) < per(rng.choice([0, .3], b))) & ((y > 0) | (x > 0))
    return np.where((y < per(h)) & (x < per(w)) & ~hole, s, 255).astype(np.uint8), h, w


def bounce(p, lim):
    """Position folded into 0..lim (a ball between walls)."""
    lim = np.maximum(lim, 1)
    q = p % (2 * lim)
    return np.where(q > lim, 2 * lim - q, q)


def movers(rng, b, g):
    """One to three objects move over a standing background, bounce off walls and hide each other."""
    bg, back = content(rng, b, g)
    bg = np.where(per(coin(rng, b, .6)), per(back), bg).astype(np.uint8)
    seq, words = np.repeat(bg[:, None], K + 1, 1), []
    y, x = np.mgrid[:g, :g]
    for i in range(3):
        use = coin(rng, b, 1 if i == 0 else .5)
        s, h, w = sprite(rng, b, min(4, g))
        p0, v = rng.integers(0, g, (2, b)), rng.integers(-2, 3, (2, b))
        words += [np.where(use, p0[0], -1), np.where(use, p0[1], -1), v[0] + 2, v[1] + 2]
        for k in range(K + 1):
            py, px = bounce(p0[0] + k * v[0], g - h), bounce(p0[1] + k * v[1], g - w)
            obj = take_sprite(s, y - per(py), x - per(px))
            seq[:, k] = np.where((obj != 255) & per(use), obj, seq[:, k])
    return seq, tuple(words)


def take_sprite(s, sy, sx):
    n = s.shape[1]
    out = s[np.arange(len(s))[:, None, None], np.clip(sy, 0, n - 1), np.clip(sx, 0, n - 1)]
    return np.where((sy >= 0) & (sy < n) & (sx >= 0) & (sx < n), out, 255)


def turn(rng, b, g):
    """A square part of the picture turns by quarter turns, or its rings run round like a belt."""
    a, _ = content(rng, b, g)
    n = rng.integers(2, max(3, g - 2), b)
    y0, x0 = (rng.random((2, b)) * (g - n + 1)).astype(int)
    way, belt = coin(rng, b), coin(rng, b, .3)
    y, x = np.mgrid[:g, :g]
    ly, lx = y - per(y0), x - per(x0)
    inside = (ly >= 0) & (ly < per(n)) & (lx >= 0) & (lx < per(n))
    m = per(n) - 1
    sy = np.where(inside, per(y0) + np.where(per(way), lx, m - lx), y)
    sx = np.where(inside, per(x0) + np.where(per(way), m - ly, ly), x)
    # belt: only the outermost ring of the square moves, by one cell
    by = np.where(inside & (lx == 0) & (ly < m), y + 1, np.where(inside & (lx == m) & (ly > 0), y - 1, y))
    bx = np.where(inside & (ly == m) & (lx < m), x + 1, np.where(inside & (ly == 0) & (lx > 0), x - 1, x))
    sy, sx = np.where(per(belt), by, sy), np.where(per(belt), bx, sx)
    none = np.zeros(b, np.uint8)
    return roll_out(a, lambda s, _: take(s, sy, sx, none, none)), (n, y0, x0, way, belt)


def wipe(rng, b, g):
    """A second picture comes in from one side: over the first, pushing it away, or the first slides off."""
    a, _ = content(rng, b, g)
    c, _ = content(rng, b, g)
    mode = per(rng.integers(0, 3, b))
    y, x = np.mgrid[:g, :g]
    seq, z = [], np.zeros(b, np.uint8)
    for k in range(K + 1):
        e = k * g // K
        second = y < e
        push_a, push_c = take(a, y - e + 0 * a, x + 0 * a, z, z), take(c, y + g - e + 0 * a, x + 0 * a, z, z)
        over = np.where(second, push_c, a)
        push = np.where(second, push_c, push_a)
        off = np.where(second, c, push_a)
        seq.append(np.where(mode == 0, over, np.where(mode == 1, push, off)))
    op = rng.integers(0, 8, b)
    return dihedral(np.stack(seq, 1).astype(np.uint8), op), (mode.ravel(), op)


def blocks(rng, b, g):
    """A rectangle of cells is copied, moved or exchanged with another one."""
    a, bg = content(rng, b, g)
    h, w = rng.integers(1, g // 2 + 1, (2, b))
    p = [(rng.random(b) * (g - h + 1)).astype(int), (rng.random(b) * (g - w + 1)).astype(int)]
    q = [(rng.random(b) * (g - h + 1)).astype(int), (rng.random(b) * (g - w + 1)).astype(int)]
    mode = per(rng.integers(0, 3, b))
    y, x = np.mgrid[:g, :g]
    box = lambda o: (y >= per(o[0])) & (y < per(o[0] + h)) & (x >= per(o[1])) & (x < per(o[1] + w))
    z = np.zeros(b, np.uint8)
    from_p = take(a, y - per(q[0] - p[0]), x - per(q[1] - p[1]), z, z)
    from_q = take(a, y + per(q[0] - p[0]), x + per(q[1] - p[1]), z, z)
    gone = np.where(box(p), np.where(mode == 2, from_q, per(bg)), a)
    out = np.where(box(q), from_p, np.where(mode == 0, a, gone))
    return ends(a, out), (h, w, *p, *q, mode.ravel())


def halves(rng, b, g):
    """One half of the picture is repeated on the other half, as it is or mirrored."""
    a, _ = content(rng, b, g)
    y, x = np.mgrid[:g, :g]
    z, mir = np.zeros(b, np.uint8), per(coin(rng, b))
    src = np.where(y < g // 2, y, np.where(mir, g - 1 - y, y - g // 2))
    out = take(a, src, x + 0 * src, z, z)
    rows = [np.where(y < g // 2 + (k * (g - g // 2) + K - 1) // K, out, a) for k in range(K + 1)]
    op = rng.integers(0, 8, b)
    return dihedral(np.stack(rows, 1).astype(np.uint8), op), (mir.ravel(), op)


def rays(rng, b, g):
    """Cells of one colour shoot rays in one to four directions until something is hit."""
    a, bg = content(rng, b, g, kind=rng.choice([2, 2, 3]))
    c = one_colour(rng, a, bg)
    ray = np.where(coin(rng, b), c, rng.integers(0, 10, b)).astype(np.uint8)
    dirs = coin(rng, (4, b), .5)
    dirs[0] |= ~dirs.any(0)
    heads = [(a == per(c)) & per(d) for d in dirs]

    def step(s, _):
        for i, d in enumerate(NEAR4):
            heads[i] = shift(heads[i], *d, fill=False) & ((s == per(bg)) | (s == per(ray)))
            s = np.where(heads[i], per(ray), s)
        return s
    return roll_out(a, step), (c, ray, *dirs)


def walker(rng, b, g):
    """A walker goes straight on, turns to one side at walls, and leaves a trail (or none)."""
    a, bg = content(rng, b, g, kind=2)
    a = np.where(rng.random(a.shape) < .35, a, per(bg)).astype(np.uint8)
    i = np.arange(b)
    me = rng.integers(0, 10, b).astype(np.uint8)
    trail = np.where(coin(rng, b, .7), rng.integers(0, 10, b), bg).astype(np.uint8)
    py, px = rng.integers(0, g, (2, b))
    d, side = rng.integers(0, 4, b), rng.choice([1, 3], b)
    ring = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
    a[i, py, px] = me
    seq, words = [a], (py, px, d, side, me, trail)
    for _ in range(K):
        s, moved = seq[-1].copy(), np.zeros(b, bool)
        for _ in range(4):                                   # try ahead, else turn
            ny, nx = py + ring[d][:, 0], px + ring[d][:, 1]
            free = (ny >= 0) & (ny < g) & (nx >= 0) & (nx < g)
            free &= s[i, ny % g, nx % g] == bg
            go = free & ~moved
            s[i[go], py[go], px[go]] = trail[go]
            py, px = np.where(go, ny, py), np.where(go, nx, px)
            moved |= go
            d = np.where(moved, d, (d + side) % 4)
        s[i, py, px] = me
        seq.append(s)
    return np.stack(seq, 1), words


def flood(rng, b, g):
    """A drop of colour runs through the region in which it falls, step by step."""
    a, _ = content(rng, b, g, kind=rng.choice([3, 4, 7, 8]))
    i = np.arange(b)
    py, px = rng.integers(0, g, (2, b))
    region = a == per(a[i, py, px])
    drop = rng.integers(0, 10, b).astype(np.uint8)
    front = np.zeros_like(region)
    front[i, py, px] = True
    shown = coin(rng, b)                                     # is the drop there in the first frame?
    a0 = a.copy()
    a0[i[shown], py[shown], px[shown]] = drop[shown]
    seq, eight = [a0], coin(rng, b, .3)
    for _ in range(K):
        front = (front | touches(front, eight)) & region
        seq.append(np.where(front, per(drop), a).astype(np.uint8))
    return np.stack(seq, 1), (py, px, drop, shown, eight)


def zoom(rng, b, g):
    """A quarter of the picture grows to fill it, or the picture shrinks into a corner or is repeated."""
    a, bg = content(rng, b, g)
    y, x = np.mgrid[:g, :g]
    oy, ox = rng.integers(0, g // 2 + 1, (2, b))
    z, mode = np.zeros(b, np.uint8), per(rng.integers(0, 3, b))
    big = take(a, per(oy) + y // 2, per(ox) + x // 2, z, z)
    small = take(a, 2 * y + 0 * big, 2 * x + 0 * big, z, bg)
    tiles = take(a, (2 * y) % g + 0 * big, (2 * x) % g + 0 * big, z, z)
    return ends(a, np.where(mode == 0, big, np.where(mode == 1, small, tiles))), (oy, ox, mode.ravel())


def vanish(rng, b, g):
    """A colour disappears, or only one colour stays and all others go (also as a silhouette in white)."""
    a, bg = content(rng, b, g)
    c = one_colour(rng, a, bg)
    new = np.where(coin(rng, b), bg, 0).astype(np.uint8)
    mode = per(rng.integers(0, 3, b))
    sil = per(rng.integers(0, 10, b).astype(np.uint8))
    m = a == per(c)
    out = np.where(mode == 0, np.where(m, per(new), a), np.where(m, np.where(mode == 1, a, sil), per(new)))
    return ends(a, out), (c, new, mode.ravel(), sil.ravel())


EVALUATED_1D = {8, 32, 128, 160, 4, 108, 170, 250, 30, 45, 90, 150, 110, 54, 62, 106}


def draw_rows(rng, b):
    return rng.choice(np.array([r for r in range(256) if r not in EVALUATED_1D]), b)


def rows(rng, b, g):
    """Rows are made one after the other from the row above, by a random rule over three neighbours.
    The sixteen elementary rules of the evaluation never occur."""
    rule = draw_rows(rng, b)
    col, wrap = colours(rng, b), coin(rng, b)
    row = (rng.random((b, g)) < per(rng.uniform(.2, .7, b), 1)).astype(int)
    full = [row]
    for _ in range(g - 1):
        l, r = np.roll(full[-1], 1, 1), np.roll(full[-1], -1, 1)
        l[:, 0] *= wrap
        r[:, -1] *= wrap
        full.append((rule[:, None] >> (4 * l + 2 * full[-1] + r)) & 1)
    full = np.stack(full, 1)
    y = np.arange(g)[:, None]
    seq = np.stack([np.where(y <= k * (g - 1) // K, full, 0) for k in range(K + 1)], 1)
    seq = np.take_along_axis(col, seq.reshape(b, -1), 1).reshape(seq.shape)
    op = np.where(coin(rng, b, .7), 0, rng.integers(0, 8, b))
    return dihedral(seq, op), (*[(rule >> n & 1) > 0 for n in range(8)], wrap, op, col[:, 0], col[:, 1])


def symmetry(rng, b, g):
    """A square part of the picture, often the whole, is mirrored, turned or transposed."""
    a, _ = content(rng, b, g)
    n = np.where(coin(rng, b), g, rng.integers(2, g, b))
    y0, x0 = (rng.random((2, b)) * (g - n + 1)).astype(int)
    op = rng.integers(1, 8, b)                               # as in vdm's views: 1 mirrors columns, 2 rows, 4 transposes
    y, x = np.mgrid[:g, :g]
    ly, lx, m = y - per(y0), x - per(x0), per(n) - 1
    inside = (ly >= 0) & (ly <= m) & (lx >= 0) & (lx <= m)
    ty, tx = np.where(per(op & 4), lx, ly), np.where(per(op & 4), ly, lx)
    sy, sx = np.where(per(op & 2), m - ty, ty), np.where(per(op & 1), m - tx, tx)
    none = np.zeros(b, np.uint8)
    out = take(a, np.where(inside, per(y0) + sy, y), np.where(inside, per(x0) + sx, x), none, none)
    return ends(a, out), (n, y0, x0, op)


# ---------------------------------------------------------------- time

def timeline(rng, b, modes=(.45, .10, .33, .12), lasts=(.4, .3, .3)):
    """Which state each frame shows: [B,9] floats in 0..K; a fraction is a cross-fade.  And its words.

    modes: shares of: abrupt in the middle (4 frames of state 0, 5 of state k), abrupt at another time, step by step,
    a fade from state 0 to state k.  lasts: of: k is 1, K (what the rule ends in), anything between.
    """
    i = np.arange(FRAMES)
    mode = rng.choice(4, b, p=modes)[:, None]
    k = np.choose(rng.choice(3, b, p=lasts), [1, K, rng.integers(1, K + 1, b)])[:, None]
    cut = np.where(mode == 0, 4, rng.integers(1, 9, b)[:, None])
    jump = k * (i >= cut)
    rate, late = rng.choice([.5, 1, 1, 1], b)[:, None], rng.integers(0, 3, b)[:, None]
    steps = np.floor(np.clip(i - late, 0, K) * rate)
    a, w = rng.integers(0, 4, b)[:, None], rng.integers(3, 9, b)[:, None]
    fade = k * np.clip((i - a) / w, 0, 1)
    pos = np.where(mode <= 1, jump, np.where(mode == 2, steps, fade))
    only = lambda m, v: np.where(m, v, -1).ravel()
    words = (mode.ravel(), only(mode != 2, k), only(mode <= 1, cut), only(mode == 2, 2 * rate), only(mode == 2, late),
             only(mode == 3, a), only(mode == 3, w))
    return pos, words


def palette(rng, b, share=1 / 8):
    """[B,10,3] float: the ARC palette, but in that share of the clips ten random colours well apart."""
    pal = np.tile(PALETTE.astype(np.float32), (b, 1, 1))
    for i in np.flatnonzero(coin(rng, b, share)):
        cand = rng.integers(0, 256, (40, 3)).astype(np.float32)
        out = [cand[0]]
        for _ in range(9):                                   # farthest-point choice
            d = np.min([((cand - o) ** 2).sum(1) for o in out], 0)
            out.append(cand[d.argmax()])
        pal[i] = np.array(out)[rng.permutation(10)]
    return pal


def render(seq, pos, pal, px=64):
    """States [B,K+1,G,G], pos [B,9], palette [B,10,3] -> pixels [B,9,px,px,3] uint8."""
    b, _, g, _ = seq.shape
    i = np.arange(b)[:, None]
    lo = np.floor(pos).astype(int)
    hi = np.minimum(lo + 1, seq.shape[1] - 1)
    f = (pos - lo).astype(np.float32)[:, :, None, None, None]
    j = np.arange(b)[:, None, None, None]
    # a fade to state k blends its two ends, not the states between: callers pass pos in {0..k} steps
    img = (1 - f) * pal[j, seq[i, lo]] + f * pal[j, seq[i, hi]]
    c = px // g
    return np.rint(img).astype(np.uint8).repeat(c, 2).repeat(c, 3)


GRID_FAMILIES = [still, translate, slide, fall, grow, shrink, spread, cyclic, cellrule, vote, recolour, touched,
                 blink, movers, turn, wipe, blocks, halves, rays, walker, flood, zoom, vanish, rows,
                 symmetry]


def grid_clips(rng, b, family, g=8, time=timeline, palettes=palette):
    """[b,9,64,64,3] uint8 clips of one grid family, and their captions [b,WORDS]: none where colours have no names
    or cells another size.  Most clips in which nothing happens are dropped (all families but `still`)."""
    out, captioned, have = [], [], 0
    number = GRID_FAMILIES.index(family) if family in GRID_FAMILIES else 0
    while have < b:
        n = 2 * (b - have) + 4
        (seq, words), (pos, times) = family(rng, n, g), time(rng, n)
        caption = captions.caption(n, number, words, times)
        last = seq[np.arange(n), np.floor(pos[:, -1]).astype(int)]
        keep = (last != seq[:, 0]).any((1, 2)) | coin(rng, n, 1 if family is still else .1)
        seq, pos, caption = (x[keep][:b - have] for x in (seq, pos, caption))
        # a fade goes straight from state 0 to state k: make it the first two states of its own sequence
        frac = (pos != np.floor(pos)).any(1)
        for i in np.flatnonzero(frac):
            k = max(int(pos[i, -1]), 1)
            seq[i, 1] = seq[i, k]
            pos[i] = pos[i] / k
        pal = palettes(rng, len(seq))
        caption[(pal != PALETTE).any((1, 2)) | (g != 8)] = -1
        out.append(render(seq, pos, pal))
        captioned.append(caption)
        have += len(seq)
    return np.concatenate(out), np.concatenate(captioned)
