#!/usr/bin/env python3
"""Prints how the speed of training steps grows with the ranks of a machine: a table of
`mora bench` on several numbers of ranks.

    analysis/scaling.py build/release/mora 1,2,4 -- --methods fft,lora,mora --threads 1

The numbers take turns, `--rounds` times, so that what else a machine does falls on all of them, and
a number's median counts; a fresh machine may be slow for its first minute, which `--warm SECONDS` lets
pass on the most ranks. Columns: tokens a second; how many times as many as the first number of ranks
has, and how much that is of what so many more ranks could at best; the share that a step reaches of the
sum of each rank's best rate of plain matrix products (`of gemm`), and of the rate of products that all
ranks start together and that are over when the last is done (`at once`), each with its ratio to the
first number's; and the shares of a step that its exchanges take and that ranks wait for the last one, on
average. `mora bench` tells these apart (src/app/bench.c). A step ends with its slowest rank: where
processors are not alike, or have other work, `at once` is what is left to reach.

What follows `--` is handed to `mora bench`. `--mpirun` says how ranks are started. Needs Python
alone.
"""

import argparse
import json
import statistics
import sys
import time

from program import Failure, read_json


def measure(mpirun, program, ranks, options):
    """Returns what `mora bench --json` prints on so many ranks."""
    return read_json([*mpirun.split(), "-n", str(ranks), program, "bench", "--json", *options])


def share_of(phase, row):
    phases = row["phase_seconds"]
    return phases[phase] / sum(phases.values())


def summarise(rows):
    """Returns the medians of what was measured of one method on one number of ranks."""
    return {
        "tokens_per_second": statistics.median(r["tokens_per_second"] for r in rows),
        "of_gemm": statistics.median(r["ratio_to_gemm"] for r in rows),
        "at_once": statistics.median(r["ratio_to_gemm_at_once"] for r in rows),
        "communication": statistics.median(share_of("communication", r) for r in rows),
        "waiting": statistics.median(share_of("waiting", r) for r in rows),
    }


def print_table(methods, counts, found):
    print(f"{'method':9} {'ranks':>5} {'tokens/s':>10} {'times':>7} {'of best':>8} {'of gemm':>8}"
          f" {'to first':>9} {'at once':>8} {'to first':>9} {'communication':>14} {'waiting':>8}")
    for method in methods:
        first = found[method, counts[0]]
        for ranks in counts:
            one = found[method, ranks]
            times = one["tokens_per_second"] / first["tokens_per_second"]
            print(f"{method:9} {ranks:5} {one['tokens_per_second']:10.1f} {times:7.2f}"
                  f" {100 * times * counts[0] / ranks:7.1f}% {100 * one['of_gemm']:7.1f}%"
                  f" {one['of_gemm'] / first['of_gemm']:9.2f} {100 * one['at_once']:7.1f}%"
                  f" {one['at_once'] / first['at_once']:9.2f} {100 * one['communication']:13.2f}%"
                  f" {100 * one['waiting']:7.2f}%")


def parse(arguments):
    options = []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, options = arguments[:at], arguments[at + 1:]
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="path of mora")
    parser.add_argument("ranks", help="numbers of ranks, comma-separated")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (3)")
    parser.add_argument("--warm", type=float, default=0, metavar="SECONDS",
                        help="run unmeasured on the most ranks before, so long at least (0)")
    parser.add_argument("--mpirun", default="mpirun --bind-to core", metavar="COMMAND",
                        help='what starts ranks ("mpirun --bind-to core")')
    parser.add_argument("--json", action="store_true", help="print all that was measured as JSON")
    args = parser.parse_args(arguments)
    try:
        args.counts = [int(part) for part in args.ranks.split(",")]
    except ValueError:
        args.counts = [0]
    if min(args.counts) < 1 or args.rounds < 1:
        parser.error(f"expected numbers of ranks as 1,2,4, and rounds, from 1 on; found {args.ranks}")
    return args, options


def run(arguments):
    args, options = parse(arguments)
    measured = {}
    began = time.monotonic()
    while time.monotonic() - began < args.warm:
        measure(args.mpirun, args.program, max(args.counts), options)
    for _ in range(args.rounds):
        for ranks in args.counts:
            for row in measure(args.mpirun, args.program, ranks, options):
                measured.setdefault((row["method"], ranks), []).append(row)
    methods = list(dict.fromkeys(method for method, _ in measured))
    if args.json:
        json.dump([{"ranks": ranks, "rounds": rows, "method": method}
                   for (method, ranks), rows in measured.items()], sys.stdout, indent=1)
        print()
        return
    print_table(methods, args.counts, {key: summarise(rows) for key, rows in measured.items()})


if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except Failure as failure:
        sys.exit(f"scaling.py: {failure}")
