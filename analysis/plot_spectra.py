#!/usr/bin/env python3
"""Draws the spectra of what runs learnt: counts, beside scores too, decay, effective ranks and k90.

Every method and r is drawn at its best learning rate, as `mora table --json` chooses it. Spectra are
those beside the logs, <run>.spectra.h5, which log.spectrum_every asks for. Needs h5py and matplotlib
(Debian: python3-h5py, python3-matplotlib).
"""

import os

import h5py
import matplotlib.pyplot as plt
import numpy as np

import figures

ORDER = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj"]
TINY = 1e-6  # of the largest singular value: below it there is rounding alone
HEAT_COLUMNS = 4  # of the grid of heat maps
LAYERS_TOLD = 8  # most layers with a number on their axis
FAR = 0.3  # a score that is worse where it is higher is not shown beyond this part above the best
PALE = "#999999"


def read_spectra(log):
    """Returns what stands beside a log: steps, threshold, and a dictionary a projection."""
    path = log.removesuffix(".h5") + ".spectra.h5"
    if not os.path.exists(path):
        raise figures.Failure(f"no '{path}': log.spectrum_every of the run asks for spectra")
    with h5py.File(path, "r", locking=False) as file:
        steps = np.asarray(file["/step"])
        counted = steps >= 0
        if not counted.any():
            raise figures.Failure(f"'{path}' has no snapshot yet")
        projections = {}
        for name in [name for name in ORDER if name in file]:
            group = file[name]
            projections[name] = {key: np.asarray(group[key])[counted]
                                 for key in ("sigma", "count", "erank_sigma", "k90")}
            projections[name]["sides"] = (int(group.attrs["rows"]), int(group.attrs["cols"]))
            for key in ("count", "k90"):  # whole numbers, -1 where not defined
                values = projections[name][key].astype(float)
                projections[name][key] = np.where(values < 0, np.nan, values)
        return {"steps": steps[counted], "threshold": float(file.attrs["threshold"]),
                "layers": np.asarray(file[next(iter(projections))]["layer"]),
                "projections": projections}


def tokens_of_step(log):
    """Returns the tokens of one optimizer step."""
    with h5py.File(log, "r") as file:
        return float(np.asarray(file["/train/tokens"])[0])


