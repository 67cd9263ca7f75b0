#!/usr/bin/env python3
"""Draws how well methods' updates approximate matrices of chosen spectra.

Reads what `mora approximate FILE.yaml --json` printed: a panel a target, a line a method, with the
error that training reached at its best rate beside the least there is. Needs h5py and matplotlib
(Debian: python3-h5py, python3-matplotlib).
"""

import argparse
import json
import sys

import matplotlib.pyplot as plt
import numpy as np

import figures

COLUMNS = 3


def read(path):
    """Returns targets, in their order, each with its methods."""
    try:
        with open(path, encoding="utf-8") as file:
            rows = json.load(file)["approximations"]
    except (ValueError, KeyError, TypeError) as error:
        raise figures.Failure(f"'{path}' is not what `mora approximate --json` prints") from error
    targets = {}
    for row in rows:
        targets.setdefault(row["target"], []).append(row)
    if not targets:
        raise figures.Failure(f"'{path}' holds no approximation")
    return targets


def name_of(row):
    """Returns "mora sharing": the method and the values of its own keys that are words."""
    words = row["method"].split(" ")
    values = [word.split("=")[1] for word in words[1:]]
    return " ".join([words[0]] + [v for v in values if v.isalpha() and v not in
                                  ("true", "false", "auto", "paper")])


def colour_of(names):
    """Returns a colour for every first word of a name."""
    first = list(dict.fromkeys(name.split(" ")[0] for name in names))
    return {name: figures.COLOURS[first.index(name.split(" ")[0]) % len(figures.COLOURS)]
            for name in names}


def numbers(row, key):
    """Returns a number of every run of the best rate."""
    runs = row["rates"][row["best"]]["runs"]
    return np.array([run[key] if run[key] is not None else np.nan for run in runs])


def draw(axes, target, rows, colours):
    for place, row in enumerate(rows):
        name = name_of(row)
        if row["best"] is None:
            axes.text(0.5, place, "not finite", va="center", fontsize=9)
            continue
        error, optimum = numbers(row, "error"), numbers(row, "optimum")
        axes.barh(place, error.mean(), height=0.62, color=colours[name], alpha=0.3)
        axes.errorbar(error.mean(), place, color=colours[name], marker="o", markersize=6,
                      xerr=[[error.mean() - error.min()], [error.max() - error.mean()]])
        if np.isfinite(optimum).all():
            axes.vlines(optimum.mean(), place - 0.42, place + 0.42, color="#000000", linewidth=1.8)
        axes.text(1.03, place, f"{numbers(row, 'rank').mean():.0f}", va="center", fontsize=9)
    axes.text(1.03, -1, "rank", va="center", fontsize=9)
    axes.set_xlim(0, 1.0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_title(f"{target.split(',')[0]}\neffective rank "
                   f"{numbers(rows[0], 'target_rank').mean():.0f}", fontsize=12)


def make_figure(targets):
    """Returns the figure."""
    names = [name_of(row) for rows in targets.values() for row in rows]
    colours = colour_of(names)
    most = max(len(rows) for rows in targets.values())
    lines = -(-len(targets) // COLUMNS)
    figure, panels = plt.subplots(lines, COLUMNS, squeeze=False, constrained_layout=True,
                                  figsize=(14, 0.8 + lines * (1.3 + 0.3 * most)))
    for axes, (target, rows) in zip(panels.ravel(), targets.items()):
        draw(axes, target, rows, colours)
        shown = axes in panels[:, 0]
        axes.set_yticks(range(len(rows)), [name_of(row) for row in rows] if shown else [])
        figures.tidy(axes)
    for axes in panels.ravel()[len(targets):]:
        axes.set_axis_off()
    shape = ",".join(next(iter(targets)).split(",")[1:]).strip()
    budgets = {row["r"]: row["trained"] for rows in targets.values() for row in rows if row["r"]}
    trained = ", ".join(f"r {r}: about {count:,} trained numbers" for r, count in budgets.items())
    figure.suptitle(f"Approximation of matrices, {shape}; {trained}\n"
                    "marks: ||dW - T|| / ||T|| at the best rate, mean and range over seeds; "
                    "strokes: the least there is; at the right: effective rank of dW",
                    fontsize=12)
    figure.supxlabel("||dW - T|| over ||T||", fontsize=12)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("file", metavar="FILE.json", help="output of mora approximate --json")
    parser.add_argument("--out", required=True, metavar="FILE.png", help="picture to write")
    arguments = parser.parse_args()
    plt.rcParams.update({"font.size": 11})
    try:
        figures.save(make_figure(read(arguments.file)), arguments.out)
    except (figures.Failure, OSError) as error:
        sys.exit(f"plot_approximation: error: {error}")


if __name__ == "__main__":
    main()
