#!/bin/sh
# Sizes that a reader can hold in mind: no file over 900 lines, no function over 60, no more than 8 parameters. And no
# two sources of one name (.c, .h, .py, .sh): a debugger, a message and an import show only the name.
# Definitions are found by their form: a line that begins a function is in the first column, and so is the
# brace that ends it. The check has to find the faults that it plants.
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

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
planted=$folder/planted
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

result=$(check $(ls *.c *.h kernels/*.[ch] files/*.[ch] text/*.[ch] task/*.[ch] examples/*.c tools/*.[ch] tools/*/*.[ch] $(find portable python -name "*.[ch]")))
counts=$(echo "$result" | tail -n 1)
echo "$result" | sed '$d'
passed=$((passed + ${counts% *}))
failed=$((failed + ${counts#* }))
same_names() { # FILE... FOLDER...: names that several sources have
    find "$@" -type f \( -name '*.[ch]' -o -name '*.py' -o -name '*.sh' \) | sed 's#.*/##' | sort | uniq -d
}
mkdir "$folder/a" "$folder/b"
touch "$folder/a/one.c" "$folder/b/one.h" "$folder/a/two.py" "$folder/b/two.py" "$folder/a/three.sh" "$folder/three.sh"
if [ "$(same_names "$folder" | tr '\n' ' ')" = "three.sh two.py " ]; then passed=$((passed + 1)); else
    failed=$((failed + 1)) && echo "sizes: the planted files of one name were not found"
fi
same=$(same_names *.[ch] portable files kernels text task tools examples python tests)
if [ -z "$same" ]; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "sizes: several files are called" $same; fi
echo "sizes: $passed passed, $failed failed"
[ $failed -eq 0 ]
