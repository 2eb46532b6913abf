#!/bin/sh
# The documents don't rot: links, paths, commands and version numbers of the *.md files are compared with the repository.
#   VDM=build/vdm INSTALLED=build/installed tests/docs.sh
#
#   [text](path#anchor)       the file exists, and has such a heading
#   `path`                    a path into a folder of the repository, or a source file, exists
#   `vdm COMMAND --option`    command and option exist; so does the option of `--option` and the target of `make X`
#                             (not in CHANGELOG.md and other history; tests/test_tour.c checks TOUR.md)
#   blocks of commands        as above; and the ./vdm lines of README.md and doc/ run, in their order, in one folder. No line
#                             is left out silently: every line that calls vdm runs, except in documents of $not_run, and
#                             every other line calls one of $other_programs, or names a file
#
# A block runs word for word, but reduced: ./vdm is a script that adds the options below, files that a reader brings are
# put in place, and lines of other programs are only checked. At the end mistakes are planted.
cd "$(dirname "$0")/.." || exit 1
: "${VDM:=$PWD/build/vdm}"
case $VDM in /*) ;; *) VDM=$PWD/$VDM ;; esac
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export VDM LC_ALL=C
run_of="README.md doc/arc.md doc/experiments.md doc/measured.md doc/measured-before.md doc/models.md doc/voting.md"
not_run="TOUR.md doc/experiments-before.md" # tests/test_tour.c runs the first; the second has commands of earlier versions
other_programs="make python3 venv/bin/python cc"
documents="README.md TOUR.md CHANGELOG.md CONTRIBUTING.md SECURITY.md doc/*.md models/*/README.md python/pretrain/README.md"
results=$folder/results
: >"$results"

ok() { echo ok >>"$results"; }
fault() { echo "fault $*" >>"$results"; }

# "LINE KIND TEXT" of a document: link, span, command, heading
pieces() {
    awk '
        /^```/ { fenced = !fenced; next }
        fenced || /^    / {
            sub(/^ +/, "")
            sub(/(^| +)# .*/, "")
            if ($0 ~ /^(\.\/)?vdm |^make( |$)|^(venv\/bin\/)?python3? /) print NR, "command", $0
            next
        }
        /^#+ / { text = $0; sub(/^#+ /, "", text); print NR, "heading", text }
        {
            rest = $0
            while (match(rest, /\]\([^) ]+\)/)) {
                print NR, "link", substr(rest, RSTART + 2, RLENGTH - 3)
                rest = substr(rest, RSTART + RLENGTH)
            }
            rest = $0
            while (match(rest, /`[^`]+`/)) {
                print NR, "span", substr(rest, RSTART + 1, RLENGTH - 2)
                rest = substr(rest, RSTART + RLENGTH)
            }
        }' "$1"
}

# Headings as GitHub makes anchors of them
anchors() {
    pieces "$1" | sed -n 's/^[0-9]* heading //p' | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9 _-]//g; s/ /-/g'
}

commands=$("$VDM" help | sed -n 's/^  vdm \([a-z]*\)  .*/\1/p')
for command in $commands; do
    "$VDM" "$command" --help | sed -n 's/^  \(-[-a-z]*\) .*/\1/p' >"$folder/options-$command"
    printf '%s\n' --help >>"$folder/options-$command"
done
check_help_width() { # the defaults at the end name a folder of any length
    for command in $commands; do
        long=$("$VDM" "$command" --help | sed '/^In parentheses: /,$d' | awk 'length > 100')
        if [ -z "$long" ]; then ok; else
            fault "vdm $command --help: expected lines of at most 100 characters, found '$long'"
        fi
    done
}
printf '%s\n' --version --help >"$folder/options-vdm"
cat "$folder"/options-* >"$folder/all-options"
scripts=$(echo python/*.py python/*/*.py)
targets=$(sed -n 's/^\.PHONY: //p' Makefile)

has_word() { case " $(echo "$1" | tr '\n' ' ') " in *" $2 "*) true ;; *) false ;; esac }

