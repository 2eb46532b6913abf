"""Pretraining of the model with a token a cell on a CPU: clips for adapt.c, and its adapter merged into the weights.

    python python/pretrain/adapt.py clips --model models/cells --n 10000 --seed 1 -o DIR    # DIR/clips.safetensors, DIR/model
    cc -O2 -pthread -I. -Ifiles python/pretrain/adapt.c libvdm.a -lm -o adapt
    ./adapt DIR/model DIR/clips.safetensors 2000 3600 DIR/state.safetensors DIR/lora.safetensors
    python python/pretrain/adapt.py merge --model models/cells --lora DIR/lora.safetensors -o OUT

clips: those of families.CELLS that have a caption and are grids of 8x8, from the stream that pretrain.py learns; none
starts with a grid that is reserved for evaluation. DIR/model is MODEL with as many text tokens as a caption has.
merge: W + (alpha / rank) B A in bf16; everything else of MODEL stays as it is.
"""
import argparse
import json
import os
import shutil

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import captions
import families

WEIGHTS = os.path.join("transformer", "diffusion_pytorch_model.safetensors")


def clips(n, seed):
    """cells [n,9,8,8,3] float, captions [n,WORDS]."""
    rng, cells, words = np.random.default_rng([7, seed]), [], []
    have = 0
    while have < n:
        v, s = families.mixture(rng, 256, group=4, mix=families.CELLS)
        c = v[:, :, ::8, ::8]
        whole = (v == c.repeat(8, 2).repeat(8, 3)).all((1, 2, 3, 4)) & (s[:, 0] >= 0)
        cells.append(c[whole])
        words.append(s[whole])
        have += int(whole.sum())
    return np.concatenate(cells)[:n].astype(np.float32), np.concatenate(words)[:n]


def write_clips(args):
    os.makedirs(args.out)
    cells, words = clips(args.n, args.seed)
    torch.manual_seed(args.seed)                            # tokens that stand for colours: any
    texts = captions.ViewedText("cpu")(words)
    save_file({"cells": torch.from_numpy(cells), "texts": texts.contiguous()}, os.path.join(args.out, "clips.safetensors"))
    model = os.path.join(args.out, "model")
    shutil.copytree(args.model, model)
    for name in ("prompt_embeds.safetensors", "view_embeds.safetensors", "vdm.json"):
        os.remove(os.path.join(model, name))
    path = os.path.join(model, "transformer", "config.json")
    with open(path) as f:
        config = json.load(f)
    config["max_text_seq_length"] = texts.shape[1]
    with open(path, "w") as f:
        json.dump(config, f, indent=2)
    print(f"{args.out}: {len(cells)} clips, {texts.shape[1]} text tokens")


def merge(args):
    shutil.copytree(args.model, args.out)
    weights, lora = load_file(os.path.join(args.model, WEIGHTS)), load_file(args.lora)
    with safe_open(args.lora, "pt") as f:
        config = json.loads(f.metadata()["lora_adapter_metadata"])
    scale = config["transformer.lora_alpha"] / config["transformer.r"]
    changed = 0
    for name in lora:
        if name.endswith("lora_A.weight"):
            module = name[len("transformer."):-len(".lora_A.weight")]
            w = module + ".weight"
            a, b = lora[name].double(), lora[name.replace("lora_A", "lora_B")].double()
            weights[w] = (weights[w].double() + args.weight * scale * b @ a).to(weights[w].dtype)
            changed += 1
    save_file(weights, os.path.join(args.out, WEIGHTS), metadata={"format": "pt"})
    os.chmod(os.path.join(args.out, WEIGHTS), 0o644)
    print(f"{args.out}: {changed} matrices changed")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["clips", "merge"])
    ap.add_argument("--model", required=True)
    ap.add_argument("--n", type=int, default=10_000)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--lora")
    ap.add_argument("--weight", type=float, default=1)
    ap.add_argument("-o", dest="out", required=True)
    args = ap.parse_args()
    torch.set_num_threads(1)
    (write_clips if args.what == "clips" else merge)(args)


if __name__ == "__main__":
    main()
