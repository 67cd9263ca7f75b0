#!/usr/bin/env python3
"""Draws loss, merges and held-out perplexity of pretraining runs, the latter beside the paper's.

Every method and r is drawn at its best learning rate, as `mora table --paper table3 --json` chooses
it. The loss is smoothed over the steps that the picture states, always backwards in time, so that a
jump is seen where it happens. Needs h5py and matplotlib (Debian: python3-h5py, python3-matplotlib).
"""

import matplotlib.pyplot as plt
import numpy as np

import figures

WINDOWS = 50  # windows of smoothing in a run
BEGINNING = 0.1  # part of a run whose higher losses may lie outside the picture
BEFORE, AFTER = 0.2, 0.6  # of the steps between merges, what is shown around a merge
PARTS = 100  # most points of a curve around a merge, nearly
PALE = "#999999"


def smooth(values, window):
    """Returns means of `window` columns, at the last of each."""
    return np.lib.stride_tricks.sliding_window_view(values, window, axis=1).mean(axis=-1)


def collect_curves(setting):
    """Returns the loss of every row that has a best rate."""
    curves = []
    for row in figures.rows_drawn(setting):
        logs = row["ours"]["best"]["logs"]
        steps, loss = figures.read_seeds(logs, "/train/step", "/train/loss")
        curves.append({"row": row, "steps": steps, "loss": loss,
                       "merges": [figures.read_merges(path) for path in logs]})
    return curves


def give_colours(setting):
    """Gives every row, ours or the paper's, a colour and a marker."""
    for place, row in enumerate(setting["rows"]):
        row["colour"] = figures.COLOURS[place % len(figures.COLOURS)]
        row["marker"] = figures.MARKERS[place % len(figures.MARKERS)]
        row["dash"] = figures.DASHES[place % len(figures.DASHES)]


def draw_loss(axes, curves):
    rows = min(curve["steps"].size for curve in curves)
    window = max(1, rows // WINDOWS)
    low, high = [], []
    for step in np.unique(np.concatenate([m for curve in curves for m in curve["merges"]])):
        line = axes.axvline(step, color=PALE, linestyle=(0, (1, 2)), linewidth=1.2, zorder=0)
        line.set_label("merge" if not axes.get_legend_handles_labels()[1] else None)
    for curve in curves:
        row, steps = curve["row"], curve["steps"][window - 1:]
        loss = smooth(curve["loss"], window)
        mean = loss.mean(axis=0)
        if len(loss) > 1:
            axes.fill_between(steps, loss.min(axis=0), loss.max(axis=0), color=row["colour"],
                              alpha=0.15, linewidth=0)
        axes.plot(steps, mean, color=row["colour"], linestyle=row["dash"], linewidth=1.6,
                  label=f"{figures.name_of(row)},\n{figures.choice_of(row['ours']['best'])}")
        shown = loss[:, steps >= BEGINNING * steps[-1]]
        shown = shown[np.isfinite(shown)]
        low.append(shown.min(initial=np.inf))
        high.append(shown.max(initial=-np.inf))
    if np.isfinite([min(low), max(high)]).all():
        margin = 0.05 * (max(high) - min(low)) + 1e-9
        axes.set_ylim(min(low) - margin, max(high) + margin)
    spacing = np.median(np.diff(curves[0]["steps"])) if rows > 1 else 1
    axes.set_title(f"Training loss, mean of the last {window * spacing:.0f} steps")
    axes.set_ylabel("loss (nats per token)")
    axes.set_xlabel("optimizer steps")
    axes.set_xlim(0, 1.01 * max(curve["steps"][-1] for curve in curves))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, handlelength=3)


