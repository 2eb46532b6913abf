"""All families, the mixture in which pretraining draws them, and their kinship with the evaluation tasks."""
import numpy as np

from grids import GRID_FAMILIES, grid_clips
from smooth import SMOOTH_FAMILIES

NAMES = [f.__name__ for f in GRID_FAMILIES + SMOOTH_FAMILIES]

# Shares in the mixture; a family that is not named has weight 1.
WEIGHT = {"still": .5, "translate": 1.5, "recolour": 1.5, "movers": 1.5, "shapes": 3, "camera": 3, "figures": 1.5,
          "blend": 1}
SHARES = np.array([WEIGHT.get(n, 1) for n in NAMES], float)
SHARES /= SHARES.sum()

# Which family is kin to an evaluation task (as translation is to shift), and which tasks have none.
KIN = {
    "flip": ["halves"], "quarter turn": ["turn", "camera"], "transpose": [], "shift": ["translate"],
    "recolour": ["recolour"], "outline": ["grow"], "fill": ["flood"], "gravity": ["fall"],
    "Life": ["cellrule"], "B3/S2": ["cellrule"], "Day & Night": ["cellrule"], "Maze rule": ["cellrule"],
    "Seeds": ["cellrule"], "elementary automata": ["rows"], "Langton's ant": ["walker"], "shortest path": [],
    "maze": [], "segmentation": ["vanish"], "pose": ["figures"],
}


def clips(rng, family, b, g=None):
    """[b,9,64,64,3] uint8 clips of family number `family`; grids are 8x8 in 9 of 10 batches."""
    if family < len(GRID_FAMILIES):
        g = g or int(rng.choice([8, 16, 4], p=[.9, .07, .03]))
        return grid_clips(rng, b, GRID_FAMILIES[family], g)
    return SMOOTH_FAMILIES[family - len(GRID_FAMILIES)](rng, b)


def mixture(rng, b, group=8, still=False):
    """b clips in groups of one family each, and their family numbers.  still: repeat one frame of each."""
    fam = rng.choice(len(NAMES), -(-b // group), p=SHARES)
    out = np.concatenate([clips(rng, f, group) for f in fam])[:b]
    if still:
        i = rng.integers(0, out.shape[1], len(out))
        out = np.repeat(out[np.arange(len(out)), i][:, None], out.shape[1], 1)
    return out, fam.repeat(group)[:b]
