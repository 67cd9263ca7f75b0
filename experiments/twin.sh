#!/usr/bin/env bash
# From records to a table of scores on two cores: prepares records for a task, and general text, with
# the tokenizer of a model folder, unless that is done, does the runs of experiments/TASK/laptop.yaml
# from that model, and prints their table.
#
#   experiments/twin.sh instruct|math|biomed|finance MODEL GENERAL PREPARE... [-- RUN...]
#
# GENERAL is a file of text that has nothing to do with the task: what a run forgets is told by it.
# PREPARE are files and options of `mora data prepare`, RUN options of `mora run`; the files of what is
# asked lie below data/. experiments/README.md has a line for each task. Runs in the repository's
# folder; MORA names another program than build/release/mora, RANKS another number of ranks than 2.
set -euo pipefail

usage() {
  sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

[ $# -ge 4 ] || usage
task=$1 model=$2 general=$3
shift 3
prepare=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  prepare+=("$1")
  shift
done
[ $# -eq 0 ] || shift
[ ${#prepare[@]} -gt 0 ] || usage

case $task in
  instruct) template=tulu table=table1 ;;
  math) template=metamath table=table1 ;;
  biomed) template= table=table6 ;;
  finance) template= table=table7 ;;
  *) usage ;;
esac
[ -f "$model/config.json" ] || { echo "twin.sh: '$model' is no model folder" >&2; exit 1; }
tokenizer=bytes
for file in tokenizer.json tokenizer.model; do
  [ "$tokenizer" != bytes ] || [ ! -f "$model/$file" ] || tokenizer=$model/$file
done

mora=${MORA:-build/release/mora} ranks=${RANKS:-2}
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
launch=(mpirun -q -np "$ranks" --bind-to none --oversubscribe "$mora")
data=data/$task-laptop
mkdir -p data
"${launch[@]}" data prepare "${prepare[@]}" ${template:+--template "$template"} \
  --tokenizer "$tokenizer" --heldout 0.05 --to "$data"
"${launch[@]}" data prepare "$general" --tokenizer "$tokenizer" --heldout 0 --to data/general-laptop
"${launch[@]}" run "experiments/$task/laptop.yaml" --set "model.path=$model" \
  --set "task.data=$data" "$@"
"$mora" table --paper "$table" "results/$task/laptop"
# A python with h5py and matplotlib: the system's, where another one stands first in the path.
for python in python3 /usr/bin/python3; do
  "$python" -c 'import h5py, matplotlib' 2>/dev/null || continue
  "$python" analysis/plot_runs.py "results/$task/laptop" --out "results/$task/laptop.png"
  echo "logs: results/$task/laptop/*.h5   figure: results/$task/laptop.png"
  exit
done
echo "logs: results/$task/laptop/*.h5; no python with h5py and matplotlib: the figure is left out"
