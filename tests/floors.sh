#!/bin/sh
# Folders refer downwards only, and every global symbol of the library begins with vdm_: read from object files by nm.
#   FLOORS="BUILD/vdm.o BUILD/files/json.o ..." FLOORS_BUILD=BUILD tests/floors.sh
# The table has a floor a word (a folder, or a file of one), from the top to the ground; an object belongs to the longest
# word that its path begins with, ROOT is the method. An object may use symbols of its own floor and of lower ones, so that there can be no circle of floors.
table='
tools/main.o tools/commands/
tools/golden/compare.o tools/golden/compare_page.o tools/golden/mistakes.o tools/golden/mistakes_model.o
tools/golden/mistakes_update.o tools/golden/mistakes_order.o tools/golden/mistakes_weights.o
tools/golden/mistakes_search.o tools/golden/compare_tensors.o
tools/arc/ tools/bench/ tools/golden/ tools/generate/
tools/report/ tools/run/ tools/
task/diagnosis.o task/task.o task/arc.o task/views.o task/arc_file.o task/colour.o task/score.o task/pose.o task/grid.o
ROOT
text/t5.o text/tokenizer.o text/tokenizer_files.o text/tokenizer_json.o text/tokenizer_pieces.o
kernels/
files/ portable/
'

# Lines "OBJECT D|U SYMBOL" (defined, used) -> a sentence for each fault, and at last "PASSED FAILED".
check()
{
    awk -v table="$table" '
        function fault(sentence) { print sentence; failed++ }
        function floor_of(object,   i, length_of_best) {
            if (object in known) return known[object]
            for (i = 1; i <= n; i++)
                if ((word[i] == "ROOT" ? object !~ /\// : index(object, word[i]) == 1) && length(word[i]) > length_of_best) {
                    known[object] = i
                    length_of_best = length(word[i])
                }
            if (!(object in known)) { known[object] = 0; fault(object ": its folder is not in the table") }
            return known[object]
        }
        BEGIN { n = split(table, word, " ") }
        $2 == "D" && $1 !~ /^(tools|portable)\// {
            if ($3 ~ /^_?vdm_/) passed++
            else fault($1 ": the global symbol " $3 " does not begin with vdm_")
        }
        $2 == "D" { owner[$3] = $1; floor_of($1) }
        $2 == "U" { user[++uses] = $1; symbol[uses] = $3 }
        END {
            for (i = 1; i <= uses; i++) {
                if (!(symbol[i] in owner) || owner[symbol[i]] == user[i]) continue
                if (floor_of(user[i]) <= floor_of(owner[symbol[i]])) passed++
                else fault(user[i] ": needs " symbol[i] " of " owner[symbol[i]] ", which is above it")
            }
            print passed + 0, failed + 0
        }'
}

# The symbols of the objects named, without FLOORS_BUILD/ before their names.
symbols()
{
    for object in "$@"; do
        nm -P "$object" | awk -v object="${object#"$FLOORS_BUILD"/}" '
            $1 ~ /^\./ { next }
            $2 == "U" { print object, "U", $1 }
            $2 ~ /^[A-TV-Z]$/ { print object, "D", $1 }'
    done
}

# The check can fail: planted symbols and what it must say of them.
self_passed=0
self_failed=0
expect()
{
    found=$(printf '%b' "$2" | check | tail -n 1)
    if [ "$found" = "$1" ]; then self_passed=$((self_passed + 1)); else
        self_failed=$((self_failed + 1))
        echo "floors tests itself: found '$found', expected '$1' for: $2"
    fi
}
expect "2 0" 'fit.o U vdm_fail\nfiles/system.o D vdm_fail\n'                     # downwards
expect "1 1" 'files/json.o U vdm_sample\nsampler.o D vdm_sample\n'              # upwards
expect "3 0" 'fit.o U vdm_sample\nsampler.o D vdm_sample\nfit.o D vdm_fit\n'    # the root may use itself
expect "3 1" 'task/grid.o U vdm_score\ntask/score.o D vdm_score\ntask/score.o U vdm_grid\ntask/grid.o D vdm_grid\n' # a circle
expect "1 1" 'tools/run/plan.o U page_write\ntools/report/page.o D page_write\ntools/report/page.o U plan\ntools/run/plan.o D plan\n'
expect "0 1" 'trace.o D tap_see\n'                                              # no vdm_
expect "1 0" 'tools/main.o U command_fit\ntools/commands/cmd_fit.o D command_fit\n'
expect "1 1" 'cellar/x.o D vdm_x\n'                                             # no floor
expect "1 0" 'vdm.o U malloc\nvdm.o D vdm_x\n'                                  # others are not ours

# shellcheck disable=SC2086 # a list of names without spaces
symbols $FLOORS | check >"$FLOORS_BUILD/floors.txt"
sed '$d' "$FLOORS_BUILD/floors.txt"
read -r passed failed <<END
$(tail -n 1 "$FLOORS_BUILD/floors.txt")
END
[ "$passed" -gt 1000 ] || { echo "floors: only $passed symbols and references were found"; failed=$((failed + 1)); }
echo "floors: $((passed + self_passed)) passed, $((failed + self_failed)) failed"
[ "$((failed + self_failed))" -eq 0 ]
