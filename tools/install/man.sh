#!/bin/sh
# Man pages, made from what `vdm help` and `vdm COMMAND --help` print: FOLDER/vdm.1 and FOLDER/vdm-COMMAND.1
#   tools/install/man.sh VDM FOLDER
vdm=$1
folder=$2
mkdir -p "$folder" || exit 1
version=$("$vdm" --version) || exit 1

# Text escaped for roff: no line is a request, and a hyphen is a hyphen.
escape='function roff(s) { gsub(/\\/, "\\e", s); gsub(/-/, "\\-", s); return s ~ /^[.\047]/ ? "\\&" s : s }'

# "  vdm fit      learn a task ..." -> "fit learn a task ..."
commands() { "$vdm" help | sed -n 's/^  vdm \([a-z]*\)  *\(.*\)/\1 \2/p'; }

# vdm.1: the list of commands, and the notes below it in `vdm help`
"$vdm" help | awk -v version="$version" "$escape"'
    BEGIN {
        print ".TH VDM 1 \"\" \"" version "\" \"vdm\"\n.nh\n.ad l\n.SH NAME\nvdm \\- few\\-shot learning with video diffusion models"
        print ".SH SYNOPSIS\n.B vdm\n.I COMMAND\n[options]\n.SH COMMANDS"
    }
    NR == 1 || /^$/ { next }
    /^  vdm / { name = $2; sub(/^ *vdm [a-z]+ */, ""); print ".TP\n.BR vdm\\-" name " (1)\n" roff($0); next }
    !notes++ { print ".SH NOTES" }
    { print roff($0) }' >"$folder/vdm.1" || exit 1

# vdm-COMMAND.1: synopsis, description, options; the defaults of one machine's model are left out
commands | while read -r name what; do
    "$vdm" "$name" --help | awk -v version="$version" -v name="$name" -v what="$what" "$escape"'
        BEGIN {
            print ".TH VDM\\-" toupper(name) " 1 \"\" \"" version "\" \"vdm\"\n.nh\n.ad l\n.SH NAME\nvdm\\-" name " \\- " roff(what)
            print ".SH SYNOPSIS"
        }
        /^In parentheses: / { print ".SH DEFAULTS\n" roff($0); exit }
        NR == 1 { print ".B " roff($0) "\n.SH DESCRIPTION"; next }
        /^  -/ {
            if (!options++) print ".SH OPTIONS"
            line = substr($0, 3) # "--name VALUE   text"; a long name has its text below
            at = match(line, /   */)
            print ".TP\n.B " roff(at ? substr(line, 1, at - 1) : line)
            if (at) print roff(substr(line, at + RLENGTH))
            next
        }
        options && /^ / { sub(/^ +/, ""); print roff($0); next }
        { print roff($0) }
        END { print ".SH SEE ALSO\n.BR vdm (1)" }' >"$folder/vdm-$name.1" || exit 1
done
