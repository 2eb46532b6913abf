#!/bin/bash
# A real Slurm of one node on this machine, to try tools/arc/arc.sbatch: munged, slurmctld and slurmd on loopback,
# everything they write in one folder. Debian: apt install slurmctld slurmd slurm-client munge. Root is needed.
#
#   tools/arc/slurm-local.sh start [DIR]      then: export SLURM_CONF=DIR/slurm.conf (/tmp/vdm-slurm)
#   tools/arc/slurm-local.sh stop [DIR]
#   tools/arc/slurm-local.sh test TASKS [options of vdm arc...]     four shards of TASKS, one of them killed and one
#                                                               requeued; one process; the same accuracy?
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
command=${1:-help}

# Of this machine's own slurm.conf nothing is used. proctrack/linuxproc and task/none: no cgroups needed.
configure() {
    local dir=$1 cpus host
    cpus=$(nproc)
    host=$(hostname -s)
    mkdir -p "$dir/state" "$dir/spool" "$dir/munge"
    chmod 700 "$dir/munge"
    [ -f "$dir/munge/key" ] || (umask 077 && head -c 1024 /dev/urandom >"$dir/munge/key")
    cat >"$dir/slurm.conf" <<EOF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=bf_interval=5,sched_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobRequeue=1
KillWait=2
MinJobAge=3600
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
PartitionName=local Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
EOF
}

start() {
    local dir=$1 i
    configure "$dir"
    export SLURM_CONF=$dir/slurm.conf
    munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
        --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
    slurmctld -f "$SLURM_CONF"
    slurmd -f "$SLURM_CONF"
    for i in $(seq 60); do
        if sinfo -h -o %t 2>/dev/null | grep -q '^idle\|^mix\|^alloc'; then
            sinfo
            return
        fi
        sleep 1
    done
    echo "the node did not come up; logs are in $dir" >&2
    return 1
}

stop() {
    local dir=$1 pid
    SLURM_CONF=$dir/slurm.conf scancel --user="$(id -un)" 2>/dev/null || true
    for pid in slurmd.pid slurmctld.pid munge/pid; do
        if [ -f "$dir/$pid" ]; then kill "$(cat "$dir/$pid")" 2>/dev/null || true; fi
    done
}

# Waits until a command succeeds, for so many seconds at most.
wait_for() {
    local left=$1
    shift
    until "$@"; do
        left=$((left - 1))
        if [ "$left" -le 0 ]; then
            echo "waited in vain for: $*" >&2
            return 1
        fi
        sleep 1
    done
}

state_of() { scontrol show job "$1" -o 2>/dev/null | sed -n 's/.*JobState=\([A-Z]*\).*/\1/p' | head -n 1; }
is_running() { [ "$(state_of "$1")" = RUNNING ] && [ -s "$2" ]; }

# The accuracy, without the line that names the page.
table() { grep -v 'shows the pictures' "$1"; }

try() {
    local tasks=$1 dir out line array pid i
    shift
    dir=$(mktemp -d /tmp/vdm-slurm-XXXXXX)
    trap "stop '$dir'" EXIT
    trap 'exit 143' INT TERM
    start "$dir"
    out=$dir/out
    export VDM=${VDM:-$here/vdm}
    line=$("$here/tools/arc/arc.sbatch" "$tasks" "$out" 4 "$@")
    echo "$line"
    array=$(sed -n 's/.*job \([0-9]*\); merged.*/\1/p' <<<"$line")

    # Shard 1, once it has a line and works on the next one: its program is killed, as the kernel does where
    # memory ends; the job requeues itself. Shard 2: an operator requeues it as it runs.
    wait_for 600 is_running "${array}_1" "$out/shard-1.jsonl"
    pid=$(pgrep -f -- "--out $out/shard-1.jsonl" | head -n 1)
    kill -KILL "$pid"
    echo "killed shard 1 (process $pid)"
    wait_for 600 is_running "${array}_2" "$out/shard-2.jsonl"
    scontrol requeue "${array}_2"
    echo "requeued shard 2"
    wait_for 3600 test -f "$out/merged.txt"
    for i in 1 2 3 4; do echo "shard $i: $(state_of "${array}_$i")"; done
    grep -h '^shard\|requeued' "$out"/shard-*.log
    for i in 1 2; do
        if ! grep -q "^shard $i/4, job .*, start 1 " "$out/shard-$i.log"; then
            echo "FAILED: shard $i was not started again" >&2
            return 1
        fi
    done

    "$VDM" arc "$tasks" --out "$out/one.jsonl" "$@" >/dev/null 2>&1
    "$VDM" arc --report "$out/one.jsonl" -o "$out/one.html" >"$out/one.txt"
    table "$out/merged.txt" | tee "$out/a"
    table "$out/one.txt" >"$out/b"
    cat "$out"/shard-*.jsonl | sed 's/, "seconds": [0-9.]*}$/}/' | sort >"$out/c"
    sed 's/, "seconds": [0-9.]*}$/}/' "$out/one.jsonl" | sort >"$out/d"
    if cmp "$out/a" "$out/b" && cmp "$out/c" "$out/d"; then
        echo "4 shards, one killed, one requeued as it ran: the same $(wc -l <"$out/c") lines and" \
            "the same accuracy as one process"
    else
        echo "FAILED: the shards in $out differ from one process" >&2
        return 1
    fi
}

case $command in
start) start "${2:-/tmp/vdm-slurm}" ;;
stop) stop "${2:-/tmp/vdm-slurm}" ;;
test) shift && try "$@" ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
