#!/bin/sh
# Runs test programs, as many at a time as there are processors (JOBS, at most 8), all of them even if some fail. What a
# program prints is shown when it ends. Adds up their last lines "NAME: N passed, M failed": a program that dies without
# such a line, or fails in spite of it, counts as failed.
# RUNNER: a command to run them under, as valgrind.

# run.sh --one LOG PROGRAM: its output in LOG, its exit status in LOG.status
if [ "$1" = --one ]; then
    log=$2
    start=$(date +%s)
    case $3 in
    *.py) "${PYTHON:-python3}" "$3" ;;
    */*) $RUNNER "$3" ;;
    *) $RUNNER "./$3" ;;
    esac >"$log" 2>&1
    echo $? >"$log.status"
    cat "$log"
    echo "   ($3: $(($(date +%s) - start)) s)"
    exit 0
fi

processors=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
: "${JOBS:=$((processors < 8 ? processors : 8))}"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
number=0
for program in "$@"; do
    number=$((number + 1))
    printf '%s\n%s\n' "$logs/$number" "$program"
done | xargs -n 2 -P "$JOBS" "$0" --one

passed=0
failed=0
number=0
for program in "$@"; do
    number=$((number + 1))
    status=$(cat "$logs/$number.status" 2>/dev/null || echo missing)
    line=$(grep -E '^[^ ]+: [0-9]+ passed, [0-9]+ failed' "$logs/$number" | tail -n 1)
    n=$(echo "$line" | sed -nE 's/^[^ ]+: ([0-9]+) passed, ([0-9]+) failed.*/\1/p')
    m=$(echo "$line" | sed -nE 's/^[^ ]+: ([0-9]+) passed, ([0-9]+) failed.*/\2/p')
    if [ "$status" != 0 ] && [ "${m:-0}" -eq 0 ]; then
        echo "$program: exit status $status"
        m=1
    elif [ -z "$line" ]; then
        echo "$program: no count of its checks"
        m=1
    fi
    passed=$((passed + ${n:-0}))
    failed=$((failed + ${m:-0}))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
