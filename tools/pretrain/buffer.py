"""A ring of encoded clips on disk: [N,4,16,8,8] f16, rows z0 z1 z2 and the image latent (frame 0 alone).

Rendering and encoding a clip costs more than a training step on it, so every clip is used several times, far apart.
The ring grows to its capacity, then the oldest clips make way.  A torn write costs nothing: it is noise of
8 KiB in gigabytes, overwritten soon.
"""
import os

import numpy as np
import torch

import families
from common import LATENT_C, encode, to_float

ROW = (4, LATENT_C, 8, 8)


@torch.no_grad()
def encode_clips(vae, clips, bf16=True):
    """uint8 clips [B,9,64,64,3] -> [B,4,16,8,8] float."""
    x = to_float(clips)
    out = []
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        for c in x.split(32):
            z, im = encode(vae, c), encode(vae, c[:, :, :1])
            out.append(torch.cat([z, im], 2).transpose(1, 2).float())
    return torch.cat(out)


class Ring:
    def __init__(self, path, capacity):
        self.cap, self.have, self.at = capacity, 0, 0
        mode = "r+" if os.path.exists(path) and os.path.getsize(path) == capacity * int(np.prod(ROW)) * 2 else "w+"
        self.fresh = mode == "w+"
        self.data = np.memmap(path, np.float16, mode, shape=(capacity,) + ROW)

    def put(self, z):
        idx = (self.at + np.arange(len(z))) % self.cap
        self.data[idx] = z.numpy().astype(np.float16)
        self.at = int((self.at + len(z)) % self.cap)
        self.have = min(self.cap, self.have + len(z))

    def draw(self, rng, b):
        idx = np.sort(rng.integers(0, self.have, b))
        return torch.from_numpy(self.data[idx].astype(np.float32))

    def meta(self):
        return dict(have=self.have, at=self.at)

    def restore(self, m):
        if not self.fresh:
            self.have, self.at = m["have"], m["at"]


def refill(ring, vae, rng, n, still):
    clips, _ = families.mixture(rng, n, group=4, still=still)
    ring.put(encode_clips(vae, clips))
