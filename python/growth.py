"""How a block of the published 1.5-5B width grows with the number of tokens: time per token, attention's part of it,
memory. A table, and a plot as PNG.

    make && python python/growth.py [--precision bf16|amx] [--runs 3] [--out growth.png] [--json growth.json]

A process of `vdm bench growth.S` for each length, so that the largest resident memory is that length's, and one of
growth.attention.S.
Needs matplotlib; VDM names the program (build/vdm)."""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
LENGTHS = (256, 512, 1024, 2046, 4096, 8182)


def measure(o, tokens):
    """{tokens, block, attention: seconds, share: of the peak, memory: bytes}"""
    out = {"tokens": tokens}
    for key, job in (("block", f"growth.{tokens}"), ("attention", f"growth.attention.{tokens}")):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "b.json"
            words = [o.vdm, "bench", job, "--precision", o.precision, "--runs", str(o.runs), "--json", path]
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"growth.py: vdm bench {job}: exit status {process.returncode}")
            found = next(j for j in json.loads(path.read_text())["jobs"] if j["name"] == job)
        out[key] = found["seconds"]["median"]
        if key == "block":
            out |= {"share": found["share"]["median"], "memory": 1024 * usage.ru_maxrss}
    return out


def say(r):
    S = r["tokens"]
    rest = (r["block"] - r["attention"]) / S
    print(f"| {S:,} | {1e3 * r['block']:.0f} | {1e6 * r['block'] / S:.0f} | {1e6 * r['attention'] / S:.0f} | {1e6 * rest:.0f} "
          f"| {100 * r['attention'] / r['block']:.0f} % | {100 * r['share']:.0f} % | {r['memory'] / 2**20:.0f} |", flush=True)  # fmt: skip


def plot(o, rows):
    S = [r["tokens"] for r in rows]
    block, attention = ([1e6 * r[k] / r["tokens"] for r in rows] for k in ("block", "attention"))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left.plot(S, block, "o-", label="block")
    left.plot(S, [b - a for a, b in zip(attention, block)], "s-", label="without attention")
    left.plot(S, attention, "^-", label="attention")
    left.set(xlabel="tokens", ylabel="µs per token", xscale="log", ylim=(0, None), title=f"one block of width 3072, {o.precision}")
    left.legend()
    right.plot(S, [r["memory"] / 2**20 for r in rows], "o-")
    right.set(xlabel="tokens", ylabel="MiB resident", xscale="log", ylim=(0, None), title="memory, weights included")
    for axes in (left, right):
        axes.set_xticks(S, [f"{s:,}" for s in S])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.savefig(o.out, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("f32", "bf16", "amx"), default="f32")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", default="growth.png")
    parser.add_argument("--json", type=pathlib.Path, help="the figures, for measured.py")
    o = parser.parse_args()
    o.vdm = os.environ.get("VDM", str(ROOT / "build" / "vdm"))
    print("| tokens | block, ms | µs per token | of it attention | the rest | attention's share | share of the peak | MiB |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for tokens in LENGTHS:
        rows.append(measure(o, tokens))
        say(rows[-1])
    if o.json:
        o.json.write_text(json.dumps(rows, indent=1) + "\n")
    plot(o, rows)


if __name__ == "__main__":
    main()
