"""The experiments of doc/experiments.md, with the vdm program; every run is one row of a CSV, and what is there is not
run again, so that the command may be stopped and repeated at any time. With another number of inputs (--tests) it is run
again: a new row, which the tables show; the old one stays in the CSV.

    python python/experiments.py run [cells] [staged] [views] [bases] [shots] [phi] [rank] [sampling] [sanity] [segmentation]
                                    [others] [why] [usual]
                                    [--base NAME=MODEL]... [--limit-seconds S] [--tests N]
    python python/experiments.py tables            # the CSV -> those of the tables that doc/experiments.md has

bases: n = 30, three bases, three seeds, learned from pure noise, answered in one step: the defaults of models/tiny, in bf16.
cells: models/cells by its defaults (its vdm.json), a token a cell and views with a prompt each in one adapter; and its
blocks with random weights.
staged: elementary automata by models/cells, one generation in each video (in_stages).
views: the base trained on motion in eight views of a task, with fewer updates in each, and a vote.
shots: n = 3, 10, 100.  others: the tasks on grids that `vdm tasks` has besides.
phi, rank, sampling: on four tasks, sampling with the recipe `usual`, since what is learned at the last timestep alone is
answered in one step.
sanity, segmentation: what the paper tried first, geometry from 1 to 3 pairs and the transition for masks.
why: what each part of the recipe brings.  usual: the bases with the paper's recipe (RECIPES).
A base that has no --base is left out of a run: motion is models/tiny, cells models/cells; stills, random and
cells-random come from python/pretrain/export.py.  As many runs at a time as there are cores, each with one thread: small models gain little
from more.  Needs Python alone.
"""
import argparse
import concurrent.futures
import csv
import os
import random
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CSV = os.path.join(ROOT, "doc", "experiments.csv")
PAGE = os.path.join(ROOT, "doc", "experiments.md")

# Published accuracies at n = 30 (paper's section 6): CogVideoX1.5-5B, fine-tuned Qwen3-4B; "-": not given there.
TASKS = {"recolour": "-", "shift": "-", "flip-h": "-", "turn-90": "-", "transpose": "-", "gravity": "-",
         "outline": "-", "fill": "-", "life": ".96 / below .9", "b3s2": "at least .9 / below .9", "seeds": "at least .9 / below .9",
         "langton-2": "1.00 / -", "rule-170": "at least .9 / at least .9", "maze": ".55 / 0"}
OTHERS = {"flip-v": "-", "turn-180": "-", "turn-270": "-", "day-night": "below .9 / below .9",
          "maze-rule": "below .9 / below .9", "langton-3": "-", "langton-5": ".25 / -", "langton-10": "-",
          **{f"rule-{r}": "-" for r in (8, 32, 128, 160, 4, 108, 250, 30, 45)}, "rule-90": "below .9 / below .9",
          "rule-150": "below .9 / below .9", **{f"rule-{r}": "-" for r in (110, 54, 62, 106)}, "shortest-path": "-"}
