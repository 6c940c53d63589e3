//! What outlives a container, and what is carried into it and out.

use super::{EXIT, Topic};

/// One row a command, in the order of their names.
#[rustfmt::skip]
pub const TOPICS: &[Topic] = &[
    Topic {
        command: "mount",
        text: "Mounts the root file systems of containers and prints where, or lists what is mounted. What is changed \
there is changed in the container. Of a running container the mount shows also what is mounted in it. Mounts are made \
in the mount namespace the command runs in, which takes root: run it inside of rbox unshare, and the mounts go with it. \
A container can be started while it is mounted from where it is mounted, but not from elsewhere.",
        examples: &[
            ("Put a file into a container that does not run", "rbox unshare sh -c 'cp site.conf $(rbox mount web)/etc/'"),
            ("What is mounted", "rbox mount"),
        ],
        exit: EXIT,
        see: &["unmount", "unshare", "image mount", "export"],
    },
    Topic {
        command: "unmount",
        text: "Takes away what rbox mount has mounted. One that somebody is in stays, unless --force is given. A \
container that is not mounted is no error.",
        examples: &[
            ("One", "rbox unmount web"),
            ("All", "rbox unmount --all"),
        ],
        exit: EXIT,
        see: &["mount", "unshare"],
    },
    Topic {
        command: "unshare",
        text: "Runs a command, by default your shell, in the user namespace that containers have: you are root in it, \
and the owners of the files of containers and images are what they are in there. It has a mount namespace of its own, in \
which you can mount. The store is still yours: RBOX_ROOT and RBOX_RUNROOT say where it is. rbox becomes the command, so \
that its terminal, its signals and its exit code are its own.",
        examples: &[
            ("A shell", "rbox unshare"),
            ("Who owns the files there", "rbox unshare ls -ln ~/project"),
            ("Remove what a container has left in a directory of yours", "rbox unshare rm -rf ~/project/cache"),
            ("Look into an image", "rbox unshare sh -c 'ls $(rbox image mount alpine)'"),
        ],
        exit: &[
            ("0 to 255", "That of the command."),
            ("125", "The namespace could not be made or entered."),
            ("126", "The command exists and cannot be executed."),
            ("127", "There is no such command."),
        ],
        see: &["mount", "image mount"],
    },
];
