//! Builds where the kernel's overlayfs is not to be had: with fuse-overlayfs, and with copies of the files.

use super::{bench, build, context};
use crate::common::machine::{Machine, RANGE};
use crate::common::registry::registry;
use crate::common::{Bench, skip};

const DOCKERFILE: &str = "FROM base AS other\nRUN mkdir /o && echo o >/o/o\n\
    FROM base\nRUN mkdir -p /d/sub/deep && echo a >/d/a && echo b >/d/sub/deep/b && ln -s a /d/l && chown 405:100 /d/a && \
    chmod 4711 /d/a && ln /d/a /d/hard && mkdir /d/full && echo f >/d/full/f && echo g >/d/full/g\n\
    RUN rm -r /d/sub && rm /etc/plain && mkdir /d/sub && echo n >/d/sub/new\n\
    COPY a /d/a\nCOPY --chown=alice sub /d/full\nRUN rm -r /d/full && echo file >/d/full\n\
    RUN mv /d/l /d/m && chmod 700 /tmp && rm /d/hard\nRUN true\nWORKDIR /w/x\nADD tree.tar .\n\
    COPY --from=other /o /o\nRUN --mount=target=/ctx,rw rm /ctx/a && ls /ctx >/seen\n\
    RUN --mount=type=cache,target=/c echo c >/c/c && echo \"root: $(grep ' / ' /proc/mounts)\"\n";
/// What the image has, told by a container of it.
const LIST: &str =
    "cd /; find d o w etc tmp seen -exec stat -c '%N %f %u %g %s' {} + | sort; cat d/a d/full d/sub/new seen";

#[track_caller]
fn files(bench: &Bench) -> std::path::PathBuf {
    let directory = context(bench, "ctx", &[("Dockerfile", DOCKERFILE), ("a", "of the context\n"), ("sub/s", "s\n")]);
    crate::common::program("tar").args(["-C", "/etc", "-cf"]).arg(directory.join("tree.tar")).args(["passwd"]).ok();
    directory
}

/// Layers and files of the image, built in a home that the kernel does not take for an overlay; `fuse` is the
/// program's other way, and `root` is what the container's root has to be then.
#[track_caller]
fn elsewhere(bench: &Bench, fuse: bool, root: &str) -> Vec<String> {
    let image = registry().small();
    let hide = "printf '#!/bin/sh\\nexit 1\\n' >\"$files/fuse-overlayfs\"; chmod 755 \"$files/fuse-overlayfs\"";
    let spoil = format!(
        "mkdir /mnt/l /mnt/u /mnt/w; mount -t overlay -o userxattr,lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w outer \
         /mnt/home; chown 1000:1000 /mnt/home; {}",
        if fuse { "true" } else { hide }
    );
    let directory = files(bench);
    let script = format!(
        "set -e; rbox pull -q {image} >&2; rbox tag {image} base >&2
         rbox build --progress plain --network none --timestamp 1000000000 -t made {} >&2
         rbox inspect -f '{{{{json .RootFS.Layers}}}}' made
         rbox run --rm --net none made sh -c \"$LIST\"; rbox system check >&2
         test -z \"$(ls -A ~/.local/share/rbox/staging)\"",
        directory.display()
    );
    let machine = Machine { ranges: RANGE, size: "400m" };
    let output = machine.spoiled(bench, &spoil, &format!("LIST={LIST:?}; {script}")).limit(180).run().ok();
    assert!(output.err().contains(root), "not with that driver: {}", output.report());
    output.out().lines().map(str::to_owned).collect()
}

/// The same with the kernel's overlayfs.
#[track_caller]
fn usual(bench: &Bench) -> Vec<String> {
    let output =
        build(bench, &files(bench), &["--network", "none", "--timestamp", "1000000000", "-t", "made"]).run().ok();
    assert!(output.err().contains("root: overlay / overlay "), "{}", output.report());
    let layers = bench.inspect("made", "{{json .RootFS.Layers}}");
    let listed = bench.run_rm(&["--net", "none"], "made", &["sh", "-c", LIST]).ok().out();
    [layers].into_iter().chain(listed.lines().map(str::to_owned)).collect()
}

#[test]
fn copies_make_the_same_layers() {
    let bench = bench();
    assert_eq!(elsewhere(&bench, false, "root: outer / overlay "), usual(&bench));
}

#[test]
fn fuse_makes_the_same_layers() {
    let bench = bench();
    let usable = std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    if !usable {
        return skip("/dev/fuse is not this user's to open");
    }
    assert_eq!(elsewhere(&bench, true, "root: fuse-overlayfs / fuse.fuse-overlayfs "), usual(&bench));
}
