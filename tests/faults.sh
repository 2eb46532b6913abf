#!/bin/bash
# One call fails in a run of a command (memory, a write on a full disk, sync, rename, close, open), for every command, kind
# of call and n-th call: tests/faults.c. After each, what has to hold:
#   exit status 1, and a sentence of vdm's is the last line on stderr; or status 0, and the results are those of a run
#     without a fault (stdio does without a buffer, a folder need not be synced);
#   every file is as it was before or whole and new: none is a part of one;
#   all memory is freed;
#   the same command, run again, gives the results of a run without a fault.
#
#   tests/faults.sh [COMMAND...]     a few calls of each kind
#   FAULTS=all tests/faults.sh       all calls; of one kind at most 500 (FAULTS_MAX), evenly spread
#                                    VDM names the program (build/vdm), FAULTS_LIBRARY what tests/faults.c was built into;
#                                    FAULTS_STRICT=1: what can't be run is a failure
set -u
cd "$(dirname "$0")/.."
root=$PWD
library=${FAULTS_LIBRARY-$root/build/tests/faults.so}
vdm=${VDM:-build/vdm}
case $vdm in /*) ;; *) vdm=$root/$vdm ;; esac
if ! [ -e "$library" ]; then
    echo "faults: NOT RUN: they need Linux with glibc, and a program without sanitizers"
    echo "faults: 0 passed, 0 failed"
    exit "${FAULTS_STRICT:-0}"
fi
export OMP_NUM_THREADS=1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1

model=$root/tests/golden/1.5-5B-I2V
tiny="--model $model --size 32x32"
learn="--batch 1 --rank 2 --watch-every 0"
# command; its words, in a folder next to in/; its words for the results that are there before; files that it writes
table="
tasks|tasks flip-h -n 1 --tests 1 -o t||t/task.json t/train/0000.in.ppm t/test/0000.out.ppm
coco|tasks coco --annotations ../in/coco.json --images ../in --category dog -n 1 --tests 1 -o t||t/task.json t/train/b.out.ppm
info|info ../in/lora.safetensors||
interp|interp ../in/a.ppm ../in/b.ppm -o v.y4m|interp ../in/b.ppm ../in/a.ppm -o v.y4m|v.y4m
fit|fit ../in/task $tiny $learn --steps 2 --resume -o f|fit ../in/task $tiny $learn --steps 1 -o f|f/lora.safetensors f/state.safetensors
predict|predict $tiny --image ../in/a.ppm --lora ../in/lora.safetensors --sample-steps 1 -o y.png --video v.y4m --dump d.g|predict $tiny --image ../in/b.ppm --sample-steps 1 -o y.png --video v.y4m --dump d.g|y.png v.y4m d.g
eval|eval ../in/task $tiny --sample-steps 1 --train-pairs 1 -o e|eval ../in/task $tiny --seed 7 --sample-steps 1 --train-pairs 1 -o e|e/scores.csv e/c.ppm
vote|vote ../in/grids ../in/one ../in/two -o v|vote ../in/grids ../in/two ../in/one -o v|v/scores.csv v/0000.ppm
arc|arc ../in/arcs $tiny $learn --steps 1 --sample-steps 1 --out r.jsonl|arc ../in/arcs $tiny $learn --steps 1 --sample-steps 1 --out r.jsonl && sed -i 2d r.jsonl|r.jsonl
summary|arc --report ../in/r.jsonl -o r.html||r.html
demo|demo ../in/task $tiny $learn --steps 1 -o d|demo ../in/task $tiny $learn --seed 7 --steps 1 -o d|d/lora.safetensors d/scores.csv d/strip.png
golden|golden --model $model --what train --steps 1 -o g|golden --model $model --what train --steps 1 --seed 7 -o g|g
compare|compare ../in/g ../in/port --html c.html|compare ../in/g ../in/port --only videos --html c.html|c.html
prompt|prompt hello --model $model -o p|prompt good --model $model -o p|p
bench|bench norm --runs 1 --json b.json||
"

inputs() {
    mkdir -p in/task/train in/task/test in/arcs in/one in/two
    i=0
    for f in task/train/a.in task/train/a.out task/train/b.in task/train/b.out task/test/c.in task/test/c.out a b; do
        { printf 'P6 32 32 255\n' && tail -c +$((10000 + 3000 * i++)) "$model/tokenizer/spiece.model" \
            "$model"/transformer/*.safetensors | head -c 3072; } >in/$f.ppm
    done
    cat >in/coco.json <<'END'
{"categories": [{"id": 1, "name": "dog"}], "images": [{"id": 1, "file_name": "a.jpg", "height": 32, "width": 32},
 {"id": 2, "file_name": "b.jpg", "height": 32, "width": 32}], "annotations": [
 {"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]},
 {"image_id": 2, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}]}
END
    for i in 1 2; do
        echo '{"train": [{"input": [[1, 2]], "output": [[2, 1]]}], "test": [{"input": [[3, 1]], "output": [[1, 3]]}]}' >in/arcs/$i.json
    done
    "$vdm" tasks flip-h -n 1 --tests 1 -o in/grids
    cp in/grids/test/0000.out.ppm in/one/0000.ppm
    cp in/grids/test/0000.in.ppm in/two/0000.ppm
    "$vdm" fit in/task $tiny $learn --steps 1 -o in/run && cp in/run/lora.safetensors in
    "$vdm" golden --model "$model" --what train --steps 1 -o in/g && cp in/g in/port
    "$vdm" arc in/arcs $tiny $learn --steps 1 --sample-steps 1 --out in/r.jsonl
}

# What a file holds, without times.
contents() { sed 's/, "seconds": [0-9.]*}$/}/' "$1" 2>/dev/null | cksum; }
same() { [ -e "$1" ] && [ -e "$2" ] && [ "$(contents "$1")" = "$(contents "$2")" ]; }

max=${FAULTS_MAX:-500}
passed=0
failed=0
runs=0
wrong() {
    failed=$((failed + 1))
    echo "$name, $kind $n of $count: $1 (status $status: $(tail -n 1 err))"
}

# vdm in work/, with the fault; its status.
run() { (cd work && FAULT=$1 FAULT_REPORT=$dir/report LD_PRELOAD=$library exec "$vdm" $words </dev/null >../out 2>../err); }

files_are_whole() {
    for f in $files; do
        same work/$f after/$f && continue
        [ $status -ne 0 ] || return 1
        # predict --dump keeps what there is when a later part fails: a whole file with fewer tensors
        case $f in *.g) "$vdm" info work/$f >/dev/null 2>&1 && continue ;; esac
        [ -e work/$f ] || { [ -e before/$f ] || continue; return 1; }
        same work/$f before/$f || return 1
    done
}

again() {
    run none
    status=$?
    [ $status -eq 0 ] || return 1
    files_are_whole
}

try() {
    rm -rf work report && cp -a before work
    run "$kind $n"
    status=$?
    runs=$((runs + 1))
    [ -e report ] || { wrong "it crashed"; return; }
    case $status in
    0) ;;
    1) tail -n 1 err | grep -q '^vdm: ' || { wrong "no sentence"; return; } ;;
    *) wrong "another status"; return ;;
    esac
    [ "$(sed 's/.*live //' report)" -le "$live" ] || { wrong "$(sed 's/.*live //' report) blocks are not freed, $live without a fault"; return; }
    files_are_whole || { wrong "a file is neither as before nor whole"; return; }
    passed=$((passed + 1))
    [ $status -eq 1 ] || return
    again && passed=$((passed + 1)) || wrong "the next run"
}

# Which calls of a kind fail.
calls() {
    if [ "${FAULTS:-few}" = all ]; then
        seq 1 $(((count + max - 1) / max)) "$count"
    elif [ "$kind" = malloc ]; then
        echo $((count / 3)) $((count * 4 / 5))
    else
        echo $((count / 2 + 1))
    fi
}

inputs >log 2>&1 || { cat log; exit 1; }
while IFS='|' read -r name words old files; do
    [ -n "$name" ] || continue
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    rm -rf before after work && mkdir before
    [ -z "$old" ] || (cd before && eval "\"$vdm\" $old" >../log 2>&1) || { cat log; failed=$((failed + 1)); }
    cp -a before work
    run none || { echo "$name: $(tail -n 1 err)"; failed=$((failed + 1)); continue; }
    cp -a work after
    cp report counts
    live=$(sed 's/.*live //' counts)
    for kind in malloc write sync rename close open; do
        count=$(sed "s/.*$kind \([0-9]*\).*/\1/" counts)
        [ "$count" -gt 0 ] || continue
        before_this=$runs
        for n in $(calls); do try; done
        [ "${FAULTS:-few}" != all ] || echo "$name: $kind: $((runs - before_this)) of $count calls"
    done
done <<<"$table"
echo "$runs faults"
echo "faults: $passed passed, $failed failed"
[ $failed -eq 0 ]
