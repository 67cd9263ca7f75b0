#!/usr/bin/env python3
"""Prints what happens to the loss at merges: a line for each merge of each run of a folder.

Losses of neighbouring steps differ by their batches more than by a merge. So each merging run is
taken against the run that differs from it in nothing but merging (relora against lora, remora
against mora, of the same rate, r and seed): the differences of their losses, in nats a token, are
averaged over the steps before the merge, those behind it, and those behind these. Needs h5py and
matplotlib, as the figures do.
"""

import argparse
import glob
import os
import re
import sys

import h5py
import numpy as np

import figures

TWINS = {"relora": "lora", "remora": "mora"}


def read(path):
    """Returns what tells a run apart, its losses and the steps after which it merged."""
    with h5py.File(path, "r") as log:
        rate = re.search(r"\blr: ([^\s,}]+)", log.attrs["config"].decode()).group(1)
        key = (rate, int(log.attrs["r"]), int(log.attrs["seed"]))
        method, loss = log.attrs["method"].decode(), np.asarray(log["/train/loss"])
    return method, key, loss, figures.read_merges(path).astype(int)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", help="folder of run logs that hold every step (log.every: 1)")
    parser.add_argument("--steps", type=int, default=10, help="steps averaged over (10)")
    options = parser.parse_args()
    runs = {}
    for path in sorted(glob.glob(os.path.join(options.results, "*.h5"))):
        if path.endswith(".spectra.h5"):
            continue
        method, key, loss, merges = read(path)
        runs[method, key] = loss, merges
    n = options.steps
    print(f"loss of the merging run less that of its twin, nats a token, means of {n} steps")
    print("method  rate     r  seed  merge after  before   behind   and then")
    printed = 0
    for (method, key), (loss, merges) in sorted(runs.items()):
        twin = runs.get((TWINS.get(method), key))
        if twin is None:
            continue
        difference = loss - twin[0]
        for step in merges[(merges >= n) & (merges + 2 * n <= len(loss))]:
            parts = [difference[step + i * n:step + (i + 1) * n].mean() for i in (-1, 0, 1)]
            print(f"{method:7} {key[0]:7} {key[1]:3} {key[2]:5} {step:12} " +
                  "  ".join(f"{part:+.4f}" for part in parts))
            printed += 1
    if printed == 0:
        sys.exit(f"merge_losses: {options.results}: no run that merges beside one that does not")


if __name__ == "__main__":
    main()
