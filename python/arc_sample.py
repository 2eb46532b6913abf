"""A random part of a folder of ARC-AGI tasks, chosen by a seed before anything is run.

    python python/arc_sample.py data/evaluation -n 40 --seed 1 -o sample/evaluation

Copies n of DIR's *.json, whatever their size: random.Random(seed).sample of the sorted names.
"""
import argparse
import os
import random
import shutil


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("tasks", metavar="DIR")
    ap.add_argument("-n", type=int, default=40)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("-o", dest="out", required=True)
    args = ap.parse_args()
    names = sorted(f for f in os.listdir(args.tasks) if f.endswith(".json"))
    os.makedirs(args.out)
    for name in random.Random(args.seed).sample(names, args.n):
        shutil.copy(os.path.join(args.tasks, name), args.out)


if __name__ == "__main__":
    main()
