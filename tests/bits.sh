#!/bin/sh
# Equal bits: builds tests/bits.c in many ways, runs it with every instruction set and number of threads, and
# requires of each the lines of tests/golden/hashes.txt.
#
#   tests/bits.sh WAY...    (here, without any: a part of `make test`)
#     here                  this machine's processor: gcc, clang
#     levels                the same at -O0 to -O3, without threads, and with musl
#     aarch64 riscv64 s390x armhf windows     emulated: Debian's cross compilers, qemu-user, wine
#     aarch64-quick s390x-quick               a run or two of each: what CI has time for
#
# What can't be run is named "not run"; BITS_STRICT=1 makes that a failure. BITS_BUILD: the folder to build in.
cd "$(dirname "$0")/.." || exit 1
unset MAKEFLAGS MFLAGS VDM_ISA OMP_NUM_THREADS
export WINEDEBUG=-all
build=${BITS_BUILD:-build/bits}
expected=tests/golden/hashes.txt
jobs=$(getconf _NPROCESSORS_ONLN)
passed=0
failed=0

not_run() {
    echo "bits: not run: $1"
    [ "${BITS_STRICT:-0}" != 1 ] || failed=$((failed + 1))
}

fail() {
    echo "bits: $1"
    failed=$((failed + 1))
}

# run NAME PROGRAM ISA THREADS: one comparison
run() {
    out=$folder/$3-$4
    VDM_ISA=$3 $runner "$2" "$4" "$folder/files" >"$out.raw" 2>"$out.error"
    status=$?
    tr -d '\r' <"$out.raw" >"$out"
    if grep -q '^VDM_ISA: ' "$out.error"; then
        not_run "$1, $3: $(cat "$out.error")"
    elif [ $status -ne 0 ]; then
        fail "$1, $3, $4 threads: exit status $status: $(tail -n 3 "$out.error")"
    elif cmp -s "$expected" "$out"; then
        passed=$((passed + 1))
    else
        fail "$1, $3, $4 threads: differs from $expected:"
        diff "$expected" "$out"
    fi
}

# check COMPILER RUNS VARIABLES...: builds with these variables of the Makefile; RUNS are ISA:THREADS,THREADS...
check() {
    cc=$1
    runs=$2
    shift 2
    name="$cc $*"
    folder=$build/$way/$(echo "$name" | tr -c 'A-Za-z0-9\n' -)
    if ! command -v "${cc%% *}" >/dev/null; then
        not_run "$name: no ${cc%% *} here"
        return
    fi
    if [ -n "$runner" ] && ! command -v "${runner%% *}" >/dev/null; then
        not_run "$name: no ${runner%% *} here"
        return
    fi
    mkdir -p "$folder/files"
    if ! make -s -j"$jobs" "BUILD=$folder" "CC=$cc" "AR=$ar" WERROR=1 "$@" "$folder/tests/bits" >"$folder/make" 2>&1; then
        tail -n 20 "$folder/make"
        fail "$name: not built"
        return
    fi
    program=$folder/tests/bits
    [ -e "$program" ] || program=$program.exe
    for each in $runs; do
        for threads in $(echo "${each#*:}" | tr , ' '); do run "$name" "$program" "${each%:*}" "$threads"; done
    done
    echo "bits: $name: $passed passed, $failed failed so far"
}

# cross TRIPLE EMULATOR: what the next checks build for and run with
cross() {
    triple=$1
    ar=$1-ar
    runner="$2 -L /usr/$1"
}

