"""All families, the mixture in which pretraining draws them, and their kinship with the evaluation tasks."""
import numpy as np

import captions
from grids import GRID_FAMILIES, grid_clips, shows_reserved
from smooth import SMOOTH_FAMILIES

NAMES = [f.__name__ for f in GRID_FAMILIES + SMOOTH_FAMILIES]

# Shares in the mixture; a family that is not named has weight 1.
WEIGHT = {"still": .5, "translate": 1.5, "recolour": 1.5, "movers": 1.5, "shapes": 2, "camera": 1.5, "blend": .5}
SHARES = np.array([WEIGHT.get(n, 1) for n in NAMES], float)
SHARES /= SHARES.sum()

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


def draw(rng, family, b, g):
    if family < len(GRID_FAMILIES):
        return grid_clips(rng, b, GRID_FAMILIES[family], g or int(rng.choice([8, 16, 4], p=[.9, .07, .03])))
    return SMOOTH_FAMILIES[family - len(GRID_FAMILIES)](rng, b), np.full((b, captions.WORDS), -1, np.int16)


def clips(rng, family, b, g=None):
    """[b,9,64,64,3] uint8 clips of family number `family`, and their captions; grids are 8x8 in 9 of 10 batches.
    None starts with a picture that is reserved for evaluation."""
    v, said = draw(rng, family, b + b // 4, g)
    free = np.flatnonzero(~shows_reserved(v[:, 0]))[:b]
    v, said = v[free], said[free]
    if len(v) == b:
        return v, said
    more = clips(rng, family, b - len(v), g)
    return np.concatenate([v, more[0]]), np.concatenate([said, more[1]])


def mixture(rng, b, group=8, still=False):
    """b clips in groups of one family each, and their captions.  still: repeat one frame of each."""
    fam = rng.choice(len(NAMES), -(-b // group), p=SHARES)
    out, said = (np.concatenate(x)[:b] for x in zip(*(clips(rng, f, group) for f in fam)))
    if still:
        i = rng.integers(0, out.shape[1], len(out))
        out = np.repeat(out[np.arange(len(out)), i][:, None], out.shape[1], 1)
        said[:] = -1
    return out, said
