"""Checks of the training stream and of the few figures that evaluation rests on.  Run: python test_pretrain.py

The proof that no evaluation pair occurs in training: evaluation inputs are drawn from the reserved grids
only, and no clip starts with a reserved grid.  Here both halves are checked on what is really produced:
pixels of the mixture, the pairs of evaluate.py, and the folders that `vdm tasks` writes (the environment's
VDM names the program, build/vdm otherwise).
"""
import copy
import functools
import glob
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from diffusers import CogVideoXTransformer3DModel
from PIL import Image

import adapt
import captions
import evaluate
import families
import vae_phase
from ahead import Ahead
from buffer import ROW, Ring, fresh, pack, unpack
from carry import carried
from convert import converted
from grids import (EVALUATED, EVALUATED_1D, GRID_FAMILIES, PALETTE, bits, content, draw_rows, draw_rules, fnv1a,
                   grid_clips, reserved, symmetry)
from model import Dit, prompt_embeds
from phase_parts import (CELLS_CONFIG, LATENT_C, TEXT_DIM, Muon, Pace, decode, encode, new_transformer, new_vae,
                         one_chunk, to_float)
from restore import restore
from smooth import SMOOTH_FAMILIES
from transformer_phase import MOTION, load_ema, timesteps

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
passed = failed = 0


def check(ok, what):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    print(("ok      " if ok else "FAILED  ") + what)


def read_grids(frames, tolerance=0):
    """uint8 [B,64,64,3] -> cells [B,8,8] and which frames really are 8x8 grids in the palette."""
    c = frames.reshape(-1, 8, 8, 8, 8, 3)
    flat = (np.ptp(c.astype(int), axis=(2, 4)) <= tolerance).all((1, 2, 3))
    dist = np.abs(c[:, :, 0, :, 0, None].astype(int) - PALETTE.astype(int)).max(-1)
    return dist.argmin(-1).astype(np.uint8), flat & (dist.min(-1) <= tolerance).all((1, 2))


