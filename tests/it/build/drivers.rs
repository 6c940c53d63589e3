//! Builds where the kernel's overlayfs is not to be had: with fuse-overlayfs, and with copies of the files.

use super::{bench, build, context};
use crate::common::machine::{Machine, RANGE};
use crate::common::registry::registry;
use crate::common::{Bench, skip};

const DOCKERFILE: &str = "FROM base AS other\nRUN mkdir /o && echo o >/o/o\n\
    FROM base\nRUN mkdir -p /d/sub/deep && echo a >/d/a && echo b >/d/sub/deep/b && ln -s a /d/l && chown 405:100 /d/a && \
    chmod 4711 /d/a && echo h >/d/h && ln /d/h /d/hard && mkdir /d/full && echo f >/d/full/f && echo g >/d/full/g\n\
    RUN REMOVE && rm /etc/plain && echo n >/d/sub/new\n\
    COPY a /d/a\nCOPY --chown=alice sub /d/full\nRUN rm -r /d/full && echo file >/d/full\n\
    RUN mv /d/l /d/m && chmod 700 /tmp\nRUN true\nWORKDIR /w/x\nADD tree.tar .\n\
    COPY --from=other /o /o\nRUN --mount=target=/ctx,rw rm /ctx/a && ls /ctx >/seen\n\
    RUN --mount=type=cache,target=/c echo c >/c/c && echo \"root: $(grep ' / ' /proc/mounts)\"\n";
/// What the image has, told by a container of it.
const LIST: &str =
    "cd /; find d o w etc tmp seen -exec stat -c '%N %f %u %g' {} + | sort; cat d/a d/full d/sub/new seen";

/// What a step removes: a directory that it makes again, which says that it hides what is below.
const REPLACED: &str = "rm -r /d/sub && mkdir /d/sub";
/// The same for copies, which only know what is gone.
const GONE: &str = "rm -r /d/sub/deep";

#[track_caller]
fn files(bench: &Bench, remove: &str) -> std::path::PathBuf {
    let directory = context(
        bench,
        "ctx",
        &[("Dockerfile", &DOCKERFILE.replace("REMOVE", remove)), ("a", "of the context\n"), ("sub/s", "s\n")],
    );
    crate::common::program("tar").args(["-C", "/etc", "-cf"]).arg(directory.join("tree.tar")).args(["passwd"]).ok();
    directory
}

/// Has fsconfig(2) refuse flags, without which there is no overlay of the kernel's, and runs its arguments.
const FILTER: &str = r#"import ctypes, os, struct, sys
def op(code, jt, jf, k): return struct.pack("HBBI", code, jt, jf, k)
LOAD, EQUAL, RETURN, ALLOW, ERRNO = 0x20, 0x15, 0x06, 0x7fff0000, 0x00050000
FSCONFIG, SET_FLAG, EPERM = 431, 0, 1
code = ctypes.create_string_buffer(b"".join([
    op(LOAD, 0, 0, 0), op(EQUAL, 0, 3, FSCONFIG), op(LOAD, 0, 0, 24), op(EQUAL, 0, 1, SET_FLAG),
    op(RETURN, 0, 0, ERRNO | EPERM), op(RETURN, 0, 0, ALLOW)]))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 6, ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
    raise OSError(ctypes.get_errno(), "no filter")
os.execvp(sys.argv[1], sys.argv[1:])
"#;

/// Layers and files of the image, built where the kernel has no overlay; `root` is what the container's root has
/// to be then.
#[track_caller]
fn elsewhere(bench: &Bench, remove: &str, root: &str) -> Vec<String> {
    let image = registry().small();
    crate::common::write(bench.path("filter.py"), FILTER);
    let hide = "printf '#!/bin/sh\\nexit 1\\n' >\"$files/fuse-overlayfs\"; chmod 755 \"$files/fuse-overlayfs\"";
    let spoil =
        format!("wrap='python3 {}'; {}", bench.text("filter.py"), if remove == REPLACED { "true" } else { hide });
    let directory = files(bench, remove);
    let script = format!(
        "set -e; rbox pull -q {image} >&2; rbox tag {image} base >&2; cp -r {} ~/ctx
         rbox build --progress plain --network none --timestamp 1000000000 -t made ~/ctx >&2
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
fn usual(bench: &Bench, remove: &str) -> Vec<String> {
    let output = build(bench, &files(bench, remove), &["--network", "none", "--timestamp", "1000000000", "-t", "made"])
        .run()
        .ok();
    assert!(output.err().contains("root: overlay / overlay "), "{}", output.report());
    let layers = bench.inspect("made", "{{json .RootFS.Layers}}");
    let listed = bench.run_rm(&["--net", "none"], "made", &["sh", "-c", LIST]).ok().out();
    [layers].into_iter().chain(listed.lines().map(str::to_owned)).collect()
}

#[test]
fn copies_make_the_same_layers() {
    let bench = bench();
    assert_eq!(elsewhere(&bench, GONE, "root: none / tmpfs "), usual(&bench, GONE));
}

#[test]
fn fuse_makes_the_same_layers() {
    let bench = bench();
    let usable = std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    if !usable {
        return skip("/dev/fuse is not this user's to open");
    }
    assert_eq!(elsewhere(&bench, REPLACED, "root: fuse-overlayfs / fuse.fuse-overlayfs "), usual(&bench, REPLACED));
}
