//! Registries: what goes to them and comes from them.

use super::{EXIT, Topic};

/// One row a command, in the order of their names.
#[rustfmt::skip]
pub const TOPICS: &[Topic] = &[
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
];
