# shellcheck shell=bash
# What the job scripts share; they source it, nobody runs it. A script calls split_arguments, then
# mora_job with the command line of mora.
#
# Asked to stop, mora finishes its step, writes a checkpoint and exits with 75; started again, it
# goes on from its newest sound checkpoint. Here the signals of Slurm become that request, and an
# exit with 75 puts the job back into the queue under the same id.

# Edit these, or set them in front of sbatch: LAUNCHER=mpirun sbatch ...
MODULES=${MODULES:-}             # modules to load, for example "openmpi/4.1 hdf5/1.12"
LAUNCHER=${LAUNCHER:-auto}       # srun, mpirun, or auto: srun where it works
SRUN_MPI=${SRUN_MPI:-pmix}       # one of `srun --mpi=list`
BIND=${BIND:-core}               # core, or none
STOP_SIGNAL=${STOP_SIGNAL:-USR2} # what asks mora for a checkpoint and a stop: USR1 or USR2
MAX_RESTARTS=${MAX_RESTARTS:-100}
MORA=${MORA:-$MORA_HOME/build/release/mora}

TRY_AGAIN=75
ASK_AGAIN=5 # seconds from one request to the next, where the first has not ended the launcher

# An array task goes by the id of the array and its index: the job id of one of the tasks is also
# that of the whole array, and would put all of them back.
job=$SLURM_JOB_ID
[ -z "${SLURM_ARRAY_JOB_ID:-}" ] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
ranks=${SLURM_NTASKS:-$((SLURM_NNODES * ${SLURM_NTASKS_PER_NODE:-1}))}
threads=${SLURM_CPUS_PER_TASK:-1}

say() { printf '%s job %s: %s\n' "$(date '+%F %T')" "$job" "$*"; }

die() {
  say "error: $*" >&2
  exit 1
}

# split_arguments [CONFIG.yaml] [-- ARGUMENT...]: sets CONFIG and the array `extra`.
split_arguments() {
  extra=()
  if [ $# -gt 0 ] && [ "$1" != -- ]; then
    CONFIG=$1
    shift
  fi
  if [ $# -gt 0 ]; then
    [ "$1" = -- ] || die "expected [CONFIG.yaml] [-- arguments of mora run], found \"$1\""
    shift
    extra=("$@")
  fi
  [ -n "$CONFIG" ] || die "expected a file: sbatch ... CONFIG.yaml"
  [ -f "$CONFIG" ] || die "no file $CONFIG in $PWD, where sbatch was called"
}

# True where `srun --mpi=$SRUN_MPI` starts ranks that find each other: only the first of them prints
# the version, and ranks that are all alone are all first. An srun that could start nothing may
# exit with 0, which must not pass for a run that is done.
srun_works() {
  srun --mpi=list 2>&1 | grep -qw "$SRUN_MPI" || return 1
  local probes=$SLURM_NNODES printed
  [ "$probes" -gt 1 ] || probes=2
  [ "$probes" -le "$ranks" ] || probes=$ranks
  printed=$(timeout 120 srun --mpi="$SRUN_MPI" --nodes="$SLURM_NNODES" --ntasks="$probes" \
    "$MORA" --version 2>/dev/null) || return 1
  [ "$(grep -c '^mora ' <<<"$printed")" -eq 1 ]
}

# Sets the array `launch`: what stands in front of the program's own command line.
choose_launcher() {
  if [ "$LAUNCHER" = auto ] || [ "$LAUNCHER" = srun ]; then
    if srun_works; then
      LAUNCHER=srun
    elif [ -n "$stop_requested" ]; then
      requeue "asked to stop before the start" # the signal may have ended the trial
    elif lost_a_node; then
      requeue "a node was lost before the start"
    elif [ "$LAUNCHER" = auto ] && command -v mpirun >/dev/null; then
      LAUNCHER=mpirun
    else
      die "srun --mpi=$SRUN_MPI does not start $MORA as one job: see slurm/README.md"
    fi
  fi
  case $LAUNCHER in
    srun)
      # Where a rank is gone its node's ranks end; those of other nodes would wait for them.
      launch=(srun --mpi="$SRUN_MPI" --wait=60 --ntasks="$ranks" --cpus-per-task="$threads")
      # A job with --hint has its binding already, and Slurm refuses both.
      [ "$BIND" = none ] || [ -n "${SLURM_HINT:-}" ] || launch+=(--cpu-bind=cores)
      ;;
    mpirun)
      launch=(mpirun -q -np "$ranks")
      if [ "$BIND" = none ]; then
        launch+=(--bind-to none)
      else
        launch+=(--map-by "slot:PE=$threads" --bind-to core)
      fi
      # Slurm preempts with TERM to all processes of the job, and with that Open MPI kills the ranks
      # within two seconds. Blocked in its processes, which unblock it for the ranks, the signal
      # leaves the ranks all the time there is.
      if env --block-signal=TERM true 2>/dev/null; then
        launch=(env --block-signal=TERM "${launch[@]}")
        local agent=${OMPI_MCA_orte_launch_agent:-env --block-signal=TERM orted}
        export OMPI_MCA_orte_launch_agent=$agent
      fi
      ;;
    *) die "LAUNCHER: expected auto, srun or mpirun, found \"$LAUNCHER\"" ;;
  esac
}

