#!/bin/sh
# Completion for bash, made from the same help as the man pages: commands, their options, and an option's words.
#   tools/install/completion.sh VDM > completions/vdm
vdm=$1
commands=$("$vdm" help | sed -n 's/^  vdm \([a-z]*\)  .*/\1/p' | tr '\n' ' ')
[ -n "$commands" ] || exit 1

cat <<END
# bash completion for $("$vdm" --version)
_vdm()
{
    local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} options= values=
    if [ "\$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=(\$(compgen -W "${commands}help" -- "\$word"))
        return
    fi
    case \${COMP_WORDS[1]} in
END
for command in $commands; do
    "$vdm" "$command" --help | sed '/^In parentheses: /,$d' | awk -v name="$command" '
        /^  -/ {
            options = options " " $1
            if ($2 ~ /^[a-z0-9-]+(\|[a-z0-9-]+)+$/) { gsub(/\|/, " ", $2); values = values "        " $1 ") values=\"" $2 "\" ;;\n" }
        }
        END {
            print "    " name ")\n        options=\"" substr(options, 2) "\""
            if (values) print "        case $before in\n" values "        esac"
            print "        ;;"
        }' || exit 1
done
cat <<'END'
    esac
    if [ -n "$values" ]; then
        COMPREPLY=($(compgen -W "$values" -- "$word"))
    elif [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$options --help" -- "$word"))
    fi
}
complete -o default -F _vdm vdm
END