# check_command PLACE COMMAND WORDS...: of vdm
check_command() {
    place=$1 command=$2
    shift 2
    case $command in
    help) ok && return ;;
    -*) set -- "$command" && command=vdm ;;
    COMMAND | *[!a-z]*) return ;;
    *) has_word "$commands" "$command" || { fault "$place: vdm $command: no such command" && return; } ;;
    esac
    for word in "$@"; do
        case $word in
        -[a-z] | --[a-z]*)
            if grep -qxF -e "${word%%[,;:.)]*}" "$folder/options-$command"; then ok; else
                fault "$place: vdm $command has no option $word"
            fi ;;
        esac
    done
    ok
}

check_make() { # PLACE WORDS...: targets; NAME=VALUE and -j are no targets
    place=$1
    shift
    for word in "$@"; do
        case $word in
        *=* | -* | [A-Z]* | *[!a-z-]*) ;;
        *) if has_word "$targets" "$word"; then ok; else fault "$place: make $word: no such target"; fi ;;
        esac
    done
}

check_python() { # PLACE WORDS...: the script exists
    for word in "$@"; do
        case $word in *.py) if [ -f "$word" ]; then ok; else fault "$1: no file $word"; fi ;; esac
    done
}

check_path() { # PLACE PATH
    path=${2%%[:#]*}
    case $path in
    *[!A-Za-z0-9_./-]* | -* | /* | .* | *NAME*) return ;;
    */*) first=${path%%/*}; [ -e "$first" ] || case $path in *.[chs] | *.md | *.py | *.sh) ;; *) return ;; esac ;;
    *.[ch] | *.md | *.py | *.sh) ;;
    *) return ;;
    esac
    if [ -e "$path" ] || [ -e "$(dirname "${1%%:*}")/$path" ]; then ok; else fault "$1: no file $path"; fi
}

check_link() { # PLACE TARGET
    case $2 in http://* | https://* | mailto:*) return ;; esac
    file=${2%%#*}
    if [ -n "$file" ]; then file=$(dirname "${1%%:*}")/$file; else file=${1%%:*}; fi
    [ -e "$file" ] || { fault "$1: no file $file" && return; }
    case $2 in
    *#*) anchors "$file" | grep -qxF -e "${2#*#}" || { fault "$1: $file has no heading #${2#*#}" && return; } ;;
    esac
    ok
}

check_text() { # PLACE TEXT: a command line, or a text in backticks
    place=$1
    set -f
    # shellcheck disable=SC2086 # words are wanted
    set -- $2
    case $1 in
    vdm | ./vdm) shift && [ $# -gt 0 ] && check_command "$place" "$@" ;;
    make) shift && check_make "$place" "$@" ;;
    python | python3 | */python) check_python "$place" "$@" ;;
    --[a-z]*) if grep -qxF -e "$1" "$folder/all-options" || grep -qF -e "\"$1\"" $scripts; then ok; else
        fault "$place: no command has an option $1"; fi ;;
    *) if has_word "$commands" "$1" && [ $# -gt 1 ]; then check_command "$place" "$@"; elif [ $# -eq 1 ]; then
        check_path "$place" "$1"; fi ;;
    esac
    set +f
}

check_document() {
    pieces "$1" >"$folder/pieces"
    while read -r line kind text; do
        case $kind in
        link) check_link "$1:$line" "$text" ;;
        span | command) case $1 in TOUR.md | CHANGELOG.md | */experiments-before.md) ;; *) check_text "$1:$line" "$text" ;; esac ;;
        esac
    done <"$folder/pieces"
}

# ------------------------------------------------------------------------------------------------
# Blocks of commands run

