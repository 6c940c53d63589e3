# bash completion for rbox (bash 4.4 or later); needs no other package.
#
# For one shell: source <(rbox completion bash)
# For good:      rbox completion bash > ~/.local/share/bash-completion/completions/rbox
#
# The program knows its commands, flags and names; this script only asks it. The first line of the
# answer says what follows: words, or what to complete as a path.

_rbox() {
    local answer action index
    COMPREPLY=()
    mapfile -t answer < <(command rbox __complete bash "$COMP_WORDBREAKS" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    case ${answer[0]-} in
        *nospace) compopt -o nospace ;;
    esac
    case ${answer[0]-} in
        values*)
            COMPREPLY=("${answer[@]:1}")
            ;;
        files* | directories*)
            # The word before the path, the path, and what readline keeps of both.
            action="file"
            [[ ${answer[0]} == files* ]] || action="directory"
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -A "$action" -P "${answer[1]-}" -- "${answer[2]-}")
            if [[ ${answer[3]-} != "${answer[1]-}"* ]]; then
                # With something before it in what is replaced, readline takes no path for a directory.
                for index in "${!COMPREPLY[@]}"; do
                    [[ -d ${COMPREPLY[index]#"${answer[1]-}"} ]] || continue
                    COMPREPLY[index]+=/
                    compopt -o nospace
                done
            fi
            COMPREPLY=("${COMPREPLY[@]#"${answer[3]-}"}")
            ;;
    esac
}

complete -F _rbox rbox