def stream(n):
    rng, bad, grids, seen = np.random.default_rng(99), 0, 0, set()
    for _ in range(n // 256):
        clips, _ = families.mixture(rng, 256)
        g, ok = read_grids(clips[:, 0])
        bad += int((reserved(g) & ok).sum())
        grids += int(ok.sum())
        seen.update(x.tobytes() for x in g[ok])
    check(grids > n // 4 and bad == 0, f"no clip of {n} starts with a reserved grid ({grids} start with a grid)")
    return seen


def evaluation(seen):
    for task in evaluate.TASKS:
        x, y = evaluate.pairs(task, 80, 42)
        check(bool(reserved(x).all()) and not any(a.tobytes() in seen for a in x),
              f"{task}: evaluation inputs are reserved, and none was met in the stream")
        back, ok = read_grids(evaluate.video(x, y)[:, -1])
        check(bool(ok.all()) and bool((back == y).all()), f"{task}: the last frame reads as the answer")


def is_row(x):
    """Inputs of elementary automata: 1 dead, 2 alive in row 0, both of them; nothing below."""
    return (x[:, 1:] == 0).all((1, 2)) & (x[:, 0] >= 1).all(1) & (x[:, 0] <= 2).all(1) & (np.ptp(x[:, 0], 1) == 1)


def folders(seen):
    vdm = os.environ.get("VDM", os.path.join(ROOT, "build", "vdm"))
    check(os.access(vdm, os.X_OK), f"{vdm} is built")
    if not os.access(vdm, os.X_OK):
        return
    first = np.stack([np.frombuffer(x, np.uint8).reshape(8, 8) for x in seen])
    check(not is_row(first).any(), "no clip starts with a row of an elementary automaton")
    table = subprocess.run([vdm, "tasks"], check=True, capture_output=True, text=True).stdout.split("\n\n")[0]
    for name, metric in (line.split()[:2] for line in table.splitlines()[1:]):
        if metric != "cells":
            continue
        with tempfile.TemporaryDirectory() as d:
            subprocess.run([vdm, "tasks", name, "-n", "10", "--tests", "20", "-o", d], check=True, capture_output=True)
            files = sorted(glob.glob(os.path.join(d, "*", "*.in.ppm")))
            x, ok = read_grids(np.stack([np.asarray(Image.open(f)) for f in files]))
        ours = is_row(x) if name.startswith("rule-") else reserved(x)
        check(len(files) == 30 and bool(ok.all()) and bool(ours.all()) and not any(a.tobytes() in seen for a in x),
              f"vdm tasks {name}: its inputs are evaluation's, and none was met in the stream")


def rules():
    rng = np.random.default_rng(5)
    birth, keep = draw_rules(rng, 200_000)
    bad = {(bits(b), bits(k)) for b, k in EVALUATED}
    check(not bad & set(zip(birth.tolist(), keep.tolist())), "no evaluated rule of life among 200,000")
    check(not EVALUATED_1D & set(draw_rows(rng, 20_000).tolist()), "no evaluated elementary rule among 20,000")
    check(fnv1a(np.arange(64, dtype=np.uint8).reshape(1, 8, 8))[0] == fnv_plain(range(64)), "FNV-1a as it is defined")
    share = reserved(rng.integers(0, 10, (80_000, 8, 8)).astype(np.uint8)).mean()
    check(abs(share - 1 / 8) < .005, f"an eighth is reserved ({share:.4f})")


def fnv_plain(cells):
    h = 2166136261
    for c in cells:
        h = ((h ^ c) * 16777619) % 2 ** 32
    return h


def shape_of_things():
    rng = np.random.default_rng(7)
    for f, name in enumerate(families.NAMES):
        v, words = families.clips(rng, f, 6)
        check(words.shape == (6, captions.WORDS) and words.max() < captions.FAMILIES * captions.SLOTS * captions.VALUES,
              f"{name}: captions")
        check(v.shape == (6, 9, 64, 64, 3) and v.dtype == np.uint8, f"{name}: shape")
    check(all(k in families.NAMES for _, kin in families.KIN.values() for k in kin), "kin are families")
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "README.md")) as f:
        text = f.read()
    for f in GRID_FAMILIES + SMOOTH_FAMILIES:
        line = f"| {f.__name__} | {' '.join(f.__doc__.split())} |"
        check(line in text, f"{f.__name__}: listed in README.md as its code says")
    for task, (grade, kin) in families.KIN.items():
        check(f"| {task} | {grade} | {', '.join(kin)} |" in text, f"{task}: kinship listed in README.md")
    check(all(families.MOTION.shares[families.NAMES.index(k)] == 0 < families.CELLS.shares[families.NAMES.index(k)]
              for _, kin in families.CELLS_KIN.values() for k in kin), "CELLS_KIN: families that CELLS alone has")
    for f in GRID_FAMILIES:
        v, words = grid_clips(rng, 64, f, 8)
        check((words[:, 0] >= 0).mean() > .5, f"{f.__name__}: most clips have a caption")
        moved = (v[:, 0] != v[:, -1]).any((1, 2, 3)).mean()
        check(moved == 0 if f.__name__ == "still" else moved > .5, f"{f.__name__}: something happens ({moved:.2f})")
    a, words = families.mixture(np.random.default_rng(3), 32)
    b, again = families.mixture(np.random.default_rng(3), 32)
    s, nothing = families.mixture(np.random.default_rng(3), 32, still=True)
    check(bool((a == b).all() and (words == again).all()), "the same seed, the same clips")
    check(bool((nothing == -1).all()), "stills have no captions")
    check(bool((s == s[:, :1]).all()), "stills stand still")


def text():
    """Words tell rules apart: the same recolouring twice, and with one colour changed."""
    none = [-1] * 10
    rules = [none[:3] + [x] + none[4:] for x in (5, 5, 6)]
    words = captions.caption(3, 10, np.array(rules).T, (np.array([True, True, False]),))
    e = captions.Text()(words)
    check(e.shape[1:] == (captions.TOKENS, TEXT_DIM), "a token a word")
    check(bool((e[0] == e[1]).all()) and bool((e[0] != e[2]).any(-1).sum() == 2), "equal rules, equal tokens; others, others")
    check((e != 0).any(-1).sum(1).tolist() == [3, 3, 2], "family, rule, and time where it is true; then nothing")
    check(len(GRID_FAMILIES) < captions.FAMILIES, "every grid family has words")


