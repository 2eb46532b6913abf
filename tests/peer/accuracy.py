"""How far every tensor of vdm golden is from float64, next to PyTorch's: models of the published width with bf16
weights, diffusers and peft in float64 as the truth. Prints every precision by kind of tensor, and with --write makes
tools/golden/tolerances.h, from which `vdm compare` takes the tolerances. Takes some minutes; `make peer` leaves it out.

Learning is measured with the embedded model too, whose weights are trained: its gradients of q and k are small
differences of large numbers, and where a gradient is near 0, AdamW makes a whole step of its rounding error.

    python tests/peer/accuracy.py [--seed N] [--write]

A kind is a name with its numbers left out; its error is the largest of the tensors that have it. Vdm is compared with
PyTorch tensor by tensor; in learning by the median error of some draws of inputs: one draw of a loss is a single rounding,
and one number of an adapter whose gradient happens to be 0 but for rounding decides about all of that draw's error."""

import argparse
import copy
import math
import re
import statistics

import torch
from diffusers import CogVideoXTransformer3DModel
from safetensors.torch import load_file

import golden
from common import FF_TARGETS, LORA_TARGETS, ROOT, Cases, add_lora, distance, lora_parameters, save, save_lora, scheduler, transformer, vae

WIDE = dict(
    num_attention_heads=48,
    attention_head_dim=64,
    time_embed_dim=512,
    ofs_embed_dim=512,
    text_embed_dim=4096,
    max_text_seq_length=226,
    sample_height=16,
    sample_width=24,
    sample_frames=9,
)
CHANNELS = dict(block_out_channels=(128, 256, 256, 512), layers_per_block=3, norm_num_groups=32)
SIZE = ("--size", "128x192")
DRAWS = 9  # of inputs to learn from
RANK_ALPHA = 4, 8  # of the adapter that the embedded model learns
UPDATE = "--clip", 1, "--weight-decay", 1e-4  # those of golden.learn
PARTIES = ("PyTorch f32", "PyTorch bf16", "vdm f32", "vdm bf16", "vdm amx")


def kind_of(name):
    """step.1.transformer_blocks.17.ff.net.0 -> transformer_blocks.*.ff.net.*, as tools/golden/tolerances.c does."""
    name = re.sub(r"^((step|batch|chunk)\.\d+\.|tile\.\d+\.\d+\.|encode\.|decode\.)+", "", name)
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name)


class Table:
    """By kind the largest error of each party, in the order in which the kinds came."""

    def __init__(self):
        self.kinds, self.judged, self.halves = {}, {}, {"vdm bf16": [], "vdm amx": []}

    def add(self, truth, given, judged):
        """truth: tensors in float64; given: party -> tensors; judged: vdm's errors are compared with PyTorch's."""
        for name, t in truth.items():
            errors = {p: distance(v[name].reshape(t.shape), t) for p, v in given.items() if name in v}
            row = self.kinds.setdefault(kind_of(name), {})
            for party, e in errors.items():
                row[party] = max(row.get(party, 0), e)
            for party, ratios in self.halves.items():
                if party in errors and errors["PyTorch bf16"]:
                    ratios.append(errors[party] / errors["PyTorch bf16"])
            if judged and "vdm f32" in errors:
                self.judged.setdefault(name, []).append((errors["vdm f32"], errors["PyTorch f32"]))

    def ratios(self):
        """(vdm f32's error over PyTorch f32's, name), the worst first; errors are medians over the draws."""
        medians = ((*map(statistics.median, zip(*draws)), name) for name, draws in self.judged.items())
        return sorted(((ours / theirs, name) for ours, theirs, name in medians if theirs), reverse=True)

    def show(self):
        print(f"{'':52}" + "".join(f"{p:>14}" for p in PARTIES))
        for kind, row in self.kinds.items():
            print(f"{kind:52}" + "".join(f"{row[p]:14.2e}" if p in row else f"{'':14}" for p in PARTIES))

    def write(self, path):
        """What a port may be off from vdm: as good as PyTorch, it is hypot(PyTorch's error, vdm's) away."""
        lines = ["/* made by tests/peer/accuracy.py: don't edit */"]
        for kind, row in self.kinds.items():
            e = [row.get(p, 0) for p in PARTIES]
            lines.append(f'{{"{kind}", {math.hypot(e[0], e[2]):.2g}, {math.hypot(e[1], e[3]):.2g}, {e[2]:.2g}}},')
        path.write_text("\n".join(lines) + "\n")


