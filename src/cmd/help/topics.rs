//! What the command tree cannot say: a description, examples, exit codes and related commands, for
//! help and the man pages. Each command has a row; tests say which one is missing and parse every
//! example.

/// The text about one command.
#[derive(Debug)]
pub struct Topic {
    /// The command's words after the program's name; empty for the program itself.
    pub command: &'static str,
    /// Paragraphs, separated by an empty line.
    pub text: &'static str,
    /// What each line does, and the line.
    pub examples: &'static [(&'static str, &'static str)],
    /// Codes with their meaning; empty for those that every command has.
    pub exit: &'static [(&'static str, &'static str)],
    /// Commands to read about next.
    pub see: &'static [&'static str],
}

/// Exit codes of a command that says nothing else.
pub const EXIT: &[(&str, &str)] = &[
    ("0", "Success."),
    ("1", "It failed, and one line on standard error says why. Of several arguments the others were done."),
    ("125", "An unknown flag, or a value that a flag does not take."),
];

const EXIT_OF_RUN: &[(&str, &str)] = &[
    ("0 to 255", "That of the command in the container; 128+N if signal N killed it."),
    ("125", "The container could not be made or started: a bad value, no such image, a name in use."),
    ("126", "The command exists and cannot be executed."),
    ("127", "There is no such command."),
];

/// Full names that are not their short name behind a noun.
const FULL_NAMES: &[(&str, &str)] = &[("container ls", "ps"), ("image ls", "images"), ("image rm", "rmi")];

/// The topic of a command, and the words under which its examples are written: a full name such as
/// `container rm` has the text of `rm`.
pub fn find(words: &str) -> Option<(&'static Topic, &'static str)> {
    let exact = |words: &str| TOPICS.iter().find(|topic| topic.command == words);
    let full = FULL_NAMES.iter().find(|(full, _)| *full == words).map(|(_, short)| *short);
    let short = full.or_else(|| words.split_once(' ').map(|(_, last)| last));
    let topic = exact(words).or_else(|| exact(short?))?;
    Some((topic, topic.command))
}

/// An example written for the command `base`, for the same command by the name `words`.
pub fn spelled(line: &str, base: &str, words: &str) -> String {
    let mut spelled = String::new();
    let mut rest = line;
    let typed = format!("rbox {base}");
    while let Some(at) = rest.find(&typed).filter(|_| base != words) {
        let end = at + typed.len();
        let whole = rest[end..].chars().next().is_none_or(|next| !next.is_alphanumeric());
        spelled.push_str(&rest[..at]);
        spelled.push_str(if whole { "rbox " } else { &typed });
        spelled.push_str(if whole { words } else { "" });
        rest = &rest[end..];
    }
    spelled + rest
}

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
        command: "attach",
        text: "Connects the terminal to the first process of a container that runs. Several can be attached at once: \
all see the same and all can type. What was written before is not shown; see rbox logs.

