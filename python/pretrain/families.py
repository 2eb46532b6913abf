"""All families, the mixture in which pretraining draws them, and their kinship with the evaluation tasks."""
import functools
from typing import Callable, NamedTuple

import numpy as np

import captions
from grids import GRID_FAMILIES, grid_clips, palette, shows_reserved, timeline
from smooth import SMOOTH_FAMILIES

NAMES = [f.__name__ for f in GRID_FAMILIES + SMOOTH_FAMILIES]

# Shares in the mixture; a family that is not named has weight 1.
WEIGHT = {"still": .5, "translate": 1.5, "recolour": 1.5, "movers": 1.5, "shapes": 2, "camera": 1.5, "blend": .5,
          "symmetry": 0}                                    # models/tiny never saw it


def shares(weight):
    s = np.array([weight.get(n, 1) for n in NAMES], float)
    return s / s.sum()


class Mixture(NamedTuple):
    """What clips are drawn from."""
    shares: np.ndarray
    sizes: tuple = (.9, .07, .03)                           # of grids 8, 16 and 4 cells wide
    time: Callable = timeline
    palettes: Callable = palette
    turned: bool = False                                    # half of the clips in another view (see `turned`)


MOTION = Mixture(shares(WEIGHT))
# For a model whose token is a cell: rules of neighbours oftener, nearly all grids 8 wide in the palette (those have
# captions), time as in a fit oftener.
CELLS = Mixture(
    shares({"still": .3, "cellrule": 4, "fall": 2.5, "touched": 2, "grow": 1.5, "rows": 1.5, "flood": 2, "translate": 1.5,
            "recolour": 1.5, "symmetry": 3, "shapes": .5, "camera": .5, "figures": .3, "blend": .3, "wipe": .5, "blink": .5}),
    (.98, .01, .01), functools.partial(timeline, modes=(.6, .05, .3, .05), lasts=(.5, .3, .2)),
    functools.partial(palette, share=1 / 50), True)

# Evaluation task -> (grade, families).  "case": the task's rule is one of the family's many parameter choices
# (on other grids: see grids.reserved); "kin": the same sort of motion, never that rule; "none": nothing alike.
KIN = {
    "flip": ("kin", ["halves"]), "quarter turn": ("kin", ["turn", "camera"]), "transpose": ("none", []),
    "shift": ("case", ["translate"]), "recolour": ("case", ["recolour"]), "outline": ("kin", ["grow", "touched"]),
    "fill": ("kin", ["flood"]), "gravity": ("case", ["fall"]),
    "Life": ("kin", ["cellrule"]), "B3/S2": ("kin", ["cellrule"]), "Day & Night": ("kin", ["cellrule"]),
    "Maze rule": ("kin", ["cellrule"]), "Seeds": ("kin", ["cellrule"]), "elementary automata": ("kin", ["rows"]),
    "Langton's ant": ("kin", ["walker"]), "shortest path": ("none", []), "maze": ("none", []),
    "segmentation": ("kin", ["vanish"]), "pose": ("kin", ["figures"]),
}
# Families that CELLS has and MOTION has not: what else is related where the model has seen CELLS.
CELLS_KIN = {"flip": ("case", ["symmetry"]), "quarter turn": ("case", ["symmetry"]), "transpose": ("case", ["symmetry"])}


def draw(rng, family, b, g, mix):
    if family < len(GRID_FAMILIES):
        g = g or int(rng.choice([8, 16, 4], p=mix.sizes))
        return grid_clips(rng, b, GRID_FAMILIES[family], g, mix.time, mix.palettes)
    return SMOOTH_FAMILIES[family - len(GRID_FAMILIES)](rng, b), np.full((b, captions.WORDS), -1, np.int16)


def clips(rng, family, b, g=None, mix=MOTION):
    """[b,9,64,64,3] uint8 clips of family number `family`, and their captions; grids are 8x8 in 9 of 10 batches.
    None starts with a picture that is reserved for evaluation."""
    v, words = draw(rng, family, b + b // 4, g, mix)
    free = np.flatnonzero(~shows_reserved(v[:, 0]))[:b]
    v, words = v[free], words[free]
    if len(v) == b:
        return v, words
    more = clips(rng, family, b - len(v), g, mix)
    return np.concatenate([v, more[0]]), np.concatenate([words, more[1]])


def turned(rng, v, words):
    """Half of the clips in another of the eight symmetries: 1 mirrors the columns, 2 the rows, 4 exchanges the two, in
    this order (as vdm's views do).  A clip that would begin with a reserved picture stays as it is."""
    op = np.where(rng.random(len(v)) < .5, rng.integers(0, 8, len(v)), 0)
    out = v.copy()
    for o in range(1, 8):
        s = v[op == o]
        s = s[:, :, :, ::-1] if o & 1 else s
        s = s[:, :, ::-1] if o & 2 else s
        out[op == o] = s.swapaxes(2, 3) if o & 4 else s
    back = shows_reserved(out[:, 0])
    out[back], op[back] = v[back], 0
    words = words.copy()
    words[:, -1] = op
    return out, words


def mixture(rng, b, group=8, still=False, mix=MOTION):
    """b clips in groups of one family each, and their captions.  still: repeat one frame of each."""
    fam = rng.choice(len(NAMES), -(-b // group), p=mix.shares)
    out, words = (np.concatenate(x)[:b] for x in zip(*(clips(rng, f, group, mix=mix) for f in fam)))
    if still:
        i = rng.integers(0, out.shape[1], len(out))
        out = np.repeat(out[np.arange(len(out)), i][:, None], out.shape[1], 1)
        words[:] = -1
    return turned(rng, out, words) if mix.turned else (out, words)
