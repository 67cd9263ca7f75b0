#!/usr/bin/env python3
"""Draws accuracy and training loss of UUID runs against optimizer steps.

One line for every method and r at its best learning rate, as `mora table --json` chooses it; the
line is the mean over seeds, the band their range. Needs h5py and matplotlib (Debian: python3-h5py,
python3-matplotlib).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import h5py
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend comes first)
import numpy as np  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

# Okabe and Ito's colours, told apart with any colour vision, without the yellow too pale for lines.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"]
DASHES = ["solid", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1))]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
LEGEND_LINE = 0.26  # inches
LOG_RATIO = 20  # a loss that falls by this factor is shown on a logarithmic axis


class Failure(Exception):
    """What the user is told in one line."""


def read_table(program, results):
    """Returns what `mora table --json` prints about a folder of results."""
    try:
        done = subprocess.run([program, "table", results, "--json"], stdout=subprocess.PIPE,
                              check=False, text=True)
    except OSError as error:
        raise Failure(f"cannot start '{program}': {error.strerror}; --mora names it") from error
    if done.returncode != 0:
        raise Failure(f"'{program} table {results}' failed, see above")
    return json.loads(done.stdout)


def choose_setting(table, number):
    """Returns the setting to draw; runs of two settings have no place in one figure."""
    settings = table["settings"]
    if number is None and len(settings) > 1:
        names = ", ".join(f"{i} {s['name']}" for i, s in enumerate(settings, 1))
        raise Failure(f"the runs are of {len(settings)} settings ({names}); --setting picks one, "
                      "`mora table` tells how they differ")
    if number is not None and not 1 <= number <= len(settings):
        raise Failure(f"--setting: expected 1..{len(settings)}, found {number}")
    return settings[(number or 1) - 1]


def read_series(path, columns):
    """Returns one-dimensional datasets of a run log."""
    with h5py.File(path, "r") as log:
        return [np.asarray(log[column], dtype=float) for column in columns]


def over_seeds(paths, step_column, value_column):
    """Returns steps that all seeds have, and mean, least and most of their values there."""
    runs = [read_series(path, [step_column, value_column]) for path in paths]
    steps = runs[0][0]
    for step, _ in runs[1:]:
        steps = np.intersect1d(steps, step)
    values = np.stack([value[np.searchsorted(step, steps)] for step, value in runs])
    return steps, values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def collect_curves(table, setting):
    """Returns the curves of every row of ours that has a best rate."""
    task = table["task"]
    curves = []
    for row in setting["rows"]:
        best = row["ours"] and row["ours"]["best"]
        if not best:
            continue
        name = row["method"] + (f" r={row['r']}" if row["r"] else "")
        for key, value in row["variant"].items():
            name += f" {key.split('.')[-1]}={value}"
        seeds = len(best["seeds"])
        curves.append({
            "method": row["method"],
            "r": row["r"] or 0,
            "label": f"{name}, lr {best['lr']:g}, {seeds} seed{'s' if seeds > 1 else ''}",
            "seeds": seeds,
            "accuracy": over_seeds(best["logs"], f"/eval/{task}/step", f"/eval/{task}/accuracy"),
            "loss": over_seeds(best["logs"], "/train/step", "/train/loss"),
        })
    if not curves:
        raise Failure("no completed run to draw; `mora table` tells what was left out")
    return curves


def style_curves(curves):
    """Gives every method a colour and marker, and every r (in it, every variant) its dashes."""
    methods = list(dict.fromkeys(curve["method"] for curve in curves))
    drawn = {}
    for curve in curves:
        place = methods.index(curve["method"])
        curve["colour"] = COLOURS[place % len(COLOURS)]
        curve["marker"] = MARKERS[place % len(MARKERS)]
        alike = (curve["method"], curve["r"])
        drawn[alike] = drawn.get(alike, -1) + 1
        curve["kind"] = (drawn[alike], curve["r"])
    kinds = sorted({curve["kind"] for curve in curves if curve["r"]})
    for curve in curves:
        place = kinds.index(curve["kind"]) if curve["r"] else curve["kind"][0]
        curve["dash"] = DASHES[place % len(DASHES)]


def draw(axes, curve, what, scale, marker):
    steps, mean, least, most = curve[what]
    if curve["seeds"] > 1:
        axes.fill_between(steps, scale * least, scale * most, color=curve["colour"], alpha=0.15,
                          linewidth=0)
    return axes.plot(steps, scale * mean, color=curve["colour"], linestyle=curve["dash"],
                     marker=marker, markersize=6, linewidth=1.8, label=curve["label"])[0]


def draw_accuracy(axes, curves, chance):
    lines = [draw(axes, curve, "accuracy", 100, curve["marker"]) for curve in curves]
    lines.append(axes.axhline(chance, color="#555555", linestyle=":", linewidth=1.8,
                              label=f"chance, {chance:.1f} %"))
    axes.set_ylim(-2, 102)
    axes.set_ylabel("accuracy (% of the digits)")
    axes.set_title("Accuracy on the pairs learned")
    return lines


def draw_loss(axes, curves):
    for curve in curves:
        draw(axes, curve, "loss", 1, None)
    means = np.concatenate([curve["loss"][1] for curve in curves])
    means = means[np.isfinite(means)]
    axes.set_ylabel("training loss (nats per scored token)")
    axes.set_title("Training loss")
    if means.size == 0 or means.min() <= 0 or means.max() / means.min() < LOG_RATIO:
        axes.set_ylim(bottom=0)
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if means.max() / means.min() < 1e3
                                            else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def make_figure(table, setting):
    """Returns the figure, both panels under one title, the legend below them."""
    curves = collect_curves(table, setting)
    style_curves(curves)
    plt.rcParams.update({"font.size": 12, "axes.titlesize": 13, "legend.fontsize": 11})
    columns = 2 if len(curves) > 2 else 1
    rows = -(-(len(curves) + 1) // columns)
    figure, panels = plt.subplots(1, 2, figsize=(12, 5 + LEGEND_LINE * rows), constrained_layout=True)
    lines = draw_accuracy(panels[0], curves, table["chance"])
    draw_loss(panels[1], curves)
    for axes in panels:
        axes.set_xlabel("optimizer steps")
        axes.set_xlim(left=0)
        axes.grid(True, color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    config = setting["config"]
    model = config["model.path"] or config["model.config"]
    several = any(curve["seeds"] > 1 for curve in curves)
    figure.suptitle(f"{setting['name']}: {int(config['task.pairs']):,} pairs, model {model} "
                    f"({setting['base_parameters']:,} parameters)"
                    + ("\nlines: mean over seeds, bands: range over seeds" if several else ""),
                    fontsize=12)
    figure.legend(handles=lines, loc="lower center", ncol=columns, frameon=False, handlelength=3.6)
    below = (LEGEND_LINE * rows + 0.2) / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, below, 1, 1 - below), wspace=0.06)
    return figure


def save(figure, path):
    """Writes the picture beside its path and renames it, so that an old one is never half lost."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise Failure(f"--out: no folder '{folder}'")
    handle, beside = tempfile.mkstemp(suffix=".png", dir=folder)
    os.close(handle)
    try:
        figure.savefig(beside, dpi=150, format="png")
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("results", metavar="RESULTS_DIR", help="folder of run logs")
    parser.add_argument("--out", required=True, metavar="FILE.png", help="picture to write")
    parser.add_argument("--mora", default="mora", metavar="PATH", help="the program mora")
    parser.add_argument("--setting", type=int, metavar="N",
                        help="which one, where the runs are of several settings")
    arguments = parser.parse_args()
    try:
        table = read_table(arguments.mora, arguments.results)
        save(make_figure(table, choose_setting(table, arguments.setting)), arguments.out)
    except (Failure, OSError) as error:
        sys.exit(f"plot_uuid: error: {error}")


if __name__ == "__main__":
    main()
