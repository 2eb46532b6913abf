"""A ring of encoded clips on disk: [N,4,16,8,8] f16, rows z0 z1 z2 and the image latent (frame 0 alone); and their
captions beside it, [N,WORDS] int16.

Rendering and encoding a clip costs more than a training step on it, so every clip is used several times, far apart.
The ring grows to its capacity, then the oldest clips make way.  A torn write costs nothing: it is noise of
8 KiB in gigabytes, overwritten soon.
"""
import os

import numpy as np
import torch

import families
from captions import WORDS
from common import LATENT_C, device_of, encode, to_float

ROW = (4, LATENT_C, 8, 8)


def lay_out(vae):
    """Channels last, and few clips at a time on a CPU: twice as fast, since what is between the layers stays in the
    cache."""
    for m in vae.modules():
        if isinstance(m, torch.nn.Conv3d):
            m.to(memory_format=torch.channels_last_3d)
    return vae


@torch.no_grad()
def encode_clips(vae, clips, bf16=True):
    """uint8 clips [B,9,64,64,3] -> [B,4,16,8,8] float, where the VAE is."""
    device, out = device_of(vae), []
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        for c in to_float(clips).split(4 if device.type == "cpu" else 64):
            c = c.to(device, memory_format=torch.channels_last_3d)
            z, im = encode(vae, c), encode(vae, c[:, :, :1])
            out.append(torch.cat([z, im], 2).transpose(1, 2).float())
    return torch.cat(out)


class Ring:
    def __init__(self, path, capacity):
        self.cap, self.have, self.at = capacity, 0, 0
        numbers = {path: int(np.prod(ROW)), path + ".words": WORDS}
        whole = all(os.path.exists(p) and os.path.getsize(p) == capacity * n * 2 for p, n in numbers.items())
        self.fresh, mode = not whole, "r+" if whole else "w+"
        self.data = np.memmap(path, np.float16, mode, shape=(capacity,) + ROW)
        self.said = np.memmap(path + ".words", np.int16, mode, shape=(capacity, WORDS))

    def put(self, z, said):
        idx = (self.at + np.arange(len(z))) % self.cap
        self.data[idx] = z.cpu().numpy().astype(np.float16)
        self.said[idx] = said
        self.at = int((self.at + len(z)) % self.cap)
        self.have = min(self.cap, self.have + len(z))

    def draw(self, rng, b, captioned=False):
        of = np.flatnonzero(self.said[:self.have, 0] >= 0) if captioned else self.have
        idx = np.sort(rng.choice(of, b))
        return torch.from_numpy(self.data[idx].astype(np.float32)), self.said[idx]

    def flush(self):
        self.data.flush()
        self.said.flush()

    def meta(self):
        return dict(have=self.have, at=self.at)

    def restore(self, m):
        if not self.fresh:
            self.have, self.at = m["have"], m["at"]


def fresh(rng, _, n, still):
    return families.mixture(rng, n, group=4, still=still)


def refill(ring, vae, made):
    clips, said = made
    ring.put(encode_clips(vae, clips), said)
