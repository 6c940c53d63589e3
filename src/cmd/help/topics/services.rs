//! Services of systemd.

use super::{EXIT, Topic};

/// One row a command, in the order of their names.
#[rustfmt::skip]
pub const TOPICS: &[Topic] = &[
    Topic {
        command: "generate",
        text: "Makes files for other programs from what rbox knows.",
        examples: &[],
        exit: EXIT,
        see: &["quadlet"],
    },
    Topic {
        command: "generate systemd",
        text: "Prints a service of systemd for a container. Its main process is rbox in the foreground: with --new \
the 'rbox run' that made the container, without its --detach, --cidfile and --restart; otherwise 'rbox start --attach'. \
Secrets given by --creds are not in it. docs/systemd.md says more.",
        examples: &[
            ("A service that makes the container anew at each start", "rbox generate systemd --new --name web"),
            ("Into the directory of your services", "cd ~/.config/systemd/user && rbox generate systemd --new --name --files web"),
            ("A template, for web@1.service and others", "rbox generate systemd --new --template --name web"),
        ],
        exit: EXIT,
        see: &["quadlet", "run"],
    },
    Topic {
        command: "quadlet",
        text: "The commands about Quadlet files: podman's .container, .volume, .network, .image and .build files, each \
of which describes a service of systemd. A generator translates them whenever systemd reads its units: rbox itself, \
under the name rbox-user-generator or rbox-system-generator in one of systemd's directories. docs/systemd.md says more.",
        examples: &[
            ("For all users, as root", "ln -s /usr/local/bin/rbox /etc/systemd/user-generators/rbox-user-generator"),
        ],
        exit: EXIT,
        see: &["quadlet install", "generate systemd"],
    },
    Topic {
        command: "quadlet generate",
        text: "Translates all Quadlet files into services in ~/.config/systemd/user, or for root /etc/systemd/system, \
and removes those whose files are gone. It is for machines whose administrator has installed no generator: install and \
rm do the same there.",
        examples: &[("After a file was edited", "rbox quadlet generate && systemctl --user daemon-reload")],
        exit: EXIT,
        see: &["quadlet install", "quadlet print"],
    },
    Topic {
        command: "quadlet install",
        text: "Puts a Quadlet file into ~/.config/rbox/systemd, or for root /etc/rbox/systemd, and has systemd read \
its units again. A directory, or a file with others that belong to it, becomes a directory there, from where relative \
paths begin. What cannot be translated is not installed.",
        examples: &[
            ("One file", "rbox quadlet install web.container"),
            ("With what it needs", "rbox quadlet install web.container web.env"),
            ("Files that belong together", "rbox quadlet install --replace ./shop"),
        ],
        exit: EXIT,
        see: &["quadlet ls", "quadlet rm"],
    },
    Topic {
        command: "quadlet ls",
        text: "Lists the Quadlet files that are found, with the states of their services.",
        examples: &[
            ("All", "rbox quadlet ls"),
            ("Those whose services run", "rbox quadlet ls --filter status=active --format '{{.UnitName}}'"),
        ],
        exit: EXIT,
        see: &["quadlet print"],
    },
    Topic {
        command: "quadlet print",
        text: "Prints a Quadlet file, or the service that is made of it and its drop-ins.",
        examples: &[("What systemd will do", "rbox quadlet print --service web.container")],
        exit: EXIT,
        see: &["quadlet ls"],
    },
    Topic {
        command: "quadlet rm",
        text: "Removes Quadlet files, or directories of them, that were installed, and has systemd read its units \
again. Containers, volumes and networks that their services made stay.",
        examples: &[
            ("One that does not run", "rbox quadlet rm web.container"),
            ("Everything, stopped first", "rbox quadlet rm --all --force"),
        ],
        exit: EXIT,
        see: &["quadlet install"],
    },
];
