"""Tables of doc/measured-before.md, for new builds too, from the JSON files of bench_peer.py and growth.py.

    python python/bench_peer.py block.forward.1476 block.learn tiny --json f32.json
    python python/bench_peer.py block.forward.1476 block.learn tiny --precision bf16 --json bf16.json
    python python/growth.py --json growth.json
    python python/measured.py f32.json bf16.json growth.json

A file of --precision amx gives the table of AMX. A job that is in no file has "-" in its cells."""

import json
import pathlib
import sys

# What a row says; its job in f32, and with weights of bf16
ROWS = [
    ("block, forward", "block.forward.1476.f32", "block.forward.1476.bf16w"),
    ("block, forward, 2,700 + 226 tokens", "block.forward.2926.f32", "block.forward.2926.bf16w"),
    ("block, forward and backward, LoRA r = 64, all activations stored", "block.learn.stored.1476.f32", "block.learn.stored.1476.bf16w"),
    ("the same, activations recomputed", "block.learn.recomputed.1476.f32", "block.learn.recomputed.1476.bf16w"),
    ("the same, attention outputs stored", "block.learn.attention.1476.f32", "block.learn.attention.1476.bf16w"),
    ("`models/tiny`, training step", "tiny.learn", "tiny.learn"),
    ("`models/tiny`, sampling step with an unmerged adapter (PyTorch: merged)", "tiny.sample.16", "tiny.sample.16"),
    ("the same without an adapter", "tiny.sample.base", "tiny.sample.base"),
    ("VAE, encoding", "vae.f32.encode", "vae.bf16w.encode"),
    ("VAE, decoding", "vae.f32.decode", "vae.bf16w.decode"),
    ("attention, forward", "attention.1476", "attention.1476"),
    ("attention, backward", "attention.1476.backward", "attention.1476.backward"),
    ("matmul q, k, v", "matmul.qkv.f32", "matmul.qkv.bf16w"),
    ("matmul out", "matmul.out.f32", "matmul.out.bf16w"),
    ("matmul up", "matmul.up.f32", "matmul.up.bf16w"),
    ("matmul down", "matmul.down.f32", "matmul.down.bf16w"),
]  # fmt: skip


def peak(job):
    return f"{100 * job['vdm_share']['median']:.0f} %" if job and job["vdm_share"] else "-"


def speed(job):
    return "{median:.2f} ({min:.2f}-{max:.2f})".format(**job["ratio"]) if job else "-"


def memory(job):
    sizes = [job[k] for k in ("vdm_peak_bytes", "torch_peak_bytes")] if job else []
    return " / ".join(f"{b / 2**20:,.0f}" if b else "-" for b in sizes) or "-"


def milliseconds(job):
    return f"{1e3 * job['vdm_seconds']['median']:,.0f}" if job else "-"


def table(head, rows):
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        if any(cell != "-" for cell in row[1:]):
            print(f"| {' | '.join(row)} |")


def compared(jobs):
    pairs = [(what, jobs["f32"].get(a), jobs["bf16"].get(b)) for what, a, b in ROWS]
    table(
        ["job", "f32: peak", "f32: speed", "bf16: peak", "bf16: speed", "memory, f32", "memory, bf16"],
        [[what, peak(a), speed(a), peak(b), speed(b), memory(a), memory(b)] for what, a, b in pairs],
    )


def amx(jobs):
    triples = [(what, jobs["f32"].get(a), jobs["amx"].get(b)) for what, a, b in ROWS]
    table(
        ["job", "f32, ms", "amx, ms", "speed: PyTorch in bf16 / vdm in amx"],
        [[what, milliseconds(a), milliseconds(b), speed(b)] for what, a, b in triples if b],
    )


def growth(rows):
    table(
        ["tokens", *(f"{r['tokens']:,}" for r in rows)],
        [
            ["microseconds per token", *(f"{1e6 * r['block'] / r['tokens']:,.0f}" for r in rows)],
            ["attention's part of it", *(f"{1e6 * r['attention'] / r['tokens']:,.0f}" for r in rows)],
            ["peak memory, MiB", *(f"{r['memory'] / 2**20:.0f}" for r in rows)],
        ],
    )


def name_of(job):
    """Its name today: files of before 0.2.0 have two older ones."""
    return job["name"].replace(".learn.kept.", ".learn.stored.").replace(".learn.again.", ".learn.recomputed.")


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    jobs = {"f32": {}, "bf16": {}, "amx": {}}
    lengths = []
    for file in sys.argv[1:]:
        found = json.loads(pathlib.Path(file).read_text())
        if isinstance(found, list):
            lengths = found
            continue
        settings = found["settings"]
        if settings["quick"]:
            sys.exit(f"measured.py: {file}: found --quick, whose figures are meaningless")
        print(f"{file}: {settings['precision']}, {settings['rounds']} rounds, {settings['threads']} threads")
        jobs[settings["precision"]].update((name_of(job), job) for job in found["jobs"])
    if jobs["f32"] or jobs["bf16"]:
        compared(jobs)
    if jobs["amx"]:
        amx(jobs)
    if lengths:
        growth(lengths)


if __name__ == "__main__":
    main()
