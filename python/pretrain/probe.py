"""How much of a clip is in its latents, whatever a decoder makes of them?

    python python/pretrain/probe.py --vae models/tiny/vae

Grids of 8x8 cells: the mean colours of the four frames that a latent holds are read from it by least squares and by a
small network, with the 3x3 latents around it and the latent before.  PSNR of each of the four frames, on other clips.
And is there capacity?  PSNR of held-out clips through the VAE, and through as many principal components of the pixels
(8x8 of the first frame, 8x8 of four frames) as there are latent channels.
"""
import argparse

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX

import families
from phase_parts import LATENT_C, decode, encode, to_float
from vae_phase import block_colours, evaluate, grid_clips, held_out


def rows(x):
    """Every place but those of the first latent: [B,C,T',8,8] -> [n,C]."""
    return x[:, :, 1:].transpose(0, 1).flatten(1).T


def surroundings(z):
    """What is read from: a constant, the latent before, the 3x3 latents around."""
    h, w = z.shape[-2:]
    padded = torch.nn.functional.pad(z, (1, 1, 1, 1))
    around = [padded[..., i:i + h, j:j + w] for i in range(3) for j in range(3)]
    before = torch.cat([z[:, :, :1], z[:, :, :-1]], 2)
    return rows(torch.cat([torch.ones_like(z[:, :1]), before, *around], 1))


@torch.no_grad()
def in_parts(f, x):
    return torch.cat([f(c) for c in x.split(32)])


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


def blocks(x):
    """Pixels [B,3,9,64,64] -> the 8x8 blocks of the first frame [64B,192], and of what later latents hold [128B,768]."""
    p = x.unflatten(3, (8, 8)).unflatten(5, (8, 8))
    four = p[:, :, 1:].unflatten(2, (2, 4)).permute(0, 2, 4, 6, 1, 3, 5, 7)
    return p[:, :, 0].permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(0, 2), four.flatten(4).flatten(0, 3)


def lost(x, others, k=LATENT_C):
    """Squared error of each number of `others` after projection on the k principal components of x."""
    mean = x.mean(0)
    basis = torch.linalg.eigh((x - mean).T @ (x - mean))[1][:, -k:]
    return ((others - mean) @ basis @ basis.T + mean).clamp(-1, 1).sub(others).square()


def capacity(vae, rng):
    clips = torch.cat([to_float(families.mixture(rng, 128, group=2)[0]) for _ in range(8)])
    held = held_out(per_family=8)
    errors = [lost(x, o).view(len(held[0]), -1) for x, o in zip(blocks(clips), blocks(held[0]))]
    psnr = 10 * torch.log10(4 / torch.cat(errors, 1).mean(1).clamp(min=.01 / 127.5 ** 2))
    print(f"held-out clips: {evaluate(vae, held)[0]:.1f} dB; {LATENT_C} principal components: {psnr.mean():.1f} dB")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--vae", required=True, help="a diffusers folder of AutoencoderKLCogVideoX")
    args = ap.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(99)
    vae = AutoencoderKLCogVideoX.from_pretrained(args.vae, torch_dtype=torch.float32).eval()
    clips, others = grid_clips(rng, 24)[0], grid_clips(rng, 6)[0]
    z, other_z = (in_parts(lambda c: encode(vae, c), v) for v in (clips, others))
    x, y, other, truth = surroundings(z), rows(block_colours(clips)), surroundings(other_z), rows(block_colours(others))
    decoded = rows(block_colours(in_parts(lambda c: decode(vae, c), other_z)))
    print("read by         frames 1 to 4 of a latent")
    show("least squares", other @ torch.linalg.lstsq(x, y).solution, truth)
    show("the decoder", decoded, truth)
    net = network(x, y)
    with torch.no_grad():
        show("a network", net(other), truth)
    capacity(vae, rng)


if __name__ == "__main__":
    main()