# ./vdm of the folder: the program with few steps, few and small pictures, and tiny jobs of bench; the last of an option's
# values holds.
make_vdm() {
    cat >"$1/vdm" <<'END'
#!/bin/sh
case " $* " in *" --size "[1-9]*x*) set -- "$@" --size 64x64 ;; esac
case " $* " in *" --plan "* | *" --help "*) exec "$VDM" "$@" ;; esac
case $1 in
demo) shift && exec "$VDM" demo "$@" --steps 1 --shots 2 --limit 2 --ensemble 1 ;;
fit) shift && exec "$VDM" fit "$@" --steps 1 --shots 2 ;;
eval) shift && exec "$VDM" eval "$@" --limit 2 --train-pairs 1 --ensemble 1 ;;
vote) shift && exec "$VDM" vote "$@" --limit 2 ;;
bench) exec "$VDM" "$@" --quick ;;
arc) case " $* " in *" --report "*) exec "$VDM" "$@" ;; esac
    shift && exec "$VDM" arc "$@" --steps 1 --ensemble 1 ;;
esac
exec "$VDM" "$@"
END
    chmod +x "$1/vdm"
}

# The repository's folders, so that no example writes into one: those that CONTRIBUTING.md names. What a reader brings: a model folder, a port's file, ARC-AGI files, a task of photographs
bring() {
    for name in */; do
        [ "$name" != models/ ] && grep -qF "\`$name" CONTRIBUTING.md || continue # not what a user made here
        mkdir "$1/$name" && touch "$1/$name/of-the-repository" || exit 1
    done
    mkdir "$1/training" || exit 1
    ln -s "$PWD/models" "$1/models"
    for name in MODEL DIR random m8 one; do ln -s "$PWD/models/tiny" "$1/$name"; done
    printf '{"train": [{"input": [[1, 2], [3, 0]], "output": [[2, 1], [0, 3]]}], "test": [{"input": [[4, 0], [0, 5]], "output": [[0, 4], [5, 0]]}]}\n' >"$1/TASK.json"
    for i in 1 2 3 4; do cp "$1/TASK.json" "$1/training/$i.json"; done
    "$VDM" tasks flip-h -n 2 --tests 2 -o "$1/photos" >/dev/null 2>&1 && rm "$1/photos/task.json"
}

# The lines of a document's blocks, without comments; its ./vdm lines as a shell script: loops as they are.
lines_of() {
    awk '/^```/ { fenced = !fenced; next }
         fenced || /^    / { sub(/^    /, ""); sub(/ +# .*/, ""); if ($0 != "") print }' "$1"
}
script_of() { lines_of "$1" | grep -E '^ *(\./vdm |for .*; do$|done$)'; }

# Every line of the blocks runs, or calls one of $other_programs, or names a file.
check_all_run() { # DOCUMENT: it is in run_of or in no list
    lines_of "$1" | grep -vE '^ *(\./vdm |for .*; do$|done$)' >"$folder/left"
    while read -r first rest; do
        case " $first $rest " in
        *"/vdm "[a-z-]* | *" vdm "[a-z-]*) fault "$1: this command does not run: $first $rest" && continue ;;
        esac
        has_word "$run_of" "$1" || continue
        case $first in
        *.json | *.safetensors | *.png | [a-z]*/) ok ;; # a list of files
        *) if has_word "$other_programs" "$first"; then ok; else
            fault "$1: neither a command that runs nor one of $other_programs: $first $rest"; fi ;;
        esac
    done <"$folder/left"
    if has_word "$run_of" "$1" || [ -z "$(script_of "$1")" ]; then ok; else
        fault "$1: its commands don't run: it is neither in run_of nor in not_run"
    fi
}

