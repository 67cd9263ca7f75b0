#!/usr/bin/env python3
"""Draws accuracy and training loss of UUID runs against optimizer steps.

One line for every method and r at its best learning rate, as `mora table --json` chooses it; the
line is the mean over seeds, the band their range. Needs h5py and matplotlib (Debian: python3-h5py,
python3-matplotlib).
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

import figures

LEGEND_LINE = 0.26  # inches
LOG_RATIO = 20  # a loss that falls by this factor is shown on a logarithmic axis


def over_seeds(paths, step_column, value_column):
    """Returns steps that all seeds have, and mean, least and most of their values there."""
    steps, values = figures.read_seeds(paths, step_column, value_column)
    return steps, values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def collect_curves(setting):
    """Returns the curves of every row of ours that has a best rate."""
    task = setting["task"]
    curves = []
    for row in figures.rows_drawn(setting):
        best = row["ours"]["best"]
        curves.append({
            "method": row["method"],
            "r": row["r"] or 0,
            "label": f"{figures.name_of(row)}, {figures.choice_of(best)}",
            "seeds": len(best["seeds"]),
            "accuracy": over_seeds(best["logs"], f"/eval/{task}/step", f"/eval/{task}/accuracy"),
            "loss": over_seeds(best["logs"], "/train/step", "/train/loss"),
        })
    return curves


def style_curves(curves):
    """Gives every method a colour and marker, and every r (in it, every variant) its dashes."""
    methods = list(dict.fromkeys(curve["method"] for curve in curves))
    drawn = {}
    for curve in curves:
        place = methods.index(curve["method"])
        curve["colour"] = figures.COLOURS[place % len(figures.COLOURS)]
        curve["marker"] = figures.MARKERS[place % len(figures.MARKERS)]
        alike = (curve["method"], curve["r"])
        drawn[alike] = drawn.get(alike, -1) + 1
        curve["kind"] = (drawn[alike], curve["r"])
    kinds = sorted({curve["kind"] for curve in curves if curve["r"]})
    for curve in curves:
        place = kinds.index(curve["kind"]) if curve["r"] else curve["kind"][0]
        curve["dash"] = figures.DASHES[place % len(figures.DASHES)]


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
    curves = collect_curves(setting)
    style_curves(curves)
    columns = 2 if len(curves) > 2 else 1
    rows = -(-(len(curves) + 1) // columns)
    figure, panels = plt.subplots(1, 2, figsize=(12, 5 + LEGEND_LINE * rows), constrained_layout=True)
    lines = draw_accuracy(panels[0], curves, setting["chance"])
    draw_loss(panels[1], curves)
    for axes in panels:
        axes.set_xlabel("optimizer steps")
        axes.set_xlim(left=0)
        figures.tidy(axes)
    several = any(curve["seeds"] > 1 for curve in curves)
    figure.suptitle(f"{setting['name']}: {int(setting['config']['task.pairs']):,} pairs, "
                    f"{figures.model_of(setting)}"
                    + ("\nlines: mean over seeds, bands: range over seeds" if several else ""),
                    fontsize=12)
    figure.legend(handles=lines, loc="lower center", ncol=columns, frameon=False, handlelength=3.6)
    below = (LEGEND_LINE * rows + 0.2) / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, below, 1, 1 - below), wspace=0.06)
    return figure


if __name__ == "__main__":
    figures.main(__doc__, "table2", make_figure)
