"""Quick few-shot fits with the checkpoint of a state: how far is the base?

    python python/pretrain/evaluate.py --state DIR [--name motion] [--tasks flip,shift,recolour] [--n 30] [--steps 300]

One LoRA per task (peft; q, k, v, o of every block) on n pairs with the discrete transition, then 50 unseen
inputs: the share of grids and of cells that are right, beside what copying the input would score.
All inputs come from the reserved eighth of grids (grids.reserved), which training never starts from.
"""
import argparse
import os
import time

import numpy as np
import torch
from peft import LoraConfig

import transformer_phase
import vae_phase
from buffer import encode_clips
from common import decode
from grids import PALETTE, content, reserved
from model import Attention, Dit, noised, pad_front, posterior, sample, scheduler


def shift_task(a):
    return np.roll(a, (1, 2), (1, 2))


def recolour_task(a):
    lut = np.arange(10)
    lut[[1, 2, 3]] = [2, 3, 1]
    return lut[a]


def border_task(a):
    a = a.copy()
    a[:, [0, -1]] = 4
    a[:, :, [0, -1]] = 4
    return a


def gravity_task(a):
    out = np.zeros_like(a)
    for b, x in np.ndindex(a.shape[0], a.shape[2]):
        col = a[b, :, x][a[b, :, x] > 0]
        out[b, 8 - len(col):, x] = col
    return out


def outline_task(a):
    on, out = a > 0, a.copy()
    near = np.zeros_like(on)
    p = np.pad(on, ((0, 0), (1, 1), (1, 1)))
    for dy, dx in np.ndindex(3, 3):
        near |= p[:, dy:dy + 8, dx:dx + 8]
    out[near & ~on] = 2
    return out


def life_task(a):
    p = np.pad((a > 0).astype(int), ((0, 0), (1, 1), (1, 1)))
    n = sum(p[:, dy:dy + 8, dx:dx + 8] for dy, dx in np.ndindex(3, 3)) - (a > 0)
    return np.where((n == 3) | ((a > 0) & (n == 2)), 1, 0)


# name: (rule, kind of content: 0 dense, 2 sparse cells, 3 rectangles, 7 two colours)
TASKS = {"flip": (lambda a: a[:, :, ::-1], 0), "shift": (shift_task, 0), "recolour": (recolour_task, 0),
         "border": (border_task, 0), "turn": (lambda a: np.rot90(a, 1, (1, 2)), 0), "gravity": (gravity_task, 2),
         "outline": (outline_task, 3), "life": (life_task, 7), "copy": (lambda a: a, 0)}


def pairs(task, n, seed):
    """n inputs [n,8,8] from the reserved grids, and their answers."""
    rule, kind = TASKS[task]
    rng, out = np.random.default_rng(seed), []
    while len(out) < n:
        a, _ = content(rng, 16 * n, 8, kind=kind, bg_black=kind != 0)
        if task == "life":
            a = (a > 0).astype(np.uint8)
        out.extend(a[reserved(a)])
    x = np.stack(out[:n])
    return x, np.ascontiguousarray(rule(x)).astype(np.uint8)


def video(x, y):
    """The discrete transition: 4 frames x, 5 frames y -> uint8 [n,9,64,64,3]."""
    px = lambda a: PALETTE[a].repeat(8, 1).repeat(8, 2)
    return np.stack([px(x)] * 4 + [px(y)] * 5, 1)


def fit(net, z, image, steps, batch, rank, lr, seed):
    """A LoRA on encoded pairs [n,4,16,8,8]; leaves it active on net; the mean loss of the last steps."""
    torch.manual_seed(seed)
    net.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    params = [p for p in net.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(params, lr=lr, betas=(0.9, 0.95), weight_decay=1e-4)
    dit, alphas, last = Dit(net), scheduler().alphas_cumprod, []
    for step in range(steps):
        for g in opt.param_groups:
            g["lr"] = lr * min(1, (step + 1) / 20) * (1 - step / steps)
        i = torch.randint(0, len(z), (batch,))
        t = ((torch.randperm(batch) + torch.rand(batch)) * (1000 / batch)).long()
        x, v = noised(posterior(z[i]), torch.randn(batch, *z.shape[1:]), t, alphas)
        loss = (dit(x, posterior(image[i]), t) - v).square().mean()
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        last.append(loss.item())
    return float(np.mean(last[-30:]))


def answers(net, vae, image, steps, seed):
    z = sample(Dit(net), image, steps, seed)
    return vae_phase.cells(decode(vae, z.transpose(1, 2)))[:, -1]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--state", default=os.path.expanduser("~/vdm-pretrain"))
    ap.add_argument("--name", default="motion", help="motion, stills, a -release, or random")
    ap.add_argument("--tasks", default="recolour,shift,gravity", help="of " + ",".join(TASKS))
    for k, v in dict(n=30, steps=300, batch=16, rank=16, test=50, sampler_steps=20, seed=42).items():
        ap.add_argument("--" + k.replace("_", "-"), type=int, default=v)
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--log", help="append the results to this CSV")
    args = ap.parse_args()
    vae, _ = vae_phase.load_ema(args.state)
    for task in args.tasks.split(","):
        net, step = transformer_phase.load_ema(args.state, args.name)
        net.requires_grad_(False)
        net.set_attn_processor(Attention())
        x, y = pairs(task, args.n + args.test, args.seed)
        enc = encode_clips(vae, video(x, y), bf16=False)
        z, image = pad_front(enc[:, :3]), enc[:, 3]
        t0 = time.monotonic()
        loss = fit(net, z[:args.n], image[:args.n], args.steps, args.batch, args.rank, args.lr, args.seed)
        got = answers(net, vae, image[args.n:], args.sampler_steps, args.seed).numpy()
        right, same = got == y[args.n:], x[args.n:] == y[args.n:]
        line = dict(name=args.name, step=step, task=task, n=args.n, rank=args.rank, steps=args.steps,
                    loss=round(loss, 4), exact=round(float(right.all((1, 2)).mean()), 3), cells=round(float(right.mean()), 4),
                    copy_cells=round(float(same.mean()), 4), seconds=round(time.monotonic() - t0, 1))
        print(" ".join(f"{k}={v}" for k, v in line.items()), flush=True)
        if args.log:
            head = not os.path.exists(args.log)
            with open(args.log, "a") as f:
                f.write((",".join(line) + "\n" if head else "") + ",".join(map(str, line.values())) + "\n")


if __name__ == "__main__":
    main()