run_document() {
    here=$folder/run
    rm -rf "$here" && mkdir "$here" && make_vdm "$here" && bring "$here"
    script_of "$1" >"$here/script"
    case $1 in
    */voting.md) "$VDM" tasks turn-90 -n 2 --tests 2 -o "$here/grids" >/dev/null 2>&1 ;;
    */experiments.md) "$VDM" tasks turn-90 -n 2 --tests 2 -o "$here/TASK" >/dev/null 2>&1 ;;
    */models.md) cp -r "$here/photos" "$here/grids" ;;
    */measured*.md)
        cp -r "$here/photos" "$here/grids" && cp -r "$here/photos" "$here/pairs"
        for name in x.ppm x.png; do cp "$here/photos/test/0000.in.ppm" "$here/$name"; done ;;
    esac
    # a port's file: a copy of the golden one
    sed -e 's/^\.\/vdm golden .* -o golden\.safetensors.*/&\ncp golden.safetensors mine.safetensors/' \
        -e 's/^\.\/vdm golden .* -o vae\.safetensors.*/&\ncp vae.safetensors mine-vae.safetensors/' \
        -e 's/^\.\/vdm bench NAME/.\/vdm bench tiny.sample/' \
        -e 's/^\.\/vdm bench --plan \([0-9,]*\) \(.*\)/.\/vdm bench \2\n.\/vdm bench --plan \1 attention.small/' "$here/script" >"$here/all"
    if (cd "$here" && VDM_MODEL=$here/models/tiny sh -e ./all) >"$here/log" 2>&1; then ok; else
        fault "$1: $(tail -n 3 "$here/log" | tr '\n' ' ')"
    fi
}

# ------------------------------------------------------------------------------------------------
# Version, man pages, completion

check_version() { # VDM_H CHANGELOG CITATION
    version=$(sed -n 's/^.define VDM_VERSION "\(.*\)"/\1/p' "$1")
    changes=$(sed -n 's/^## \([0-9.]*\).*/\1/p' "$2" | head -n 1)
    citation=$(sed -n 's/^version: *//p' "$3")
    if [ -n "$version" ] && [ "$version" = "$changes" ] && [ "$version" = "$citation" ]; then ok; else
        fault "version: vdm.h has $version, CHANGELOG.md $changes, CITATION.cff $citation"
    fi
}

check_installed() { # the folder that share/man and share/bash-completion are in
    for command in $commands; do
        page=$1/share/man/man1/vdm-$command.1
        if [ ! -s "$page" ]; then fault "no man page $page" && continue; fi
        while read -r option; do # each option of the help is in it
            [ "$option" = --help ] || if grep -qF -e ".B $(echo "$option" | sed 's/-/\\-/g')" "$page"; then ok; else
                fault "$page: no option $option"
            fi
        done <"$folder/options-$command"
    done
    completion=$1/share/bash-completion/completions/vdm
    if [ ! -s "$completion" ]; then fault "no completion $completion"; return; fi
    command -v bash >/dev/null || return
    for pair in "fit --res:--resume" "demo --palette v:vivid" "pred:predict"; do
        found=$(WORDS=${pair%%:*} bash -c '. "$0"; read -r -a COMP_WORDS <<<"vdm $WORDS"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _vdm; echo "${COMPREPLY[*]}"' "$completion")
        if [ "$found" = "${pair#*:}" ]; then ok; else fault "completion of vdm ${pair%%:*}: found '$found', expected ${pair#*:}"; fi
    done
}

