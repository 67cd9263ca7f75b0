#!/usr/bin/env bash
# The job scripts of slurm/ on a real Slurm: time limit, job array, lost node, and what becomes of
# each exit code. Needs MR_PROGRAM and MR_SOURCE_DIR.
set -u
deadline=840 # seconds, below the limit of ctest

# shellcheck source=tests/slurm/cluster.sh
. "$MR_SOURCE_DIR/tests/slurm/cluster.sh"

missing=$(cluster_missing)
if [ -z "$missing" ] && ! command -v h5diff >/dev/null; then
    missing="no h5diff (Debian: hdf5-tools)"
fi
if [ -n "$missing" ]; then
    echo "skipped: $missing"
    exit 77
fi

# A test that is itself a job would be taken for a step of it.
for name in $(compgen -e | grep -E '^(SLURM|SBATCH|SRUN)_'); do unset "$name"; done
unset CONFIG MODULES LAUNCHER SRUN_MPI STOP_SIGNAL MAX_RESTARTS MORA_HOME

folder=$(mktemp -d)
chmod 755 "$folder" # munge refuses a socket that others cannot reach
finish() {
    cluster_stop
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 1' INT TERM
cd "$folder" || exit 1
export MORA=$MR_PROGRAM OMPI_MCA_mpi_yield_when_idle=1
scripts=$MR_SOURCE_DIR/slurm

note() { printf '%4d s  %s\n' $SECONDS "$*"; }

fail() {
    echo "failed: $*"
    squeue
    sinfo -N
    tail -n 40 ./*.out cluster/slurmctld.log cluster/n*/log 2>/dev/null
    exit 1
}

field() { scontrol --oneliner show job "$1" | sed -n "s/.* $2=\([^ ]*\).*/\1/p" | head -n 1; }

ended() {
    case $(field "$1" JobState) in
        COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL) ;;
        *) return 1 ;;
    esac
}

not_running() { [ "$(field "$1" JobState)" != RUNNING ]; }

# expect_end JOB STATE SECONDS
expect_end() {
    wait_for "$3" ended "$1" || fail "job $1: not ended after $3 s: $(field "$1" JobState)"
    [ "$(field "$1" JobState)" = "$2" ] || fail "job $1: expected $2, found $(field "$1" JobState)"
}

# expect_text FILE TEXT
expect_text() { grep -qF -- "$2" "$1" || fail "$1: expected \"$2\""; }

# same_bits NAME OTHER: run NAME is run OTHER in every recorded number and every weight. Series of
# other lengths h5diff only mentions.
same_bits() {
    local series found
    for series in step loss lr grad_norm tokens; do
        found=$(h5diff -c "out/$1.h5" "out/$2.h5" "/train/$series" 2>&1 || echo "not equal")
        [ -z "$found" ] || fail "$1 and $2 differ in /train/$series: $found"
    done
    cmp "out/$1/model.safetensors" "out/$2/model.safetensors" || fail "$1 and $2 differ in weights"
}

# Arguments that name a run and its model.
as() {
    printf '%s\n' --set "run.name=$1" --set "run.save_model=out/$1"
}

# Prints the processes that train a run.
ranks_of() {
    local file words
    for file in /proc/[0-9]*/cmdline; do
        mapfile -d '' -t words <"$file" || continue
        [ "${words[0]:-}" = "$MORA" ] || continue
        case " ${words[*]} " in *" run.save_model=out/$1 "*) basename "${file%/cmdline}" ;; esac
    done 2>/dev/null
}

checkpoints_of() { find "out/$1.checkpoints" -maxdepth 1 -name 'step-*' 2>/dev/null | wc -l; }
has_checkpoints() { [ "$(checkpoints_of "$1")" -ge "$2" ]; }

