#!/bin/sh
# Sizes that a reader can hold in mind: no file over 900 lines, no function over 60, no more than 8 parameters. And no
# two sources of one name: a debugger shows only the name.
# Definitions are found by their form: a line that begins a function is in the first column, and so is the
# brace that ends it. tests/sizes.sh FILE... checks other files: it has to find the three faults that it plants.
cd "$(dirname "$0")/.." || exit 1

check() {
    awk '
    function fault(text) { print FILENAME ":" text; faults++ }
    function parameters(text,   i, c, depth, n) {
        sub(/^[^(]*\(/, "", text)
        if (text ~ /^(void)?\)/) return 0
        for (i = 1; i <= length(text); i++) {
            c = substr(text, i, 1)
            if (c == "(" || c == "[") depth++
            if (c == ")" && depth == 0) return n + 1
            if (c == ")" || c == "]") depth--
            if (c == "," && depth == 0) n++
        }
        return n + 1
    }
    function end_of_file() { if (lines > 900) print file ": " lines " lines, at most 900" ; if (lines > 900) faults++ }
    FNR == 1 { if (file) end_of_file(); file = FILENAME; head = ""; body = 0 }
    { lines = FNR }
    /^[A-Za-z_].*\(/ && !/;$/ && !/^#/ && !body { head = $0; first = FNR; next_is_head = !/\)$/; next }
    head != "" && !body && /^\{/ {
        body = 1
        n = parameters(head)
        functions++
        if (n > 8) fault(first ": " n " parameters, at most 8")
        next
    }
    head != "" && !body { if (/;$/) head = ""; else head = head " " $0 }
    body && /^\}/ {
        body = 0
        if (FNR - first + 1 > 60) fault(first ": a function of " FNR - first + 1 " lines, at most 60")
        head = ""
    }
    END { end_of_file(); print functions + 0, faults + 0 }' "$@"
}

planted=$(mktemp)
trap 'rm -f "$planted"' EXIT
{
    echo 'static int many(int a, int b, int c, int d, int e, int f, int g,'
    echo '                void (*h)(int, int), int i)'
    echo '{'
    i=0
    while [ $i -lt 900 ]; do i=$((i + 1)) && echo '    a++;'; done
    echo '}'
} >"$planted"
passed=0
failed=0
if [ "$(check "$planted" | wc -l)" = 4 ]; then passed=1; else failed=1 && echo "sizes: the planted faults were not found"; fi

result=$(check $(ls *.c *.h kernels/*.[ch] files/*.[ch] text/*.[ch] task/*.[ch] examples/*.c tools/*.[ch] tools/*/*.[ch]))
counts=$(echo "$result" | tail -n 1)
echo "$result" | sed '$d'
passed=$((passed + ${counts% *}))
failed=$((failed + ${counts#* }))
same=$(find . -name build -prune -o -name '*.c' -print | sed 's#.*/##' | sort | uniq -d)
if [ -z "$same" ]; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "sizes: several files are called" $same; fi
echo "sizes: $passed passed, $failed failed"
[ $failed -eq 0 ]
