"""Phase 1: the VAE, on procedural clips.

Objective: L1 + L2 on pixels, decoded from the latent mean plus noise whose size is drawn per clip in
0..0.25 (so that codes keep apart and the decoder forgives the transformer's small errors), plus a penalty
that keeps every latent channel at mean 0 and variance 1.  The posterior's variance is a constant.
Stages, cheap ones first: single frames (32x32 crops), then crops of clips, then whole 64x64 clips, since
GroupNorm sees the whole.  In the later stages every eighth batch still holds single frames: image
conditions are encoded alone, with statistics of their own.  After the stage `full` the encoder stands, and the
transformer can start; the stage `decoder` trains the decoder alone, at any later time.

Frames that differ within a latent (four to one) are the hard part: a network that has learnt single frames stays
with their average for long.  Two terms help: the error of the difference between neighbouring frames, and, while
the encoder learns, a probe: one linear map must read the mean colours of the four frames of every 8x8 block
from the latent.
"""
import functools
import os
import time

import numpy as np
import torch
import torch.nn.functional as tf

import families
from ahead import Ahead
from common import (LATENT_C, Ema, Every, Log, Optimiser, decode, encode, load, new_vae, random_state, restore_random,
                    save_atomic, to_float)
from grids import GRID_FAMILIES, PALETTE

STAGES = {"frame": 2200, "crop": 2800, "full": 350, "decoder": 8000}        # steps
ENCODER_STEPS = 2200 + 2800 + 350
# The rates fall to 0 at the end of `full` and of `decoder`.  Muon at 1e-3 is ahead of 3e-3, of 1e-2, and of AdamW.
DECAY_STEPS = {"full": 250, "decoder": 5500}
MUON_LR, ADAM_LR, NOISE = 1e-3, 6e-4, 0.25
BATCH = {"frame": 16, "crop": 8, "full": 4, "decoder": 4}
FIELDS = ["step", "phase", "loss", "l1", "probe", "stat", "rate", "psnr", "cells", "psnr_noisy", "cells_noisy",
          "clips_per_s", "time"]


def total_steps():
    return sum(STAGES.values())


def stage_at(step):
    for name, n in STAGES.items():
        if step < n:
            return name
        step -= n
    return "decoder"


def rate_at(step):
    """What the learning rates are multiplied by."""
    stage = stage_at(step)
    left = (total_steps() if stage == "decoder" else ENCODER_STEPS) - step
    since = step - ENCODER_STEPS if stage == "decoder" else step
    return min(1, (since + 1) / 100) * min(1, max(left / DECAY_STEPS[stage if stage == "decoder" else "full"], 0.01))


