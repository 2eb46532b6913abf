"""A ring of encoded clips: [N,4,16,8,8] f16, rows z0 z1 z2 and the image latent (frame 0 alone); and their captions
beside it, [N,WORDS] int16.  On disk, or in the memory of a GPU, where it is lost with the process.

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


class DeviceRing:
    """The same in a GPU's memory."""

    def __init__(self, capacity, device):
        self.cap, self.have, self.at = capacity, 0, 0
        self.data = torch.empty(capacity, *ROW, dtype=torch.float16, device=device)
        self.said = torch.full((capacity, WORDS), -1, dtype=torch.int16, device=device)

    def put(self, z, said):
        idx = (self.at + torch.arange(len(z), device=z.device)) % self.cap
        self.data[idx] = z.half()
        self.said[idx] = torch.from_numpy(said).to(z.device)
        self.at = (self.at + len(z)) % self.cap
        self.have = min(self.cap, self.have + len(z))
        self.told = torch.nonzero(self.said[:self.have, 0] >= 0)[:, 0]

    def draw(self, _, b, captioned=False):
        n = len(self.told) if captioned else self.have
        idx = torch.randint(n, (b,), device=self.data.device)
        idx = self.told[idx] if captioned else idx
        return self.data[idx].float(), self.said[idx]

    def flush(self):
        pass

    def meta(self):
        return dict(have=0, at=0)

    def restore(self, m):
        pass


def fresh(rng, n, still):
    clips, said = families.mixture(rng, n, group=max(1, min(n // 32, 16)), still=still)
    return pack(clips), said


def refill(ring, vae, made):
    packed, said = made
    ring.put(encode_clips(vae, unpack(packed, device_of(vae))), said)
