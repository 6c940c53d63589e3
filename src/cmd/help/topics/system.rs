//! The program itself, the machine and the store as a whole.

use super::{EXIT, Topic};

/// One row a command, in the order of their names.
#[rustfmt::skip]
pub const TOPICS: &[Topic] = &[
    Topic {
        command: "",
        text: "rbox runs containers for ordinary users. It has no daemon: each container is watched over by a process of \
its own, and when no container runs nothing of rbox does. The command line, the output and the exit codes are those of \
docker and podman.

Containers are found by name, by full id or by a prefix of the id that only one of them has; images by name, tag, digest \
or id. In place of an image, rootfs:DIRECTORY takes any directory as the read-only base of a container.",
        examples: &[
            ("A shell that leaves nothing behind", "rbox run --rm -it alpine sh"),
            ("A throw-away view of this machine, without any image", "rbox run --rm -it rootfs:/ sh"),
        ],
        exit: EXIT,
        see: &["run", "exec", "ps", "images"],
    },
    Topic {
        command: "completion",
        text: "Prints the script that teaches a shell to complete rbox's command lines: commands, flags and their \
values, names of containers and images. The script asks the program at each TAB, so it need not be printed again when \
commands or containers come and go.",
        examples: &[
            ("In this bash only", "source <(rbox completion bash)"),
            ("In bash, for good", "rbox completion bash > ~/.local/share/bash-completion/completions/rbox"),
            ("In zsh, with ~/.zfunc in fpath before compinit", "rbox completion zsh > ~/.zfunc/_rbox"),
            ("In fish", "rbox completion fish > ~/.config/fish/completions/rbox.fish"),
        ],
        exit: EXIT,
        see: &[],
    },
    Topic {
        command: "doctor",
        text: "Checks what rbox needs of this machine: user namespaces, subordinate ids, overlayfs, cgroups, the file \
system of the store, limits. For each thing that is amiss it says why that matters and the line that mends it; nothing \
is changed.

Every check has a name that stays the same. Errors of other commands end with the same name in brackets.",
        examples: &[
            ("Everything that was looked at", "rbox doctor"),
            ("Only what fails or could be better", "rbox doctor --quiet"),
            ("The lines that mend what fails",
             "rbox doctor --json | jq -r '.checks[] | select(.status == \"fail\") | .mend[].line'"),
        ],
        exit: &[("0", "All that containers need is there; warnings are for what works with something less."),
                ("1", "A check fails."), EXIT[2]],
        see: &["info", "system check"],
    },
    Topic {
        command: "events",
        text: "Shows a line for each thing that happens to containers, images, networks and volumes, whoever did it: \
the commands and the processes that watch over containers write them into the store. Without --since it begins with what \
happens next; --until ends it. Some thousands of lines are kept.",
        examples: &[
            ("What happens from now on", "rbox events"),
            ("How containers ended in the last hour",
             "rbox events --since 1h --until 0s -f event=die --format '{{.Name}} {{.ContainerExitCode}}'"),
            ("For a script, one JSON document a line", "rbox events --format json"),
        ],
        exit: EXIT,
        see: &["ps", "logs"],
    },
    Topic {
        command: "info",
        text: "Shows where the store is, how much is in it, and what this machine gives to containers.",
        examples: &[
            ("In words", "rbox info"),
            ("One value", "rbox info -f '{{.DockerRootDir}}'"),
        ],
        exit: EXIT,
        see: &["version", "system check"],
    },
    Topic {
        command: "inspect",
        text: "Shows everything that is known about containers, images and networks, as docker's JSON or by a template. A \
name that means several of them means the container, then the image, unless --type says otherwise.",
        examples: &[
            ("Everything about a container", "rbox inspect web"),
            ("Its first process, as the host counts", "rbox inspect -f '{{.State.Pid}}' web"),
            ("Its address", "rbox inspect -f '{{.NetworkSettings.IPAddress}}' web"),
            ("The environment of an image", "rbox inspect --type image -f '{{json .Config.Env}}' alpine"),
        ],
        exit: EXIT,
        see: &["ps", "images"],
    },
    Topic {
        command: "system",
        text: "Commands about the store and this installation.",
        examples: &[],
        exit: EXIT,
        see: &["info", "system df"],
    },
    Topic {
        command: "system check",
        text: "Reads the whole store: every blob against its digest, every layer, every record. Prints a line for each \
thing that is wrong. With --repair a corrupt blob is removed, a missing layer is unpacked again, and a record that \
cannot be read is set aside in the directory quarantine.

What a crash left is no damage: it is cleaned up first. With --quick the blobs of layers are not read.",
        examples: &[
            ("Look only", "rbox system check"),
            ("In a moment", "rbox system check --quick"),
            ("Mend what can be mended", "rbox system check --repair"),
        ],
        exit: &[("0", "Nothing is wrong, or all was repaired."), ("1", "Something is wrong."), EXIT[2]],
        see: &["info", "pull"],
    },
    Topic {
        command: "system df",
        text: "Shows how much disk images and containers take, in blocks as du counts them: what several images share \
counts once, and so does a file with several names. Reclaimable is what image prune --all and container prune would \
free. With --verbose each image and container has a line, and everything else in the store too, so that the sum is \
what du says of the store's directory.",
        examples: &[
            ("In short", "rbox system df"),
            ("Each image, each container, and the rest", "rbox system df -v"),
            ("In bytes", "rbox system df --format '{{.Type}} {{.RawSize}} {{.RawReclaimable}}'"),
        ],
        exit: EXIT,
        see: &["image tree", "system prune"],
    },
    Topic {
        command: "system prune",
        text: "Removes what nobody needs: containers that do not run, networks that no container is on, and images \
without a tag, or with --all every one that no container uses. Asks first, unless --force is given. The sum at the end \
is the blocks that this freed.",
        examples: &[
            ("Without a question", "rbox system prune -f"),
            ("Everything that is not in use", "rbox system prune --all --force"),
            ("Only what is older than a week", "rbox system prune -f --filter until=168h"),
        ],
        exit: EXIT,
        see: &["system df", "image prune", "container prune", "network prune"],
    },
    Topic {
        command: "version",
        text: "Shows the version. Client and server are one program; both sections exist for scripts that were \
written for docker.",
        examples: &[
            ("In words", "rbox version"),
            ("The number alone", "rbox version -f '{{.Client.Version}}'"),
        ],
        exit: EXIT,
        see: &["info"],
    },
    Topic {
        command: "system restart-all",
        text: "Starts the containers that do not run but should by their restart policies, and prints their ids: always; \
unless-stopped, if they were not stopped; on-failure, if they failed or were cut off. Those that never ran are left \
alone. Meant for the time after a boot or a login: contrib/systemd/rbox-restart.service is a unit that does it.",
        examples: &[
            ("What a power failure took down", "rbox system restart-all"),
            ("Without systemd, a line for crontab -e", "@reboot rbox system restart-all"),
        ],
        exit: EXIT,
        see: &["run", "start"],
    },
    Topic {
        command: "system reset",
        text: "Removes everything of this store: containers, those that run too, images, networks, volumes and secrets. \
What they held is lost. The configuration and credentials for registries stay.",
        examples: &[("Without being asked", "rbox system reset --force")],
        exit: EXIT,
        see: &["system prune", "system df"],
    },
];
