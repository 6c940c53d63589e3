//! Volumes.

use super::{EXIT, Topic};

/// One row a command, in the order of their names.
#[rustfmt::skip]
pub const TOPICS: &[Topic] = &[
    Topic {
        command: "volume",
        text: "The commands about volumes. A volume is a directory with a name that outlives containers. run and \
create make one where -v or --mount names one that is not there; an image's VOLUME and -v with a path alone make one \
without a name.",
        examples: &[],
        exit: EXIT,
        see: &["run"],
    },
    Topic {
        command: "volume create",
        text: "Makes a volume and prints its name; one that is there already is no error. It is empty until it is first \
mounted over a directory of an image, whose content it then gets with owners and modes. With type=tmpfs it is in memory \
as long as a running container has it; with type=none,o=bind it is a directory of yours.",
        examples: &[
            ("A volume with a label", "rbox volume create --label example=cassandra cass-shared"),
            ("In memory", "rbox volume create -o type=tmpfs -o o=size=64m,mode=1777 scratch"),
            ("A directory of yours by a name", "rbox volume create -o type=none -o o=bind -o device=/srv/site site"),
        ],
        exit: EXIT,
        see: &["volume ls", "volume rm", "run"],
    },
    Topic {
        command: "volume exists",
        text: "Says by its exit code whether there is such a volume, and nothing else.",
        examples: &[("Make a volume unless it is there", "rbox volume exists data || rbox volume create data")],
        exit: &[("0", "The volume exists."), ("1", "It does not."), ("125", "That could not be found out.")],
        see: &["volume ls", "volume inspect"],
    },
    Topic {
        command: "volume export",
        text: "Writes the files of a volume as a tar archive to standard output or a file, with the owners that \
containers see. Containers may go on using it; what they change meanwhile is in the archive or not.",
        examples: &[
            ("A copy of what is in a volume", "rbox volume export -o data.tar data"),
            ("Into another volume", "rbox volume export data | rbox volume import copy -"),
        ],
        exit: EXIT,
        see: &["volume import", "export"],
    },
    Topic {
        command: "volume import",
        text: "Adds the files of a tar archive, compressed or not, to a volume. Files of the same names are replaced, \
others stay.",
        examples: &[
            ("From a file", "rbox volume import data data.tar"),
            ("From another machine", "ssh backup cat data.tar.zst | rbox volume import data -"),
        ],
        exit: EXIT,
        see: &["volume export", "import"],
    },
    Topic {
        command: "volume inspect",
        text: "Shows everything that is known about volumes as docker's JSON or by a template. Mountpoint is where a \
volume's files are; those that belong to other users in containers are in reach inside of rbox unshare.",
        examples: &[
            ("Everything", "rbox volume inspect data"),
            ("Where the files are", "rbox volume inspect -f '{{json .Mountpoint}}' data"),
        ],
        exit: EXIT,
        see: &["volume ls", "unshare"],
    },
    Topic {
        command: "volume ls",
        text: "Lists volumes by name.",
        examples: &[
            ("All volumes", "rbox volume ls"),
            ("Those that no container uses", "rbox volume ls -q --filter dangling=true"),
            ("With their labels", "rbox volume ls --format '{{.Name}}: {{.Labels}}'"),
        ],
        exit: EXIT,
        see: &["volume inspect", "system df"],
    },
    Topic {
        command: "volume prune",
        text: "Removes the volumes without a name that no container uses, running or not; with --all those with a name, \
too. Asks first, unless --force is given.",
        examples: &[
            ("Without a question", "rbox volume prune -f"),
            ("All of one project", "rbox volume prune --all --filter label=project=shop"),
        ],
        exit: EXIT,
        see: &["volume rm", "system prune"],
    },
    Topic {
        command: "volume rm",
        text: "Removes volumes with everything in them. One that a container uses, running or not, stays, and the \
containers are named. With --force one that does not exist is no failure; containers are never removed.",
        examples: &[("One volume", "rbox volume rm data")],
        exit: EXIT,
        see: &["volume prune", "rm"],
    },
];