def batch(rng, step, times):
    """uint8 [B,T,s,s,3]: T is 9 or 1, s is 32 or 64."""
    stage = stage_at(step)
    n = BATCH[stage] * times
    if stage == "frame" or step % 8 == 7:
        n *= 2 if stage == "crop" else 1
        clips, _ = families.mixture(rng, n // 4, group=2)
        pick = np.stack([rng.permutation(9)[:4] for _ in clips])
        clips = clips[np.arange(len(clips))[:, None], pick].reshape(-1, 1, *clips.shape[2:])
    else:
        clips, _ = families.mixture(rng, n // 2 if stage == "crop" else n, group=2)
        clips = clips.repeat(2, 0) if stage == "crop" else clips
    if stage in ("frame", "crop"):
        at = rng.integers(0, 5, (len(clips), 2)) * 8
        clips = np.stack([c[:, y:y + 32, x:x + 32] for c, (y, x) in zip(clips, at)])
    return clips


def cells(video):
    """Decoded pixels [B,3,T,64,64] -> nearest palette index of each 8x8 cell's mean colour [B,T,8,8], on the CPU."""
    b, _, t, _, _ = video.shape
    m = video.clamp(-1, 1).reshape(b, 3, t, 8, 8, 8, 8).mean((4, 6)).permute(0, 2, 3, 4, 1)
    pal = (torch.from_numpy(PALETTE.astype(np.float32)) / 127.5 - 1).to(m)
    return ((m[..., None, :] - pal) ** 2).sum(-1).argmin(-1).cpu()


def grid_clips(rng, per_family):
    """Clips of every family of 8x8 grids in the ARC palette: pixels [B,3,9,64,64], colours [B,9,8,8]."""
    a = np.stack([f(rng, per_family, 8)[0] for f in GRID_FAMILIES]).reshape(-1, 9, 8, 8)
    return to_float(PALETTE.astype(np.uint8)[a].repeat(8, 2).repeat(8, 3)), torch.from_numpy(a.astype(np.int64))


def held_out(seed=12345, per_family=2):
    """A fixed set: clips of every family, and 8x8 grids in the ARC palette (frames of dense and other grids)."""
    rng = np.random.default_rng(seed)
    clips = np.concatenate([families.clips(rng, f, per_family, 8)[0] for f in range(len(families.NAMES))])
    return to_float(clips), *grid_clips(rng, 2)


@torch.no_grad()
def evaluate(vae, held, noise=0.0):
    """PSNR (dB, mean over clips, 8-bit) on the clips; share of cells right on the grids."""
    clips, grids, truth = held
    g = torch.Generator().manual_seed(1)

    def through(x):
        out = []
        for c in x.split(16):
            z = encode(vae, c)
            out.append(decode(vae, z + noise * torch.randn(z.shape, generator=g).to(z)).float())
        return torch.cat(out)
    y = ((through(clips).clamp(-1, 1) + 1) * 127.5).round()
    mse = ((y - (clips + 1) * 127.5) ** 2).mean((1, 2, 3, 4)).clamp(min=.01)
    psnr = (10 * torch.log10(255 ** 2 / mse)).mean().item()
    return psnr, (cells(through(grids)) == truth).float().mean().item()


def block_colours(x):
    """Pixels [B,3,T,64,64] -> what the probe reads: mean colours of the four frames that a latent holds,
    [B,12,T',8,8]; the first latent holds the first frame four times."""
    m = tf.avg_pool3d(x, (1, 8, 8))
    m = torch.cat([m[:, :, :1]] * 3 + [m], 2)
    return m.unflatten(2, (-1, 4)).transpose(2, 3).flatten(1, 2)


def run(state_dir, stop, threads, device, workers, times, decoder=False, save_seconds=300):
    """Train (or go on training) until the encoder stands, or the decoder; False if asked to stop before."""
    path = os.path.join(state_dir, "vae.pt")
    vae = new_vae().to(device)
    # the log variance's rows stand in conv_out of the encoder and don't move: not for Muon, which mixes rows
    opt = Optimiser(vae, MUON_LR, ADAM_LR, (0.9, 0.99), adam_too=["encoder.conv_out.conv.weight"])
    ema, rng, step = Ema(vae, 0.999), np.random.default_rng(1), 0
    probe = torch.nn.Conv3d(LATENT_C, 12, 1).to(device)
    probe_opt = torch.optim.Adam(probe.parameters(), lr=2e-3)
    st = load(path)
    if st:
        vae.load_state_dict(st["model"])
        if st["opt"]:                                       # restore.py has no moments
            opt.load_state_dict(st["opt"])
        ema.restore(st["ema"])
        step = st["step"]
        rng.bit_generator.state = st["rng"]
        restore_random(st)
        if "probe" in st:
            probe.load_state_dict(st["probe"])
            probe_opt.load_state_dict(st["probe_opt"])
    end = total_steps() if decoder else ENCODER_STEPS
    if step >= end:
        return True
    if step >= ENCODER_STEPS:                               # the encoder is what the transformer knows: its mean stays
        with torch.no_grad():
            for k, p in vae.named_parameters():
                if k.startswith("encoder."):
                    p.copy_(ema.w[k])
        vae.encoder.requires_grad_(False)

    def save():
        save_atomic(dict(model=vae.state_dict(), opt=opt.state_dict(), ema=ema.w, step=step, scale=scale,
                         probe=probe.state_dict(), probe_opt=probe_opt.state_dict(),
                         rng=rng.bit_generator.state, **random_state()), path)
    scale = st.get("scale") if st else None
    log, due = Log(os.path.join(state_dir, "vae.csv"), FIELDS), Every(save_seconds)
    clips, grids, truth = held_out()
    held = (clips.to(device), grids.to(device), truth)
    batches = Ahead(functools.partial(batch, times=times), step, workers)
    logvar = vae.encoder.conv_out.conv
    seen, t0, sums, eval_last = 0, time.monotonic(), [], -1
    while step < end and not stop.asked:
        if step % 10 == 0:
            threads.adapt()
        x = to_float(batches(rng)).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=step < total_steps() - 1000):
            z = encode(vae, x).float()
            s = torch.rand(len(x), 1, 1, 1, 1).to(device) * NOISE
            y = decode(vae, z + s * torch.randn_like(z)).float()
        err = y - x
        l1 = err.abs().mean()
        zc = z.transpose(0, 1).reshape(LATENT_C, -1)
        stat = (zc.mean(1) ** 2 + (zc.var(1) - 1) ** 2).mean()
        read = (probe(z) - block_colours(x)).abs().mean()
        jumps = (err[:, :, 1:] - err[:, :, :-1]).abs().mean() if x.shape[2] > 1 else 0
        loss = l1 + err.square().mean() + jumps + (0.05 * stat + 2 * read if step < ENCODER_STEPS else 0)
        probe_opt.zero_grad()
        loss.backward()
        if step < ENCODER_STEPS:
            probe_opt.step()
            logvar.weight.grad[LATENT_C:] = 0               # the log variance stays what it is
            logvar.bias.grad[LATENT_C:] = 0
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        opt.step(rate_at(step))
        step += 1
        ema.update(vae, step)
        seen += len(x)
        sums.append((loss.item(), l1.item(), read.item(), stat.item()))
        if step % 100 == 0:
            row = dict(zip(("loss", "l1", "probe", "stat"), map(float, np.mean(sums, 0))))
            dt = time.monotonic() - t0
            if step % 1500 == 0 or step == end:
                ema.swap(vae)
                row["psnr"], row["cells"] = evaluate(vae, held)
                row["psnr_noisy"], row["cells_noisy"] = evaluate(vae, held, 0.2)
                ema.swap(vae)
            log.row(step=step, phase=stage_at(step - 1), rate=rate_at(step), clips_per_s=seen / dt,
                    time=time.strftime("%Y-%m-%dT%H:%M:%S"), **row)
            sums, seen, t0 = [], 0, time.monotonic()
        if due():
            save()
    if step == ENCODER_STEPS:                               # the rate has come down to 0: no mean is better
        ema = Ema(vae, 0.999)
    save()
    batches.close()
    return step >= end


@torch.no_grad()
def channel_scale(vae, n=128):
    """Standard deviation of each latent channel over n clips of the mixture: [16]."""
    clips, _ = families.mixture(np.random.default_rng(4242), n, group=2)
    z = torch.cat([encode(vae, c) for c in to_float(clips).split(16)])
    return z.transpose(0, 1).reshape(LATENT_C, -1).std(1)


@torch.no_grad()
def fold_scale(vae, s):
    """Latents divided by s, exactly: the encoder's last layer makes them smaller, every layer of the decoder that
    reads them (conv_in, and conv_y and conv_b of the spatial norms) multiplies by s again."""
    out = vae.encoder.conv_out.conv
    out.weight[:LATENT_C] /= s.view(-1, 1, 1, 1, 1)
    out.bias[:LATENT_C] /= s
    readers = [m for k, m in vae.decoder.named_modules() if k == "conv_in.conv" or k.endswith((".conv_y.conv", ".conv_b.conv"))]
    for m in readers:
        m.weight *= s.view(1, -1, 1, 1, 1)


def load_ema(state_dir):
    """The trained VAE (EMA weights) with unit variance in every channel, for encoding and export."""
    path = os.path.join(state_dir, "vae.pt")
    st = load(path)
    vae = new_vae()
    with torch.no_grad():
        for k, p in vae.named_parameters():
            p.copy_(st["ema"][k])
    vae.eval().requires_grad_(False)
    if st.get("scale") is None:
        st["scale"] = channel_scale(vae)
        save_atomic(st, path)
    fold_scale(vae, st["scale"])
    return vae, st["step"]