def cells():
    """The converted model is the old one on a picture whose latents are repeated 2x2, and so on as many tokens."""
    old, new = new_transformer(5), new_transformer(6, CELLS_CONFIG)
    torch.nn.init.normal_(old.proj_out.weight)
    new.load_state_dict(converted(old.state_dict()))
    big, small = Dit(old, bf16=False), Dit(new, bf16=False)
    big.rope = small.rope                                   # 8x8 tokens
    x, image = torch.randn(2, 4, LATENT_C, 8, 8), torch.randn(2, LATENT_C, 8, 8)
    grown = lambda a: a.repeat_interleave(2, -1).repeat_interleave(2, -2)
    t = torch.tensor([999, 500])
    with torch.no_grad():
        a, b = small(x, image, t), big(grown(x), grown(image), t)
    b = b.unflatten(-1, (8, 2)).unflatten(-3, (8, 2)).mean((-1, -3))
    check(bool((a - b).norm() < 1e-4 * b.norm()), "a token a cell: what the old model does on cells four times as large")


def views():
    """Prompts of views, and clips turned as vdm turns grids."""
    prompts = captions.view_prompts(32)
    apart = torch.cdist(prompts.flatten(1), prompts.flatten(1)) + 99 * torch.eye(32)
    check(bool((prompts[0] == prompt_embeds()[0]).all()) and apart.min() > 1, "32 prompts, the first the model's own")
    text, a = captions.ViewedText()(np.full((2, captions.WORDS), -1, np.int16)), np.arange(64).reshape(1, 8, 8) % 10
    check(text.shape == (2, 2 + captions.TOKENS, TEXT_DIM), "the view comes before the caption")
    for v in evaluate.views(9):
        back = evaluate.undone(evaluate.seen(a, v), v)
        check(bool((back == a).all()), f"view {v[0]}: undone")
    clips, words = families.mixture(np.random.default_rng(9), 128, mix=families.CELLS._replace(turned=False))
    seen, turned_words = families.turned(np.random.default_rng(1), clips, words)
    same = all((evaluate.seen(c[..., k], (op, np.arange(256))) == s[..., k]).all()
               for c, s, op in zip(clips, seen, turned_words[:, -1]) for k in range(3))
    check(same and len(set(turned_words[:, -1].tolist())) == 8, "clips in all eight symmetries, each as its word has it")
    grids, ok = read_grids(seen[:, 0])
    check(not (reserved(grids) & ok).any(), "none of them begins with a reserved grid")
    seq, (n, _, _, op) = symmetry(np.random.default_rng(4), 64, 8)
    whole = np.flatnonzero(n == 8)
    same = all((evaluate.seen(seq[i, :1], (op[i], np.arange(256)))[0] == seq[i, 1]).all() for i in whole)
    check(same and len(set(op[whole].tolist())) == 7, "symmetry: of the whole picture what vdm's views show")


def adapted():
    """The clips of adapt.py: grids with captions, none reserved."""
    cells, words = adapt.clips(96, 1)
    g, ok = read_grids(cells[:, 0].astype(np.uint8).repeat(8, 1).repeat(8, 2))
    check(cells.shape == (96, 9, 8, 8, 3) and bool((words[:, 0] >= 0).all() and ok.all()) and not reserved(g).any(),
          "adapt.py: grids with captions, none of them reserved")


def captions_fit():
    """Colours that changed became what the caption of that clip says, and no other clip's.  Clips that change all at
    once: in steps a colour drawn twice becomes one first, then that of its word."""
    clips, words = grid_clips(np.random.default_rng(8), 128, next(f for f in GRID_FAMILIES if f.__name__ == "recolour"))
    (x, ok), (y, there) = read_grids(clips[:, 0]), read_grids(clips[:, -1])
    use = ok & there & (words[:, 11] >= 0)
    x, y, becomes = x[use], y[use], words[use, 1:11] % captions.VALUES
    expected = np.take_along_axis(becomes, x.reshape(len(x), -1).astype(int), 1).reshape(x.shape)
    moved = x != y
    check(moved.sum() > 500 and bool((expected[moved] == y[moved]).all()),
          f"recolour: {moved.sum()} cells of {len(x)} clips became what their captions have")


