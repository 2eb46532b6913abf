"""Quick few-shot fits with the checkpoint of a state: how far is the base?

    python python/pretrain/evaluate.py --state DIR [--name motion] [--tasks flip,shift,recolour] [--n 30] [--steps 300]
    python python/pretrain/evaluate.py --state DIR --name cells --views 8 --pure 1 --tasks life,gravity

One LoRA per task (peft; q, k, v, o of every block, and the feed-forward with --targets attn,ff) on n pairs with the
discrete transition, then unseen inputs: the share of grids and of cells that are right, next to what copying the input
would score.  --views N: every video of a step is a pair in one of N views (the 8 symmetries in turn, with colours
exchanged from the second on), and its prompt describes which (captions.view_embeds); answers in all views are undone and vote by cell.
--control: instead of the checkpoint and its LoRA, a transformer of that configuration from nothing, all weights trained.
All inputs come from the reserved eighth of grids (grids.reserved), which training never starts from.
"""
import argparse
import os
import time

import numpy as np
import torch
from peft import LoraConfig

import captions
import phase_parts
import transformer_phase
import vae_phase
from buffer import encode_clips
from grids import PALETTE, content, reserved
from model import Attention, Dit, noised, pad_front, posterior, sample, scheduler
from phase_parts import decode, encode, one_chunk, to_float


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
         "outline": (outline_task, 3), "life": (life_task, 7), "copy": (lambda a: a, 0),
         "transpose": (lambda a: a.swapaxes(1, 2), 0)}
FREE = ("flip", "turn", "shift", "transpose", "copy")       # no background: a view may exchange it too


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


def views(n, background=True, colours=True):
    """(symmetry, colours [10]) of n views: the first shows the task as it is."""
    rng, out = np.random.default_rng(42), []
    for k in range(n):
        lut, first = np.arange(10), int(background)
        if k and colours:
            lut[first:] = first + rng.permutation(10 - first)
        out.append((k % 8, lut))
    return out


def seen(a, view):
    """Grids [n,8,8] in a view: 1 mirrors the columns, 2 the rows, 4 exchanges the two."""
    op, lut = view
    a = a[:, :, ::-1] if op & 1 else a
    a = a[:, ::-1] if op & 2 else a
    a = a.swapaxes(1, 2) if op & 4 else a
    return lut[a].astype(np.uint8)


def undone(a, view):
    op, lut = view
    a = np.argsort(lut)[a]
    a = a.swapaxes(1, 2) if op & 4 else a
    a = a[:, ::-1] if op & 2 else a
    return a[:, :, ::-1] if op & 1 else a


TARGETS = {"attn": ["to_q", "to_k", "to_v", "to_out.0"], "ff": ["ff.net.0.proj", "ff.net.2"]}


def timesteps(batch, pure):
    t = ((torch.randperm(batch) + torch.rand(batch)) * (1000 / batch)).long()
    return torch.where(torch.rand(batch) < pure, 999, t)


