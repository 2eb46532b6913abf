#!/bin/sh
# Runs all test programs one after another, even if some fail, and adds up their last lines
# "NAME: N passed, M failed". A program without such a line, or with another exit status than 0, counts as failed.
# RUNNER: a command to run them under, as valgrind.
passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log" "$log.status"' EXIT
run() {
    case $1 in
    *.py) "${PYTHON:-python3}" "$1" ;;
    */*) $RUNNER "$1" ;;
    *) $RUNNER "./$1" ;;
    esac
    echo $? >"$log.status"
}
for program in "$@"; do
    run "$program" 2>&1 | tee "$log"
    status=$(cat "$log.status")
    line=$(grep -E '^[^ ]+: [0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
    n=$(echo "$line" | sed -nE 's/^[^ ]+: ([0-9]+) passed, ([0-9]+) failed.*/\1/p')
    m=$(echo "$line" | sed -nE 's/^[^ ]+: ([0-9]+) passed, ([0-9]+) failed.*/\2/p')
    if [ "$status" -ne 0 ] && [ "${m:-0}" -eq 0 ]; then
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
