"""State -> a diffusers folder, EMA weights in bf16, as the published CogVideoX-1.5 image-to-video layout.

    python python/pretrain/export.py --state DIR --name motion --out models/tiny

--name: motion, stills, their -release branches, or random.  Nothing is measured here; figures are in the logs.
"""
import argparse
import json
import os

import torch
from safetensors.torch import save_file

import captions
import families
import transformer_phase
import vae_phase
from model import prompt_embeds, scheduler

LIMIT = 16 * 2 ** 20
VIEWS = 32                          # at most, in the program

# What vdm takes as its defaults for this model: chosen with vdm fit on 30 pairs (doc/experiments.md).
DEFAULTS = {"fit": {"steps": 1800, "batch": 4, "pure_noise": 0.9, "lr": 6e-3, "warmup": 150,
                    "rank": 64, "alpha": 64, "schedule": "linear"},
            "sample": {"steps": 1, "ensemble": 10, "guidance": 1},
            "arc": {"steps": 800, "size": "64x64", "cell": 8, "border": 0, "align": 8, "grow": 240}}

# The same for a token a cell, which costs four times as much a video: in eight views, of which each answers once.
CELLS_DEFAULTS = DEFAULTS | {"fit": DEFAULTS["fit"] | {"steps": 1500, "warmup": 100, "views": 8},
                             "sample": DEFAULTS["sample"] | {"ensemble": 1}, "arc": DEFAULTS["arc"] | {"steps": 400}}

CELLS_CARD = """# A tiny CogVideoX-1.5 image-to-video model whose token is one cell

The transformer of `models/tiny` with patches of 1x1 latents instead of 2x2: a token is a cell of 8x8 pixels (in two latent
frames), so that every cell is treated alike, and a picture has 64 examples of a rule about neighbours. The blocks are those of
`models/tiny`, unchanged; the layers that read and write latents are folded (python/pretrain/convert.py), without any training.

- **What it is for**: rules in which a cell depends on its neighbours, learned in several views with a prompt each. `vdm fit
  TASK --model models/cells` does it in eight (vdm.json), and `vdm eval` and `vdm predict` know that from the adapter.
  doc/experiments.md has the figures.
  `models/tiny` costs a quarter, and is as good if pictures move as a whole.
- **Layout**: AutoencoderKLCogVideoX, CogVideoXTransformer3DModel (6.0 M parameters: 6 blocks, 4 heads of 64, 2 text tokens; 128
  video tokens), CogVideoXDDIMScheduler; bf16. `prompt_embeds.safetensors` is the one prompt, `view_embeds.safetensors`
  [32,2,32] has one for each view. diffusers ignores these and `vdm.json`.
- **How long**: VAE {vae_step:,} steps, transformer {step:,} steps (`{name}`), all of them before the patches were cut; the data are
  those of `models/tiny`.
- **With diffusers**: as `models/tiny`.
- **It cannot** make pictures of the world, follow a text, or work as well at other sizes, as `models/tiny`. It was trained on
  positions of a 4x4 grid of tokens, and has 8x8.
"""

CARD = """# A tiny CogVideoX-1.5 image-to-video model

64x64 pixels, 9 frames, one fixed prompt: small enough to learn a task from 30 pairs in one or two minutes on two cores. `vdm`
uses it if no other model is named.

- **Layout**: as published: AutoencoderKLCogVideoX (2.1 M parameters), CogVideoXTransformer3DModel (6.1 M: 6 blocks,
  4 heads of 64, 2 text tokens), CogVideoXDDIMScheduler; bf16. Guidance 1, scaling factor 1.
  `prompt_embeds.safetensors` is the one prompt, `view_embeds.safetensors` [32,2,32] has one for each view (`vdm fit --views N`).
  `vdm.json` holds vdm's own defaults for it. diffusers ignores these three files.
- **Trained on** generated clips only, made during the training ({families} families of motion on grids and of shapes:
  translation, falling, growing, recolouring, rotation, hiding, cell games, ...), in part with captions of their rules.
  python/pretrain/README.md lists them, and the evaluation tasks that are related to them. No photograph, no text, no data set.
- **How long**: VAE {vae_step:,} steps, transformer {step:,} steps (`{name}`); python/pretrain/README.md has the number of clips and
  the machines.
- **With diffusers**: `CogVideoXImageToVideoPipeline.from_pretrained(DIR, text_encoder=None, tokenizer=None)`, then
  `prompt_embeds`, `max_sequence_length=2`, `height=64, width=64, num_frames=9, guidance_scale=1`. An
  adapter of `vdm fit` is learned from pure noise and needs `num_inference_steps=1`, better the mean of the latents of
  10 videos (vdm.json); one made with `--pure-noise 0` needs 20.
- **It cannot** make pictures of the world, follow a text, work as well at sizes other than 64x64 and 9 frames, or
  resolve moving detail much smaller than a cell of 8 pixels. Sudden changes within the four frames of one latent blur a
  little: the VAE reconstructs the cells of moving grids at 23 dB, 97 % of them in the right colour.
"""


def write(state, name, out):
    vae, vae_step = vae_phase.load_ema(state)
    net, step = transformer_phase.load_ema(state, name)
    os.makedirs(out, exist_ok=True)
    for part, model in (("vae", vae), ("transformer", net)):
        model.to(torch.bfloat16).save_pretrained(os.path.join(out, part))
    scheduler().save_pretrained(os.path.join(out, "scheduler"))
    for key, x in (("prompt_embeds", prompt_embeds()), ("view_embeds", captions.view_prompts(VIEWS))):
        save_file({key: x.to(torch.bfloat16)}, os.path.join(out, key + ".safetensors"), metadata={"format": "pt"})
    index = {"_class_name": "CogVideoXImageToVideoPipeline", "scheduler": ["diffusers", "CogVideoXDDIMScheduler"],
             "text_encoder": [None, None], "tokenizer": [None, None],
             "transformer": ["diffusers", "CogVideoXTransformer3DModel"], "vae": ["diffusers", "AutoencoderKLCogVideoX"]}
    with open(os.path.join(out, "model_index.json"), "w") as f:
        json.dump(index, f, indent=2)
        f.write("\n")
    with open(os.path.join(out, "README.md"), "w") as f:
        f.write((CELLS_CARD if name.startswith("cells") else CARD).format(name=name, vae_step=vae_step, step=step, families=len(families.NAMES)))
    with open(os.path.join(out, "vdm.json"), "w") as f:
        json.dump(CELLS_DEFAULTS if name.startswith("cells") else DEFAULTS, f, indent=2)
        f.write("\n")
    for d, _, names in os.walk(out):
        for n in names:
            os.chmod(os.path.join(d, n), 0o644)
    total = sum(os.path.getsize(os.path.join(d, n)) for d, _, names in os.walk(out) for n in names)
    print(f"{out}: {total} bytes ({total / 2 ** 20:.2f} MiB), transformer at step {step}")
    if total > LIMIT:
        raise SystemExit(f"{out} is larger than {LIMIT} bytes")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--state", default=os.path.expanduser("~/vdm-pretrain"))
    ap.add_argument("--name", default="motion")
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    write(args.state, args.name, args.out)


if __name__ == "__main__":
    main()
