"""vdm tasks coco against pycocotools: random polygons and run lengths, every mask to the pixel.

    python tests/peer/coco.py [--seed N] [--cases N]"""

import json
import subprocess

import numpy as np
from common import Cases, options, vdm
from PIL import Image
from pycocotools import mask as coco

KINDS = ("polygon", "several polygons", "whole coordinates", "beyond the rim", "runs", "compressed runs", "both")


def polygon(rng, H, W, kind):
    n = int(rng.integers(3, 12))
    low, high = (-0.3, 1.3) if kind == "beyond the rim" else (0, 1)
    xy = rng.uniform(low, high, (n, 2)) * [W, H]
    if kind == "whole coordinates":
        xy = np.rint(xy)
    elif rng.integers(0, 2):
        xy = np.round(xy, 2)  # as COCO's are
    return xy.ravel().tolist()


def runs(rng, H, W):
    cell = int(rng.integers(1, 9))
    grid = rng.integers(0, 2, (1 + H // cell, 1 + W // cell), dtype=np.uint8)
    return coco.encode(np.asfortranarray(grid.repeat(cell, 0).repeat(cell, 1)[:H, :W]))


def uncompressed(rle, H, W):
    column = coco.decode(rle).ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], column, [2]])))
    return {"size": [H, W], "counts": np.diff(np.concatenate([[0], edges])).tolist()}


def segmentations(rng, H, W, kind):
    """What stands in the file, one for each annotation, and their union as pycocotools paints it."""
    if kind == "both":
        parts = [segmentations(rng, H, W, k) for k in ("several polygons", "runs", "compressed runs")]
        return sum((p[0] for p in parts), []), np.maximum.reduce([p[1] for p in parts])
    if "runs" in kind:
        rle = runs(rng, H, W)
        text = {"size": [H, W], "counts": rle["counts"].decode()}
        return [text if "compressed" in kind else uncompressed(rle, H, W)], coco.decode(rle)
    polygons = [polygon(rng, H, W, kind) for _ in range(4 if "several" in kind else 1)]
    return [polygons], coco.decode(coco.merge(coco.frPyObjects(polygons, H, W)))


def make(c, cases, folder):
    file = {"info": {"a": ["]", '"}']}, "images": [], "annotations": [], "categories": [{"id": 7, "name": "dog"}]}
    masks, kinds = {}, {}
    file["categories"].append({"id": 8, "name": "cat"})
    for i in range(cases):
        rng = np.random.default_rng(c.integer(0, 2**31))
        H, W = int(rng.integers(1, 90)), int(rng.integers(1, 90))
        name, kind = f"{i:06d}", KINDS[i % len(KINDS)]
        found, masks[name] = segmentations(rng, H, W, kind)
        kinds[name] = kind
        file["images"].append({"id": i, "file_name": name + ".jpg", "height": H, "width": W})
        for s in found:
            file["annotations"].append({"image_id": i, "category_id": 7, "area": H * W, "segmentation": s})
        other = {"image_id": i, "category_id": 8, "area": H * W, "segmentation": "of another category"}
        file["annotations"].append(other)
        Image.new("RGB", (W, H)).save(folder / f"{name}.ppm")
    (folder / "annotations.json").write_text(json.dumps(file))
    return masks, kinds


def check_masks(c, cases):
    masks, kinds = make(c, cases, c.folder)
    out = c.folder / "task"
    command = [vdm(), "tasks", "coco", "--annotations", c.folder / "annotations.json", "--images", c.folder]
    command += ["--category", "dog", "-n", "1", "--tests", str(cases - 1), "-o", out]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    wrong, pixels, seen = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    for path in out.glob("*/*.out.ppm"):
        name = path.name.split(".")[0]
        ours, kind = np.array(Image.open(path)), kinds[name]
        expected = np.repeat(255 * masks[name][..., None], 3, 2)
        wrong[kind] += (ours != expected).any(-1).sum() if ours.shape == expected.shape else 10**9
        pixels[kind], seen[kind] = pixels[kind] + masks[name].sum(), seen[kind] + 1
    for kind in KINDS:
        good = wrong[kind] == 0 and seen[kind] and pixels[kind]
        c.check(f"{kind}: {seen[kind]} masks", good, f"{pixels[kind]} pixels on, {wrong[kind]} wrong")
    # Those whose mask covers a hundredth; the areas in the file are wrong.
    suit = sum(m.sum() >= 0.01 * m.size for m in masks.values())
    c.check("every picture that suits has its mask", sum(seen.values()) == suit, f"{sum(seen.values())} of {suit}")


if __name__ == "__main__":
    arguments = options(cases=1000)
    with Cases("coco", arguments.seed) as c:
        check_masks(c, arguments.cases)