PAPER = ["task", "paper: CogVideoX1.5-5B / Qwen3-4B"]
GEOMETRY = ["flip-h", "turn-90"]
FOUR = ["recolour", "turn-90", "outline", "rule-170"]
SEEDS = [1, 2, 3]
MOVED = ["flip-h", "shift", "transpose", "turn-90"]
# Name: fit's options over the model's own, and eval's; what the table of `why` calls it.  Schedule (falling to 0), rank
# and alpha (64) are the model's.  usual: t uniform, one video in 20 steps of DDIM, as the paper has it.
BF16, UNIFORM, PURE = ["--precision", "bf16"], ["--pure-noise", 0], ["--pure-noise", 0.9]
LARGE, SMALL = ["--steps", 450, "--batch", 16], ["--steps", 1800, "--batch", 4]
SLOW, FAST = ["--lr", 0.004, "--warmup", 0], ["--lr", 0.006, "--warmup", 150]
ONE, TEN = ["--ensemble", 1, "--steps"], ["--ensemble", 10, "--steps"]
RECIPES = {
    "usual": (BF16 + UNIFORM + LARGE + SLOW, BF16 + ONE + [20], ["uniform", "450 x 16", "0.004", "1 video, 20 steps"]),
    "mean": (BF16 + UNIFORM + LARGE + SLOW, BF16 + TEN + [2], ["uniform", "450 x 16", "0.004", "10 videos, 2 steps"]),
    "large": (BF16 + PURE + LARGE + SLOW, BF16 + TEN + [1], ["0.9 at 999", "450 x 16", "0.004", "10 videos, 1 step"]),
    "single": (BF16 + PURE + SMALL + SLOW, BF16 + ONE + [1], ["0.9 at 999", "1,800 x 4", "0.004", "1 video, 1 step"]),
    "slow": (BF16 + PURE + SMALL + SLOW, BF16 + TEN + [1], ["0.9 at 999", "1,800 x 4", "0.004", "10 videos, 1 step"]),
    "pure": (BF16 + PURE + SMALL + FAST, BF16 + TEN + [1],
             ["0.9 at 999", "1,800 x 4", "0.006, warmup 150", "10 videos, 1 step"]),
    "views": (BF16 + PURE + ["--steps", 400, "--batch", 4] + FAST, BF16 + ["--ensemble", 2, "--steps", 1],
              ["0.9 at 999", "8 views: 400 x 4 each", "0.006, warmup 150", "2 videos, 1 step, and a vote"]),
}
RECIPES["cells"] = RECIPES["staged"] = ([], [], ["the model's", "", "", "a vote of the views"])
CELLS = [t for t in TASKS if t != "maze"] + ["day-night", "maze-rule", "maze"]
VIEWS = range(8)
ELEMENTARY = [t for t in [*TASKS, *OTHERS] if t.startswith("rule-")]
GROUPS = ["cells", "staged", "views", "bases", "shots", "phi", "rank", "sampling", "sanity", "segmentation", "why", "others", "usual"]
FIELDS = ["task", "base", "n", "seed", "phi", "sampling", "rank", "recipe", "exact", "score", "copied", "against_input", "tests",
          "fit_seconds", "eval_seconds", "model"]
KEY = FIELDS[:8]


def row(task, base="motion", n=30, seed=1, phi="discrete", sampling="", rank="", recipe="pure"):
    return dict(zip(KEY, map(str, (task, base, n, seed, phi, sampling, rank, recipe))))


def wanted(group, bases):
    if group in ("bases", "usual"):
        return [row(t, b, seed=s, recipe="pure" if group == "bases" else group) for s in SEEDS for t in TASKS for b in bases]
    if group == "cells":
        return [row(t, b, seed=s, recipe=group) for s in SEEDS for b in ("cells", "cells-random") for t in CELLS]
    if group == "staged":
        return [row(t, "cells", recipe=group) for t in ELEMENTARY]
    if group == "views":
        return [row(t, seed=s, recipe="views") for s in SEEDS for t in TASKS]
    if group == "shots":
        return [row(t, n=n) for t in TASKS for n in (3, 10, 100)]
    if group == "others":
        return [row(t, seed=s) for s in SEEDS for t in OTHERS]
    if group == "why":
        return [row(t, recipe=r) for r in RECIPES for t in MOVED]
    if group == "phi":
        return [row(t, phi=p) for t in FOUR for p in ("linear", "quadratic", "sqrt", "tiles:4x4")]
    if group == "sampling":
        return [row(t, sampling=s, recipe="usual") for t in FOUR for s in (5, "", 50)]
    if group == "rank":
        return [row(t, rank=r) for t in FOUR for r in (4, 16)]
    if group == "sanity":
        return [row(t, n=n, phi="linear") for t in GEOMETRY for n in (1, 2, 3)]
    if group == "segmentation":
        return [row("segmentation", phi=p) for p in ("discrete", "linear", "quadratic")]
    raise SystemExit(f"{group}: expected {', '.join(GROUPS)}")


def read():
    """The last row of each run."""
    if not os.path.exists(CSV):
        return {}
    with open(CSV, newline="") as f:
        return {tuple(r[k] for k in KEY): r for r in csv.DictReader(f)}


WRITING = threading.Lock()


def append(r):
    with WRITING:
        new = not os.path.exists(CSV)
        with open(CSV, "a", newline="") as f:
            w = csv.DictWriter(f, FIELDS)
            if new:
                w.writeheader()
            w.writerow(r)
        print(",".join(str(r[k]) for k in FIELDS), flush=True)


def vdm(program, *words):
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"vdm {' '.join(map(str, words))}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


