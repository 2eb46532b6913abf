"""State -> a diffusers folder, EMA weights in bf16, as the published CogVideoX-1.5 image-to-video layout.

    python tools/pretrain/export.py --state DIR --name motion --out models/tiny

--name: motion, stills, their -release branches, or random.  Nothing is measured here; figures are in the logs.
"""
import argparse
import json
import os

import torch
from safetensors.torch import save_file

import transformer_phase
import vae_phase
from model import prompt_embeds, scheduler

LIMIT = 16 * 2 ** 20

CARD = """# {name}: a tiny CogVideoX-1.5 image-to-video model

64x64 pixels, 9 frames, one fixed prompt (`prompt_embeds.safetensors`). Made by tools/pretrain/ from procedural
clips alone; VAE {vae_step} steps, transformer {step} steps ({variant}). Guidance 1; scaling factor 1.
It has no text encoder: `CogVideoXImageToVideoPipeline.from_pretrained(DIR, text_encoder=None, tokenizer=None)`, then
pass `prompt_embeds`, `max_sequence_length=2`, `height=64, width=64, num_frames=9, guidance_scale=1`.
"""


def write(state, name, out):
    vae, vae_step = vae_phase.load_ema(state)
    net, step = transformer_phase.load_ema(state, name)
    os.makedirs(out, exist_ok=True)
    for part, model in (("vae", vae), ("transformer", net)):
        model.to(torch.bfloat16).save_pretrained(os.path.join(out, part))
    scheduler().save_pretrained(os.path.join(out, "scheduler"))
    save_file({"prompt_embeds": prompt_embeds().to(torch.bfloat16)}, os.path.join(out, "prompt_embeds.safetensors"),
              metadata={"format": "pt"})
    index = {"_class_name": "CogVideoXImageToVideoPipeline", "scheduler": ["diffusers", "CogVideoXDDIMScheduler"],
             "text_encoder": [None, None], "tokenizer": [None, None],
             "transformer": ["diffusers", "CogVideoXTransformer3DModel"], "vae": ["diffusers", "AutoencoderKLCogVideoX"]}
    with open(os.path.join(out, "model_index.json"), "w") as f:
        json.dump(index, f, indent=2)
        f.write("\n")
    with open(os.path.join(out, "README.md"), "w") as f:
        f.write(CARD.format(name=name, vae_step=vae_step, step=step, variant=name))
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
