//! Secrets.

use super::{EXIT, Topic};

/// One row a command, in the order of their names.
#[rustfmt::skip]
pub const TOPICS: &[Topic] = &[
    Topic {
        command: "secret",
        text: "The commands about secrets: passwords, keys and other small pieces of data that a container gets as a \
file or a variable by run --secret, and that neither inspect nor logs nor an image made of the container show.",
        examples: &[],
        exit: EXIT,
        see: &["run", "create"],
    },
    Topic {
        command: "secret create",
        text: "Puts a secret of up to 511999 bytes into the store and prints its id. Only your user can read it there; \
it is not encrypted. A container has a copy from when it was created, so that --replace is for new containers.",
        examples: &[
            ("From a file", "rbox secret create tls-key /etc/ssl/private/site.key"),
            ("From another program", "pass show db | rbox secret create db-password -"),
            ("From a variable", "rbox secret create --env token API_TOKEN"),
            ("A new value", "rbox secret create --replace token token.txt"),
        ],
        exit: EXIT,
        see: &["secret rm", "run"],
    },
    Topic {
        command: "secret exists",
        text: "Says by its exit code alone whether there is a secret of this name or id.",
        examples: &[("Create it once", "rbox secret exists token || rbox secret create token token.txt")],
        exit: &[("0", "There is one."), ("1", "There is none."), ("125", "It could not be found out.")],
        see: &["secret inspect"],
    },
    Topic {
        command: "secret inspect",
        text: "Shows what is known about secrets as JSON. The bytes are shown by --showsecret only.",
        examples: &[
            ("When it was last replaced", "rbox secret inspect --format '{{.UpdatedAt}}' token"),
            ("What it is", "rbox secret inspect --showsecret --format '{{.SecretData}}' token"),
        ],
        exit: EXIT,
        see: &["secret ls"],
    },
    Topic {
        command: "secret ls",
        text: "Lists the secrets of the store by name. The values of the filters id and name are regular expressions.",
        examples: &[
            ("All of them", "rbox secret ls"),
            ("Names only", "rbox secret ls --format '{{.Name}}'"),
        ],
        exit: EXIT,
        see: &["secret inspect", "secret create"],
    },
    Topic {
        command: "secret rm",
        text: "Removes secrets and prints their ids. Containers that have a copy keep it until they are removed.",
        examples: &[
            ("One", "rbox secret rm token"),
            ("All", "rbox secret rm --all"),
        ],
        exit: EXIT,
        see: &["secret create", "rm"],
    },
];