def ring(path, where):
    def draws_captioned(r):
        z, words = r.draw(50, captioned=True)
        return bool((z == 2).all() and (words == 2).all())

    r = Ring(10, path)
    for i, word in ((1, -1), (2, 2)):
        r.put(i * torch.ones((7,) + ROW), np.full((7, captions.WORDS), word, np.int16))
    z, words = r.draw(200)
    z = z[:, 0, 0, 0, 0]
    check(r.have == 10 and r.at == 4 and set(z.tolist()) == {1, 2}, f"ring {where}: the oldest clips make way")
    check(bool((words[:, 0] == torch.where(z == 1, -1, 2)).all()), f"ring {where}: a clip keeps its caption")
    check(draws_captioned(r), f"ring {where}: only captioned clips if asked")
    r.flush()
    back = Ring(10, path)
    back.restore(r.meta())
    if path:
        check(back.have == 10 and bool((back.data == r.data).all()) and draws_captioned(back), f"ring {where}: comes back")
    else:
        check(back.have == 0, f"ring {where}: begins empty")


def packing():
    v, _ = families.mixture(np.random.default_rng(4), 64, group=2)
    packed = pack(v)
    check(bool((unpack(packed, "cpu").numpy() == v).all()) and 0 < packed[0].sum() < 64, "packed and unpacked: the same clips")


def vae():
    """one_chunk changes no value; a clip that repeats a frame has that frame's latents; what carry_time is for."""
    torch.manual_seed(5)
    x, near = torch.randn(2, 3, 9, 64, 64), lambda a, b: ((a - b).abs().max() / b.abs().max()).item() < 1e-4
    with torch.no_grad():
        slow, fast = new_vae(), one_chunk(new_vae())
        for v in (x, x[:, :, :1]):
            z = encode(slow, v)
            check(near(encode(fast, v), z), f"one_chunk, {v.size(2)} frames: the same latents")
            check(near(decode(fast, z), decode(slow, z)), f"one_chunk, {v.size(2)} frames: the same pixels")
        alone, repeated = encode(fast, x[:, :, :1]), encode(fast, x[:, :, :1].expand(-1, -1, 9, -1, -1))
        check(near(alone.expand_as(repeated), repeated), "a frame repeated: the latents of the frame")
        grid = to_float(PALETTE[np.random.default_rng(6).integers(0, 10, (2, 8, 8))].repeat(8, 1).repeat(8, 2)[None])
        flash = []
        for at in (5, 6):                                   # one of the four frames of the last latent
            clip = grid[:, :, :1].repeat(1, 1, 9, 1, 1)
            clip[:, :, at] = grid[:, :, 1]
            flash.append(encode(fast, clip)[:, :, 2])
        apart = ((flash[0] - flash[1]).std() / flash[0].std()).item()
        check(apart > .1, f"carry_time: which of a pair of frames is another can be seen before any training ({apart:.3f})")


