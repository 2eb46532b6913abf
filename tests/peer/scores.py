"""Scores against scikit-image, scikit-learn, pycocotools and scipy on random pairs of pictures.

    python tests/peer/scores.py [--seed N] [--cases N]"""

import numpy as np
import torch
from common import Cases, options, run
from pycocotools import mask as coco
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import jaccard_score, mean_absolute_error

BOUND = 1e-6
ARC = [(0, 0, 0), (0, 116, 217), (255, 65, 54), (46, 204, 64), (255, 220, 0), (170, 170, 170), (240, 18, 190),
       (255, 133, 27), (127, 219, 255), (135, 12, 37)]  # fmt: skip
PALETTE = np.array(ARC)


def random_pair(c):
    """Noise, flat areas or masks, odd sizes among them; the second picture like the first, or nothing like it."""
    H, W = c.integer(7, 40), c.integer(7, 40)
    rng = np.random.default_rng(c.integer(0, 2**31))
    kind, alike = c.integer(0, 3), c.integer(0, 3)

    def one():
        if kind == 0:
            return rng.integers(0, 256, (H, W, 3))
        if kind == 1:  # a smooth ramp
            y, x = np.mgrid[:H, :W]
            return (rng.uniform(0, 6, (3, 1, 1)) * y + rng.uniform(0, 6, (3, 1, 1)) * x).transpose(1, 2, 0) % 256
        cell = c.integer(1, 7)
        few = PALETTE[rng.choice(10, c.integer(1, 4), replace=False)] if kind == 2 else np.array([[0] * 3, [255] * 3])
        grid = rng.integers(0, len(few), (1 + H // cell, 1 + W // cell))
        if c.integer(0, 4) == 0:
            grid[:] = 0  # an empty mask
        return few[grid].repeat(cell, 0).repeat(cell, 1)[:H, :W]

    a = one()
    b = one() if alike == 0 else a + rng.normal(0, [0, 0, 5, 60][alike], a.shape)
    return [np.clip(np.rint(p), 0, 255).astype(np.uint8) for p in (a, b)]


def nearest(p):
    return ((p[:, :, None].astype(int) - PALETTE) ** 2).sum(-1).argmin(-1).ravel()


def coco_iou(p, q):
    p, q = (coco.encode(np.asfortranarray(m.astype(np.uint8))) for m in (p, q))
    return float(coco.iou([p], [q], [0])[0, 0])


def expected(a, b):
    on = [p.astype(int) @ [299, 587, 114] > 127500 for p in (a, b)]
    with np.errstate(divide="ignore"):
        psnr = peak_signal_noise_ratio(b, a, data_range=255)
    empty = not (on[0] | on[1]).any()  # both libraries leave 0 / 0 to the caller
    return {
        "psnr": psnr,
        "ssim": structural_similarity(b, a, data_range=255, channel_axis=2),
        "mae": mean_absolute_error(b.ravel(), a.ravel()),
        "iou": 1.0 if empty else jaccard_score(on[1].ravel(), on[0].ravel()),
        "iou of pycocotools": 1.0 if empty else coco_iou(*on),
        "miou": jaccard_score(nearest(b), nearest(a), average="macro"),
    }


def check_pictures(c, cases):
    worst, exact, finite = {}, 0, 0
    pairs = [random_pair(c) for _ in range(cases)]
    ours = run("score", "-", {f"pair.{i}": torch.from_numpy(np.stack(p)) for i, p in enumerate(pairs)})
    for i, (a, b) in enumerate(pairs):
        for name, value in expected(a, b).items():
            got = ours[name.split()[0]][i].item()
            same_infinity = np.isinf(value) and got == value
            apart = 0 if same_infinity else abs(got - value)
            worst[name] = max(worst.get(name, 0), apart if np.isfinite(apart) else np.inf)
        exact, finite = exact + (a == b).all(), finite + (a != b).any()
    for name, apart in worst.items():
        c.check(f"{name}: {cases} pairs", apart <= BOUND, f"largest difference {apart:.1e}")
    c.check("pairs of all sorts", exact and finite, f"{exact} of equal pictures")


def check_joints(c, cases):
    """The number of joints matched, as scipy's maximum matching has it."""
    tensors, best, within = {}, [], []
    for i in range(cases):
        rng = np.random.default_rng(c.integer(0, 2**31))
        truth, answer = (
            np.column_stack([rng.uniform(0, 60, (n, 2)), rng.integers(0, 4, n)]).astype(np.float32)
            for n in rng.integers(1, 40, 2)
        )
        within.append(rng.uniform(1, 30))
        near = cdist(truth[:, :2], answer[:, :2]) <= np.float32(within[i])
        near &= truth[:, 2:] == answer[:, 2]
        best.append((maximum_bipartite_matching(csr_matrix(near), perm_type="column") >= 0).sum())
        tensors |= {f"truth.{i}": torch.from_numpy(truth), f"answer.{i}": torch.from_numpy(answer)}
    tensors["within"] = torch.tensor(within, dtype=torch.float32)
    got = run("joints", "-", tensors)["matched"].numpy()
    wrong, matched = (got != best).sum(), sum(best)
    c.check(f"joints matched: {cases} pairs of figures", not wrong and matched, f"{matched} matches, {wrong} wrong")


if __name__ == "__main__":
    arguments = options(cases=1000)
    with Cases("scores", arguments.seed) as c:
        check_pictures(c, arguments.cases)
        check_joints(c, arguments.cases)
