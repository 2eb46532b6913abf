"""Phase 1: the VAE, on procedural clips.

Objective: L1 + L2 on pixels, decoded from the latent mean plus noise whose size is drawn per clip in
0..NOISE (so that codes keep apart and the decoder forgives the transformer's small errors), plus a penalty
that keeps every latent channel at mean 0 and variance 1.  The posterior's variance is a constant.
Whole clips, since GroupNorm sees the whole.  Image conditions are encoded alone: a clip that repeats one frame has the
very latents of that frame alone, so an eighth of the clips are such.

Frames that differ within a latent (four to one) are the hard part: a network that has learnt single frames stays
with their average for long.  Two terms help: the error of the difference between neighbouring frames, and a probe:
one linear map must read the mean colours of the four frames of every 8x8 block from the latent.
"""
import functools
import os
import time

import numpy as np
import torch
import torch.nn.functional as tf

import families
from ahead import Ahead
from buffer import pack, unpack
from grids import GRID_FAMILIES, PALETTE
from phase_parts import (LATENT_C, Ema, Every, Log, Optimiser, Pace, decode, device_of, encode, load, new_vae, one_chunk,
                         random_state, restore_random, save_atomic, to_float)

STEPS, BATCH, AHEAD = 12_000, 16, 16                        # AHEAD: steps whose clips are made at once
FALLING = 0.5                                               # share of the run in which the rates fall, to 0
EXACT = 0.08                                                # share at the end without bf16
MUON_LR, ADAM_LR, WARMUP, NOISE = 2e-3, 6e-4, 100, 0.12
EVAL_EVERY = 1000
FIELDS = ["step", "loss", "l1", "probe", "stat", "rate", "psnr", "cells", "psnr_noisy", "cells_noisy", "clips_per_s",
          "time"]


def batches(rng, n):
    """Clips for AHEAD steps, packed: of every n clips an eighth repeats one frame."""
    moving, still = n * 7 // 8 * AHEAD, (n - n * 7 // 8) * AHEAD
    clips = np.concatenate([families.mixture(rng, moving, group=4)[0],
                            families.mixture(rng, still, group=4, still=True)[0]])
    order = np.arange(moving + still).reshape(-1, AHEAD).T.ravel()      # the same share in every step
    of = rng.permutation(moving), moving + rng.permutation(still)
    return pack(clips[np.concatenate(of)[order]])


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


def losses(vae, probe, x, bf16):
    """Pixels [B,3,9,64,64] -> loss, and what it consists of."""
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=bf16):
        z = encode(vae, x).float()
        s = torch.rand(len(x), 1, 1, 1, 1, device=x.device) * NOISE
        y = decode(vae, z + s * torch.randn_like(z)).float()
    err = y - x
    l1 = err.abs().mean()
    jumps = (err[:, :, 1:] - err[:, :, :-1]).abs().mean()
    zc = z.transpose(0, 1).flatten(1)
    stat = (zc.mean(1) ** 2 + (zc.var(1) - 1) ** 2).mean()
    read = (probe(z) - block_colours(x)).abs().mean()
    return l1 + err.square().mean() + jumps + 0.05 * stat + 2 * read, torch.stack([l1, read, stat]).detach()


