"""Phase 2: the transformer, from scratch, image-to-video on encoded clips.

v-prediction, MSE over all four latent frames.  In most steps of `motion` the clips come with their captions, and most are
noise alone (t = 999); else all have the one fixed prompt and t is uniform (stratified over the batch).  The learning
rate is constant after a warm-up, so that the run can go on for as long as there is time; `--decay N` branches off a
release where the run stands (or comes to by `--steps`): N more steps with a rate falling to 0.
Variants: `motion`; `cells`, whose token is a cell, and which has tokens for the view of a clip; and the control `stills` (every clip is one frame repeated, the same number of steps).
"""
import functools
import json
import os
import time
from typing import NamedTuple

import numpy as np
import torch

import captions
import families
import vae_phase
from ahead import Ahead
from buffer import Ring, encode_clips, fresh, refill
from grids import PALETTE, content, reserved
from model import Attention, Dit, noised, pad_front, posterior, sample, scheduler
from phase_parts import (CELLS_CONFIG, TRANSFORMER_CONFIG, Ema, Every, Log, Optimiser, config_of, decode, load,
                         new_transformer, one_chunk, random_state, restore_random, save_atomic)


class Recipe(NamedTuple):
    config: dict
    mix: families.Mixture
    uncaptioned: float              # share of the steps without captions
    pure: float                     # share of captioned clips at t = 999: all is noise there, and the rule decides alone
    batch: int
    warmup: int
    ema: float
    first: int                      # clips before the first step


MOTION = Recipe(TRANSFORMER_CONFIG, families.MOTION, .2, .6, 128, 300, .9995, 8_192)
RECIPES = {"motion": MOTION, "stills": MOTION,
           "cells": Recipe(CELLS_CONFIG, families.CELLS, .1, .9, 32, 100, .998, 4_096)}
MUON_LR, ADAM_LR, WEIGHT_DECAY = 0.02, 1e-3, 0.01
CAPACITY, REFILL, REFILL_EVERY = 400_000, 128, 1024         # clips; one fresh one for 8 used
EVAL_EVERY, LOG_EVERY = 500, 50
FIELDS = ["step", "loss", "held", "held_said", "held_pure", "copy_exact", "copy_cells", "denoise_exact",
          "denoise_cells", "rate", "clips_per_s", "buffer", "time"]


def dense_grids(n, seed):
    """n dense grids (every cell any colour) that training never starts from: [n,8,8] and pixels."""
    rng = np.random.default_rng(seed)
    out = []
    while len(out) < n:
        a, _ = content(rng, 8 * n, 8, kind=0)
        out.extend(a[reserved(a)])
    a = np.stack(out[:n])
    return a, PALETTE[a].repeat(8, 1).repeat(8, 2)


def timesteps(n, pure, device="cpu"):
    """[n]: stratified over the batch; the share `pure` of them at the last one."""
    on = dict(device=device)
    t = ((torch.randperm(n, **on) + torch.rand(n, **on)) * (1000 / n)).long().clamp(max=999)
    return torch.where(torch.rand(n, **on) < pure, 999, t) if pure else t


