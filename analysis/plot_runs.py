#!/usr/bin/env python3
"""Draws the loss of training, and losses on what is held out, of every run log of a folder.

The loss of training is a line, smoothed backwards over a tenth of the run; held-out losses (scores
named `loss` of the log's evaluations) are points, hollow and joined where they are of text that is
not the task's: what a run forgets. Needs h5py and matplotlib (Debian: python3-h5py,
python3-matplotlib).
"""

import argparse
import glob
import os
import sys

import h5py
import matplotlib.pyplot as plt
import numpy as np

import figures

PART = 10  # of a run that a point of its line is the mean of


def read_run(path):
    """Returns the run's name, its losses and steps, and those of its evaluations."""
    with h5py.File(path, "r") as log:
        if "/train/loss" not in log:
            return None
        steps = np.asarray(log["/train/step"], dtype=float)
        loss = np.asarray(log["/train/loss"], dtype=float)
        held_out = [(np.asarray(evaluated["step"], dtype=float),
                     np.asarray(evaluated["loss"], dtype=float), bool(evaluated.attrs.get("data")))
                    for evaluated in log.get("eval", {}).values() if "loss" in evaluated]
    return os.path.basename(path).removesuffix(".h5"), steps, loss, held_out


def draw_run(axes, place, run):
    """Draws one run in a colour of its own."""
    name, steps, loss, held_out = run
    window = max(1, len(loss) // PART)
    colour = figures.COLOURS[place % len(figures.COLOURS)]
    style = figures.DASHES[place // len(figures.COLOURS) % len(figures.DASHES)]
    smooth = np.lib.stride_tricks.sliding_window_view(loss, window).mean(axis=-1)
    axes.plot(steps[window - 1:], smooth, color=colour, linestyle=style, label=name)
    for at, value, other in held_out:
        axes.plot(at, value, color=colour, linestyle="dotted" if other else "none", linewidth=1,
                  markerfacecolor="none" if other else colour,
                  marker=figures.MARKERS[place % len(figures.MARKERS)])


def make_figure(folder):
    """Returns the figure of a folder's runs."""
    paths = sorted(path for path in glob.glob(os.path.join(glob.escape(folder), "*.h5"))
                   if not path.endswith(".spectra.h5"))
    runs = [run for run in map(read_run, paths) if run]
    if not runs:
        raise figures.Failure(f"'{folder}' holds no log of a run that trained")
    figure, axes = plt.subplots(figsize=(9, 6), constrained_layout=True)
    for place, run in enumerate(runs):
        draw_run(axes, place, run)
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats a token")
    title = "loss of training (lines) and on what is held out (points)"
    if any(other for run in runs for _, _, other in run[3]):
        title += "; of other text (hollow)"
    axes.set_title(title)
    axes.legend(frameon=False)
    figures.tidy(axes)
    return figure


def main():
    """Runs the program."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("results", metavar="RESULTS_DIR", help="folder of run logs")
    parser.add_argument("--out", required=True, metavar="FILE.png", help="picture to write")
    arguments = parser.parse_args()
    plt.rcParams.update({"font.size": 12, "axes.titlesize": 13, "legend.fontsize": 11})
    try:
        figures.save(make_figure(arguments.results), arguments.out)
    except (figures.Failure, OSError) as error:
        sys.exit(f"plot_runs: error: {error}")


if __name__ == "__main__":
    main()
