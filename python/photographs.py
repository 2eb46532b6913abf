"""A task of real photographs, from those that scikit-image's package carries: mirror the picture.

    python python/photographs.py DIR      writes DIR/train/NAME.{in,out}.ppm and DIR/test/...
"""
import pathlib
import sys

import numpy as np
import skimage
from PIL import Image

TRAIN = ["astronaut.png", "coffee.png", "rocket.jpg", "ihc.png", "motorcycle_left.png"]
TEST = ["chelsea.png"]
NAMES = {"chelsea.png": "cat", "motorcycle_left.png": "motorcycle"}


def main(folder):
    data = pathlib.Path(skimage.__file__).parent / "data"
    for part, names in (("train", TRAIN), ("test", TEST)):
        to = pathlib.Path(folder) / part
        to.mkdir(parents=True, exist_ok=True)
        for name in names:
            if not (data / name).exists():  # which pictures come with the package depends on its version
                continue
            picture = np.asarray(Image.open(data / name).convert("RGB"))
            stem = NAMES.get(name, name.split(".")[0])
            Image.fromarray(picture).save(to / f"{stem}.in.ppm")
            Image.fromarray(picture[:, ::-1]).save(to / f"{stem}.out.ppm")
    print(f"{folder}: {len(list(pathlib.Path(folder).glob('*/*.in.ppm')))} pairs")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