# The trap. Both launchers pass $STOP_SIGNAL on to the ranks; TERM means something else to them.
request_stop() {
  interrupted=1
  if [ -z "$stop_requested" ]; then
    stop_requested=1
    say "SIG$1: asking for a checkpoint and a stop"
  fi
  [ -z "$launcher_pid" ] || ask_launcher
}

# Asks now and, until the launcher has ended, every few seconds: one that is just starting may lose
# a signal. mora takes any number of them for one request.
ask_launcher() {
  kill -s "$STOP_SIGNAL" "$launcher_pid" 2>/dev/null
  [ -z "$asker_pid" ] || return
  while sleep "$ASK_AGAIN"; do
    kill -s "$STOP_SIGNAL" "$launcher_pid" || exit
  done 2>/dev/null &
  asker_pid=$!
  disown "$asker_pid" # bash tells nothing of its end
}

# Runs the command and sets exit_code to its own: a trap that interrupts the wait has it wait
# again, and bash still knows the code of a process that has ended meanwhile.
run_and_wait() {
  "$@" &
  launcher_pid=$!
  # The request may have come between the last look at it and the start.
  [ -z "$stop_requested" ] || ask_launcher
  interrupted=1
  while [ "$interrupted" -eq 1 ]; do
    interrupted=0
    wait "$launcher_pid"
    exit_code=$?
  done
  launcher_pid=''
  [ -z "$asker_pid" ] || kill "$asker_pid" 2>/dev/null
}

# True where the request itself ended the launcher: it, or a rank, was not ready for the signal yet,
# or mpirun had just lost its ranks (244). Codes of a crash are none of these.
ended_by_request() {
  [ -n "$stop_requested" ] || return 1
  case $exit_code in
    132 | 134 | 135 | 136 | 139) return 1 ;; # ILL, ABRT, BUS, FPE, SEGV
  esac
  [ "$exit_code" -gt 128 ]
}

# True where this node starts processes and another one of the job does not any more. A launcher
# ends before Slurm has noticed a lost node, with a code that tells nothing.
lost_a_node() {
  [ "$SLURM_NNODES" -gt 1 ] || return 1
  local probe=(timeout 60 srun --mpi=none --overlap --ntasks-per-node=1)
  "${probe[@]}" --nodes=1 --ntasks=1 --nodelist="$SLURMD_NODENAME" true 2>/dev/null || return 1
  ! "${probe[@]}" --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" true 2>/dev/null
}

# requeue WHY: puts the job back into the queue, unless somebody ends it or it came back too often.
requeue() {
  local restarts=${SLURM_RESTART_COUNT:-0} record state reason answer attempt
  trap : TERM USR1 USR2 # there is nobody left to ask
  record=$(scontrol --oneliner show job "$job")
  state=$(sed -n 's/.* JobState=\([^ ]*\).*/\1/p' <<<"$record")
  reason=$(sed -n 's/.* Reason=\([^ ]*\).*/\1/p' <<<"$record")
  # Asked for, even a cancelled job would come back; a preempted one comes back without.
  if [ "$state" = COMPLETING ] && [ "$reason" != TimeLimit ]; then
    say "$1; cancelled or preempted by Slurm, which decides what follows"
    exit "$TRY_AGAIN"
  fi
  if [ "$restarts" -ge "$MAX_RESTARTS" ]; then
    say "error: $1; not put back: restarted $restarts times, MAX_RESTARTS=$MAX_RESTARTS" >&2
    exit "$TRY_AGAIN"
  fi
  say "$1: back into the queue for restart $((restarts + 1))"
  for attempt in 1 2 3; do
    [ "$attempt" -eq 1 ] || sleep 10 # the controller itself may be starting again
    answer=$(scontrol requeue "$job" 2>&1) && exit 0
  done
  say "error: not put back, Slurm refused: $answer" >&2
  say "the same sbatch command goes on from the checkpoint" >&2
  exit "$TRY_AGAIN"
}

# mora_job ARGUMENT...: runs mora with these, the job's number of threads, and `extra`, and ends
# the script.
mora_job() {
  local module
  launcher_pid='' asker_pid=''
  trap 'request_stop TERM' TERM
  trap 'request_stop USR1' USR1
  trap 'request_stop USR2' USR2
  [ -z "$stop_requested" ] || requeue "asked to stop before the start"
  for module in $MODULES; do
    module load "$module" || die "module load $module"
  done
  command -v "$MORA" >/dev/null || die "no program $MORA: ./quickstart.sh setup builds it"
  choose_launcher
  local command=("${launch[@]}" "$MORA" "$@" --set "parallel.threads=$threads"
    --set "checkpoint.signal=$STOP_SIGNAL" "${extra[@]}")
  say "restart ${SLURM_RESTART_COUNT:-0} on $SLURM_JOB_NODELIST: ${command[*]}"
  [ -z "$stop_requested" ] || requeue "asked to stop before the start"
  run_and_wait "${command[@]}"
  case $exit_code in
    0) say "finished" ;;
    "$TRY_AGAIN") requeue "stopped at a checkpoint" ;;
    *)
      if ended_by_request; then requeue "asked to stop; the launcher ended with $exit_code"; fi
      if lost_a_node; then requeue "a node was lost (exit code $exit_code)"; fi
      say "failed with exit code $exit_code, not put back" >&2
      ;;
  esac
  exit "$exit_code"
}
