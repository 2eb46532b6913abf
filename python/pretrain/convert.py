"""A state whose tokens are 2x2 cells -> one whose tokens are single cells, without any training.

    python python/pretrain/convert.py --state DIR       # motion.pt -> cells.pt, which pretrain.py --variant cells continues

A cell is embedded as the old model embeds a patch whose four latents are alike, and read as the mean of the four
latents that the old model writes: the new model does on 8x8 tokens what the old one does on a picture in which every
latent is repeated 2x2.  Positions beyond the old 4x4 it has never seen.
"""
import argparse
import os

from phase_parts import CELLS_CONFIG, LATENT_C, TRANSFORMER_CONFIG, load, save_atomic, state_of


def converted(weights):
    """Weights of TRANSFORMER_CONFIG -> weights of CELLS_CONFIG."""
    w = {k: v.clone() for k, v in weights.items()}
    pt, places = CELLS_CONFIG["patch_size_t"], TRANSFORMER_CONFIG["patch_size"] ** 2
    read, write, bias = (w[k] for k in ("patch_embed.proj.weight", "proj_out.weight", "proj_out.bias"))
    # columns of what is read, rows of what is written: channel, time, place in the patch
    w["patch_embed.proj.weight"] = read.view(len(read), 2 * LATENT_C, pt, places).sum(3).flatten(1)
    w["proj_out.weight"] = write.view(LATENT_C, pt, places, -1).mean(2).flatten(0, 1)
    w["proj_out.bias"] = bias.view(LATENT_C, pt, places).mean(2).flatten()
    return w


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--state", default=os.path.expanduser("~/vdm-pretrain"))
    ap.add_argument("--name", default="motion", help="or motion-release")
    args = ap.parse_args()
    path = os.path.join(args.state, "cells.pt")
    if os.path.exists(path):
        raise SystemExit(f"{path} is there already: expected a state without it")
    st = load(os.path.join(args.state, args.name + ".pt"))
    save_atomic(state_of(converted(st["ema"]), st["step"], st["rng"], st["torch_rng"], start=st["step"]), path)
    print(f"{path}: at step {st['step']}")


if __name__ == "__main__":
    main()
