"""A ring of encoded clips: [N,4,16,8,8] f16, rows z0 z1 z2 and the image latent (frame 0 alone); and their captions
next to it, [N,WORDS] int16.  On disk, or in the memory of a GPU, where it is lost with the process.

Rendering and encoding a clip costs more than a training step on it, so every clip is used several times, far apart.
The ring grows to its capacity, then the oldest clips make way.  A torn write costs nothing: it is noise of
8 KiB in gigabytes, overwritten soon.
"""
import os

import numpy as np
import torch

import families
from captions import WORDS
from phase_parts import LATENT_C, device_of, encode, to_float

ROW = (4, LATENT_C, 8, 8)


def pack(clips):
    """Clips of 16x16 cells (or 8x8, or 4x4) as such, the others as they are: a sixteenth of the bytes between
    processes."""
    cells = clips[:, :, ::4, ::4]
    is_grid = (clips.reshape(*clips.shape[:2], 16, 4, 16, 4, 3) == cells[:, :, :, None, :, None]).all((1, 2, 3, 4, 5, 6))
    return is_grid, cells[is_grid], clips[~is_grid]


def unpack(packed, device):
    """uint8 clips [B,9,64,64,3] on the device."""
    is_grid, cells, others = (torch.from_numpy(np.ascontiguousarray(x)).to(device) for x in packed)
    clips = torch.empty(len(is_grid), *others.shape[1:], dtype=torch.uint8, device=device)
    clips[is_grid] = cells.repeat_interleave(4, 2).repeat_interleave(4, 3)
    clips[~is_grid] = others
    return clips


@torch.no_grad()
def encode_clips(vae, clips, bf16=True):
    """uint8 clips [B,9,64,64,3] -> [B,4,16,8,8] float, where the VAE is.  Few at a time on a CPU: what is between the
    layers stays in the cache."""
    device, out = device_of(vae), []
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        for i in range(0, len(clips), n := 4 if device.type == "cpu" else 256):
            c = to_float(clips[i:i + n], device)
            z, im = encode(vae, c), encode(vae, c[:, :, :1])
            out.append(torch.cat([z, im], 2).transpose(1, 2).float())
    return torch.cat(out)


class Ring:
    def __init__(self, capacity, path=None, device="cpu"):
        self.cap, self.have, self.at, self.files, self.fresh = capacity, 0, 0, [], True
        if path:
            numbers = {path: ROW, path + ".words": (WORDS,)}
            self.fresh = not all(os.path.exists(p) and os.path.getsize(p) == 2 * capacity * int(np.prod(n))
                                 for p, n in numbers.items())
            self.files = [np.memmap(p, kind, "w+" if self.fresh else "r+", shape=(capacity,) + n)
                          for (p, n), kind in zip(numbers.items(), (np.float16, np.int16))]
            self.data, self.words = (torch.from_numpy(f) for f in self.files)
        else:
            self.data = torch.empty(capacity, *ROW, dtype=torch.float16, device=device)
            self.words = torch.empty(capacity, WORDS, dtype=torch.int16, device=device)

    def put(self, z, words):
        idx = (self.at + torch.arange(len(z), device=self.data.device)) % self.cap
        self.data[idx] = z.to(self.data)
        self.words[idx] = torch.from_numpy(words).to(self.words)
        self.at = (self.at + len(z)) % self.cap
        self.have = min(self.cap, self.have + len(z))
        self.find_captioned()

    def find_captioned(self):
        self.captioned = torch.nonzero(self.words[:self.have, 0] >= 0)[:, 0]

    def draw(self, b, captioned=False):
        idx = torch.randint(len(self.captioned) if captioned else self.have, (b,), device=self.data.device)
        idx = self.captioned[idx] if captioned else idx
        return self.data[idx].float(), self.words[idx]

    def flush(self):
        for f in self.files:
            f.flush()

    def meta(self):
        return dict(have=self.have, at=self.at) if self.files else dict(have=0, at=0)

    def restore(self, m):
        if not self.fresh:
            self.have, self.at = m["have"], m["at"]
            self.find_captioned()


def fresh(rng, n, still, mix=families.MOTION):
    clips, words = families.mixture(rng, n, group=max(1, min(n // 32, 16)), still=still, mix=mix)
    return pack(clips), words


def refill(ring, vae, made):
    packed, words = made
    ring.put(encode_clips(vae, unpack(packed, device_of(vae))), words)