def measure(c, table, what, folder, words, run, precisions=("f32", "bf16", "amx"), judged=True, only=""):
    """One golden: run(inputs, dtype) gives diffusers' tensors; those count whose names match `only`."""
    files = {p: golden.golden(c, folder, f"{what}-{p}", "--what", what, "--precision", p, *words) for p in precisions}
    inputs = load_file(files["f32"])
    given = {f"vdm {p}": load_file(f) for p, f in files.items()}
    for p, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        if p in precisions:
            given[f"PyTorch {p}"] = run(inputs, dtype)
    truth = run(inputs, torch.float64)
    table.add({k: v for k, v in truth.items() if k in inputs and re.search(only, k)}, given, judged)
    print(f"{what}: {len(inputs)} tensors", flush=True)


def hooked(model, what):
    def run(inputs, dtype):
        with torch.no_grad():
            return golden.torch_hooks.run(copy.deepcopy(model), inputs, what, dtype).tensors

    return run


def learner(model):
    return lambda inputs, dtype: golden.learn(copy.deepcopy(model).to(dtype), inputs, 2)


def embedded_learner(c, targets):
    """Three steps of models/tiny from the adapter that the golden holds."""
    model = CogVideoXTransformer3DModel.from_pretrained(ROOT / "models" / "tiny" / "transformer", dtype=torch.float32)
    add_lora(model, *RANK_ALPHA, c.rng, targets)

    def run(inputs, dtype):
        learning = copy.deepcopy(model).to(dtype)
        for name, p in lora_parameters(learning).items():
            p.data.copy_(inputs[name.replace("transformer.", "adapter.", 1)])
        return golden.learn(learning, inputs, 3)

    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--write", action="store_true", help="tools/golden/tolerances.h")
    o = parser.parse_args()
    with Cases("accuracy", o.seed) as c:
        table = Table()
        coder = vae(c.rng, **CHANNELS)
        folder = save(c.folder / "vae", None, coder, scheduler(), torch.bfloat16)
        for what in ("vae-encode", "vae-decode"):
            measure(c, table, what, folder, ("--size", "48x64", "--frames", 9), hooked(coder, what))
        model = transformer("1.5-5B-I2V", c.rng, **WIDE)
        folder = save(c.folder / "model", model, None, scheduler(), torch.bfloat16)
        measure(c, table, "transformer", folder, SIZE, hooked(model, "transformer"))
        add_lora(model, 64, 32, c.rng)
        adapter = save_lora(model, c.folder)
        for seed in range(DRAWS):
            words = (*SIZE, "--batch", 1, "--steps", 2, "--lora", adapter, "--seed", seed, *UPDATE)
            measure(c, table, "train", folder, words, learner(model), ("f32",))
        for seed in range(128):  # one weak gradient in some thousands decides: every seed has others
            words = ("--batch", 2, "--steps", 3, "--rank", RANK_ALPHA[0], "--alpha", RANK_ALPHA[1], "--seed", seed, *UPDATE)
            tiny = ROOT / "models" / "tiny"
            measure(c, table, "train", tiny, words, embedded_learner(c, LORA_TARGETS), ("f32",), judged=False)
            both = LORA_TARGETS + FF_TARGETS
            words += ("--targets", "attn,ff")
            measure(c, table, "train", tiny, words, embedded_learner(c, both), ("f32",), False, r"ff\.net.*lora")
        table.show()
        ratios = table.ratios()
        median = statistics.median(r for r, _ in ratios)
        print(f"vdm f32 over PyTorch f32: median {median:.2f}; " + "; ".join(f"{n} {r:.2f}" for r, n in ratios[:8]))
        for party, halves in table.halves.items():
            print(f"{party} over PyTorch bf16: median {statistics.median(halves):.2f}, worst {max(halves):.2f}")
            c.check(f"{party} is as accurate as PyTorch bf16 in the median", statistics.median(halves) <= 1)
        c.check("vdm f32 is as accurate as PyTorch f32 in the median", median <= 1, f"{median:.3f}")
        c.check("vdm f32 is never more than 2 x worse", ratios[0][0] <= 2, f"{ratios[0][0]:.2f} at {ratios[0][1]}")
        if o.write:
            table.write(ROOT / "tools" / "golden" / "tolerances.h")
