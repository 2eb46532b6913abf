#!/bin/sh
# The examples, built against an installed copy as a user of the library would: with pkg-config, as C and as C++, then
# run. `make test` installs the copy and names it in INSTALLED; CC, CXX: compilers; EXAMPLE_FLAGS: further flags.
# What can't run here is printed as NOT RUN and counted nowhere; EXAMPLES_STRICT=1 makes it fail.
cd "$(dirname "$0")/.." || exit 1
: "${INSTALLED:=$PWD/build/installed}" "${CC:=cc}" "${CXX:=c++}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
passed=0
failed=0

# check WHAT COMMAND...: one check; what the command prints is shown if it fails.
check() {
    what=$1
    shift
    if "$@" >"$folder/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "examples: $what failed: $*"
        cat "$folder/log"
    fi
}
not_run() {
    echo "examples: NOT RUN: $*"
    [ "${EXAMPLES_STRICT:-0}" = 0 ] || failed=$((failed + 1))
}
prints() { # prints PIECE COMMAND...: the command succeeds and prints the piece
    piece=$1
    shift
    "$@" >"$folder/out" 2>&1 && cat "$folder/out" && grep -qF -e "$piece" "$folder/out"
}
rejects() { # rejects PIECE COMMAND...: exit status 1, and the piece in the sentence
    piece=$1
    shift
    "$@" >"$folder/out" 2>&1
    status=$?
    cat "$folder/out"
    [ "$status" -eq 1 ] && grep -qF -e "$piece" "$folder/out"
}

# flags ARGUMENTS of pkg-config; without one the file is read here: ${name} is replaced, twice at the most.
pc="$INSTALLED/lib/pkgconfig/vdm.pc"
variable() { sed -n "s/^$1=//p" "$pc"; }
if command -v pkg-config >/dev/null; then
    flags() { PKG_CONFIG_PATH="$INSTALLED/lib/pkgconfig" pkg-config "$@" vdm; }
else
    not_run "pkg-config, which is not on this machine; vdm.pc is read by this script"
    flags() {
        case "$*" in
        --modversion) sed -n 's/^Version: //p' "$pc" ;;
        --variable=*) variable "${1#*=}" | sed "s|\${prefix}|$(variable prefix)|" ;;
        *) sed -n 's/^Cflags: //p; s/^Libs: //p' "$pc" | sed "s|\${libdir}|$(variable libdir)|
            s|\${includedir}|$(variable includedir)|; s|\${prefix}|$(variable prefix)|" | tr '\n' ' ' ;;
        esac
    }
fi
uses=$(flags --cflags --libs)
models=$(flags --variable=modeldir)
WARN="-Wall -Wextra -Wpedantic -Wshadow -Werror"

# ppm NAME SIDE A B: a square picture, a ramp from grey level A to B
ppm() {
    awk -v n="$2" -v a="$3" -v b="$4" 'BEGIN {
        printf "P3\n%d %d\n255\n", n, n
        for (i = 0; i < n * n; i++) { v = int(a + (b - a) * (i % n) / (n - 1)); print v, v, v }
    }' >"$folder/$1.ppm"
}

# answer PROGRAM OUT.png: two steps on two pairs, the second one of another size
answer() {
    "$1" "$models/tiny" 2 "$folder/query.ppm" "$2" "$folder/x1.ppm" "$folder/y1.ppm" "$folder/x2.ppm" "$folder/y2.ppm"
}

# What is installed
check "version" [ "vdm $(flags --modversion)" = "$("$INSTALLED/bin/vdm" --version)" ]
check "the installed program finds the installed model" prints "$models/tiny" "$INSTALLED/bin/vdm" info
for file in bin/vdm lib/libvdm.a; do
    check "$file without debug symbols" sh -c "! grep -qF .debug_info '$INSTALLED/$file'"
done

# few_shot, as C and as C++: the same answer
ppm x1 64 0 255 && ppm y1 64 255 0 && ppm x2 40 60 200 && ppm y2 40 200 60 && ppm query 64 20 120
# shellcheck disable=SC2086
check "few_shot.c as C" $CC -std=c11 $WARN $EXAMPLE_FLAGS examples/few_shot.c $uses -o "$folder/few_shot"
check "few_shot" prints "64 x 64 pixels, 2 steps on 2 pairs" answer "$folder/few_shot" "$folder/c.png"
check "few_shot without a model" rejects "expected a model's folder, with transformer/, vae/ and scheduler/ in it" \
    "$folder/few_shot" "$folder" 2 q a x y
check "few_shot without a picture" rejects "nothing.ppm" "$folder/few_shot" "$models/tiny" 2 nothing.ppm a x y
if command -v "${CXX%% *}" >/dev/null; then
    # shellcheck disable=SC2086
    check "few_shot.c as C++" $CXX -std=c++11 $WARN $EXAMPLE_FLAGS -x c++ examples/few_shot.c -x none $uses \
        -o "$folder/few_shot++"
    check "few_shot in C++" prints "2 steps on 2 pairs" answer "$folder/few_shot++" "$folder/c++.png"
    check "the same answer from both" cmp "$folder/c.png" "$folder/c++.png"
else
    not_run "few_shot.c as C++, without a C++ compiler ($CXX)"
fi

# one_step: its numbers are the same bits on every machine
# shellcheck disable=SC2086
check "one_step.c" $CC -std=c11 $WARN $EXAMPLE_FLAGS examples/one_step.c $uses -o "$folder/one_step"
"$folder/one_step" "$models/tiny" >"$folder/step" 2>&1
check "one_step" cmp "$folder/step" tests/golden/one_step.txt
[ "$failed" -eq 0 ] || cat "$folder/step"

echo "examples: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
