"""Draws the figure of the method, doc/method.png, from the program's own pictures.

    make && python python/figure.py [--work DIR] [--out doc/method.png]

Learning: a pair (x, y) becomes a video, the video becomes latents, the latents train the LoRA matrices of a frozen
transformer.  Answering: a query and noise become latents, the latents become a video, its last frame is the answer.
Everything shown is computed by `vdm` on the task of the demo; what is in --work already is not computed again.
Numbers in circles are the steps of TOUR.md.  Needs Pillow and numpy.
"""

import argparse
import json
import os
import pathlib
import struct
import subprocess

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = pathlib.Path(__file__).resolve().parents[1]
SIDE, GAP = 104, 6  # pixels of a picture, between frames
INK, FADED, RULE, FROZEN, TRAINED = "#1c1c1c", "#6a6a6a", "#b9b9b9", "#e6eef8", "#fbe3cf"


def run(vdm, *words):
    subprocess.run([vdm, *map(str, words)], check=True)


def tensors(path):
    """The F32 tensors of a safetensors file."""
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(n)), f.read()
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[t["data_offsets"][0] : t["data_offsets"][1]], "<f4").reshape(t["shape"])
        for name, t in header.items()
        if t["dtype"] == "F32"
    }


def frames_of(path):
    """YUV4MPEG2, 4:4:4, BT.601 -> RGB frames [T,H,W,3]."""
    data = open(path, "rb").read()
    head, rest = data.split(b"\n", 1)
    size = {word[:1]: word[1:] for word in head.split()[1:]}
    w, h = int(size[b"W"]), int(size[b"H"])
    frames = []
    while rest:
        rest = rest.split(b"\n", 1)[1]
        y, u, v = (np.frombuffer(rest[i * w * h : (i + 1) * w * h], np.uint8).reshape(h, w).astype(float) for i in range(3))
        y, u, v = 1.164 * (y - 16), u - 128, v - 128
        rgb = np.stack([y + 1.596 * v, y - 0.392 * u - 0.813 * v, y + 2.017 * u], axis=-1)
        frames.append(np.clip(np.round(rgb), 0, 255).astype(np.uint8))
        rest = rest[3 * w * h :]
    return frames


def latent_pictures(z):
    """[F,C,h,w] -> F pictures: the first three principal directions of the channels as red, green, blue."""
    F, C, h, w = z.shape
    x = z.transpose(0, 2, 3, 1).reshape(-1, C)
    x = x - x.mean(0)
    _, _, directions = np.linalg.svd(x, full_matrices=False)
    x = x @ directions[:3].T
    low, high = np.percentile(x, 2, axis=0), np.percentile(x, 98, axis=0)
    x = np.clip((x - low) / (high - low + 1e-9), 0, 1)
    return list((255 * x).astype(np.uint8).reshape(F, h, w, 3))


class Sheet:
    def __init__(self, width, height):
        self.image = Image.new("RGB", (width, height), "white")
        self.draw = ImageDraw.Draw(self.image)

    def text(self, x, y, words, size=17, fill=INK, anchor="mm"):
        self.draw.multiline_text((x, y), words, fill, ImageFont.load_default(size), anchor=anchor, align="center", spacing=5)

    def picture(self, x, y, pixels, side=SIDE, outline=RULE, width=1):
        self.image.paste(Image.fromarray(np.asarray(pixels)).resize((side, side), Image.NEAREST), (x, y))
        self.draw.rectangle((x - width, y - width, x + side, y + side), outline=outline, width=width)

    def arrow(self, x0, y0, x1, y1, fill=INK):
        self.draw.line((x0, y0, x1, y1), fill, 2)
        dx, dy = np.sign(x1 - x0), np.sign(y1 - y0)
        self.draw.polygon([(x1, y1), (x1 - 9 * dx - 5 * dy, y1 - 9 * dy - 5 * dx), (x1 - 9 * dx + 5 * dy, y1 - 9 * dy + 5 * dx)], fill)

    def box(self, x0, y0, x1, y1, words, fill, size=17):
        self.draw.rounded_rectangle((x0, y0, x1, y1), 10, fill, INK, 1)
        self.text((x0 + x1) / 2, (y0 + y1) / 2, words, size)

    def steps(self, x, y, words):
        w = 13 + 4 * len(words)
        self.draw.rounded_rectangle((x - w, y - 11, x + w, y + 11), 11, INK)
        self.text(x, y, words, 14, "white")


