#!/bin/sh
# Does all runs of some YAML files, so many at a time, one thread each: for grids of small models.
# Those of seed 1 come first, so that what is broken off is whole for the seeds before. Run again, it
# does what is missing.
#   experiments/side_by_side.sh build/release/mora 16 experiments/pretrain/apart.yaml ...
set -eu
[ $# -ge 3 ] || { echo "usage: $0 MORA JOBS FILE.yaml..." >&2; exit 2; }
mora=$1
jobs=$2
shift 2
for file; do
    "$mora" run "$file" --list | sed "s|^\([0-9]*\) .*seed\([0-9]*\)\$|\2 \1 $file|"
done | sort -s -n -k 1,1 | cut -d ' ' -f 2- |
    xargs -P "$jobs" -L 1 sh -c '
        exec "$0" run "$2" --index "$1" --set parallel.threads=1 --progress none' "$mora"