def collect(setting):
    """Returns the spectra of every row that has a best rate, of each of its seeds."""
    drawn = []
    rows = figures.rows_drawn(setting)
    for place, row in zip(figures.places_of(rows), rows):
        logs = row["ours"]["best"]["logs"]
        drawn.append({
            "label": figures.name_of(row), "choice": figures.choice_of(row["ours"]["best"]),
            "seeds": [read_spectra(log) for log in logs], "tokens": tokens_of_step(logs[0]),
            "rates": row["ours"]["rates"], "best": row["ours"]["best"]["lr"],
            "colour": figures.COLOURS[place % len(figures.COLOURS)],
            "marker": figures.MARKERS[(place + place // len(figures.COLOURS))
                                      % len(figures.MARKERS)],
            "dash": figures.DASHES[place % len(figures.DASHES)]})
    return drawn


def projections_of(drawn):
    """Returns the projections that every row has, in the paper's order."""
    return [name for name in ORDER
            if all(name in seed["projections"] for one in drawn for seed in one["seeds"])]


def draw_counts(axes, drawn, names):
    """Counts of the last snapshot, mean over layers: a mark a method, a bar over its seeds."""
    width = 0.8 / len(drawn)
    for place, one in enumerate(drawn):
        counts = np.array([[np.nanmean(seed["projections"][name]["count"][-1]) for name in names]
                           for seed in one["seeds"]])
        ranks = np.array([[ranks_of(seed["projections"][name]) for name in names]
                          for seed in one["seeds"]]).mean(axis=0)
        at = np.arange(len(names)) - 0.4 + (place + 0.5) * width
        mean = counts.mean(axis=0)
        spread = np.array([mean - counts.min(axis=0), counts.max(axis=0) - mean])
        if np.isfinite(ranks).any():
            axes.hlines(ranks, at - width / 2, at + width / 2, color=PALE, linewidth=1.2,
                        label="singular values that are not 0" if place == 0 else None)
        axes.bar(at, mean, width=0.9 * width, color=one["colour"], alpha=0.25)
        axes.errorbar(at, mean, yerr=spread, color=one["colour"], marker=one["marker"],
                      markersize=5, linestyle="none", linewidth=1.4, label=one["label"])
    axes.set_xticks(range(len(names)), [name.removesuffix("_proj") for name in names])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("singular values, mean over layers")
    axes.set_title(f"Singular values above {drawn[0]['seeds'][0]['threshold']:g} at the end")


def ranks_of(projection):
    """Returns how many values are more than rounding, mean over layers; NaN where not all are kept."""
    sigma = projection["sigma"][-1]
    if sigma.shape[1] < min(projection["sides"]):
        return np.nan
    return (sigma > TINY * np.maximum(sigma[:, :1], 1e-300)).sum(axis=1).mean()


def draw_decay(panels, drawn, names):
    """Singular values of the last snapshot against their number, geometric mean over layers and
    seeds."""
    for axes, name in zip(panels, names):
        low = np.inf
        for one in drawn:
            sigma = np.concatenate([seed["projections"][name]["sigma"][-1]
                                    for seed in one["seeds"]])
            top = sigma.max()
            shown = (sigma > TINY * sigma[:, :1]).all(axis=0)
            mean = np.exp(np.log(np.maximum(sigma[:, shown], 1e-300)).mean(axis=0))
            if top <= 0 or mean.size == 0:
                continue
            low = min(low, mean[-1])
            axes.plot(1 + np.flatnonzero(shown), mean, color=one["colour"], linestyle=one["dash"],
                      linewidth=1.5)
        axes.axhline(drawn[0]["seeds"][0]["threshold"], color=PALE, linestyle=(0, (1, 2)),
                     linewidth=1.2, zorder=0)
        rows, cols = drawn[0]["seeds"][0]["projections"][name]["sides"]
        axes.set_title(f"{name.removesuffix('_proj')}, {rows} x {cols}", fontsize=11)
        axes.set_yscale("log")
        axes.set_xlabel("number")
    panels[0].set_ylabel("singular value")


def count_of(rate, names):
    """Returns the count of the last snapshots of a rate's seeds, mean over all of their linears."""
    return np.mean([np.nanmean([seed["projections"][name]["count"][-1] for name in names])
                    for seed in map(read_spectra, rate["logs"])])


def draw_scores(axes, drawn, names, table, setting):
    """The score of every rate against its count, those of a method joined by a line."""
    by_step = all(column.isdigit() for column in table["paper"]["columns"])
    score = (lambda rate: rate["mean_of_steps"]) if by_step else (lambda rate: rate["mean"][-1])
    rates = [rate for one in drawn for rate in one["rates"] if rate["seeds"]]
    higher = setting["better"] == "higher"
    best = (max if higher else min)(map(score, rates))
    left_out = 0
    for one in drawn:
        shown = [rate for rate in one["rates"]
                 if rate["seeds"] and score(rate) <= (1 + FAR) * max(best, score(rate) * higher)]
        left_out += sum(bool(rate["seeds"]) for rate in one["rates"]) - len(shown)
        at = [count_of(rate, names) for rate in shown]
        axes.plot(at, [score(rate) for rate in shown], color=one["colour"], linewidth=1,
                  alpha=0.6)
        for count, rate in zip(at, shown):
            large = rate["lr"] == one["best"]
            axes.plot(count, score(rate), color=one["colour"], marker=one["marker"],
                      markersize=9 if large else 5, fillstyle="full" if large else "none")
    axes.set_xlim(left=0)
    axes.set_xlabel("count, mean over all linears")
    axes.set_ylabel(setting["score"] + (", mean of all evaluations" if by_step else " at the end"))
    beyond = f"; {left_out} above {1 + FAR:g} of the best left out" if left_out else ""
    axes.set_title(f"Score against count\n(open: other rates{beyond})", fontsize=12)


def shared_steps(one):
    """Returns steps that every seed of a row has a snapshot of."""
    steps = one["seeds"][0]["steps"]
    for seed in one["seeds"][1:]:
        steps = np.intersect1d(steps, seed["steps"])
    return steps


def over_projections(one, names, key):
    """Returns steps, and the mean over seeds and projections of a measure, [steps, layers]."""
    steps = shared_steps(one)
    values = [seed["projections"][name][key][np.searchsorted(seed["steps"], steps)]
              for seed in one["seeds"] for name in names]
    return steps, np.nanmean(np.stack(values), axis=0)


def edges_of(steps):
    """Returns the borders of cells that end at the steps."""
    return np.concatenate([[0], steps]).astype(float)


def draw_heat(figure, panels, drawn, names):
    """Effective rank over layers and steps, a map a method, one scale for all."""
    maps = [over_projections(one, names, "erank_sigma") for one in drawn]
    most = max(np.nanmax(values) for _, values in maps)
    for axes, one, (steps, values) in zip(panels, drawn, maps):
        layers = one["seeds"][0]["layers"]
        mesh = axes.pcolormesh(edges_of(steps), np.arange(len(layers) + 1) - 0.5, values.T,
                               cmap="viridis", vmin=0, vmax=most)
        told = range(0, len(layers), -(-len(layers) // LAYERS_TOLD))
        axes.set_yticks(told, layers[told])
        axes.set_title(f"{one['label']}, {one['choice'].split(',')[0]}", fontsize=11)
    for axes in panels[len(drawn):]:
        axes.set_axis_off()
    figure.colorbar(mesh, ax=list(panels), label="effective rank", pad=0.01)
    figure.supxlabel("optimizer steps", fontsize=12)
    figure.supylabel("layer", fontsize=12)


def draw_k90(axes, drawn, names):
    """Mean over layers and projections of k90, against tokens."""
    for one in drawn:
        steps = shared_steps(one)
        per_seed = []
        for seed in one["seeds"]:
            at = np.searchsorted(seed["steps"], steps)
            per_seed.append(np.nanmean([np.nanmean(seed["projections"][name]["k90"][at], axis=1)
                                        for name in names], axis=0))
        per_seed = np.array(per_seed)
        tokens = steps * one["tokens"] / 1e3
        if len(per_seed) > 1:
            axes.fill_between(tokens, per_seed.min(axis=0), per_seed.max(axis=0),
                              color=one["colour"], alpha=0.15, linewidth=0)
        axes.plot(tokens, per_seed.mean(axis=0), color=one["colour"], linestyle=one["dash"],
                  marker=one["marker"], markersize=4, linewidth=1.6)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("thousands of tokens")
    axes.set_ylabel("k90, mean over all linears")
    axes.set_title("Directions that hold\n90 % of the energy", fontsize=12)


def make_figure(table, setting):
    """Returns the figure: counts and k90 above, decay below, heat maps at the foot."""
    drawn = collect(setting)
    names = projections_of(drawn)
    if not names:
        raise figures.Failure("the runs have no projection in common; see log.spectrum_modules")
    heat_rows = -(-len(drawn) // HEAT_COLUMNS)
    figure = plt.figure(figsize=(18, 10 + 2.1 * heat_rows), constrained_layout=True)
    above, middle, below = figure.subfigures(3, 1, height_ratios=[5.4, 3.6, 0.8 + 2.1 * heat_rows])
    counts, scores, k90 = above.subplots(1, 3, width_ratios=[1.9, 1, 1])
    draw_counts(counts, drawn, names)
    draw_scores(scores, drawn, names, table, setting)
    draw_k90(k90, drawn, names)
    decay = np.atleast_1d(middle.subplots(1, len(names), sharey=True))
    draw_decay(decay, drawn, names)
    middle.suptitle("Singular values at the end, geometric mean over layers and seeds (dotted: the "
                    "threshold)", fontsize=13)
    heat = np.atleast_1d(below.subplots(heat_rows, min(HEAT_COLUMNS, len(drawn)), sharex=True,
                                        sharey=True)).ravel()
    draw_heat(below, heat, drawn, names)
    below.suptitle("Effective rank, mean over projections and seeds", fontsize=13)
    for axes in [counts, scores, k90, *decay]:
        figures.tidy(axes)
    counts.legend(loc="upper center", bbox_to_anchor=(0.5, -0.07), ncol=3, frameon=False)
    several = any(len(one["seeds"]) > 1 for one in drawn)
    figure.suptitle(f"{setting['name']}: what was learnt, {figures.model_of(setting)}"
                    + ("\nmarks and lines: mean over seeds; bars and bands: range over seeds"
                       if several else ""), fontsize=12)
    return figure


if __name__ == "__main__":
    figures.main(__doc__, None, make_figure)
