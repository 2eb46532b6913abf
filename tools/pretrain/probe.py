"""How much of a clip is in its latents, whatever a decoder makes of them?

    python tools/pretrain/probe.py --vae models/tiny/vae

Grids of 8x8 cells: the mean colours of the four frames that a latent holds are read from it by least squares and by a
small network, with the 3x3 latents around it and the latent before.  PSNR of each of the four frames, on other clips.
"""
import argparse

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX

from common import decode, encode, to_float
from grids import GRID_FAMILIES, PALETTE
from vae_phase import block_colours


def clips(rng, per_family):
    cells = np.concatenate([family(rng, per_family, 8).reshape(-1, 9, 8, 8) for family in GRID_FAMILIES])
    return to_float(PALETTE.astype(np.uint8)[cells].repeat(8, 2).repeat(8, 3))


@torch.no_grad()
def examples(vae, x):
    """Every latent but the first of each clip: [n,1+2*16+8*16] around it, [n,12] what it should hold, [n,12] what the
    decoder makes of it."""
    z = torch.cat([encode(vae, c) for c in x.split(32)])
    h, w = z.shape[-2:]
    padded = torch.nn.functional.pad(z, (1, 1, 1, 1))
    around = [padded[..., i:i + h, j:j + w] for i in range(3) for j in range(3)]
    seen = torch.cat([torch.ones_like(z[:, :1]), torch.cat([z[:, :, :1], z[:, :, :-1]], 2), *around], 1)
    rows = lambda t: t[:, :, 1:].transpose(0, 1).flatten(1).T
    y = torch.cat([decode(vae, c) for c in z.split(32)])
    return rows(seen), rows(block_colours(x)), rows(block_colours(y))


def network(x, y, steps=1500):
    net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 256), torch.nn.GELU(), torch.nn.Linear(256, 256),
                              torch.nn.GELU(), torch.nn.Linear(256, y.shape[1]))
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    rate = torch.optim.lr_scheduler.LinearLR(opt, 1, 0, steps)
    for _ in range(steps):
        pick = torch.randint(0, len(x), (2048,))
        opt.zero_grad()
        (net(x[pick]) - y[pick]).square().mean().backward()
        opt.step()
        rate.step()
    return net


def show(name, read, truth):
    """Pixels are in -1..1: the peak is 2."""
    mse = (read - truth).square().view(-1, 4, 3).mean((0, 2))
    print(f"{name:14s}", "  ".join(f"{v:.1f} dB" for v in 10 * torch.log10(4 / mse)))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--vae", required=True, help="a diffusers folder of AutoencoderKLCogVideoX")
    args = ap.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(99)
    vae = AutoencoderKLCogVideoX.from_pretrained(args.vae, torch_dtype=torch.float32).eval()
    x, y, _ = examples(vae, clips(rng, 24))
    other, truth, decoded = examples(vae, clips(rng, 6))
    print("read by         frames 1 to 4 of a latent")
    show("least squares", other @ torch.linalg.lstsq(x, y).solution, truth)
    show("the decoder", decoded, truth)
    net = network(x, y)
    with torch.no_grad():
        show("a network", net(other), truth)


if __name__ == "__main__":
    main()
