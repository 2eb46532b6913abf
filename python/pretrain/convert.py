"""A model whose tokens are 2x2 cells becomes one whose tokens are single cells, without any training.

    python python/pretrain/convert.py --model models/tiny --out DIR

A cell is embedded as the old model embeds a patch whose four latents are alike, and read as the mean of the four
latents that the old model writes: the new model does on 8x8 tokens what the old one does on a picture in which every
latent is repeated 2x2.  Positions beyond the old 4x4 it has never seen.
"""
import argparse
import json
import os
import shutil

import torch
from diffusers import CogVideoXTransformer3DModel


def converted(old):
    """old: patch 2 in space and in time; the new: 1 and the same in time."""
    config = dict(old.config)
    config.update(patch_size=1)
    new = CogVideoXTransformer3DModel.from_config(config)
    w = {k: v.clone() for k, v in old.state_dict().items()}
    p, pt, out = old.config.patch_size, old.config.patch_size_t, old.config.out_channels
    read, write, bias = w["patch_embed.proj.weight"], w["proj_out.weight"], w["proj_out.bias"]
    # columns of what is read, rows of what is written: channel, time, place in the patch
    w["patch_embed.proj.weight"] = read.view(len(read), -1, pt, p * p).sum(3).flatten(1)
    w["proj_out.weight"] = write.view(out, pt, p * p, -1).mean(2).flatten(0, 1)
    w["proj_out.bias"] = bias.view(out, pt, p * p).mean(2).flatten()
    new.load_state_dict(w)
    return new


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    old = CogVideoXTransformer3DModel.from_pretrained(os.path.join(args.model, "transformer"), torch_dtype=torch.float32)
    shutil.copytree(args.model, args.out, dirs_exist_ok=True)
    converted(old).to(torch.bfloat16).save_pretrained(os.path.join(args.out, "transformer"))


if __name__ == "__main__":
    main()