way() {
    way=$1
    ar=ar
    runner=
    case $1 in
    here)
        check gcc "scalar:1 avx2:1,2,3 avx512:1,2,3 avx512bf16:1 avx512amx:1" OPT=-O1
        check gcc "plain:1 scalar:3 avx2:1,2,3 avx512:1,2,3 avx512bf16:1 avx512amx:2" OPT=-O3
        check clang "scalar:2 avx2:1,2,3 avx512:1,2,3 avx512bf16:1 avx512amx:3" OPT=-O2
        ;;
    levels)
        for cc in gcc clang; do
            for level in 0 1 2 3; do
                check $cc "scalar:1,7 avx2:1,2,3,7 avx512:1,2,3,7 avx512bf16:1 avx512amx:1,2" OPT=-O$level
                check $cc "plain:1 scalar:1 avx2:1 avx512:1 avx512bf16:1 avx512amx:1" OPT=-O$level THREADS=
            done
        done
        check musl-gcc "scalar:1 avx2:1 avx512:1 avx512bf16:1 avx512amx:1" OPT=-O1
        check musl-gcc "scalar:1,3 avx2:1,2 avx512:1,2 avx512bf16:1 avx512amx:1,2" OPT=-O3
        ;;
    aarch64-quick)
        cross aarch64-linux-gnu qemu-aarch64
        check $triple-gcc "scalar:1 neon:3" OPT=-O1
        ;;
    s390x-quick)
        cross s390x-linux-gnu qemu-s390x
        check $triple-gcc "scalar:2" OPT=-O1
        ;;
    aarch64)
        cross aarch64-linux-gnu qemu-aarch64
        check $triple-gcc "scalar:1,3 neon:1,2,3,7" OPT=-O1
        check $triple-gcc "plain:1 scalar:1 neon:1" OPT=-O3 THREADS=
        check "clang --target=$triple" "scalar:1 neon:1" OPT=-O2 THREADS=
        ;;
    riscv64 | s390x)
        cross "$1-linux-gnu" "qemu-$1"
        check $triple-gcc "scalar:1,2,3,7" OPT=-O1
        check $triple-gcc "scalar:1" OPT=-O3 THREADS=
        # qemu 7.2 gets s390x's MDEBR wrong (1.5 x 2.25 = 0.28), which clang takes for (double)x * x unless at -O0
        level=-O2
        [ "$1" != s390x ] || level=-O0
        check "clang --target=$triple" "scalar:1" OPT=$level THREADS=
        ;;
    armhf) # Debian's armhf has no fma: libm computes it; VFPv4 has
        cross arm-linux-gnueabihf qemu-arm
        check $triple-gcc "scalar:1" OPT=-O1 THREADS=
        check $triple-gcc "scalar:1,2,3,7" OPT=-O3 CFLAGS=-mfpu=neon-vfpv4
        check "clang --target=$triple" "scalar:1" OPT=-O2 THREADS= CFLAGS=-mfpu=neon-vfpv4
        ;;
    windows)
        ar=x86_64-w64-mingw32-ar
        runner=$(command -v wine64 || command -v wine || echo /usr/lib/wine/wine64) # Debian's has no name on PATH
        mkdir -p "$build"
        export WINEPREFIX="${WINEPREFIX:-$(cd "$build" && pwd)/wine}"
        check x86_64-w64-mingw32-gcc "scalar:1 avx2:1,2,3,7 avx512:1,2,3,7 avx512bf16:1" OPT=-O1 LDFLAGS=-static
        check x86_64-w64-mingw32-gcc "scalar:1 avx2:1 avx512:1 avx512bf16:1" OPT=-O3 LDFLAGS=-static THREADS=
        ;;
    *) fail "no way '$1'" ;;
    esac
}

# Several ways: each in a process of its own, as many at a time as there are processors
if [ $# -gt 1 ]; then
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    printf '%s\n' "$@" | xargs -n 1 -P "$jobs" tests/bits.sh | tee "$log"
    passed=$(awk '/^bits: [0-9]+ passed, [0-9]+ failed$/ { n += $2 } END { print n + 0 }' "$log")
    failed=$(awk '/^bits: [0-9]+ passed, [0-9]+ failed$/ { n += $4; ways++ } END { print n + '$#' - ways }' "$log")
else
    way "${1:-here}"
fi
echo "bits: $passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
