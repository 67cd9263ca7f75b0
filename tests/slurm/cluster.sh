# shellcheck shell=bash disable=SC2154
# A Slurm of two nodes on this machine, without systemd, for root: cluster_start FOLDER, node_start,
# node_lose, cluster_stop. It has its own keys, ports and folders; commands find it by SLURM_CONF.
#
# A requeued job waits until the credentials of its last start have expired, two minutes unless
# cred_expire says less. That must be longer than KillWait: an srun that a failed mpirun left behind
# kills its step so much later, by a number that the job's next start uses again. A folder of PMIx's that
# is there already ends a step too; they are named by job and step alone, and one that a killed cluster
# left in /tmp would meet the next, so they lie in the cluster's own TmpFS. Both nodes have this host's
# name, so that `srun --mpi=pmix` does not span them; mpirun does.

cluster_missing() {
    local tool
    for tool in munged slurmctld slurmd sbatch srun scontrol; do
        command -v "$tool" >/dev/null || { echo "no $tool (Debian: slurm-wlm, munge)"; return; }
    done
    [ "$(id -u)" -eq 0 ] || echo "not root"
}

# Prints the first of three free ports in a row.
free_ports() {
    local try port first
    for try in $(seq 100); do
        first=$((20000 + RANDOM % 12000))
        for port in 0 1 2; do
            if (exec 3<>"/dev/tcp/127.0.0.1/$((first + port))") 2>/dev/null; then continue 2; fi
        done
        echo "$first"
        return
    done
    echo "no free ports after $try tries" >&2
    return 1
}

write_slurm_conf() {
    local host port
    host=$(hostname -s)
    port=$(free_ports) || return 1
    cat >"$cluster/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$cluster/munge/socket,cred_expire=5
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/%n/spool
TmpFS=$cluster/tmp
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmdPidFile=$cluster/%n/pid
SlurmctldLogFile=$cluster/slurmctld.log
SlurmdLogFile=$cluster/%n/log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=1,sched_interval=5,bf_interval=2
PropagateResourceLimits=NONE
ReturnToService=2
JobRequeue=1
KillWait=3
OverTimeLimit=0
MinJobAge=3600
MessageTimeout=5
SlurmctldTimeout=10
SlurmdTimeout=10
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + 2))] CPUs=2
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

node_start() {
    mkdir -p "$cluster/$1/spool"
    slurmd -f "$cluster/slurm.conf" -N "$1"
}

# wait_for SECONDS COMMAND...: true as soon as the command is, false after that time or when the
# script has run for $deadline seconds: who is killed from outside cannot end the cluster.
wait_for() {
    local end=$((SECONDS + $1))
    [ "$end" -lt "$deadline" ] || end=$deadline
    shift
    until "$@"; do
        [ $SECONDS -lt "$end" ] || return 1
        sleep 0.5
    done
}

both_idle() { [ "$(sinfo -h -o '%D %t')" = "2 idle" ]; }

cluster_start() {
    cluster=$1
    mkdir -p "$cluster/munge" "$cluster/state" "$cluster/tmp"
    chmod 755 "$cluster" "$cluster/munge"
    dd if=/dev/urandom of="$cluster/munge/key" bs=128 count=1 status=none
    chmod 400 "$cluster/munge/key"
    munged --socket="$cluster/munge/socket" --key-file="$cluster/munge/key" \
        --pid-file="$cluster/munge/pid" --log-file="$cluster/munge/log" \
        --seed-file="$cluster/munge/seed" || return 1
    write_slurm_conf || return 1
    export SLURM_CONF=$cluster/slurm.conf
    slurmctld -c -f "$SLURM_CONF" || return 1
    node_start n1 && node_start n2 && wait_for 30 both_idle
}

# Prints the processes of this cluster's jobs, those of one node where it is named: Slurm's own
# keeper of a step is the parent of its tasks.
job_processes() {
    local folder parent
    for folder in /proc/[0-9]*; do
        tr '\0' '\n' 2>/dev/null <"$folder/environ" >"$cluster/environ" || continue
        grep -qx "SLURM_CONF=$cluster/slurm.conf" "$cluster/environ" || continue
        grep -qx "SLURMD_NODENAME=${1:-n[12]}" "$cluster/environ" || continue
        echo "${folder#/proc/}"
        parent=$(awk '$1 == "PPid:" {print $2}' "$folder/status" 2>/dev/null)
        if [ -n "$parent" ] && grep -q '^slurmstepd' "/proc/$parent/comm"; then echo "$parent"; fi
    done 2>/dev/null | sort -u
}

# As when its power goes: nothing of the node is left to say so.
node_lose() {
    local processes
    kill -9 "$(cat "$cluster/$1/pid")"
    mapfile -t processes < <(job_processes "$1")
    [ ${#processes[@]} -gt 0 ] && kill -9 "${processes[@]}"
}

# Ends every process of the cluster, whatever state it is in.
cluster_stop() {
    local pid_file pids=() processes
    [ -n "${cluster:-}" ] || return 0
    for pid_file in "$cluster/slurmctld.pid" "$cluster/n1/pid" "$cluster/n2/pid"; do
        [ ! -s "$pid_file" ] || pids+=("$(cat "$pid_file")")
    done
    mapfile -t processes < <(job_processes)
    [ ! -s "$cluster/munge/pid" ] || pids+=("$(cat "$cluster/munge/pid")")
    kill -9 "${processes[@]}" "${pids[@]}" 2>/dev/null
    return 0
}
