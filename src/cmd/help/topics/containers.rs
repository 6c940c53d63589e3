//! Containers: their life, what is seen of them, what is run in them.

use super::{EXIT, EXIT_OF_RUN, Topic};

/// One row a command, in the order of their names.
#[rustfmt::skip]
pub const TOPICS: &[Topic] = &[
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
        command: "container",
        text: "The commands about containers by their full names. Most have a short one too: rbox container ls is \
rbox ps, rbox container rm is rbox rm.",
        examples: &[],
        exit: EXIT,
        see: &["image", "ps"],
    },
    Topic {
        command: "container clone",
        text: "Makes a container of the same image with the same settings as another one, and prints its id. The new \
one has none of the files that the other changed, but its volumes; not its name, its address of its own or its id \
file. Limits can be changed on the way, and the image.",
        examples: &[
            ("Another worker like this one, with less memory", "rbox container clone --run -m 128m worker"),
            ("The same on a newer image, in place of the old one", "rbox container clone --destroy -f --run web web2 nginx:1.27"),
        ],
        exit: EXIT,
        see: &["create", "update", "rename"],
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
        command: "cp",
        text: "Copies files between a container, running or not, and the host, or from one container to another. What \
stands before a colon is a container; a path of the host that holds one is written with ./ before it. Paths in a \
container begin at its root, and show what its processes see: volumes, and what is mounted while it runs.

A file goes to a name that does not exist, over a file that does, or into a directory. A directory goes into an \
existing directory, or becomes one that does not exist; with /. behind it what it holds is copied. - is a tar \
archive: of standard input, into an existing directory; of the source, on standard output.

In the container files belong to root, on the host to you. With --archive owners stay.",
        examples: &[
            ("A file into a container", "rbox cp site.conf web:/etc/nginx/conf.d/"),
            ("A directory out of one", "rbox cp web:/var/log/nginx ./logs"),
            ("What a directory holds, into another", "rbox cp ./public/. web:/usr/share/nginx/html"),
            ("Pack, and unpack elsewhere", "rbox cp -a web:/etc/nginx - | rbox cp -a - other:/etc"),
        ],
        exit: EXIT,
        see: &["diff", "exec", "export"],
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
        command: "healthcheck",
        text: "Health checks run by themselves: the container's supervisor does it, at the times that the image's \
HEALTHCHECK or --health-interval names. What they found is shown by rbox ps and rbox inspect.",
        examples: &[("What the last checks found", "rbox inspect -f '{{json .State.Health}}' web")],
        exit: EXIT,
        see: &["run", "ps", "inspect"],
    },
    Topic {
        command: "healthcheck run",
        text: "Runs the health check of a container now, and records what it finds as that of any other check. Prints \
the container's status where the check fails: starting, or unhealthy.",
        examples: &[
            ("Run the check", "rbox healthcheck run web"),
            ("Record what it finds, and succeed whatever that is", "rbox healthcheck run --ignore-result web"),
        ],
        exit: &[
            ("0", "The check has succeeded, or --ignore-result was given."),
            ("1", "It has failed."),
            ("125", "There is no check, or the container does not run."),
        ],
        see: &["healthcheck", "run", "inspect"],
    },
    Topic {
        command: "init",
        text: "Does for containers what can be done before they are started: makes and fills their volumes, and layers \
for other ids. The start is then the quicker for it; it is not needed.",
        examples: &[("Now the work, later the start", "rbox init db && rbox start db")],
        exit: EXIT,
        see: &["create", "start"],
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
        command: "logs",
        text: "Shows what a container wrote since it was made: its standard output on standard output, its standard \
error on standard error. It can run or not. The lines of several containers come in the order of time, each after \
its container's ID, or name with --names.

What the driver journald keeps is read by journalctl; none and passthrough keep nothing to show.",
        examples: &[
            ("The last lines, and what is added", "rbox logs -f --tail 20 web"),
            ("Ten minutes, with times", "rbox logs -t --since 10m web"),
            ("Two containers side by side", "rbox logs -f --names --color web db"),
        ],
        exit: EXIT,
        see: &["attach", "ps", "run"],
    },
    Topic {
        command: "pause",
        text: "Has all processes of containers that run stand still, as they are, until rbox unpause. What they keep \
stays: memory, files, connections. A container with a cgroup of its own is frozen by the kernel and cannot notice; \
where none can be made its processes are stopped by SIGSTOP, and a line says so.

No command can be executed in a paused container. Stopping one lets it go on to end.",
        examples: &[
            ("Hold a container for a while", "rbox pause web"),
            ("All that run", "rbox pause --all"),
        ],
        exit: EXIT,
        see: &["unpause", "stop"],
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
        command: "rename",
        text: "Gives a container another name, whether it runs or not. Its host name stays as it is.",
        examples: &[("Make room for a successor", "rbox rename web web-old")],
        exit: EXIT,
        see: &["ps", "create"],
    },
    Topic {
        command: "restart",
        text: "Stops containers as rbox stop does, and starts them again in the background. One that does not run is \
started. What becomes of a container that ends by itself is the affair of rbox run --restart.",
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
running one is killed first, and one that does not exist is no failure. What another container requires (rbox run \
--requires) stays until that is gone; --depend removes both.",
        examples: &[
            ("A container that has ended", "rbox rm web"),
            ("Whatever its state", "rbox rm -f web db"),
        ],
        exit: EXIT,
        see: &["stop", "ps", "rmi"],
    },
    Topic {
        command: "run",
        text: "Makes a container from an image, pulls the image if it is not here, and runs a command in it. In the \
foreground the invocation has the container's streams and exit code, and the container ends when the invocation does; \
with --detach it prints the container's id and returns. The keys ctrl-p ctrl-q leave a container with a terminal running.

Flags come before the image: what follows the image belongs to the command.

IMAGE can be rootfs:DIRECTORY, any directory of this machine as a read-only base.

A command that is an init, as /sbin/init or systemd, gets what booting a whole system takes (--systemd): a cgroup of \
its own, for which the one rbox is started in must be handed to the user, tmpfs on /run and /tmp, and SIGRTMIN+3 to stop.",
        examples: &[
            ("A shell that leaves nothing behind", "rbox run --rm -it alpine sh"),
            ("In the background, under a name", "rbox run -d --name nap debian sleep 600"),
            ("Published on port 8080 of this machine", "rbox run -d -p 8080:80 --name web nginx"),
            ("On a network of one's own, under a further name", "rbox run -it --network front --network-alias db debian bash"),
            ("Work on this directory", "rbox run --rm -v \"$PWD:/src\" -w /src debian make"),
            ("The same as yourself: what it makes is yours",
             "rbox run --rm --userns keep-id -v \"$PWD:/src\" -w /src debian make"),
            ("With ids that no other container has", "rbox run -d --userns auto nginx"),
            ("As any user and group", "rbox run --rm -u 10000:20000 alpine id"),
            ("Try something on it without changing it", "rbox run --rm -v \"$PWD:/src:O\" -w /src debian make clean"),
            ("With the files of another image", "rbox run --rm --mount type=image,src=busybox,dst=/tools debian ls /tools"),
            ("Read-only but for what it writes", "rbox run -d --read-only --tmpfs /run --tmpfs /tmp:size=64m nginx"),
            ("Shut off: no network, read-only, one capability",
             "rbox run --rm --read-only --cap-drop ALL --cap-add CHOWN alpine id"),
            ("With a password in a file that only its program can read",
             "rbox run -d --secret db-password,uid=999,mode=0400 postgres"),
            ("With a device of this machine",
             "rbox run --rm --device /dev/ttyUSB0 alpine cat /dev/ttyUSB0"),
            ("A throw-away view of this machine", "rbox run --rm -it rootfs:/ sh"),
            ("A whole system: systemd, its services, a login on the terminal",
             "rbox run -it --name os debian-systemd /sbin/init"),
        ],
        exit: EXIT_OF_RUN,
        see: &["create", "exec", "ps", "pull", "secret create"],
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
        command: "stats",
        text: "Shows what containers use of processors, memory, network and disks, anew each second. Figures are those of \
the container's cgroup; for one that has none they are summed over its processes, and memory is what they do not \
share with files.

CPU % is of one processor, since the last look. The first look, and with it --no-stream, shows the average since \
the container was started, as podman does; docker takes two seconds to tell.",
        examples: &[
            ("Watch all that run", "rbox stats"),
            ("One look, for a script", "rbox stats --no-stream --format '{{.Name}} {{.MemUsage}}' web"),
            ("Everything as JSON", "rbox stats -a --no-stream --format json"),
        ],
        exit: EXIT,
        see: &["top", "update", "ps"],
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
        command: "top",
        text: "Shows the processes of a container, as ps -ef would show them: users, numbers and parents are the host's. \
Columns can be named instead, in the container's terms:

args, capamb, capbnd, capeff, capinh, capprm, comm, etime, group, groups, hgroup, hgroups, hpid, huser, label, nice, pcpu, \
pgid, pid, ppid, rgroup, ruser, seccomp, state, stime, time, tty, user, vsz.

Anything else is handed to ps(1), if this machine has it, and of its lines those of the container are shown.",
        examples: &[
            ("Who does what", "rbox top web"),
            ("As the container sees it", "rbox top web pid,user,args"),
            ("With capabilities and filter", "rbox top web hpid capeff seccomp comm"),
            ("By options of ps", "rbox top web -eo pid,rss,cmd"),
        ],
        exit: EXIT,
        see: &["ps", "exec", "inspect"],
    },
    Topic {
        command: "unpause",
        text: "Lets the processes of paused containers go on.",
        examples: &[
            ("Let a container go on", "rbox unpause web"),
            ("All that are paused", "rbox unpause --all"),
        ],
        exit: EXIT,
        see: &["pause"],
    },
    Topic {
        command: "update",
        text: "Changes what containers may use of the machine, their restart policy and their health check. In a \
container that runs it takes effect at once; what the kernel refuses leaves the container as it was. What is not \
named stays. Environment variables and ulimits are those of the next start.

--memory and --memory-swap belong together: raising the one above the other takes both.",
        examples: &[
            ("More memory", "rbox update -m 512m --memory-swap 1g web"),
            ("Half a processor, at most 100 processes", "rbox update --cpus 0.5 --pids-limit 100 web"),
            ("Start it again whenever it ends", "rbox update --restart always web"),
            ("Another health check", "rbox update --health-cmd 'curl -f localhost' --health-interval 10s web"),
        ],
        exit: EXIT,
        see: &["run", "stats", "inspect"],
    },
    Topic {
        command: "wait",
        text: "Waits until containers have ended and prints the exit code of each on a line. Of one that does not run \
the code is printed at once; one that is restarted is waited for until its next end.

With --condition another state is waited for, and -1 printed: configured, created, exited, healthy, initialized, paused, \
removing, restarting, running, stopped, stopping, unhealthy.",
        examples: &[
            ("Until it is up", "rbox wait --condition running web"),
            ("The outcome of a job in the background", "rbox wait job"),
            ("Clean up after it", "rbox wait job && rbox rm job"),
        ],
        exit: EXIT,
        see: &["stop", "logs"],
    },
];