def run(state_dir, stop, threads, device, workers, seconds=None, save_seconds=300):
    """Train, or go on training; False if asked to stop before the end."""
    path = os.path.join(state_dir, "vae.pt")
    st = load(path)
    if st and st.get("done"):
        return True
    vae = one_chunk(new_vae().to(device))
    # the log variance's rows stand in conv_out of the encoder and don't move: not for Muon, which mixes rows
    opt = Optimiser(vae, MUON_LR, ADAM_LR, (0.9, 0.99), adam_too=["encoder.conv_out.conv.weight"])
    ema, rng, step = Ema(vae, 0.999), np.random.default_rng(1), 0
    probe = torch.nn.Conv3d(LATENT_C, 12, 1).to(device)
    probe_opt = torch.optim.Adam(probe.parameters(), lr=2e-3)
    pace = Pace(STEPS, seconds)
    if st:
        vae.load_state_dict(st["model"])
        ema.restore(st["ema"])
        step = st["step"]
        pace.spent = st["spent"]
        opt.load_state_dict(st["opt"])
        rng.bit_generator.state = st["rng"]
        restore_random(st)
        probe.load_state_dict(st["probe"])
        probe_opt.load_state_dict(st["probe_opt"])

    def save(done=False):
        save_atomic(dict(model=vae.state_dict(), opt=opt.state_dict(), ema=ema.w, step=step, spent=pace.spent, done=done,
                         probe=probe.state_dict(), probe_opt=probe_opt.state_dict(),
                         rng=rng.bit_generator.state, **random_state()), path)
    log, due = Log(os.path.join(state_dir, "vae.csv"), FIELDS), Every(save_seconds)
    clips, grids, truth = held_out()
    held = (clips.to(device), grids.to(device), truth)
    made, ready = Ahead(functools.partial(batches, n=BATCH), workers), []
    logvar = vae.encoder.conv_out.conv
    seen, t0, sums = 0, time.monotonic(), []
    while (share := pace.share(step)) < 1 and not stop.asked:
        if not ready:
            threads.adapt()
            ready = list(unpack(made(rng), device).split(BATCH))
        x = to_float(ready.pop(), device)
        loss, parts = losses(vae, probe, x, share < 1 - EXACT)
        probe_opt.zero_grad()
        loss.backward()
        probe_opt.step()
        logvar.weight.grad[LATENT_C:] = 0                   # the log variance stays what it is
        logvar.bias.grad[LATENT_C:] = 0
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        rate = min(1, (step + 1) / WARMUP, (1 - share) / FALLING)
        opt.step(rate)
        step += 1
        ema.update(vae, step)
        seen += len(x)
        sums.append(torch.cat([loss.detach()[None], parts]))
        if step % 100 == 0:
            row = dict(zip(("loss", "l1", "probe", "stat"), torch.stack(sums).mean(0).tolist()))
            dt = time.monotonic() - t0
            if step % EVAL_EVERY == 0:
                ema.swap(vae)
                row["psnr"], row["cells"] = evaluate(vae, held)
                row["psnr_noisy"], row["cells_noisy"] = evaluate(vae, held, 0.2)
                ema.swap(vae)
            log.row(step=step, rate=rate, clips_per_s=seen / dt, time=time.strftime("%Y-%m-%dT%H:%M:%S"), **row)
            sums, seen, t0 = [], 0, time.monotonic()
        if due():
            save()
    done = share >= 1
    if done:                                                # the rate has come down to 0: no mean is better
        ema = Ema(vae, 0.999)
        psnr, right = evaluate(vae, held)
        log.row(step=step, psnr=psnr, cells=right, rate=0.0, time=time.strftime("%Y-%m-%dT%H:%M:%S"))
    save(done)
    made.close()
    return done


@torch.no_grad()
def channel_scale(vae, n=128):
    """Standard deviation of each latent channel over n clips of the mixture: [16]."""
    clips, _ = families.mixture(np.random.default_rng(4242), n, group=2)
    z = torch.cat([encode(vae, c) for c in to_float(clips, device_of(vae)).split(16)])
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


def load_ema(state_dir, device="cpu"):
    """The trained VAE (EMA weights) with unit variance in every channel, for encoding and export."""
    path = os.path.join(state_dir, "vae.pt")
    st = load(path)
    vae = new_vae()
    with torch.no_grad():
        for k, p in vae.named_parameters():
            p.copy_(st["ema"][k])
    vae.to(device).eval().requires_grad_(False)
    if st.get("scale") is None:
        st["scale"] = channel_scale(vae).cpu()
        save_atomic(st, path)
    fold_scale(vae, st["scale"].to(device))
    return vae, st["step"]