def around_merges(curve):
    """Returns the loss around merges over its mean before, or None where it is nowhere whole.

    `loss` [merges, parts] is a mean over seeds and over parts of `width` steps, none of which holds
    steps of both sides; `at` [parts] is the middle of each, in steps after the merge."""
    merges = curve["merges"][0]
    for other in curve["merges"][1:]:
        merges = np.intersect1d(merges, other)
    if merges.size == 0:
        return None
    apart = np.diff(np.insert(merges, 0, 0)).min()
    width = max(1, int((BEFORE + AFTER) * apart) // PARTS)
    before, after = int(BEFORE * apart) // width, int(AFTER * apart) // width
    offsets = np.arange(1 - before * width, after * width + 1)
    steps, mean = curve["steps"], curve["loss"].mean(axis=0)
    inside = (merges + offsets[0] >= steps[0]) & (merges + offsets[-1] <= steps[-1])
    if before == 0 or not inside.any():
        return None
    loss = np.array([np.interp(merge + offsets, steps, mean) for merge in merges[inside]])
    loss = loss.reshape(len(loss), -1, width).mean(axis=2)
    return {"at": offsets.reshape(-1, width).mean(axis=1), "width": width,
            "loss": loss - loss[:, :before].mean(axis=1, keepdims=True)}


def draw_merges(axes, merging):
    for curve, part in merging:
        row, loss = curve["row"], part["loss"]
        axes.plot(part["at"], loss.T, color=row["colour"], linewidth=0.8, alpha=0.35)
        axes.plot(part["at"], loss.mean(axis=0), color=row["colour"], linestyle=row["dash"],
                  linewidth=2, label=f"{figures.name_of(row)}, mean of {len(loss)} merges")
    axes.axvline(0, color=PALE, linestyle=(0, (1, 2)), linewidth=1.2, zorder=0)
    axes.axhline(0, color=PALE, linewidth=0.8, zorder=0)
    axes.set_title("Loss around merges, over its mean before")
    width = max(part["width"] for _, part in merging)
    means = f", means of {width} steps" if width > 1 else ""
    axes.set_xlabel(f"optimizer steps after the merge\n(thin: each merge{means})")
    axes.set_ylabel("change of the loss (nats)")
    axes.margins(x=0)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.08 * (1 + len(merging)) * (high - low))
    axes.legend(loc="upper right", frameon=False, handlelength=3)


def draw_point(axes, row, place, value, spread=0, below=False):
    """Draws a perplexity with its number; `below` for the second of a line, drawn open."""
    axes.errorbar(value, place, xerr=spread or None, color=row["colour"], marker=row["marker"],
                  markersize=8, capsize=4, linewidth=1.8, fillstyle="none" if below else "full")
    axes.annotate(f"{value:.2f}", (value, place), xytext=(0, -8 if below else 8), ha="center",
                  va="top" if below else "bottom", textcoords="offset points", fontsize=10)


def draw_ours(axes, setting):
    bests = [row["ours"] and row["ours"]["best"] for row in setting["rows"]]
    for place, (row, best) in enumerate(zip(setting["rows"], bests)):
        if best:
            draw_point(axes, row, place, best["mean"][-1], (best["spread"] or [0])[-1])
    several = any(best and best["spread"] for best in bests)
    axes.set_title("Ours")
    axes.set_xlabel("perplexity" + (",\nmean ± deviation over seeds" if several else ""))


def draw_paper(axes, table, setting):
    columns = table["paper"]["columns"]
    for place, row in enumerate(setting["rows"]):
        for column, value in enumerate((row["paper"] or {}).values()):
            if value is not None:
                draw_point(axes, row, place, value, below=column > 0)
    axes.set_title(f"Paper, r {table['paper']['r']}")
    axes.set_xlabel(f"perplexity,\nfull: {columns[0]}, open: {columns[1]}")


def draw_perplexities(panels, table, setting):
    draw_ours(panels[0], setting)
    draw_paper(panels[1], table, setting)
    names = [figures.name_of(row) if row["ours"] else row["method"] for row in setting["rows"]]
    panels[0].set_yticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names])
    panels[1].set_yticks(range(len(names)), [""] * len(names))
    for axes in panels:
        axes.set_ylim(len(names) - 0.5, -0.7)
        axes.margins(x=0.18)


def make_figure(table, setting):
    """Returns the figure: the loss above, merges and perplexities below."""
    give_colours(setting)
    curves = collect_curves(setting)
    merging = [(curve, part) for curve in curves if (part := around_merges(curve))]
    figure = plt.figure(figsize=(12, 9), constrained_layout=True)
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1.1])
    widths = [2.2, 1, 1.5] if merging else [1, 1.5]
    panels = [above.subplots(), *below.subplots(1, len(widths), width_ratios=widths)]
    draw_loss(panels[0], curves)
    if merging:
        draw_merges(panels[1], merging)
    draw_perplexities(panels[-2:], table, setting)
    for axes in panels:
        figures.tidy(axes)
    facts = []
    if setting["scored"]:
        facts.append(f"perplexity on {setting['scored']:,} held-out tokens")
    if any(len(curve["loss"]) > 1 for curve in curves):
        facts.append("lines: mean over seeds, bands: range over seeds")
    figure.suptitle("\n".join([f"{setting['name']}: {figures.model_of(setting)}",
                               *filter(None, ["; ".join(facts)])]), fontsize=12)
    figure.get_layout_engine().set(hspace=0.08, wspace=0.04)
    return figure


if __name__ == "__main__":
    figures.main(__doc__, "table3", make_figure)
