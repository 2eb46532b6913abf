"""What the programs of python/ choose and reject, where a wrong choice would give a result without a word."""

import contextlib
import csv
import io
import pathlib
import sys
from unittest import mock

import torch
from safetensors.torch import save_file

from common import ROOT, Cases, options, vdm

sys.path.insert(0, str(ROOT / "python"))
import experiments  # noqa: E402
import figure  # noqa: E402
import random_checkpoint  # noqa: E402
import torch_hooks  # noqa: E402


def rejects(c, what, program, words, sentence):
    """The program ends with the sentence, and writes nothing."""
    out, status, text = c.folder / "out", 0, io.StringIO()
    with mock.patch.object(sys, "argv", ["program", *map(str, words(out))]), contextlib.redirect_stderr(text):
        try:
            program.main()
        except SystemExit as end:
            status = end.code
    found = f"{text.getvalue()}{status}"
    c.check(what, status and sentence in found and not out.exists(), found[-200:])


def check_figure(c):
    dump = {f"latents.{k}": None for k in range(1, 21)} | {"image_latents": None}
    c.check("figure: the last step's latents", figure.last_latents(dump) == "latents.20", figure.last_latents(dump))


def check_checkpoint(c):
    words = lambda out: (out, "--small", "--layers", 0)  # noqa: E731
    rejects(c, "random_checkpoint: --layers 0", random_checkpoint, words, "--layers: expected 1 or more, found 0")


def check_hooks(c):
    """Goldens that a model without adapter, or without tiles, does not reproduce."""
    for name, tensor, facts, sentence in (
        ("an adapter", "adapter.transformer_blocks.0.attn1.to_q.lora_A.weight", {"what": "transformer"}, "has an adapter"),
        ("tiles", "video", {"what": "vae-encode", "tiled": "1"}, "without --tiled"),
        ("learning", "videos", {"what": "train"}, "the golden is of train"),
    ):
        path = c.folder / "golden.safetensors"
        save_file({tensor: torch.zeros(1)}, path, metadata=facts)
        rejects(c, f"torch_hooks: {name}", torch_hooks, lambda out: (ROOT / "models" / "tiny", path, out), sentence)


def rows_of(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def check_experiments(c):
    """A run with other inputs is another row; with as many inputs as the task has, it is there already."""
    experiments.CSV, made = str(c.folder / "rows.csv"), []

    def learn(program, r, model, task, folder):
        tests = len(list((pathlib.Path(task) / "test").glob("*.in.ppm")))
        made.append(tests)
        return dict(exact=tests / 1000, tests=tests, score=1, copied=0, against_input=0), [0, 1, 2]

    wanted, experiments.by_recipe = experiments.wanted, learn
    experiments.wanted = lambda group, bases: [experiments.row("rule-170")]
    program, subject = vdm(), experiments.vdm
    experiments.vdm = lambda _, *words: subject(program, *words)
    for tests in (3, 3, 5, 1000, 2000, 5, 3):
        args = type("Args", (), dict(base=[], limit_seconds=0, groups=["bases"], jobs=1, tests=tests))
        with contextlib.redirect_stdout(io.StringIO()):
            experiments.run(args)
    experiments.wanted = wanted
    c.check("experiments: runs", made == [3, 5, 127, 5, 3], str(made))
    rows, last = ([int(r["tests"]) for r in of] for of in (rows_of(experiments.CSV), experiments.read().values()))
    c.check("experiments: all rows stay", rows == made, str(rows))
    c.check("experiments: the last row counts", last == [3], str(last))


if __name__ == "__main__":
    o = options()
    with Cases("scripts", o.seed) as c:
        check_figure(c)
        check_checkpoint(c)
        check_hooks(c)
        check_experiments(c)
