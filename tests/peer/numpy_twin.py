"""python/twin.py, with numpy alone, against vdm: on goldens of models/tiny it must give every tensor, each
within what `vdm compare` expects; velocities of random models of all variants are compared with diffusers in
float64. Then mistakes are planted, in what it wrote and in the program, and compare must name the first."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import torch
from safetensors.torch import load_file, save_file

from common import ROOT, VARIANTS, Cases, both, options, save, transformer, vae, vdm, velocity
from golden import golden

TINY, TWIN = ROOT / "models" / "tiny", ROOT / "python" / "twin.py"
OTHERS = ("torch", "safetensors", "diffusers", "peft", "scipy", "ml_dtypes")  # what twin.py must do without
ALONE = f"import runpy, sys; sys.modules.update(dict.fromkeys({OTHERS})); del sys.argv[0]; "
ALONE += "runpy.run_path(sys.argv[0], run_name='__main__')"
F64 = 1e-7  # what rounding to float32 leaves of equal numbers is a third of it

# name: golden's words
GOLDENS = {
    "transformer": ("--batch", 2),
    "vae-encode": (),
    "vae-encode, two chunks": ("--frames", 17),
    "vae-encode, a picture": ("--frames", 1),
    "vae-decode": (),
    "vae-decode, two chunks": ("--frames", 17),
    "train": ("--batch", 2, "--steps", 3),
    "train, all of a step": ("--batch", 1, "--steps", 1, "--only", "*"),
    "train, feed-forward too": ("--batch", 1, "--steps", 2, "--targets", "attn,ff"),
    "train, clipped": ("--batch", 1, "--accumulate", 2, "--clip", 0.001, "--weight-decay", 1),
    "sample": ("--sample-steps", 7, "--sampler", "ddim"),
}

# golden, a piece of twin.py, what stands there instead, the first tensor that is wrong (a pattern)
BLOCK, GRADIENT = r"transformer_blocks\.0", r"step\.1\.grad\.transformer_blocks"
MISTAKES = [
    ("transformer", "shift, scale, gate = both", "scale, shift, gate = both", BLOCK + r"\.norm1"),
    ("transformer", "b * cos + a * sin", "b * cos - a * sin", BLOCK + r"\.attn1\.rope_q"),
    ("train", " - xhat * (g * xhat).mean(-1, keepdims=True)", "", GRADIENT + r"\.5"),
    ("train", "(1 - tanh**2) * ROOT", "ROOT", GRADIENT + r"\.4"),
    ("train", "(dP - (P * dP).sum(-1, keepdims=True))", "dP", GRADIENT + r"\.4"),
    ("train", "rope(dy, cos, -sin, L)", "rope(dy, cos, sin, L)", GRADIENT + r"\.4"),
    ("train", "dlora_mid = self.scale * dy @ B", "dlora_mid = dy @ B", GRADIENT + r"\.4"),
    ("train", "self.scale * dy[b].T", "dy[b].T", GRADIENT + r"\.0\.attn1\.to_q\.lora_B\.weight"),
    ("train", "np.sqrt(v / (1 - beta2**k)) + eps", "np.sqrt(v / (1 - beta2**k) + eps)", r"step\.1\.adapter\..*"),
    ("train", "x *= 1 - lr * decay", "pass", r"step\.1\.adapter\..*"),
    ("train", "* min(1, clip / (norm + 1e-6))", "", r"step\.1\.ada(pter|mw\.m)\..*"),
    ("vae-encode", "x[:1].repeat(2, 0)", "0 * x[:1].repeat(2, 0)", r"encoder\.conv_in"),
    ("vae-encode, two chunks", "self.past[name] = x[-2:]", "pass", r"chunk\.2\.encoder\.conv_in"),
    ("vae-decode", "normed * times", "normed * (1 + times)", r"decoder\.mid_block\.resnets\.0\.norm1"),
]


def twin(model, reference, program=TWIN):
    """What twin.py makes of a golden, and what it says."""
    out = reference.with_suffix(".twin")
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    words = [sys.executable, "-c", ALONE, program, model, reference, out]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    return out, done.stdout.strip() if done.returncode == 0 else f"failed: {done.stderr}"


def compare(reference, other):
    """Exit status, the first wrong tensor, {tensor: (distance, what it may be)}, all output."""
    done = subprocess.run([vdm(), "compare", reference, other, "--list"], capture_output=True, text=True)
    first = re.search("first to differ: (.*)", done.stdout)
    rows = re.findall(r"^ok +(\S+) +\[\S*\] +\S+ +\S+ +(\S+) +(\S+)", done.stdout, re.M)
    shares = {name: (float(a), float(b)) for name, a, b in rows}
    return done.returncode, first and first[1], shares, done.stdout + done.stderr


def agrees(c, what, model, reference):
    """Every tensor of the golden is there and within its tolerance; gives the twin's file."""
    other, output = twin(model, reference)
    names = load_file(reference).keys()
    status, first, rows, list_ = compare(reference, other) if other.exists() else (None, None, {}, "")
    missing = sorted(names - rows.keys())
    if status == 0 and not missing:
        share, worst = max((a / b, name) for name, (a, b) in rows.items() if b)
        report = f"{len(rows)} of {len(names)} agree, at most {share:.2f} of what may be: {worst}"
    else:
        wrong = f"status {status}; not there or wrong: {missing[:10]}"
        report = "\n".join([wrong, output, *list_.splitlines()[-8:]])
    c.check(f"twin: {what}", status == 0 and not missing, report)
    return other