ROWS = 8  # of cells in the picture of an automaton


def read_rows(path):
    """The header of a PPM file, and the pixels of each row of cells."""
    with open(path, "rb") as f:
        head, pixels = b"".join(f.readline() for _ in range(3)), f.read()
    n = len(pixels) // ROWS
    return head, [pixels[i * n:(i + 1) * n] for i in range(ROWS)]


def write_rows(path, head, rows):
    with open(path, "wb") as f:
        f.write(head + b"".join(rows))


def cells_of(row):
    """A pixel of each cell of a row."""
    return [row[3 * x:3 * x + 3] for x in range(4, len(row) // 3 // 8, 8)]


def in_stages(program, r, model, task, folder):
    """Learns one generation of an automaton. The ROWS - 1 generations of all pairs are shuffled: a picture has ROWS rows that do not
    belong together, and its answer has the row that follows each of them. (In their order the answer of a row would be the row
    below it, which a model copies without learning the rule.) ROWS inputs are answered in one picture, by ROWS - 1 videos,
    each from the rows that the one before gave. Returns as by_recipe does."""
    both, clock = ["--model", model, "--seed", r["seed"], "--threads", 1], [time.monotonic()]
    staged, run, answers = (os.path.join(folder, name) for name in ("staged", "run", "answers"))

    def pictures(part):
        names = sorted(f for f in os.listdir(os.path.join(task, part)) if f.endswith(".out.ppm"))
        return [read_rows(os.path.join(task, part, name)) for name in names]

    def write_pairs(part, head, rows, after):
        """Pictures of ROWS rows each; the last picture is filled with the first rows."""
        for first in range(0, len(rows), ROWS):
            for end, of in ((".in.ppm", rows), (".out.ppm", after)):
                name = os.path.join(staged, part, f"{first // ROWS:03}")
                write_rows(name + end, head, (of[first:] + of * ROWS)[:ROWS])

    def next_rows(count):
        vdm(program, "eval", staged, *both, "--lora", os.path.join(run, "lora.safetensors"), "--train-pairs", 0, "-o", answers)
        names = sorted(f for f in os.listdir(answers) if re.fullmatch(r"\d+\.ppm", f))
        return [row for name in names for row in read_rows(os.path.join(answers, name))[1]][:count]

    for part in ("train", "test"):
        os.makedirs(os.path.join(staged, part))
    shutil.copy(os.path.join(task, "task.json"), staged)
    pairs = pictures("train")
    generations = [(rows[k - 1], rows[k]) for _, rows in pairs for k in range(1, ROWS)]
    random.Random(int(r["seed"])).shuffle(generations)
    write_pairs("train", pairs[0][0], *map(list, zip(*generations)))
    truth = pictures("test")
    head, true_rows = truth[0][0], [[rows[k] for _, rows in truth] for k in range(ROWS)]
    given = true_rows[0]
    right = [[True] * len(cells_of(row)) for row in given]
    for k in range(1, ROWS):
        write_pairs("test", head, given, true_rows[k])
        if k == 1:
            vdm(program, "fit", staged, *both, "--watch-every", 0, "-o", run)
            clock.append(time.monotonic())
        given = next_rows(len(truth))
        for each, x, y in zip(right, given, true_rows[k]):
            each += [a == b for a, b in zip(cells_of(x), cells_of(y))]
    result = dict(exact=statistics.mean(map(all, right)), tests=len(right), score=statistics.mean(map(statistics.mean, right)),
                  copied="", against_input="")
    return result, clock + [time.monotonic()]


def by_recipe(program, r, model, task, folder):
    """Learns a task and answers it, as the recipe has it. Returns the shares, and the times of the start, after learning and at
    the end."""
    part = lambda what, k: os.path.join(folder, what + str(k))
    # alpha follows the rank, so that the adapter acts as strongly
    fit, ask, _ = RECIPES[r["recipe"]]
    fit = [*fit, "--phi", r["phi"]] + (["--rank", r["rank"], "--alpha", r["rank"]] if r["rank"] else [])
    ask = [*ask, "--steps", r["sampling"]] if r["sampling"] else ask
    views, clock = VIEWS if r["recipe"] == "views" else [0], [time.monotonic()]
    both = lambda k: ["--model", model, "--seed", r["seed"], "--threads", 1] + (["--view", k] if len(views) > 1 else [])
    for k in views:
        vdm(program, "fit", task, *both(k), "--watch-every", 0, *fit, "-o", part("run", k))
    clock.append(time.monotonic())
    for k in views:
        adapter = os.path.join(part("run", k), "lora.safetensors")
        text = vdm(program, "eval", task, *both(k), "--lora", adapter, "--train-pairs", 0, *ask, "-o", part("answers", k))
    result = part("answers", 0)
    if len(views) > 1:
        result = os.path.join(folder, "voted")
        text = vdm(program, "vote", task, *(part("answers", k) for k in views), "-o", result)
    clock.append(time.monotonic())
    exact, tests = map(int, re.search(r"exact (\d+) of (\d+)", text).groups())
    with open(os.path.join(result, "scores.csv"), newline="") as f:
        scores = list(csv.DictReader(f))
    mean = lambda column: statistics.mean(float(s[column]) for s in scores)
    return dict(exact=exact / tests, tests=tests, score=mean("score"), copied=mean("copied"), against_input=mean("against_input")), clock


def run_one(program, r, model, tests, old=None):
    """Makes the task, learns, answers; the row with the result. None: the old row has as many inputs. (A task may have fewer than
    `tests`: rule-170 has 127.)"""
    with tempfile.TemporaryDirectory() as folder:
        task = os.path.join(folder, "task")
        vdm(program, "tasks", r["task"], "-n", r["n"], "--seed", r["seed"], "--tests", tests, "-o", task)
        inputs = sum(name.endswith(".in.ppm") for name in os.listdir(os.path.join(task, "test")))
        if old and int(old["tests"]) == inputs:
            return None
        learn = in_stages if r["recipe"] == "staged" else by_recipe
        result, clock = learn(program, r, model, task, folder)
    shares = {k: v if k == "tests" or v == "" else round(v, 4 if k == "exact" else 5) for k, v in result.items()}
    return dict(r, **shares, fit_seconds=round(clock[1] - clock[0], 1), eval_seconds=round(clock[2] - clock[1], 1),
                model=os.path.basename(os.path.realpath(model)))


def run(args):
    bases = dict(b.split("=", 1) for b in args.base)
    bases.setdefault("motion", os.path.join(ROOT, "models", "tiny"))
    bases.setdefault("cells", os.path.join(ROOT, "models", "cells"))
    end, program, there = time.monotonic() + (args.limit_seconds or 1e9), os.path.join(ROOT, "vdm"), read()
    todo = {tuple(r[k] for k in KEY): r for group in args.groups or GROUPS for r in wanted(group, bases)}
    todo = [(r, there.get(key)) for key, r in todo.items() if r["base"] in bases]
    todo = [(r, old) for r, old in todo if not old or int(old["tests"]) != args.tests]

    def one(job):
        r, old = job
        if time.monotonic() < end and (result := run_one(program, r, bases[r["base"]], args.tests, old)):
            append(result)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(one, todo))


# ---------------------------------------------------------------- tables

def found(rows, column="exact", **what):
    return [float(r[column]) for r in rows.values() if all(r[k] == str(v) for k, v in {**row(""), **what}.items() if
            k in what or k not in ("task", "seed"))]


def share(values):
    """Mean, and the spread where there are several."""
    if not values:
        return ""
    text = f"{statistics.mean(values):.2f}"
    return text + (f" ({min(values):.2f}–{max(values):.2f})" if len(values) > 1 else "")


def both(rows, **what):
    """exact, and the share of cells that are right"""
    exact, cells = found(rows, **what), found(rows, "score", **what)
    return f"{share(exact)}, {share(cells)}" if exact else ""


def of_cells(rows, task):
    """Exact, cells, inputs of each draw; of random weights exact and cells; seconds of learning."""
    of = lambda column, base="cells": found(rows, column, task=task, base=base, recipe="cells")
    tests = {int(n) for n in of("tests")}
    return [share(of("exact")), share(of("score")), "/".join(map(str, sorted(tests))), share(of("exact", "cells-random")),
            share(of("score", "cells-random")), f"{statistics.mean(of('fit_seconds')):.0f}" if tests else ""]


def table(head, lines):
    """Lines of a page, each (labels, results); those without a run are left out, and the table where there are none."""
    rows = [labels + results for labels, results in lines if any(results)]
    if not rows:
        return "Not run yet.\n"
    return "".join("| " + " | ".join(x) + " |\n" for x in [head, ["---"] * len(head)] + rows)


def tables(rows):
    seed, three = dict(seed=1), [("motion", "pure"), ("stills", "pure"), ("random", "pure")]
    four, usual = [("motion", "views")] + three, [(b, "usual") for b, _ in three]

    def bases(of, column="exact"):
        return [([t, p], [share(found(rows, column, task=t, base=b, recipe=r)) for b, r in of]) for t, p in TASKS.items()]
    return {
        "cells-model": table(PAPER + ["models/cells, exact", "cells", "inputs", "random weights, exact", "cells", "seconds to learn"],
                      [([t, {**TASKS, **OTHERS}[t]], of_cells(rows, t)) for t in CELLS]),
        "staged": table(PAPER + ["exact", "cells", "inputs", "seconds to learn"],
                        [([t, {**TASKS, **OTHERS}[t]],
                          [f"{x[0]:{form}}" if (x := found(rows, c, task=t, base="cells", recipe="staged")) else ""
                           for c, form in (("exact", ".2f"), ("score", ".3f"), ("tests", ".0f"), ("fit_seconds", ".0f"))])
                         for t in ELEMENTARY]),
        "bases": table(PAPER + ["motion, 8 views"] + [b for b, _ in three], bases(four)),
        "cells": table(PAPER[:1] + ["motion, 8 views"] + [b for b, _ in three] + ["copying the input"],
                       [(labels[:1], shares + [share(found(rows, "copied", task=labels[0]))])
                        for labels, shares in bases(four, "score")]),
        "usual": table(PAPER + [b for b, _ in usual], bases(usual)),
        "shots": table(["task", "n = 3", "10", "30", "100"],
                       [([t], [both(rows, task=t, n=n, **seed) for n in (3, 10, 30, 100)]) for t in TASKS]),
        "others": table(PAPER + ["exact", "cells", "copying the input"],
                        [([t, p], [share(found(rows, c, task=t)) for c in ("exact", "score", "copied")])
                         for t, p in OTHERS.items()]),
        "why": table(["t, in learning", "updates x videos", "rate", "answered by"] + MOVED,
                     [(what, [share(found(rows, task=t, recipe=r, **seed)) for t in MOVED])
                      for r, (_, _, what) in RECIPES.items()]),
        "phi": table(["task", "discrete", "linear", "quadratic", "sqrt", "tiles:4x4"],
                     [([t], [both(rows, task=t, phi=p, **seed)
                             for p in ("discrete", "linear", "quadratic", "sqrt", "tiles:4x4")]) for t in FOUR]),
        "sampling": table(["task", "5 steps", "20", "50"],
                          [([t], [both(rows, task=t, sampling=s, recipe="usual", **seed) for s in (5, "", 50)])
                           for t in FOUR]),
        "rank": table(["task", "rank 4", "16", "64"],
                      [([t], [both(rows, task=t, rank=r, **seed) for r in (4, 16, "")]) for t in FOUR]),
        "sanity": table(["task", "pairs", "exact", "cells right", "copying the input", "cells as in the input"],
                        [([t, str(n)], [share(found(rows, c, task=t, n=n, phi="linear", **seed))
                                        for c in ("exact", "score", "copied", "against_input")])
                         for t in GEOMETRY for n in (1, 2, 3)]),
        "segmentation": table(["transition", "mIoU", "exact"],
                              [([p], [share(found(rows, c, task="segmentation", phi=p, **seed))
                                      for c in ("score", "exact")]) for p in ("discrete", "linear", "quadratic")]),
    }


def write_tables():
    with open(PAGE) as f:
        text = f.read()
    for name, body in tables(read()).items():
        text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m: m[1] + body + m[2], text, flags=re.S)
    with open(PAGE, "w") as f:
        f.write(text)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["run", "tables"])
    ap.add_argument("groups", nargs="*")
    ap.add_argument("--base", action="append", default=[], help="NAME=MODEL folder")
    ap.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    ap.add_argument("--tests", type=int, default=200, help="unseen inputs")
    ap.add_argument("--limit-seconds", type=float, default=0, help="begin no run after so many")
    args = ap.parse_args()
    run(args) if args.what == "run" else write_tables()


if __name__ == "__main__":
    main()