def write_tensor(path, name, x):
    x = x.astype("<f4")
    header = json.dumps({name: {"dtype": "F32", "shape": list(x.shape), "data_offsets": [0, x.nbytes]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + x.tobytes())


def last_latents(dump):
    """The name of the last step's latents: latents.20 comes after latents.9."""
    return max((name for name in dump if name.startswith("latents.")), key=lambda name: int(name.split(".")[1]))


def compute(vdm, work):
    """-> pictures x, y, query, truth; the pair's video and latents; the answer's latents and video"""
    task, adapter = work / "task", work / "run" / "lora.safetensors"
    pair, query, truth = [task / "train" / f"0000.{i}.ppm" for i in ("in", "out")], task / "test" / "0000.in.ppm", task / "test" / "0000.out.ppm"
    if not task.exists():
        run(vdm, "tasks", "transpose", "-n", 30, "-o", task)
    if not adapter.exists():
        run(vdm, "fit", task, "-o", work / "run")
    run(vdm, "interp", *pair, "-o", work / "pair.y4m")
    run(vdm, "predict", "--image", query, "--lora", adapter, "-o", work / "answer.ppm", "--video", work / "answer.y4m", "--dump", work / "answer.safetensors")
    pair_video, dump = frames_of(work / "pair.y4m"), tensors(work / "answer.safetensors")
    write_tensor(work / "video.safetensors", "video", np.stack(pair_video).transpose(0, 3, 1, 2) / 127.5 - 1)
    run(vdm, "golden", "--what", "vae-encode", "--inject", work / "video.safetensors", "--only", "moments", "-o", work / "moments.safetensors")
    moments = tensors(work / "moments.safetensors")["moments"]
    channels, last = moments.shape[1] // 2, last_latents(dump)
    F = len(moments) + len(moments) % 2  # with the padding in front
    answer = dump[last].reshape(-1, F, *dump[last].shape[1:]).mean(0)[F - len(moments) :]
    pictures = [np.asarray(Image.open(p)) for p in (*pair, query, truth)]
    return pictures, pair_video, moments[:, :channels], answer, frames_of(work / "answer.y4m")


def stack(s, x, y, pictures, offset=15, side=72, labels=()):
    for i, pixels in enumerate(pictures):
        s.picture(x + i * offset, y + i * offset, pixels, side, "#ffffff", 2)
    return x + (len(pictures) - 1) * offset + side


def film(s, x, y, frames, side=52):
    for i, pixels in enumerate(frames):
        last = i == len(frames) - 1
        s.picture(x + i * (side + GAP), y, pixels, side, INK if last else RULE, 3 if last else 1)
    return x + len(frames) * (side + GAP) - GAP


def draw(pictures, pair_video, pair_latents, answer_latents, answer_video):
    s, low = Sheet(1480, 640), 350  # the second row's upper edge
    x, y, query, truth = pictures
    middle = 114  # of a row: its arrows

    s.text(20, 28, "Learning: 3 to 30 pairs", 22, anchor="lm")
    for i, (pixels, label) in enumerate(((x, "x"), (y, "y"))):
        s.picture(20, 60 + 118 * i, pixels)
        s.text(138, 112 + 118 * i, label, 18, FADED)
    s.arrow(152, 171, 196, 171)
    s.text(174, 150, "phi", 16)
    right = film(s, 208, 145, pair_video)
    s.text((208 + right) / 2, 217, "a video that turns x into y", 16, FADED)
    s.arrow(right + 14, 171, right + 118, 171)
    s.text(right + 66, 150, "VAE encoder", 16)
    z = right + 132
    after = stack(s, z, 120, latent_pictures(pair_latents))
    s.text((z + after) / 2, 243, "latents z", 16, FADED)
    s.arrow(after + 14, 171, after + 62, 171)
    box = after + 76
    s.box(box, 92, 1460, 250, "", FROZEN)
    s.text((box + 1460) / 2, 122, "frozen transformer", 18)
    s.box(box + 18, 146, 1442, 192, "LoRA on q, k, v, out:  W x + s B A x", TRAINED, 16)
    s.text((box + 1460) / 2, 222, "AdamW on the error of v; only A and B learn", 16, FADED)

    s.draw.line((20, 306, 1460, 306), RULE, 1)
    s.text(20, 334, "Answering a query that was not among the pairs", 22, anchor="lm")
    s.picture(20, low + 62, query)
    s.text(72, low + 186, "query", 16, FADED)
    s.arrow(138, low + middle, 242, low + middle)
    s.text(190, low + middle - 21, "VAE encoder", 16)
    s.text(190, low + middle + 22, "+ noise", 16, FADED)
    s.box(256, low + 50, 560, low + 178, "", FROZEN)
    s.text(408, low + 80, "transformer + LoRA", 18)
    s.text(408, low + 118, "DDIM: v(x, text, t), step by step,", 16, FADED)
    s.text(408, low + 144, "from noise to latents", 16, FADED)
    s.arrow(572, low + middle, 616, low + middle)
    after = stack(s, 630, low + 63, latent_pictures(answer_latents))
    s.arrow(after + 14, low + middle, after + 118, low + middle)
    s.text(after + 66, low + middle - 21, "VAE decoder", 16)
    left = after + 132
    right = film(s, left, low + 88, answer_video)
    s.text((left + right) / 2, low + 162, "a video; its last frame is the answer", 16, FADED)
    right = left
    for pixels, label in ((answer_video[-1], "answer"), (truth, "truth")):
        s.picture(right, low + 186, pixels, 78)
        s.text(right + 92, low + 225, label, 16, FADED, "lm")
        right += 180
    for place in ((174, 192, "1"), (790, 192, "2-6"), (1247, 270, "7-27"), (190, low + 160, "28"), (408, low + 196, "29-31"),
                  (after + 66, low + middle + 21, "32-34"), (1353, low + 188, "35")):
        s.steps(*place)
    return s.image


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "figure")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "doc" / "method.png")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    draw(*compute(os.environ.get("VDM", ROOT / "vdm"), options.work)).save(options.out, optimize=True)