def fit(net, z, image, text, a):
    """A LoRA (or, of a control, all weights) on encoded pairs [views*n,4,16,8,8]; the mean loss of the last steps."""
    torch.manual_seed(a.seed)
    n = len(z) // len(text)
    if not a.control:
        modules = sum((TARGETS[t] for t in a.targets.split(",")), [])
        net.add_adapter(LoraConfig(r=a.rank, lora_alpha=a.rank, target_modules=modules))
    params = [p for p in net.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(params, lr=a.lr, betas=(0.9, 0.95), weight_decay=1e-4)
    dit, alphas, last, t0 = Dit(net), scheduler().alphas_cumprod, [], time.monotonic()
    for step in range(a.steps):
        for g in opt.param_groups:
            g["lr"] = a.lr * min(1, (step + 1) / a.warmup) * (1 - step / a.steps)
        i = torch.randint(0, len(z), (a.batch,))
        t = timesteps(a.batch, a.pure)
        x, v = noised(posterior(z[i]), torch.randn(a.batch, *z.shape[1:]), t, alphas)
        loss = (dit(x, posterior(image[i]), t, text[i // n]) - v).square().mean()
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        last.append(loss.item())
        if (step + 1) % 100 == 0:
            print(f"  step {step + 1} loss {np.mean(last[-50:]):.4f} {time.monotonic() - t0:.0f} s", flush=True)
    return float(np.mean(last[-30:]))


@torch.no_grad()
def one_step(dit, image, text, ensemble, seed):
    """Latents [B,3,16,8,8]: the mean of what one step from noise makes (v is -z there)."""
    g, out = torch.Generator().manual_seed(seed), 0
    for _ in range(ensemble):
        x = torch.randn(len(image), 4, *image.shape[1:], generator=g)
        out = out - dit(x, image, torch.full((len(image),), 999), text.expand(len(image), -1, -1))
    return out[:, 1:] / ensemble


def answers(net, vae, image, text, a):
    if a.sampler_steps > 1:
        z = sample(Dit(net), image, a.sampler_steps, a.seed)
    else:
        z = one_step(Dit(net), image, text, a.ensemble, a.seed)
    with torch.no_grad():
        return vae_phase.cells(decode(vae, z.transpose(1, 2)))[:, -1].numpy()


def encoded(vae, x, y):
    enc = encode_clips(vae, video(x, y), bf16=False)
    return pad_front(enc[:, :3]), enc[:, 3]


def model_of(args):
    if args.control:
        net, step = phase_parts.new_transformer(7, phase_parts.config_of(args.name)), 0
        torch.nn.init.zeros_(net.proj_out.weight)
        net.requires_grad_(True)
    else:
        net, step = transformer_phase.load_ema(args.state, args.name)
        net.requires_grad_(False)
    net.set_attn_processor(Attention())
    return net, step


def run(task, vae, args):
    net, step = model_of(args)
    x, y = pairs(task, args.n + args.test, args.seed)
    seen_in, text = views(args.views, task not in FREE, not args.plain), captions.view_prompts(args.views)
    shown = [encoded(vae, seen(x[:args.n], v), seen(y[:args.n], v)) for v in seen_in]
    z, image = (torch.cat(parts) for parts in zip(*shown))
    t0 = time.monotonic()
    loss = fit(net, z, image, text, args)
    fitted, x, y = time.monotonic() - t0, x[args.n:], y[args.n:]
    votes = np.zeros((10, *y.shape), int)
    for v, prompt in zip(seen_in, text):
        px = PALETTE[seen(x, v)].repeat(8, 1).repeat(8, 2)
        with torch.no_grad():
            im = encode(vae, to_float(px[:, None]))[:, :, 0]
        got = undone(answers(net, vae, im, prompt, args), v)
        one = got if v is seen_in[0] else one
        votes += np.arange(10)[:, None, None, None] == got
    best, line = votes.argmax(0), dict(name=args.name, step=step, task=task, n=args.n, views=args.views)
    f = lambda a: (round(float((a == y).all((1, 2)).mean()), 3), round(float((a == y).mean()), 4))
    return line | dict(targets=args.targets, rank=args.rank, lr=args.lr, steps=args.steps, batch=args.batch, plain=args.plain,
                       control=args.control, seed=args.seed, loss=round(loss, 4), one_exact=f(one)[0], one_cells=f(one)[1],
                       exact=f(best)[0], cells=f(best)[1], copy_cells=f(x)[1], seconds=round(fitted, 1),
                       all_seconds=round(time.monotonic() - t0, 1))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--state", default=os.path.expanduser("~/vdm-pretrain"))
    ap.add_argument("--name", default="motion", help="motion, cells, stills, a -release, or random")
    ap.add_argument("--tasks", default="recolour,shift,gravity", help="of " + ",".join(TASKS))
    for k, v in dict(n=30, steps=300, batch=16, rank=16, test=50, sampler_steps=1, seed=42, views=1, warmup=20,
                     ensemble=2, threads=2).items():
        ap.add_argument("--" + k.replace("_", "-"), type=int, default=v)
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--pure", type=float, default=1, help="share of the videos that are learned at t = 999")
    ap.add_argument("--targets", default="attn", help="attn, or attn,ff")
    ap.add_argument("--plain", action="store_true", help="views exchange no colours")
    ap.add_argument("--control", action="store_true", help="no pretraining: all weights, from nothing")
    ap.add_argument("--log", help="append the results to this CSV")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    vae = one_chunk(vae_phase.load_ema(args.state)[0])
    for task in args.tasks.split(","):
        line = run(task, vae, args)
        print(" ".join(f"{k}={v}" for k, v in line.items()), flush=True)
        if args.log:
            head = not os.path.exists(args.log)
            with open(args.log, "a") as f:
                f.write((",".join(line) + "\n" if head else "") + ",".join(map(str, line.values())) + "\n")


if __name__ == "__main__":
    main()