check_card() { # NAME README: python/pretrain/export.py writes this README; lines with {values} are not compared
    difference=$(awk -v begin="$1 = " 'index($0, begin) == 1 { on = 1; sub(/^[^"]*"""/, "") }
                                       on && /^"""$/ { exit }
                                       on' python/pretrain/export.py |
        awk 'card_comes { card[++n] = $0; next }
             card[FNR] !~ /[{]/ && card[FNR] != $0 { print "line " FNR }
             END { if (FNR != n) print FNR " lines, not " n + 0 }' card_comes=1 - card_comes=0 "$2" | head -n 1)
    if [ -z "$difference" ]; then ok; else fault "$2 is not $1 of python/pretrain/export.py: $difference"; fi
}

# "tbreak FILE.c:FUNCTION": such a definition exists.
check_breakpoints() {
    sed -n 's/^tbreak \([^ ]*\).*/\1/p' "$1" >"$folder/breakpoints"
    while IFS=: read -r file function; do
        if grep -qE "^[a-z].*[ *]$function\(" "$file"; then ok; else fault "$1: $file has no function $function"; fi
    done <"$folder/breakpoints"
}

# ------------------------------------------------------------------------------------------------
# Planted mistakes: each has to be found, and the same without the mistake has to pass

faults() { grep -c '^fault' "$results"; }
plant() { # GOOD BAD: lines of a document
    for text in "$1" "$2"; do
        before=$(faults)
        printf '## One heading\n\n%b\n' "$text" >"$folder/planted.md"
        check_document "$folder/planted.md"
        found=$(($(faults) - before))
        if [ "$text" = "$1" ] && [ $found -ne 0 ]; then echo "wrong $text"; fi
        if [ "$text" = "$2" ] && [ $found -eq 0 ]; then echo "not found: $text"; fi
    done
}
planted() { # CHECK ARGUMENTS...: finds a fault
    before=$(faults)
    "$@"
    [ "$(faults)" -gt "$before" ] || echo "$* did not find: $(cat "$folder/planted.md")"
}
plant_block() { # CHECK LINE: finds a fault in a document that has only this line, in a block
    printf '    %s\n' "$2" >"$folder/planted.md"
    planted "$1" "$folder/planted.md"
}
test_itself() {
    before_results=$results
    ln -s "$PWD/doc" "$folder/doc" # what planted links point to
    results=$folder/planted
    : >"$results"
    {
        plant '[a](doc/style.md)' '[a](doc/styles.md)'
        plant '[a](#one-heading)' '[a](#two-headings)'
        plant '[a](doc/style.md#words)' '[a](doc/style.md#word)'
        plant 'see `kernels/plain.c`' 'see `kernels/plane.c`'
        plant 'see `vae.c`' 'see `vea.c`'
        plant 'see `./vdm fit --resume`' 'see `./vdm fit --resumed`'
        plant 'see `--precision`' 'see `--precise`'
        plant '    ./vdm eval task -o answers # and more' '    ./vdm evaluate task'
        plant '    ./vdm eval task --limit 2' '    ./vdm eval task --steps 2 --what x'
        plant '    make demo' '    make demonstration'
        plant '    python3 python/twin.py' '    python3 python/twins.py'
    } >"$folder/self"
    sed 's/0\.2\.[0-9]*/9.9.9/' CITATION.cff >"$folder/citation"
    printf 'tbreak vdm.c:patchwork\n' >"$folder/planted.gdb"
    {
        planted check_version vdm.h CHANGELOG.md "$folder/citation"
        planted check_installed "$folder/nowhere"
        planted check_breakpoints "$folder/planted.gdb"
        planted check_card CARD models/cells/README.md
        planted check_card NO_CARD models/tiny/README.md
        plant_block run_document './vdm predict --image nothing.ppm -o y.png'
        plant_block run_document './vdm bench --plan 8,16 block.forwards'
        plant_block check_all_run './vdm info DIR' # of a document in no list
        run_of="$folder/planted.md"
        plant_block check_all_run 'VDM_ISA=plain ./vdm info DIR'
        plant_block check_all_run 'make && vdm info DIR'
        plant_block check_all_run 'wget DIR'
    } >>"$folder/self"
    results=$before_results
    if [ -s "$folder/self" ]; then fault "$(tr '\n' ' ' <"$folder/self")"; else ok; fi
}

for document in $documents; do
    [ -f "$document" ] && check_document "$document"
done
for document in $documents; do
    [ ! -f "$document" ] || has_word "$not_run" "$document" || check_all_run "$document"
done
for document in $run_of; do run_document "$document"; done
check_breakpoints doc/steps.gdb
check_card CARD models/tiny/README.md
check_card CELLS_CARD models/cells/README.md
check_help_width
check_version vdm.h CHANGELOG.md CITATION.cff
[ -z "$INSTALLED" ] || check_installed "$INSTALLED"
test_itself
sed -n 's/^fault //p' "$results"
passed=$(grep -c '^ok' "$results")
failed=$(faults)
[ "$passed" -gt 200 ] || { echo "docs: only $passed things to check were found" && failed=$((failed + 1)); }
echo "docs: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