def check_tiny(c):
    made = {}
    for name, words in GOLDENS.items():
        seed, what = c.integer(0, 2**31 - 1), name.split(",")[0]
        file = re.sub(r"\W+", "-", name)
        made[name] = golden(c, TINY, file, "--what", what, "--seed", seed, *words)
        agrees(c, f"{name}, seed {seed}", TINY, made[name])
    return made


def check_scheduler(c):
    """A schedule of other timesteps, whose last step ends at the first alpha."""
    folder = pathlib.Path(shutil.copytree(TINY, c.folder / "scheduled"))
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_train_timesteps": 500, "set_alpha_to_one": False}))
    words = "--what", "sample", "--sample-steps", 7, "--sampler", "ddim"
    agrees(c, "sample, 500 timesteps, to the first alpha", folder, golden(c, folder, "scheduled", *words))


def check_variants(c):
    for variant in VARIANTS:
        model = transformer(variant, c.rng, num_attention_heads=3, sample_frames=9)
        folder = save(c.folder / variant, model, dtype=torch.bfloat16)
        reference = golden(c, folder, variant, "--size", "64x96", "--batch", 2)
        v, x = load_file(agrees(c, f"transformer of {variant}", folder, reference))["v"], load_file(reference)
        with torch.no_grad():
            truth = both(model, lambda m: velocity(m, x["x"], x["text"], x["t"]))[1]
        c.near(f"twin: {variant} against diffusers in float64", v, truth, F64)
    folder = save(c.folder / "vae", None, vae(c.rng))
    for what in ("vae-encode", "vae-decode"):
        reference = golden(c, folder, f"other-{what}", "--what", what, "--size", "32x48", "--frames", 17)
        agrees(c, f"{what} of a random VAE", folder, reference)


def check_written(c, made):
    """One tensor of the twin's file, a thousandth larger."""
    for name, reference in made.items():
        other = reference.with_suffix(".twin")
        tensors = load_file(other)
        wrong = c.choice([k for k, x in tensors.items() if x.any()])
        tensors[wrong] = tensors[wrong] * 1.001
        save_file(tensors, other, metadata={"precision": "f32"})
        status, first, _, _ = compare(reference, other)
        report = f"status {status}, first {first}"
        c.check(f"planted in {name}: {wrong}", status == 3 and first == wrong, report)


def check_mistakes(c, made):
    source = TWIN.read_text()
    for name, line, instead, expected in MISTAKES:
        program = c.folder / "mistaken.py"
        program.write_text(source.replace(line, instead))
        other, output = twin(TINY, made[name], program)
        status, first, _, _ = compare(made[name], other)
        ran = source.count(line) == 1 and output.endswith(" tensors")
        found = ran and status == 3 and re.fullmatch(expected, first)
        report = f"status {status}, first {first}" if ran else f"not planted, or it failed: {output}"
        c.check(f"planted: {line.strip()} -> {instead or 'nothing'}", found, report)


if __name__ == "__main__":
    o = options()
    with Cases("twin", o.seed) as c:
        made = check_tiny(c)
        check_scheduler(c)
        check_variants(c)
        check_written(c, made)
        check_mistakes(c, made)