The detach keys (ctrl-p ctrl-q unless changed) leave the container running.",
        examples: &[
            ("Return to a container that was left by ctrl-p ctrl-q", "rbox attach web"),
            ("Look on without typing or stopping it by ctrl-c", "rbox attach --no-stdin --sig-proxy=false web"),
        ],
        exit: &[("0 to 255", "That of the container."), ("1", "The container does not run, or was detached from.")],
        see: &["exec", "logs", "run"],
    },
    Topic {
        command: "commit",
        text: "Makes an image of what a container changed in its files, on top of the image it was made from. The new \
image's containers start as this one did: its environment, command, user, working directory, ports, labels and \
volumes are the image's defaults, but for what --change says. What is in volumes and bind mounts is not taken in. \
Without a change in the files the image gets no new layer.

The container's processes are stopped meanwhile, unless --no-pause is given. Without a name the image is listed as \
<none>. With --timestamp, or SOURCE_DATE_EPOCH in the environment, the same files give the same image id.",
        examples: &[
            ("An image under a name", "rbox commit web registry.example.com/web:2"),
            ("With who and why", "rbox commit -a 'Ann <ann@example.com>' -m 'Add the certificates' web web:2"),
            ("With another command", "rbox commit --change 'CMD [\"nginx\", \"-g\", \"daemon off;\"]' web web:2"),
            ("The same image each time", "rbox commit --timestamp 0 web web:2"),
        ],
        exit: EXIT,
        see: &["diff", "history", "export", "tag"],
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
        command: "container",
        text: "The commands about containers by their full names. Most have a short one too: rbox container ls is \
rbox ps, rbox container rm is rbox rm.",
        examples: &[],
        exit: EXIT,
        see: &["image", "ps"],
    },
    Topic {
        command: "container exists",
        text: "Prints nothing; the exit code is the answer.",
        examples: &[("Make a container unless it is there", "rbox container exists web || rbox create --name web alpine")],
        exit: &[("0", "The container exists."), ("1", "It does not."), ("125", "That could not be found out.")],
        see: &["ps", "inspect"],
    },
    Topic {
        command: "container inspect",
        text: "Shows everything that is known about containers, as docker's JSON or by a template.",
        examples: &[
            ("Everything", "rbox container inspect web"),
            ("Its first process, as the host counts", "rbox container inspect -f '{{.State.Pid}}' web"),
        ],
        exit: EXIT,
        see: &["ps", "inspect"],
    },
    Topic {
        command: "container prune",
        text: "Removes every container that does not run, with what it wrote. Asks first, unless --force is given.",
        examples: &[
            ("Without a question", "rbox container prune -f"),
            ("Only those made more than a day ago", "rbox container prune --filter until=24h"),
        ],
        exit: EXIT,
        see: &["rm", "ps"],
    },
    Topic {
        command: "create",
        text: "Makes a container as rbox run does, with the same flags, prints its id, and does not start it.",
        examples: &[
            ("Make a container now, start it later", "rbox create --name web -v \"$PWD:/srv:ro\" debian sleep 600"),
            ("Keep its id in a file", "rbox create --cidfile web.cid alpine true"),
        ],
        exit: &[("0", "The container is made."), ("1", "No image was named."), EXIT_OF_RUN[1]],
        see: &["run", "start", "rm"],
    },
    Topic {
        command: "diff",
        text: "Lists what a container changed in its files: A for added, C for changed, D for deleted. A directory is \
listed as changed when something in it is. For an image it is what its last layer changed; with two names, what \
the first has and lacks of the second.",
        examples: &[
            ("What a container did", "rbox diff web"),
            ("For a program", "rbox diff --format json web"),
            ("Against another image", "rbox diff web nginx:1.27"),
        ],
        exit: EXIT,
        see: &["commit", "export"],
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
        command: "exec",
        text: "Runs a further command in a container that runs, in all its namespaces and with its environment. It \
ends with the container, and when this invocation ends, unless it was started in the background.

Flags come before the container's name: what follows the name belongs to the command.",
        examples: &[
            ("A shell in a container", "rbox exec -it web sh"),
            ("As another user, in another directory", "rbox exec -u nobody -w /tmp web id"),
            ("With one more variable", "rbox exec -e DEBUG=1 web env"),
        ],
        exit: &[
            ("0 to 255", "That of the command; 128+N if signal N killed it."),
            ("1", "The container does not exist or does not run."),
            EXIT_OF_RUN[1], EXIT_OF_RUN[2], EXIT_OF_RUN[3],
        ],
        see: &["run", "attach", "ps"],
    },
    Topic {
        command: "export",
        text: "Writes a container's whole root as a tar archive: the image's files and the container's changes as one \
tree, without what is in volumes and bind mounts. It may run meanwhile. A file of --output appears when it is whole.",
        examples: &[
            ("Into a file", "rbox export -o web.tar web"),
            ("Compressed on the way", "rbox export web | gzip > web.tar.gz"),
        ],
        exit: EXIT,
        see: &["commit", "diff"],
    },
    Topic {
        command: "history",
        text: "Shows the steps in which an image was made, the last first, with the size of each step's layer. Steps \
whose image is not here are <missing>: those of an image that was pulled, and those whose image was removed.",
        examples: &[
            ("The steps", "rbox history alpine"),
            ("Whole commands", "rbox history --no-trunc --format '{{.CreatedBy}}' alpine"),
            ("Sizes in bytes and exact dates", "rbox history --human=false alpine"),
        ],
        exit: EXIT,
        see: &["images", "image inspect", "commit"],
    },
    Topic {
        command: "image",
        text: "The commands about images by their full names. Most have a short one too: rbox image ls is \
rbox images, rbox image rm is rbox rmi.",
        examples: &[],
        exit: EXIT,
        see: &["container", "images"],
    },
    Topic {
        command: "image diff",
        text: "Lists what an image's last layer changed, or what the image has and lacks of another: A for added, C \
for changed, D for deleted.",
        examples: &[
            ("The last layer", "rbox image diff web:2"),
            ("Since another version", "rbox image diff web:2 web:1"),
        ],
        exit: EXIT,
        see: &["diff", "history"],
    },
    Topic {
        command: "image exists",
        text: "Prints nothing; the exit code is the answer.",
        examples: &[("Pull an image unless it is there", "rbox image exists alpine || rbox pull alpine")],
        exit: &[("0", "The image exists."), ("1", "It does not."), ("125", "That could not be found out.")],
        see: &["images", "inspect"],
    },
    Topic {
        command: "image inspect",
        text: "Shows everything that is known about images, as docker's JSON or by a template.",
        examples: &[
            ("Everything", "rbox image inspect alpine"),
            ("The environment it gives", "rbox image inspect -f '{{json .Config.Env}}' alpine"),
        ],
        exit: EXIT,
        see: &["images", "inspect"],
    },
    Topic {
        command: "image prune",
        text: "Removes images that nobody needs: those without a tag, or with --all every one that no container \
uses. Asks first, unless --force is given.",
        examples: &[
            ("Without a question", "rbox image prune -f"),
            ("Everything that no container uses", "rbox image prune --all --force"),
        ],
        exit: EXIT,
        see: &["rmi", "images"],
    },
    Topic {
        command: "image scp",
        text: "Copies an image with its name from one store to another: rbox save runs where it is, rbox load where it \
goes, and a pipe between them. A store on this machine is given by its directory, one on another machine by its host, \
which is reached by ssh and has rbox too; two colons stand between that and the image. Without a destination the image \
comes here; a name behind the destination's colons is a further name for it there.",
        examples: &[
            ("To another machine", "rbox image scp alpine me@build.example::"),
            ("From there, on a port of its own", "rbox image scp me@build.example:2222::app:1"),
            ("Into another store here", "rbox image scp alpine /srv/rbox::"),
        ],
        exit: EXIT,
        see: &["push", "tag"],
    },
    Topic {
        command: "image tree",
        text: "Shows the layers of an image, the lowest first: what each takes, which image ends with it and which others have it too. Unique is what only this image has.",
        examples: &[
            ("The layers", "rbox image tree mine"),
            ("Everything that was made on top of an image", "rbox image tree --whatrequires alpine"),
        ],
        exit: EXIT,
        see: &["images", "system df"],
    },
    Topic {
        command: "images",
        text: "Lists the images of the store, the newest first, one line a tag. A repository, or a repository with a \
tag, shows only what has that name. An image that has lost its name to another one is shown as <none>.",
        examples: &[
            ("All images", "rbox images"),
            ("The tags of one repository, with their digests", "rbox images --digests alpine"),
            ("Names only", "rbox images --format '{{.Repository}}:{{.Tag}}'"),
            ("Images without a name", "rbox images --filter dangling=true"),
        ],
        exit: EXIT,
        see: &["pull", "rmi", "inspect"],
    },
    Topic {
        command: "import",
        text: "Makes an image of one layer out of a root file system: a tar file, compressed with gzip, bzip2, xz or zstd \
or not at all, from a file, an address or standard input. The image has no command unless --change gives it one.",
        examples: &[
            ("What debootstrap made", "tar -C rootfs -c . | rbox import - mine:1"),
            ("With a command and a port", "rbox import -c 'CMD [\"/bin/sh\"]' -c 'EXPOSE 80' rootfs.tar.xz mine:2"),
            ("From a server", "rbox import -m 'nightly build' https://example.com/rootfs.tar.gz nightly"),
        ],
        exit: EXIT,
        see: &["load", "images"],
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
        command: "kill",
        text: "Sends a signal, SIGKILL unless told, to the first process of running containers. A container that was \
sent SIGKILL has ended when this command returns.",
        examples: &[
            ("End a container at once", "rbox kill web"),
            ("Have it read its configuration again", "rbox kill -s HUP web"),
        ],
        exit: EXIT,
        see: &["stop", "wait"],
    },
    Topic {
        command: "load",
        text: "Reads images from an archive: what docker, podman and skopeo save, old or new, and OCI layouts, as a file \
or a directory. Compressed archives are recognised by their content. Layers that are here already are not \
unpacked again, everything is verified, and names are given when all of it is in the store.",
        examples: &[
            ("From a file", "rbox load -i images.tar.gz"),
            ("From standard input", "ssh build docker save app:1 | rbox load"),
            ("An OCI layout", "rbox load -i layout/"),
        ],
        exit: EXIT,
        see: &["save", "import", "pull"],
    },
    Topic {
        command: "login",
        text: "Proves to a registry who you are, and keeps what proves it for later pulls and pushes: in the auth file of docker \
or podman that knows the registry already, else in ~/.docker/config.json, or with the credential helper that the file names. \
What docker or podman keep there is used as well.

A path behind the registry keeps the credentials for the repositories below it only.",
        examples: &[
            ("Ask for name and password", "rbox login registry.example:5000"),
            ("In a script", "rbox login --username ci --password-stdin quay.io"),
            ("Who is logged in", "rbox login --get-login quay.io"),
        ],
        exit: EXIT,
        see: &["logout", "pull"],
    },
    Topic {
        command: "logout",
        text: "Forgets what proves who you are to a registry, in all auth files of docker and podman or in the one named.",
        examples: &[
            ("Docker Hub", "rbox logout"),
            ("All registries", "rbox logout --all"),
        ],
        exit: EXIT,
        see: &["login"],
    },
    Topic {
        command: "logs",
        text: "Shows what a container wrote since it was made: its standard output on standard output, its standard \
error on standard error. It can run or not.",
        examples: &[
            ("The last lines, and what is added", "rbox logs -f --tail 20 web"),
            ("Ten minutes, with times", "rbox logs -t --since 10m web"),
        ],
        exit: EXIT,
        see: &["attach", "ps"],
    },
    Topic {
        command: "manifest",
        text: "Lists of manifests: one name for images of several platforms, of which everybody gets the one for his \
machine. A list is made here, from images of the store or of registries, and pushed.",
        examples: &[
            ("One name for two images", "rbox manifest create localhost:5000/app:1 app:amd64 app:arm64"),
            ("Send the list and both images", "rbox manifest push localhost:5000/app:1"),
        ],
        exit: EXIT,
        see: &["push", "pull"],
    },
    Topic {
        command: "manifest add",
        text: "Adds images to a list: those of the store by name or id, others by what a registry has under the name. \
docker:// in front of a name always means the registry. An image that is in the list already is described anew.

Prints the id of the list, which is another after each change.",
        examples: &[
            ("An image of this store", "rbox manifest add app:1 app:arm64"),
            ("All that another list has", "rbox manifest add --all app:1 docker://localhost:5000/other:2"),
            ("One that does not say what it is for", "rbox manifest add --os linux --arch arm --variant v7 app:1 app:pi"),
        ],
        exit: EXIT,
        see: &["manifest create", "manifest annotate", "manifest push"],
    },
    Topic {
        command: "manifest annotate",
        text: "Says for what an entry of a list is made, in place of what its image says, and annotates it. With \
--index the list itself is annotated.",
        examples: &[
            ("The variant is missing in the image", "rbox manifest annotate --variant v7 app:1 app:pi"),
            ("A note on the list", "rbox manifest annotate --index --annotation org.example.team=web app:1"),
        ],
        exit: EXIT,
        see: &["manifest add", "manifest inspect"],
    },
    Topic {
        command: "manifest create",
        text: "Makes a list, of the images that are named or empty. What they refer to stays in the store as long as \
the list does. Of an image at a registry only the description is fetched; it is copied when the list is pushed.",
        examples: &[
            ("From two images", "rbox manifest create localhost:5000/app:1 app:amd64 app:arm64"),
            ("Add to one that may exist", "rbox manifest create --amend localhost:5000/app:1 app:s390x"),
        ],
        exit: EXIT,
        see: &["manifest add", "manifest push", "manifest rm"],
    },
    Topic {
        command: "manifest exists",
        text: "Prints nothing; the exit code is the answer.",
        examples: &[("Make a list unless it is there", "rbox manifest exists app:1 || rbox manifest create app:1")],
        exit: &[("0", "The list exists."), ("1", "It does not."), ("125", "That could not be found out.")],
        see: &["manifest create"],
    },
    Topic {
        command: "manifest inspect",
        text: "Shows a list made here as it would be pushed, or else the manifest or list that a registry has under \
the name.",
        examples: &[
            ("What is in a list", "rbox manifest inspect app:1"),
            ("Which platforms an image is there for", "rbox manifest inspect docker.io/library/alpine"),
            ("Each manifest with its layers", "rbox manifest inspect -v alpine"),
        ],
        exit: EXIT,
        see: &["inspect", "manifest annotate"],
    },
    Topic {
        command: "manifest push",
        text: "Sends a list, and of its images what the registry lacks: from this store, by a mount if another \
repository of the same registry has it, or from the registry where it is. Images are copied as they are, for the list \
names them by their digests. Prints the digest of the list.",
        examples: &[
            ("Under its own name", "rbox manifest push localhost:5000/app:1"),
            ("Under another, and forget the list", "rbox manifest push --purge app:1 docker://localhost:5000/app:1"),
            ("As docker of old wants it", "rbox manifest push --format v2s2 localhost:5000/app:1"),
        ],
        exit: EXIT,
        see: &["push", "login", "manifest create"],
    },
    Topic {
        command: "manifest remove",
        text: "Takes an entry out of a list, by its digest or by the image that it was added as. Prints the id of the \
list.",
        examples: &[("No more for this platform", "rbox manifest remove app:1 app:arm64")],
        exit: EXIT,
        see: &["manifest add", "manifest rm"],
    },
    Topic {
        command: "manifest rm",
        text: "Removes lists. The images stay, as far as they have names of their own.",
        examples: &[("One list", "rbox manifest rm app:1")],
        exit: EXIT,
        see: &["manifest create", "rmi"],
    },
    Topic {
        command: "network",
        text: "The commands about networks. A container is on the network bridge unless --network says otherwise. \
Containers on a network of one's own find each other by name, and reach nothing on other networks of rbox.",
        examples: &[],
        exit: EXIT,
        see: &["run", "port"],
    },
    Topic {
        command: "network connect",
        text: "Puts a container on one more network. One that runs has the new interface when this command returns; \
one that does not run has it from its next start on. A container that shares the network of the host or of another \
container, or has none, cannot be connected; one with none can after rbox network disconnect none CONTAINER.",
        examples: &[
            ("One more network for a container", "rbox network connect back web"),
            ("With an address and a further name of its own", "rbox network connect --ip 10.0.42.200 --alias www front web"),
        ],
        exit: EXIT,
        see: &["network disconnect", "network inspect", "run"],
    },
    Topic {
        command: "network create",
        text: "Makes a network and prints its id. Nothing runs for it until a container is started on it. Without \
--subnet it gets addresses that neither this machine nor another network uses. The first address of the subnet, or of \
--ip-range, is the network's own, its gateway; names of containers are resolved there.",
        examples: &[
            ("With addresses of its own choice", "rbox network create back"),
            ("With these addresses, containers in the upper half",
             "rbox network create --subnet 10.0.42.0/24 --ip-range 10.0.42.128/25 user-network"),
            ("With IPv6 too, and no way out", "rbox network create --ipv6 --internal vault"),
        ],
        exit: EXIT,
        see: &["network rm", "network connect", "run"],
    },
    Topic {
        command: "network disconnect",
        text: "Takes a container off a network, at once if it runs. One that was taken off its last network has the \
loopback device only, until it is connected again.",
        examples: &[("Leave a network", "rbox network disconnect back web")],
        exit: EXIT,
        see: &["network connect"],
    },
    Topic {
        command: "network exists",
        text: "Prints nothing; the exit code is the answer.",
        examples: &[("Make a network unless it is there", "rbox network exists back || rbox network create back")],
        exit: &[("0", "The network exists."), ("1", "It does not."), ("125", "That could not be found out.")],
        see: &["network ls", "network inspect"],
    },
    Topic {
        command: "network inspect",
        text: "Shows everything that is known about networks, and the running containers on them with their addresses, \
as docker's JSON or by a template.",
        examples: &[
            ("Everything", "rbox network inspect bridge"),
            ("The subnets", "rbox network inspect -f '{{range .IPAM.Config}}{{.Subnet}} {{end}}' bridge"),
        ],
        exit: EXIT,
        see: &["network ls", "inspect"],
    },
    Topic {
        command: "network ls",
        text: "Lists networks by name. The networks bridge, host and none are always there.",
        examples: &[
            ("All networks", "rbox network ls"),
            ("Those of one's own that no running container is on", "rbox network ls --filter dangling=true"),
            ("Names only", "rbox network ls --format '{{.Name}}'"),
        ],
        exit: EXIT,
        see: &["network inspect", "network create"],
    },
    Topic {
        command: "network prune",
        text: "Removes every network that no running container is on, but bridge, host and none. Asks first, unless \
--force is given.",
        examples: &[
            ("Without a question", "rbox network prune -f"),
            ("Only those of one project", "rbox network prune --filter label=project=shop"),
        ],
        exit: EXIT,
        see: &["network rm", "network ls"],
    },
    Topic {
        command: "network reload",
        text: "Sets up interfaces, addresses and published ports of running containers again, where something took \
them away. What goes well stays as it is.",
        examples: &[
            ("One container", "rbox network reload web"),
            ("All that run", "rbox network reload --all"),
        ],
        exit: EXIT,
        see: &["network connect", "restart"],
    },
    Topic {
        command: "network rm",
        text: "Removes networks that no running container is on. A stopped container that was to be on one cannot be \
started until it is disconnected, or a network of that name is there again. With --force one that does not exist is no \
failure; containers are never removed.",
        examples: &[("One network", "rbox network rm back")],
        exit: EXIT,
        see: &["network prune", "network disconnect"],
    },
    Topic {
        command: "port",
        text: "Shows at which addresses of this machine the ports of a running container are published, or where one \
port is.",
        examples: &[
            ("All ports", "rbox port web"),
            ("Where a port is, for a script", "rbox port web 80/tcp"),
            ("Of all containers that run", "rbox port --all"),
        ],
        exit: EXIT,
        see: &["ps", "run", "inspect"],
    },
    Topic {
        command: "ps",
        text: "Lists containers, the newest first: those that run, or with --all every one.",
        examples: &[
            ("Every container, running or not", "rbox ps -a"),
            ("Those that failed", "rbox ps -a --filter status=exited --filter exited=1"),
            ("Names and states, for a script", "rbox ps -a --format '{{.Names}} {{.State}}'"),
            ("Remove all that do not run", "rbox rm $(rbox ps -aq --filter status=exited)"),
        ],
        exit: EXIT,
        see: &["inspect", "logs", "images"],
    },
    Topic {
        command: "pull",
        text: "Downloads images and unpacks them. Layers that are here already are not fetched again, and a download \
that was interrupted goes on where it stopped. Each blob is verified before it has a name.

Without a registry in its name an image comes from Docker Hub.",
        examples: &[
            ("The tag latest", "rbox pull alpine"),
            ("Exactly this version, for another processor", "rbox pull --platform linux/arm64 debian:12"),
            ("From a registry without TLS", "rbox pull --tls-verify=false localhost:5000/app"),
        ],
        exit: EXIT,
        see: &["images", "run", "rmi"],
    },
    Topic {
        command: "push",
        text: "Sends an image to the registry in its name, or in the destination's. What the registry has is not sent \
again; what another of its repositories has is mounted from there. The tag changes when all is there, and a push that \
was interrupted can be repeated: it goes on with what is missing.

An image that was pulled is sent byte for byte, so that it keeps its digest. Layers that are stored uncompressed, as \
after rbox load, are compressed on the way. With --compression-format the others are compressed anew too, and with \
--format the manifest is written in the other of its two forms: both make another digest.",
        examples: &[
            ("To a registry of one's own", "rbox push localhost:5000/app:1"),
            ("Under another name", "rbox push app:1 docker://registry.example/team/app:1"),
            ("Every tag of a repository", "rbox push --all-tags localhost:5000/app"),
            ("Small, and with its digest for the next step", "rbox push --compression-format zstd --compression-level 19 --digestfile digest localhost:5000/app:1"),
        ],
        exit: EXIT,
        see: &["login", "pull", "tag", "manifest"],
    },
    Topic {
        command: "rename",
        text: "Gives a container another name, whether it runs or not. Its host name stays as it is.",
        examples: &[("Make room for a successor", "rbox rename web web-old")],
        exit: EXIT,
        see: &["ps", "create"],
    },
    Topic {
        command: "restart",
        text: "Stops containers as rbox stop does, and starts them again in the background. One that does not run is \
started.",
        examples: &[
            ("As gently as the container asks for", "rbox restart web"),
            ("With no more than two seconds to stop", "rbox restart -t 2 web db"),
            ("Everything that runs", "rbox restart --running"),
        ],
        exit: EXIT,
        see: &["stop", "start"],
    },
    Topic {
        command: "rm",
        text: "Removes containers that do not run, with all that they wrote into their own layer. With --force a \
running one is killed first, and one that does not exist is no failure.",
        examples: &[
            ("A container that has ended", "rbox rm web"),
            ("Whatever its state", "rbox rm -f web db"),
        ],
        exit: EXIT,
        see: &["stop", "ps", "rmi"],
    },
    Topic {
        command: "rmi",
        text: "Takes names away from images. An image whose last name goes is deleted from disk, with the layers that \
no other image or container needs. One that a container uses is refused, unless --force is given: then its layers stay \
as long as the container.",
        examples: &[
            ("One tag", "rbox rmi alpine:3.20"),
            ("An image with all its names", "rbox rmi -f 081d0c3ab8d3"),
        ],
        exit: EXIT,
        see: &["images", "untag", "image prune"],
    },
    Topic {
        command: "run",
        text: "Makes a container from an image, pulls the image if it is not here, and runs a command in it. In the \
foreground the invocation has the container's streams and exit code, and the container ends when the invocation does; \
with --detach it prints the container's id and returns. The keys ctrl-p ctrl-q leave a container with a terminal running.

Flags come before the image: what follows the image belongs to the command.

IMAGE can be rootfs:DIRECTORY, any directory of this machine as a read-only base.",
        examples: &[
            ("A shell that leaves nothing behind", "rbox run --rm -it alpine sh"),
            ("In the background, under a name", "rbox run -d --name nap debian sleep 600"),
            ("Published on port 8080 of this machine", "rbox run -d -p 8080:80 --name web nginx"),
            ("On a network of one's own, under a further name", "rbox run -it --network front --network-alias db debian bash"),
            ("Work on this directory", "rbox run --rm -v \"$PWD:/src\" -w /src debian make"),
            ("Shut off: no network, read-only, one capability",
             "rbox run --rm --read-only --cap-drop ALL --cap-add CHOWN alpine id"),
            ("A throw-away view of this machine", "rbox run --rm -it rootfs:/ sh"),
        ],
        exit: EXIT_OF_RUN,
        see: &["create", "exec", "ps", "pull"],
    },
    Topic {
        command: "save",
        text: "Writes images with their names to an archive that docker, podman, skopeo and rbox load. Manifests and layers \
are written as they are, so the images keep their digests, unless another format needs them otherwise. A file \
appears under its name when it is complete.",
        examples: &[
            ("Two images", "rbox save -o images.tar app:1 db:3"),
            ("Compressed, to another machine", "rbox save app:1 | zstd | ssh host rbox load"),
            ("As an OCI layout", "rbox save --format oci-dir -o layout app:1"),
        ],
        exit: EXIT,
        see: &["load", "import"],
    },
    Topic {
        command: "search",
        text: "Looks for images by a part of their names: with the search of docker's registry where there is one, else in the list \
of all repositories. Without a registry in front the term is looked for at Docker Hub.",
        examples: &[
            ("At a registry of one's own", "rbox search registry.example:5000/app"),
            ("All tags of an image", "rbox search --list-tags quay.io/app/web"),
        ],
        exit: EXIT,
        see: &["pull", "login"],
    },
    Topic {
        command: "start",
        text: "Starts containers that were created or have ended, in the background unless attached.",
        examples: &[
            ("In the background", "rbox start web db"),
            ("With its terminal, as rbox run does", "rbox start -ai shell"),
        ],
        exit: &[
            ("0", "All were started."),
            ("1", "At least one was not."),
            ("0 to 255", "With --attach that of the container, 126 and 127 as of rbox run."),
            EXIT[2],
        ],
        see: &["stop", "run", "create"],
    },
    Topic {
        command: "stop",
        text: "Sends the stop signal (SIGTERM, or what the container or its image asks for) to the first process of \
containers, waits, and after the time-out sends SIGKILL. One that does not run is stopped already.",
        examples: &[
            ("Within the container's own time, 10 seconds unless it says otherwise", "rbox stop web"),
            ("With a minute to finish", "rbox stop -t 60 db"),
        ],
        exit: EXIT,
        see: &["start", "kill", "rm"],
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
        command: "tag",
        text: "Gives an image one more name. A name that meant another image means this one from now on; the other image \
stays, if need be without a name.",
        examples: &[
            ("A name of one's own", "rbox tag alpine:3.20 mine"),
            ("A name in a registry", "rbox tag mine registry.example:5000/team/mine:1"),
        ],
        exit: EXIT,
        see: &["images", "untag", "rmi"],
    },
    Topic {
        command: "untag",
        text: "Takes names away from an image, all of them if none is given. The image stays, if need be without a name; \
rbox image prune removes it then.",
        examples: &[
            ("One name", "rbox untag 081d0c3ab8d3 mine:old"),
            ("All names", "rbox untag mine"),
        ],
        exit: EXIT,
        see: &["tag", "rmi", "image prune"],
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
        command: "wait",
        text: "Waits until containers have ended and prints the exit code of each on a line. Of one that does not run \
the code is printed at once.",
        examples: &[
            ("The outcome of a job in the background", "rbox wait job"),
            ("Clean up after it", "rbox wait job && rbox rm job"),
        ],
        exit: EXIT,
        see: &["stop", "logs"],
    },
];
