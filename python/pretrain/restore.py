"""Exported model -> a state that pretrain.py continues, where the state itself is lost.

    python python/pretrain/restore.py --model models/tiny --state DIR

Weights come back rounded to bf16; moments and the ring of latents start empty, clips are ones that were not drawn yet.
The VAE is done; the transformer continues as `motion`, or as `cells` where its token is a cell.
"""
import argparse
import os
import re

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel

from phase_parts import LATENT_C, save_atomic, state_of


def as_state(model, step, **more):
    rng, torch_rng = np.random.default_rng([2, step]).bit_generator.state, torch.Generator().manual_seed(step).get_state()
    return state_of({k: p.detach().clone() for k, p in model.named_parameters()}, step, rng, torch_rng, **more)


def restore(model, state):
    os.makedirs(state, exist_ok=True)
    for name in ("vae.pt", "motion.pt", "cells.pt"):
        if os.path.exists(os.path.join(state, name)):
            raise SystemExit(f"{state}: has a {name} already: expected a folder without a state")
    with open(os.path.join(model, "README.md")) as f:
        steps = re.search(r"VAE ([\d,]+) steps.*?transformer ([\d,]+) steps", f.read(), re.DOTALL)
    if not steps:
        raise SystemExit(f"{model}/README.md: says not 'VAE N steps ... transformer N steps', as export.py writes it")
    vae_step, step = (int(n.replace(",", "")) for n in steps.groups())
    vae = AutoencoderKLCogVideoX.from_pretrained(os.path.join(model, "vae"), torch_dtype=torch.float32)
    net = CogVideoXTransformer3DModel.from_pretrained(os.path.join(model, "transformer"), torch_dtype=torch.float32)
    ones = torch.ones(LATENT_C)                             # the scale is in the weights already
    save_atomic(as_state(vae, vae_step, scale=ones, done=True), os.path.join(state, "vae.pt"))
    name = "cells.pt" if net.config.patch_size == 1 else "motion.pt"
    save_atomic(as_state(net, step, start=step), os.path.join(state, name))
    print(f"{state}: VAE done at step {vae_step}, transformer at step {step}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--state", default=os.path.expanduser("~/vdm-pretrain"))
    args = ap.parse_args()
    restore(args.model, args.state)


if __name__ == "__main__":
    main()