# Suspends a run once it has so many checkpoints, so that what follows meets it on a machine of any
# speed: its two processes, in ranks, go on by kill -CONT.
suspend() {
    wait_for 60 has_checkpoints "$1" "$2" || fail "$1: no checkpoints"
    mapfile -t ranks < <(ranks_of "$1")
    [ ${#ranks[@]} -eq 2 ] || fail "$1: expected 2 ranks, found ${#ranks[@]}"
    kill -STOP "${ranks[@]}"
}

cat >tiny.json <<'END_OF_FILE'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
 "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 259,
 "max_position_embeddings": 128, "hidden_act": "silu"}
END_OF_FILE
cat >long.yaml <<'END_OF_FILE'
run:        {name: long, output: out}
model:      {config: tiny.json, init: random}
task:       {name: uuid, pairs: 64}
method:     {name: mora, r: 8, lora_dropout: 0.1}
train:      {steps: 160, global_batch: 8, micro_batch: 4, lr: 1e-3, schedule: cosine}
eval:       {items: 8}
checkpoint: {every_steps: 20}
END_OF_FILE
cat >matrix.yaml <<'END_OF_FILE'
run:    {name: matrix, output: out}
model:  {config: tiny.json, init: random}
task:   {name: uuid, pairs: 16}
train:  {steps: 20, global_batch: 8, micro_batch: 4, lr: 1e-3}
matrix: {method.r: [4, 8], run.seed: [1, 2]}
END_OF_FILE

# Some seconds on any machine, in the first quarter of which a run is suspended below.
mapfile -t set_keys < <(as reference)
mpirun -q -np 2 --bind-to none "$MORA" run long.yaml "${set_keys[@]}" --set parallel.threads=1 \
    >reference.out 2>&1 || fail "reference: $(cat reference.out)"
note "uninterrupted"

cluster_start "$folder/cluster" || fail "Slurm does not start"
note "Slurm runs: two nodes"

# The shortest limit is a minute, and Slurm looks every half minute: the signal comes 5 to 35 s after
# each start, and the run is suspended until then. The launcher, the binding and the number of threads
# are the scripts' own choice.
mapfile -t set_keys < <(as limited)
limited=$(sbatch --parsable --ntasks-per-node=2 --time=1 --signal=B:USR2@25 --output=limited.out \
    "$scripts/mora_pretrain.sh" long.yaml -- "${set_keys[@]}") || fail "sbatch"
suspend limited 1
asked_to_stop="SIGUSR2: asking for a checkpoint and a stop"
{
    wait_for 60 grep -qF "$asked_to_stop" limited.out
    kill -CONT "${ranks[@]}"
} &

# Beside it, on the other node, the four runs of a matrix, and stand-ins for mora that end in one way
# each.
runs=$("$MORA" run matrix.yaml --list | wc -l)
[ "$runs" -eq 4 ] || fail "expected 4 runs, found $runs"
array=$(sbatch --parsable --array=0-$((runs - 1)) --ntasks-per-node=1 "$scripts/mora_matrix.sh" \
    matrix.yaml) || fail "sbatch"

# stand_in NAME COMMANDS [OPTION OF SBATCH]...
stand_in() {
    cat >"$1" <<END_OF_FILE
#!/bin/sh
case \$1 in --version) echo "mora 0"; exit 0 ;; esac
echo started
$2
END_OF_FILE
    chmod +x "$1"
    MORA=./$1 LAUNCHER=srun SRUN_MPI=none sbatch --parsable --ntasks-per-node=1 --output="$1.out" \
        "${@:3}" "$scripts/mora_uuid.sh" long.yaml || fail "sbatch"
}
failing=$(stand_in failing 'exit 3')
refused=$(stand_in refused 'exit 75' --no-requeue)
endless=$(MAX_RESTARTS=1 stand_in endless 'exit 75')
cancelled=$(stand_in cancelled 'trap "exit 75" TERM; while :; do sleep 0.2; done')
has_started() { grep -q started "$1.out" 2>/dev/null; }
wait_for 120 has_started cancelled || fail "cancelled: does not start"
scancel "$cancelled"
no_array=$(sbatch --parsable --ntasks-per-node=1 --output=no_array.out \
    "$scripts/mora_matrix.sh" matrix.yaml)
no_file=$(sbatch --parsable --ntasks-per-node=1 --output=no_file.out \
    "$scripts/mora_uuid.sh" nowhere.yaml)
cp "$scripts/mora_uuid.sh" copy.sh
copy=$(sbatch --parsable --ntasks-per-node=1 --output=copy.out copy.sh long.yaml)

