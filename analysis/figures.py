"""What the figures share: the table they draw from, the logs, colours, and how they are written.

Needs h5py and matplotlib (Debian: python3-h5py, python3-matplotlib).
"""

import argparse
import os
import sys
import tempfile

import h5py
import matplotlib
from program import Failure, read_json

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend comes first)
import numpy as np  # noqa: E402

# Okabe and Ito's colours, told apart with any colour vision, without the yellow too pale for lines;
# a violet for the eighth.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#5E3C99"]
DASHES = ["solid", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1))]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
# Each has the colour and marks of its place.
METHODS = ["fft", "lora", "mora", "relora", "remora", "asylora", "dora", "lora_plus"]


def read_table(program, results, paper):
    """Returns what `mora table --json` prints about a folder of results beside a table, or beside
    that of the runs' task where paper is None."""
    named = ["--paper", paper] if paper else []
    return read_json([program, "table", results, *named, "--json"])


def read_merges(path):
    """Returns the steps after which a run merged; a resumed run may tell one twice."""
    with h5py.File(path, "r") as log:
        if "/events/kind" not in log:
            return np.zeros(0)
        merge = np.asarray(log["/events/kind"]) == b"merge"
        return np.unique(np.asarray(log["/events/step"], dtype=float)[merge])


def with_scores(rate, score):
    """Returns a rate with its means and spreads at each step, and the mean over all of them."""
    cells = [cell for cell in rate["cells"] if cell["score"] == score]
    steps = [cell for cell in cells if cell["step"] is not None]
    return {**rate, "mean": [cell["mean"] for cell in steps],
            "spread": [cell["spread"] for cell in steps] if len(rate["seeds"]) > 1 else None,
            "mean_of_steps": next((c["mean"] for c in cells if c["step"] is None), None)}


def setting_of(section):
    """Returns what a figure draws of a section: its runs, with every row its rates and the best."""
    tried = [(block, rates) for block, rates in zip(section["blocks"], section["rates"]) if rates]
    if len(tried) != 1:
        raise Failure(f"a figure is of runs of one task, found {len(tried)}")
    block, rates = tried[0]
    rows = []
    for row in section["rows"]:
        own = [with_scores(rate, block["score"]) for rate in rates
               if (rate["label"], rate["r"]) == (row["label"], row["r"])]
        best = next((rate for rate in own if rate["best"]), None)
        rows.append({**row, "ours": {"rates": own, "best": best} if own else None})
    about = next(score for score in block["scores"] if score["score"] == block["score"])
    return {**block, "better": about["better"], "chance": about["chance"], "rows": rows}


def choose_setting(table, number):
    """Returns the setting to draw; runs of two settings have no place in one figure."""
    settings = [setting_of(section) for section in table["sections"]]
    if number is None and len(settings) > 1:
        names = ", ".join(f"{i} {s['name']}" for i, s in enumerate(settings, 1))
        raise Failure(f"the runs are of {len(settings)} settings ({names}); --setting picks one, "
                      "`mora table` tells how they differ")
    if number is not None and not 1 <= number <= len(settings):
        raise Failure(f"--setting: expected 1..{len(settings)}, found {number}")
    return settings[(number or 1) - 1]


def model_of(setting):
    """Returns "model NAME (N parameters)"."""
    name = setting["config"]["model.path"] or setting["config"]["model.config"]
    return f"model {name} ({setting['base_parameters']:,} parameters)"


def name_of(row):
    """Returns "mora r=8", with the keys that tell it from others of that method and r."""
    return row["method"] + (f" r={row['r']}" if row["r"] else "") + row["label"][len(row["method"]):]


def choice_of(best):
    """Returns "lr 0.001, 2 seeds" of a rate."""
    seeds = len(best["seeds"])
    return f"lr {best['lr']:g}, {seeds} seed{'s' if seeds > 1 else ''}"


def rows_drawn(setting):
    """Returns the rows of ours that have a best rate."""
    rows = [row for row in setting["rows"] if row["ours"] and row["ours"]["best"]]
    if not rows:
        raise Failure("no completed run to draw; `mora table` tells what was left out")
    return rows


def places_of(rows):
    """Returns each row's place among colours and marks: that of its method, the same in every
    figure; of further rows of a method, and of methods not known here, the next free one."""
    places = [None] * len(rows)
    for i, row in enumerate(rows):
        place = METHODS.index(row["method"]) if row["method"] in METHODS else None
        places[i] = None if place in places else place
    free = (place for place in range(len(METHODS) + len(rows)) if place not in places)
    return [next(free) if place is None else place for place in places]


def read_seeds(paths, step_column, value_column):
    """Returns steps that all seeds have, and their values there, [seeds, steps]."""
    runs = []
    for path in paths:
        with h5py.File(path, "r") as log:
            runs.append([np.asarray(log[step_column], dtype=float),
                         np.asarray(log[value_column], dtype=float)])
    steps = runs[0][0]
    for step, _ in runs[1:]:
        steps = np.intersect1d(steps, step)
    return steps, np.stack([value[np.searchsorted(step, steps)] for step, value in runs])


def tidy(axes):
    """Gives axes a pale grid behind what is drawn, and no frame."""
    axes.grid(True, color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


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


def main(description, paper, make_figure):
    """Runs a program of one figure: make_figure(table, setting) beside a table of the paper."""
    parser = argparse.ArgumentParser(description=description.split("\n", maxsplit=1)[0])
    parser.add_argument("results", metavar="RESULTS_DIR", help="folder of run logs")
    parser.add_argument("--out", required=True, metavar="FILE.png", help="picture to write")
    parser.add_argument("--mora", default="mora", metavar="PATH", help="the program mora")
    parser.add_argument("--setting", type=int, metavar="N",
                        help="which one, where the runs are of several settings")
    arguments = parser.parse_args()
    plt.rcParams.update({"font.size": 12, "axes.titlesize": 13, "legend.fontsize": 11})
    try:
        table = read_table(arguments.mora, arguments.results, paper)
        save(make_figure(table, choose_setting(table, arguments.setting)), arguments.out)
    except (Failure, OSError) as error:
        sys.exit(f"{parser.prog.removesuffix('.py')}: error: {error}")
