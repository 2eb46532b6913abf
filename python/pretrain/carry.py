"""A transformer that learned on the latents of one VAE continues with those of another.

    python python/pretrain/carry.py --old DIR --new DIR      # states; DIR of --new has a vae.pt and no motion.pt yet

Two linear maps between the latents of the same clips, by least squares: new to old goes into the layer that reads
latents, old to new into the one that writes them.  What lies between keeps what it knows; what the maps miss is learned
by going on (`pretrain.py --state NEW`).
"""
import argparse
import os

import numpy as np
import torch

import families
import vae_phase
from buffer import encode_clips
from phase_parts import LATENT_C, load, one_chunk, save_atomic, state_of

CLIPS, NOISE = 384, 0.1                                     # noise on what is mapped: faint directions stay faint


def flat(z):
    """[B,4,16,8,8] -> [n,16]."""
    return z.transpose(1, 2).transpose(0, 1).flatten(1).T


def linear_map(x, y, noise):
    """M [16,16] and m [16] with y ~ M x + m."""
    x = torch.cat([x + noise * torch.randn_like(x), torch.ones(len(x), 1)], 1)
    w = torch.linalg.lstsq(x.double(), y.double(), driver="gelsd").solution.float()
    print(f"unexplained: {(y - x @ w).var() / y.var():.3f}")
    return w[:-1].T, w[-1]


def carried(weights, old, new, noise=NOISE):
    """Weights for latents of the VAE `new` from those for latents of `old`."""
    clips, _ = families.mixture(np.random.default_rng(31), CLIPS, group=4)
    z_old, z_new = (flat(encode_clips(one_chunk(v), clips, bf16=False)) for v in (old, new))
    (to_old, _), (to_new, shift) = linear_map(z_new, z_old, noise), linear_map(z_old, z_new, noise)
    w = {k: v.clone() for k, v in weights.items()}
    read, write, bias = w["patch_embed.proj.weight"], w["proj_out.weight"], w["proj_out.bias"]
    # read: columns are (latents or condition, channel, place in the patch); write: rows are (channel, place)
    read.copy_(torch.einsum("dgok,oc->dgck", read.view(len(read), 2, LATENT_C, -1), to_old).flatten(1))
    write.copy_(torch.einsum("co,okd->ckd", to_new, write.view(LATENT_C, -1, write.size(1))).flatten(0, 1))
    bias.copy_((to_new @ bias.view(LATENT_C, -1) - shift[:, None]).flatten())           # v is -z where all is noise
    return w


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--old", required=True, help="state with vae.pt and motion.pt")
    ap.add_argument("--new", required=True, help="state with another vae.pt")
    args = ap.parse_args()
    path = os.path.join(args.new, "motion.pt")
    if os.path.exists(path):
        raise SystemExit(f"{path} is there already: expected a state without a transformer")
    st = load(os.path.join(args.old, "motion.pt"))
    torch.manual_seed(0)
    w = carried(st["ema"], *(vae_phase.load_ema(s)[0] for s in (args.old, args.new)))
    save_atomic(state_of(w, st["step"], st["rng"], st["torch_rng"], start=st["step"]), path)
    print(f"{path}: at step {st['step']}")


if __name__ == "__main__":
    main()