# Asked to stop before the script knows where mora is, before mora takes signals, and by a signal
# that is lost: all of them come back, and end the second time.
mkdir slow
cat >slow/scontrol <<END_OF_FILE
#!/bin/sh
if [ "\$1" = show ]; then echo started; sleep 2; fi >&2
exec $(command -v scontrol) "\$@"
END_OF_FILE
chmod +x slow/scontrol
again="[ \${SLURM_RESTART_COUNT:-0} -eq 0 ] || exit 0"
early=$(PATH=$folder/slow:$PATH stand_in early "$again; exit 3")
deadly=$(stand_in deadly "$again; while :; do sleep 0.2; done")
lossy=$(stand_in lossy "$again; trap 'trap \"exit 75\" USR2' USR2; while :; do sleep 0.2; done")
for name in early deadly lossy; do
    wait_for 120 has_started "$name" || fail "$name: does not start"
    scancel --batch --signal=USR2 "${!name}"
done

expect_end "$failing" FAILED 120
expect_text failing.out "failed with exit code 3, not put back"
expect_end "$endless" FAILED 120
expect_text endless.out "back into the queue for restart 1"
expect_text endless.out "not put back: restarted 1 times, MAX_RESTARTS=1"
expect_end "$cancelled" CANCELLED 120
expect_text cancelled.out "cancelled or preempted by Slurm, which decides what follows"
expect_end "$no_array" FAILED 120
expect_text no_array.out "expected a job array: sbatch --array=0-N slurm/mora_matrix.sh FILE.yaml"
expect_end "$no_file" FAILED 120
expect_text no_file.out "no file nowhere.yaml in $folder"
expect_end "$copy" FAILED 120
expect_text copy.out "this job script is not in the folder slurm/ of mora"
expect_end "$refused" FAILED 120
expect_text refused.out "not put back, Slurm refused"
for job in "$failing" "$cancelled" "$refused"; do
    [ "$(field "$job" Restarts)" -eq 0 ] || fail "job $job was put back"
done
note "exit codes"

for job in "$early" "$deadly" "$lossy"; do
    expect_end "$job" COMPLETED 120
    [ "$(field "$job" Restarts)" -eq 1 ] || fail "job $job: restarts $(field "$job" Restarts)"
done
expect_text early.out "asked to stop before the start: back into the queue for restart 1"
launcher_killed="asked to stop; the launcher ended with 140"
expect_text deadly.out "$launcher_killed: back into the queue for restart 1"
expect_text lossy.out "stopped at a checkpoint: back into the queue for restart 1"
note "asked to stop at the start"

for ((i = 0; i < runs; i++)); do
    expect_end "${array}_$i" COMPLETED 120
    expect_text "mora-matrix-${array}_$i.out" "--index $i"
    expect_text "mora-matrix-${array}_$i.out" "finished"
done
[ "$(find out -name 'matrix.*.h5' | wc -l)" -eq 4 ] || fail "expected 4 logs of the matrix"
note "array of $runs runs"

expect_end "$limited" COMPLETED 120
note "time limit: restarts $(field "$limited" Restarts)"
[ "$(field "$limited" Restarts)" -ge 1 ] || fail "the job was not interrupted"
expect_text limited.out "$asked_to_stop"
expect_text limited.out "stopped at a checkpoint: back into the queue for restart 1"
expect_text limited.out "limited: goes on at step"
expect_text limited.out "finished"
expect_text limited.out "--set parallel.threads=1"
same_bits limited reference

# Both nodes in one job, which srun cannot span here: where nothing else is allowed that is an error,
# elsewhere the script has to find it out.
alone=$(stand_in alone 'exit 0' --nodes=2)
expect_end "$alone" FAILED 60
expect_text alone.out "srun --mpi=none does not start ./alone as one job"
mapfile -t set_keys < <(as lost)
job=$(BIND=none sbatch --parsable --nodes=2 --ntasks-per-node=1 --output=lost.out \
    "$scripts/mora_pretrain.sh" long.yaml -- "${set_keys[@]}") || fail "sbatch"
suspend lost 2
node_lose n2 || fail "no processes on n2"
kill -CONT "${ranks[@]}" 2>/dev/null # who is left
note "node n2 is lost"
wait_for 90 not_running "$job" || fail "the job runs on"
[ "$(field "$job" JobState)" != FAILED ] || fail "the job failed with the node"
node_start n2
expect_end "$job" COMPLETED 240
note "lost node: restarts $(field "$job" Restarts)"
[ "$(field "$job" Restarts)" -ge 1 ] || fail "the job was not requeued"
expect_text lost.out "mpirun -q -np 2"
expect_text lost.out "lost: goes on at step"
same_bits lost reference

echo "passed"
