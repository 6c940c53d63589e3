//! Networks.

use super::{EXIT, Topic};

/// One row a command, in the order of their names.
#[rustfmt::skip]
pub const TOPICS: &[Topic] = &[
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
];