class HeldOut:
    """Figures on fixed clips, noise and timesteps."""

    def __init__(self, vae, still):
        rng = np.random.default_rng(777)
        clips, self.words = (np.concatenate(x) for x in zip(*(families.clips(rng, f, 8, 8)
                                                             for f in range(len(families.NAMES)))))
        if still:
            clips = np.repeat(clips[:, :1], clips.shape[1], 1)
            self.words[:] = -1                               # as in families.mixture
        z = encode_clips(vae, clips, bf16=False)
        self.vae, self.z, self.im = vae, pad_front(z[:, :3]), z[:, 3]
        g = torch.Generator().manual_seed(778)
        self.noise = torch.randn(self.z.shape, generator=g).to(self.z)
        self.t = (torch.randperm(len(self.z), generator=g) * 1000 // len(self.z)).to(self.z.device)
        a, px = dense_grids(64, 779)
        nxt = PALETTE[(a + 1) % 10].repeat(8, 1).repeat(8, 2)   # a cut to the next colours: half known, half not
        video = np.stack([px] * 4 + [nxt] * 5, 1)
        zz = encode_clips(vae, video, bf16=False)
        self.grids, self.cut, self.cut_im = torch.from_numpy(a.astype(np.int64)), pad_front(zz[:, :3]), zz[:, 3]
        self.cut_noise = torch.randn(self.cut.shape, generator=g).to(self.cut)
        self.alphas = scheduler().alphas_cumprod.to(self.z)

    @torch.no_grad()
    def figures(self, dit, text):
        """held: v loss, with captions, and with them from noise alone.
        copy: cells of frame 0 of a sampled video against the image (dense grids).
        denoise: cells of the last frame after one step from t=600 on clips that cut to other colours."""
        x, v = noised(self.z, self.noise, self.t, self.alphas)
        err = ((dit(x, self.im, self.t) - v) ** 2).mean((1, 2, 3, 4)).cpu()
        with_words = ((dit(x, self.im, self.t, text(self.words)) - v) ** 2).mean((1, 2, 3, 4)).cpu()
        captioned = torch.from_numpy(self.words[:, 0] >= 0)      # none of the stills
        with_words = torch.where(captioned, with_words, err)
        end = torch.full_like(self.t, 999)                      # where v is -z
        pure = ((dit(self.noise, self.im, end, text(self.words)) + self.z) ** 2).mean((1, 2, 3, 4)).cpu()[captioned]
        per_family = with_words.view(len(families.NAMES), -1).mean(1).tolist()
        out = sample(dit, self.cut_im[:32])
        first = vae_phase.cells(decode(self.vae, out.transpose(1, 2)))[:, 0] == self.grids[:32]
        t = torch.full_like(self.t[:1], 600).expand(len(self.cut))
        x, _ = noised(self.cut, self.cut_noise, t, self.alphas)
        a = self.alphas[600]
        z = a.sqrt() * x - (1 - a).sqrt() * dit(x, self.cut_im, t)
        last = vae_phase.cells(decode(self.vae, z[:, 1:].transpose(1, 2)))[:, -1] == (self.grids + 1) % 10
        f = lambda m: (m.flatten(1).all(1).float().mean().item(), m.float().mean().item())
        (ce, cc), (de, dc) = f(first), f(last)
        return dict(held=err.mean().item(), held_said=with_words.mean().item(),
                    held_pure=pure.mean().item() if captioned.any() else "", copy_exact=ce, copy_cells=cc,
                    denoise_exact=de, denoise_cells=dc), per_family


def run(state_dir, variant, stop, threads, device, workers, times, decay=0, max_steps=None, save_seconds=300):
    still, how = variant == "stills", RECIPES[variant]
    size = how.batch * times
    path, released = (os.path.join(state_dir, variant + end + ".pt") for end in ("", "-release"))
    vae = one_chunk(vae_phase.load_ema(state_dir, device)[0])
    net = new_transformer(1, how.config).to(device)
    net.set_attn_processor(Attention())
    opt = Optimiser(net, MUON_LR, ADAM_LR, (0.9, 0.95), WEIGHT_DECAY)
    ema, rng, step, start, decay_from = Ema(net, how.ema), np.random.default_rng(2), 0, 0, None
    more = 4 if device.type == "cuda" else 1                # a GPU learns faster, and from larger batches, than it encodes
    on_disk = os.path.join(state_dir, f"latents-{variant}.f16") if device.type == "cpu" else None
    ring = Ring(CAPACITY * more, on_disk, device)
    torch.manual_seed(3)
    st = (load(released) if decay else None) or load(path)
    if st:
        net.load_state_dict(st["model"])
        if st["opt"]:                                       # none after restore.py and carry.py
            opt.load_state_dict(st["opt"])
        ema.restore(st["ema"])
        step, start, decay_from = st["step"], st.get("start", 0), st.get("decay_from")
        rng.bit_generator.state = st["rng"]
        restore_random(st)
        if "ring" in st:
            ring.restore(st["ring"])
    branch = max(step, max_steps or 0) if decay_from is None else decay_from       # where the rate begins to fall, if it does
    end = branch + decay if decay else max_steps or 10 ** 9

    def save():
        ring.flush()
        save_atomic(dict(model=net.state_dict(), opt=opt.state_dict(), ema=ema.w, step=step, ring=ring.meta(),
                         rng=rng.bit_generator.state, start=start, decay_from=decay_from, **random_state()),
                    path if decay_from is None else released)

    def log():
        return Log(os.path.join(state_dir, variant + ("" if decay_from is None else "-release") + ".csv"), FIELDS)

    def rate_at(s):
        """What the learning rates are multiplied by."""
        return min(1, (s - start + 1) / how.warmup) * (1 if decay_from is None else max(0.0, 1 - (s - branch) / decay))

    clips = Ahead(functools.partial(fresh, n=REFILL * times, still=still, mix=how.mix), workers)
    while ring.have < how.first * more and not stop.asked:
        threads.adapt()
        refill(ring, vae, clips(rng))
        print(f"first fill: {ring.have} of {how.first * more} clips", flush=True)
    for block in net.transformer_blocks:
        block.compile(dynamic=False)
    dit, text, alphas, held = Dit(net), (captions.ViewedText if how.mix.turned else captions.Text)(device), scheduler().alphas_cumprod.to(device), HeldOut(vae, still)
    rows, due = log(), Every(save_seconds)
    sums, seen, t0 = [], 0, time.monotonic()
    while step < end and not stop.asked:
        if decay and step == branch and decay_from is None:
            save()
            decay_from = branch
            rows = log()
        if step % (REFILL_EVERY // how.batch * more) == 0 and clips.ready(rng):
            threads.adapt()
            refill(ring, vae, clips(rng))
        captioned = not still and rng.random() >= how.uncaptioned
        if device.type == "cpu":                            # captions have one size: compiled; another is not worth it
            torch.compiler.set_stance("default" if captioned or still else "eager_on_recompile")
        z, words = ring.draw(size, captioned)
        z = posterior(z.to(device))
        z, image = pad_front(z[:, :3]), z[:, 3]
        t = timesteps(size, how.pure if captioned else 0, device)
        x, v = noised(z, torch.randn_like(z), t, alphas)
        loss = (dit(x, image, t, text(words) if captioned else text.uncaptioned(words)) - v).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step(rate_at(step))
        step += 1
        ema.update(net, step)
        seen += size
        sums.append(loss.detach())
        if step % LOG_EVERY == 0 or step == end:
            row = dict(loss=torch.stack(sums).mean().item())
            row["clips_per_s"] = seen / (time.monotonic() - t0)
            if step == end and decay:                       # the rate has come down to 0: no mean is better
                ema = Ema(net, how.ema)
            if step % (EVAL_EVERY * times) == 0 or step == end:
                ema.swap(net)
                with torch.compiler.set_stance("force_eager"):      # figures come in many sizes
                    fig, fam = held.figures(dit, text)
                ema.swap(net)
                row.update(fig)
                with open(os.path.join(state_dir, variant + "-families.jsonl"), "a") as f:
                    f.write(json.dumps(dict(step=step, **{n: round(e, 5) for n, e in zip(families.NAMES, fam)})) + "\n")
            rows.row(step=step, rate=rate_at(step), buffer=ring.have, time=time.strftime("%Y-%m-%dT%H:%M:%S"), **row)
            sums, seen, t0 = [], 0, time.monotonic()
        if due():
            save()
    save()
    clips.close()


def load_ema(state_dir, name):
    """The transformer (EMA weights) of a state; name 'random' or 'cells-random' is the control that never learnt."""
    net = new_transformer(1, config_of(name))
    if name.endswith("random"):
        return net, 0
    st = load(os.path.join(state_dir, name + ".pt"))
    with torch.no_grad():
        for k, p in net.named_parameters():
            p.copy_(st["ema"][k])
    return net, st["step"]