def models_return():
    """An exported model as a state; carried to a VAE whose latents are turned, the transformer turns what it says."""
    tiny = os.path.join(ROOT, "models", "tiny")
    with tempfile.TemporaryDirectory() as d:
        restore(tiny, d)
        (vae, _), (net, step) = vae_phase.load_ema(d), load_ema(d, "motion")
    with open(os.path.join(tiny, "README.md")) as f:
        check(f"transformer {step:,} steps" in f.read(), "an exported model as a state: its step")
    shipped = CogVideoXTransformer3DModel.from_pretrained(os.path.join(tiny, "transformer"), torch_dtype=torch.float32)
    check(all(bool((p == q).all()) for p, q in zip(net.parameters(), shipped.parameters())), "and its weights")
    g = torch.Generator().manual_seed(9)
    turn = torch.linalg.qr(torch.randn(LATENT_C, LATENT_C, generator=g))[0]
    turned, conv = copy.deepcopy(vae), vae.encoder.conv_out.conv
    with torch.no_grad():
        turned.encoder.conv_out.conv.weight[:LATENT_C] = torch.einsum("ij,jcthw->icthw", turn, conv.weight[:LATENT_C])
        turned.encoder.conv_out.conv.bias[:LATENT_C] = turn @ conv.bias[:LATENT_C]
    other = new_transformer()
    other.load_state_dict(carried(dict(net.named_parameters()), vae, turned, noise=1e-3))
    x, image = torch.randn(4, 4, LATENT_C, 8, 8, generator=g), torch.randn(4, LATENT_C, 8, 8, generator=g)
    t = torch.tensor([0, 400, 900, 999])
    with torch.no_grad():
        of_turned = lambda z, axis: torch.movedim(torch.tensordot(turn, z, ([1], [axis])), 0, axis)
        want = of_turned(Dit(net, bf16=False)(x, image, t), 2)
        have = Dit(other, bf16=False)(of_turned(x, 2), of_turned(image, 1), t)
    off = ((have - want).norm() / want.norm()).item()
    check(off < .01, f"carried to turned latents: the turned velocity ({off:.3f})")


def muon():
    """As torch.optim.Muon, up to bf16; matrices of one shape are one batch."""
    torch.manual_seed(6)
    ours = [torch.nn.Parameter(torch.randn(n)) for n in ((64, 32), (32, 32), (64, 32), (16, 4, 3, 3))]
    theirs = [torch.nn.Parameter(p.detach().clone().flatten(1)) for p in ours]
    a, b = Muon(ours, 0.01), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.01, momentum=0.95)
    for _ in range(3):
        for p, q in zip(ours, theirs):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.flatten(1)
        a.step(0.02)
        b.step()
    worst = max(((p.flatten(1) - q).norm() / (q.norm() * 0.02)).item() for p, q in zip(ours, theirs))
    check(worst < .05, f"Muon: as PyTorch's ({worst:.4f} of a step)")


def pace():
    p = Pace(10)
    check([p.share(s) for s in (0, 5, 10)] == [0, .5, 1], "a run by steps")
    p = Pace(10, seconds=1e-9)
    p.share(0)
    check(p.share(0) >= 1, "a run by seconds")


def noise_levels():
    torch.manual_seed(1)
    plain, captioned = (timesteps(5000, pure).numpy() for pure in (0, MOTION.pure))
    check(bool((np.bincount(plain, minlength=1000) == 5).all()), "t is uniform without captions")
    check(abs((captioned == 999).mean() - MOTION.pure) < .02 and captioned.min() < 5, "with captions t = 999 has its share")


def ahead_of_time():
    """Other processes make what this one would from the same seeds, in the same order."""
    rng, same = np.random.default_rng(11), np.random.default_rng(11)
    clips = Ahead(functools.partial(fresh, n=8, still=False), 2)
    for i in range(4):
        packed, made_words = clips(rng)
        v, words = families.mixture(np.random.default_rng(int(same.integers(2 ** 63))), 8, group=1)
        check(bool((unpack(packed, "cpu").numpy() == v).all() and (made_words == words).all()),
              f"clips made ahead, {i}: what their seed gives")
    clips.close()
    alone = Ahead(functools.partial(fresh, n=8, still=False), 0)
    packed, _ = alone(np.random.default_rng(12))
    v, _ = families.mixture(np.random.default_rng(12), 8, group=1)
    check(alone.ready(rng) and bool((unpack(packed, "cpu").numpy() == v).all()), "by this process: what its own numbers say")


if __name__ == "__main__":
    shape_of_things()
    text()
    cells()
    views()
    adapted()
    captions_fit()
    with tempfile.TemporaryDirectory() as d:
        ring(os.path.join(d, "r"), "on disk")
    ring(None, "in memory")
    packing()
    vae()
    models_return()
    muon()
    pace()
    noise_levels()
    ahead_of_time()
    rules()
    seen = stream(int(sys.argv[1]) if len(sys.argv) > 1 else 2048)
    evaluation(seen)
    folders(seen)
    print(f"pretrain: {passed} passed, {failed} failed")
    sys.exit(failed > 0)
