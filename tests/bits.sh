#!/bin/sh
# Equal bits: builds tests/bits.c with every compiler that is here, runs it with every instruction set that
# this processor has and 1, 2 and 3 threads, and requires the same lines of hashes from all.
# BITS_BUILD: the folder to build in (build/bits).
cd "$(dirname "$0")/.." || exit 1
unset MAKEFLAGS MFLAGS VDM_ISA OMP_NUM_THREADS
export OMP_WAIT_POLICY=passive # three threads on two processors: no spinning
build=${BITS_BUILD:-build/bits}
mkdir -p "$build"
first=
passed=0
failed=0
for way in "gcc -O1" "gcc -O3" "clang -O2"; do
    cc=${way% *}
    opt=${way#* }
    if ! command -v "$cc" >/dev/null; then
        echo "bits: no $cc here: '$way' was not tried"
        continue
    fi
    folder=$build/$cc$opt
    if ! make -s "BUILD=$folder" "CC=$cc" "OPT=$opt" -j"$(getconf _NPROCESSORS_ONLN)" "$folder/tests/bits"; then
        failed=$((failed + 1))
        continue
    fi
    for isa in scalar avx2 avx512; do
        for threads in 1 2 3; do
            out=$build/$cc$opt-$isa-$threads
            VDM_ISA=$isa "$folder/tests/bits" $threads >"$out" 2>"$out.error"
            status=$?
            if [ $status -eq 2 ]; then
                [ $threads -ne 1 ] || echo "bits: $(cat "$out.error"): not tried"
            elif [ $status -ne 0 ]; then
                echo "bits: $way, $isa, $threads threads: exit status $status: $(cat "$out.error")"
                failed=$((failed + 1))
            elif grep -qiE 'nan|inf' "$out"; then
                echo "bits: $way, $isa, $threads threads: not finite:"
                grep -iE 'nan|inf' "$out"
                failed=$((failed + 1))
            elif [ -z "$first" ]; then
                first=$out
                passed=$((passed + 1))
            elif cmp -s "$first" "$out"; then
                passed=$((passed + 1))
            else
                echo "bits: $way, $isa, $threads threads differ from ${first##*/}:"
                diff "$first" "$out"
                failed=$((failed + 1))
            fi
        done
    done
done
echo "bits: $passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
