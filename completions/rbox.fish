# fish completion for rbox.
#
# For one shell: rbox completion fish | source
# For good:      rbox completion fish > ~/.config/fish/completions/rbox.fish
#
# The program knows its commands, flags and names; this script only asks it. The first line of the
# answer says what follows: words, or after how many characters of the word a path begins.

function __rbox_complete
    set -l before (commandline -opc)
    set -l typed (commandline -ct)
    # An open quote cannot be removed that way.
    set -l word (string unescape -- "$typed"; or string replace -r '^["\']' '' -- "$typed")
    set -l answer (command rbox __complete fish $before "$word" 2>/dev/null)
    switch "$answer[1]"
        case 'values*'
            string join \n -- $answer[2..-1]
        case 'files*'
            set -l at (math $answer[2] + 1)
            string join \n -- (string sub -l $answer[2] -- "$word")(__fish_complete_path (string sub -s $at -- "$word"))
        case 'directories*'
            set -l at (math $answer[2] + 1)
            string join \n -- (string sub -l $answer[2] -- "$word")(__fish_complete_directories (string sub -s $at -- "$word"))
    end
end

complete -c rbox -e
complete -c rbox -f -a '(__rbox_complete)'
