//! Images built from Dockerfiles, and the cache of builds.

use super::{EXIT, Topic};

/// One row a command, in the order of their names.
#[rustfmt::skip]
pub const TOPICS: &[Topic] = &[
    Topic {
        command: "build",
        text: "Makes an image by the instructions of a Dockerfile, from files of a directory, an archive or a git \
repository. Dockerfiles are read as docker's BuildKit reads them: stages, heredocs, RUN --mount, COPY --link, \
.dockerignore. Stages that the result does not need are not built; those that do not need each other are built at \
the same time.

Each step that was done before, with the same files, arguments and image below, is taken from the cache in the \
store: see rbox buildx du and rbox builder prune. RUN gets a container like any other, without privileges of the \
host.

Without --output the image is put into the store, under the names of --tag or under none. Progress is written to \
standard error; standard output has the image's id with --quiet, or what --output sends there. When a step fails, \
its last output and the place in the Dockerfile are shown.",
        examples: &[
            ("An image of the files here", "rbox build -t web:2 ."),
            ("Another Dockerfile, another stage", "rbox build -f docker/Dockerfile --target test -t web:test ."),
            ("A Dockerfile alone", "echo 'FROM alpine' | rbox build -t plain -"),
            ("With a variable and a secret", "rbox build --build-arg VERSION=2 --secret id=token,src=token.txt -t web ."),
            ("The result's files in place of an image", "rbox build --output out ."),
            ("An archive for other programs", "rbox build -t web:2 -o type=oci,dest=web.tar ."),
            ("Straight to a registry", "rbox build -t registry.example.com/web:2 --push ."),
            ("For two platforms", "rbox build --platform linux/amd64,linux/arm64 -t registry.example.com/web:2 --push ."),
            ("The same image each time", "SOURCE_DATE_EPOCH=0 rbox build --rewrite-timestamp -t web ."),
            ("What is wrong with the Dockerfile", "rbox build --check ."),
        ],
        exit: &[
            ("0", "The image was built, and all outputs written."),
            ("1", "A step failed, or the Dockerfile or its files cannot be read; standard error says where and why."),
            ("125", "An unknown flag, or a value that a flag does not take."),
            ("130", "It was interrupted (128+N by signal N). What was done stays in the cache."),
        ],
        see: &["commit", "push", "history", "builder prune", "buildx du"],
    },
    Topic {
        command: "builder",
        text: "The commands about building by docker's older name for the builder.",
        examples: &[("Make room", "rbox builder prune")],
        exit: EXIT,
        see: &["build", "buildx"],
    },
    Topic {
        command: "builder prune",
        text: "Removes steps and cache mounts from the build cache, least recently used first. What images share \
stays unless --all is given; it takes no room of its own. Running builds keep what they use.",
        examples: &[
            ("Everything that no image shares", "rbox builder prune --force"),
            ("All of it", "rbox builder prune --all --force"),
            ("What was not used for two days", "rbox builder prune --force --filter until=48h"),
            ("All but the last 10 GB", "rbox builder prune --force --reserved-space 10g"),
        ],
        exit: EXIT,
        see: &["buildx du", "system df", "build"],
    },
    Topic {
        command: "buildx",
        text: "The commands that scripts call of docker's builder. There is one builder, rbox itself, which needs \
neither to be made nor to be started: what is about several is accepted and does nothing.",
        examples: &[
            ("Build", "rbox buildx build -t web:2 ."),
            ("What the cache takes", "rbox buildx du"),
        ],
        exit: EXIT,
        see: &["build", "builder prune"],
    },
    Topic {
        command: "buildx create",
        text: "Accepts that a builder is made, and prints its name. Nothing is made: there is one builder, which \
answers to every name.",
        examples: &[("As scripts do it", "rbox buildx create --name mine --use")],
        exit: EXIT,
        see: &["buildx inspect", "buildx ls"],
    },
    Topic {
        command: "buildx du",
        text: "Shows what each step and cache mount of the build cache takes on disk. A star marks what an image \
shares: removing it from the cache frees nothing while the image is there.",
        examples: &[
            ("The cache", "rbox buildx du"),
            ("What each entry is", "rbox buildx du --verbose"),
            ("Cache mounts", "rbox buildx du --filter type=exec.cachemount"),
        ],
        exit: EXIT,
        see: &["builder prune", "system df"],
    },
    Topic {
        command: "buildx inspect",
        text: "Shows the builder under the name that is given.",
        examples: &[("The builder", "rbox buildx inspect --bootstrap")],
        exit: EXIT,
        see: &["buildx ls"],
    },
    Topic {
        command: "buildx ls",
        text: "Shows the one builder there is.",
        examples: &[("The builder", "rbox buildx ls")],
        exit: EXIT,
        see: &["buildx inspect"],
    },
    Topic {
        command: "buildx prune",
        text: "Removes steps and cache mounts from the build cache, as builder prune does.",
        examples: &[("Everything that no image shares", "rbox buildx prune --force")],
        exit: EXIT,
        see: &["builder prune", "buildx du"],
    },
    Topic {
        command: "buildx rm",
        text: "Accepts that a builder is removed. The one there is stays, and its cache too.",
        examples: &[("As scripts do it", "rbox buildx rm mine")],
        exit: EXIT,
        see: &["builder prune"],
    },
    Topic {
        command: "buildx stop",
        text: "Accepts that a builder is stopped. None runs but while it builds.",
        examples: &[("As scripts do it", "rbox buildx stop")],
        exit: EXIT,
        see: &["buildx rm"],
    },
    Topic {
        command: "buildx use",
        text: "Accepts the choice of a builder. There is one.",
        examples: &[("As scripts do it", "rbox buildx use default")],
        exit: EXIT,
        see: &["buildx ls"],
    },
    Topic {
        command: "buildx version",
        text: "Prints the program and its version, by which scripts find out that there is a buildx.",
        examples: &[("The version", "rbox buildx version")],
        exit: EXIT,
        see: &["version"],
    },
];
