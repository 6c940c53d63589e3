//! Images: made, listed, changed, carried in archives, removed.

use super::{EXIT, Topic};

/// One row a command, in the order of their names.
#[rustfmt::skip]
pub const TOPICS: &[Topic] = &[
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
        command: "image mount",
        text: "Mounts the files of images, read-only, and prints where, or lists what is mounted. Mounts are made in the \
mount namespace the command runs in, which takes root: run it inside of rbox unshare, and the mounts go with it.",
        examples: &[
            ("One file of an image", "rbox unshare sh -c 'cat $(rbox image mount alpine)/etc/os-release'"),
            ("What is mounted", "rbox image mount"),
            ("All images, for a script", "rbox unshare rbox image mount --all --format json"),
        ],
        exit: EXIT,
        see: &["image unmount", "unshare", "save"],
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
        command: "image unmount",
        text: "Takes away what rbox image mount has mounted, and prints the ids of those images. One that somebody is in \
stays, unless --force is given.",
        examples: &[
            ("One", "rbox image unmount alpine"),
            ("All", "rbox image unmount --all --force"),
        ],
        exit: EXIT,
        see: &["image mount", "unshare"],
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
];
