#!/bin/bash
# A shard of ARC-AGI tasks killed (SIGKILL) at random moments, and started again each time: the results have to be
# those of an undisturbed run, to the byte but for times.
#
#   tests/kills.sh [KILLS (20)] [options of vdm arc...]        VDM names the program (build/vdm)
set -euo pipefail
cd "$(dirname "$0")/.."
kills=${1:-20}
shift || true
export OMP_WAIT_POLICY=passive # waiting threads sleep
vdm=${VDM:-build/vdm}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
options=(--steps 20 --sample-steps 2 --save-every 2 "$@")

begin=$(date +%s%N)
"$vdm" arc tests/arc --out "$dir/whole.jsonl" "${options[@]}" >"$dir/log" 2>&1
whole=$((($(date +%s%N) - begin) / 1000000)) # milliseconds

killed=0
ended=0
for ((i = 0; i < 100 * kills && killed < kills; i++)); do
    if [ $ended -eq 1 ]; then # it got through before all kills were done: a fresh shard
        rm -rf "$dir"/shard.jsonl*
        ended=0
    fi
    "$vdm" arc tests/arc --out "$dir/shard.jsonl" "${options[@]}" >>"$dir/log" 2>&1 &
    pid=$!
    ms=$((RANDOM * whole / 32768 / 4 + 10))
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
    if kill -KILL $pid 2>/dev/null; then killed=$((killed + 1)); else ended=1; fi
    wait $pid 2>/dev/null || true
    if [ $ended -eq 1 ]; then cmp <(sed 's/"seconds.*//' "$dir/whole.jsonl") <(sed 's/"seconds.*//' "$dir/shard.jsonl"); fi
done
"$vdm" arc tests/arc --out "$dir/shard.jsonl" "${options[@]}" >>"$dir/log" 2>&1
cmp <(sed 's/"seconds.*//' "$dir/whole.jsonl") <(sed 's/"seconds.*//' "$dir/shard.jsonl")
if [ -e "$dir/shard.jsonl.work" ]; then
    echo "left behind: $(ls "$dir/shard.jsonl.work")"
    exit 1
fi
echo "$killed kills, $i starts: the same $(wc -l <"$dir/whole.jsonl") lines as without them"
