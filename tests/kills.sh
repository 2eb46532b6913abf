#!/bin/bash
# Runs are killed (SIGKILL) at random moments and started again each time, fit with --resume: the results have to be those
# of an undisturbed run, to the byte but for times, and nothing that is left behind stands in the way of the next run.
#
#   tests/kills.sh [KILLS of each command (4)] [COMMAND...]        VDM names the program (build/vdm)
set -euo pipefail
cd "$(dirname "$0")/.."
kills=${1:-4}
shift || true
root=$PWD
vdm=${VDM:-build/vdm}
case $vdm in /*) ;; *) vdm=$root/$vdm ;; esac
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export VDM_MODEL=$root/models/tiny
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
"$vdm" tasks flip-h -n 4 --tests 3 -o task >log 2>&1
"$vdm" eval task --sample-steps 1 --train-pairs 0 -o answers >log 2>&1 && cp -r answers again
for i in 0 1 2; do
    images="${images:+$images, }{\"id\": $i, \"file_name\": \"000$i.in.jpg\", \"height\": 64, \"width\": 64}"
    notes="${notes:+$notes, }{\"image_id\": $i, \"category_id\": 1, \"segmentation\": [[0, 0, 40, 0, 40, 50]]}"
done
echo "{\"categories\": [{\"id\": 1, \"name\": \"dog\"}], \"images\": [$images], \"annotations\": [$notes]}" >coco.json

# command; its words; the files that are compared, and of fit what they take to be resumed
table="
fit|fit ../task --steps 12 --batch 1 --rank 4 --save-every 2 -o f|f/lora.safetensors f/state.safetensors
arc|arc $root/tests/arc --steps 8 --batch 1 --rank 4 --sample-steps 2 --save-every 2 --out r.jsonl|r.jsonl
eval|eval ../task --sample-steps 3 --train-pairs 0 -o e|e/scores.csv e/0000.ppm e/0001.ppm e/0002.ppm
tasks|tasks flip-h -n 300 --tests 100 -o t|t/task.json t/train/0000.in.ppm t/train/0299.out.ppm t/test/0099.out.ppm
golden|golden --what train --size 64x64 --steps 2 -o g|g
predict|predict --image ../task/test/0000.in.ppm --sample-steps 3 -o y.png --video v.y4m --dump d|y.png v.y4m d
vote|vote ../task ../answers ../again -o v|v/scores.csv v/0000.ppm v/0002.ppm
demo|demo flip-h --shots 3 --limit 2 --steps 6 --batch 1 --rank 4 --sample-steps 2 -o d|d/lora.safetensors d/scores.csv d/strip.png
coco|tasks coco --annotations ../coco.json --images ../task/train --category dog -n 2 --tests 1 -o c|c/task.json c/train/0000.in.out.ppm
"

milliseconds() { echo $(($(date +%s%N) / 1000000)); }
contents() { sed 's/, "seconds": [0-9.]*}$/}/' "$1" | cksum; }

same_results() {
    for f in $files; do
        [ "$(contents "work/$f")" = "$(contents "whole/$f")" ] || { echo "$name: $f is not that of an undisturbed run"; exit 1; }
    done
    # a killed process may leave NAME.PID.K.part of a single file; what runs keep in folders of their own is cleared
    left=$(diff <(cd whole && find . | sort) <(cd work && find . ! -name '*.part' | sort)) || { echo "$name: $left"; exit 1; }
}

# In the background, in work/: its number is in $!
start() {
    resume=
    [ "$name" != fit ] || [ ! -e work/f/state.safetensors ] || resume=--resume
    (cd work && exec "$vdm" $words $resume >>../log 2>&1) &
}

while IFS='|' read -r name words files; do
    [ -n "$name" ] || continue
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    rm -rf work whole && mkdir work
    begin=$(milliseconds)
    start
    wait $! || { tail -n 1 log; exit 1; }
    time=$(($(milliseconds) - begin))
    mv work whole && mkdir work
    killed=0
    starts=0
    while [ $killed -lt "$kills" ]; do
        start
        pid=$!
        starts=$((starts + 1))
        ms=$((RANDOM * time / 32768 * 6 / 5 + 2))
        sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
        if kill -KILL $pid 2>/dev/null; then
            killed=$((killed + 1))
            wait $pid 2>/dev/null || true
        else # it got through: from the beginning again
            wait $pid || { echo "$name: rejected after a kill: $(tail -n 1 log)"; exit 1; }
            same_results
            rm -rf work && mkdir work
            time=$((ms < time ? ms : time)) # it takes no longer than that
        fi
    done
    start
    wait $! || { echo "$name: rejected after a kill: $(tail -n 1 log)"; exit 1; }
    same_results
    echo "$name: $killed kills in $starts starts: the same results as without them"
done <<<"$table"
