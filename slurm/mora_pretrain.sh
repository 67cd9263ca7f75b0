#!/usr/bin/env bash
# Pretrains a model, over as many time limits, preemptions and lost nodes as it takes:
#   sbatch slurm/mora_pretrain.sh [CONFIG.yaml] [-- arguments of mora run]
#SBATCH --job-name=mora-pretrain
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=1
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR2@1200

# A request to stop that comes this early puts the job back before its start.
stop_requested=''
trap 'stop_requested=1' TERM USR1 USR2

# Edit this, and the settings of the cluster (modules, launcher, ...) at the top of common.sh.
CONFIG=${CONFIG:-experiments/pretrain/250m.yaml}
# The folder of mora; Slurm runs a copy of this file, and knows where the original is.
MORA_HOME=${MORA_HOME:-$(scontrol show job "${SLURM_JOB_ID:?start this with sbatch}" |
  sed -n '/^ *Command=/ {s|^ *Command=\(.*\)/slurm/[^/]*\.sh.*|\1|p; q}')}

if ! [ -f "$MORA_HOME/slurm/common.sh" ]; then
  echo "error: this job script is not in the folder slurm/ of mora: say where mora is," \
    "MORA_HOME=/path/to/mora sbatch ..." >&2
  exit 1
fi
# shellcheck source=slurm/common.sh
. "$MORA_HOME/slurm/common.sh"
split_arguments "$@"
mora_job run "$CONFIG"
