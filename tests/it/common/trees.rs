//! Trees of images as rbox, podman and umoci unpack them, listed name by name to be compared.

use std::collections::HashSet;
use std::path::PathBuf;

use super::images::{Image, Layer};
use super::{Bench, Cmd, noise, program, sha256};

pub const LIST: &str = include_str!("../../data/list_tree.py");

/// Lists a tree as the root of a user namespace with the user's whole range.
#[track_caller]
pub fn list(script: &str, arguments: &[&str]) -> Vec<String> {
    let unshare =
        program("unshare").args(["--user", "--map-auto", "--map-root-user", "--mount", "bash", "-ec", script, "list"]);
    lines(&unshare.args(arguments).env("LIST", LIST).limit(120).ok())
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Fails at the first lines that differ.
#[track_caller]
pub fn same(who: &str, ours: &[String], theirs: &[String]) {
    let only = |a: &[String], b: &[String]| {
        let other: HashSet<&String> = b.iter().collect();
        a.iter().filter(|line| !other.contains(line)).take(8).cloned().collect::<Vec<_>>()
    };
    let (extra, missing) = (only(ours, theirs), only(theirs, ours));
    assert!(extra.is_empty() && missing.is_empty(), "only in rbox: {extra:#?}\nonly in {who}: {missing:#?}");
    assert!(ours.len() > 10);
}

/// The tree without its root, which podman makes anew, with mode 555.
pub fn below_root(tree: &[String]) -> Vec<String> {
    tree.iter().filter(|line| !line.starts_with("'/'")).cloned().collect()
}

/// The tree of an image in rbox's store: its layers stacked by the kernel, as a container sees them.
#[track_caller]
pub fn of_rbox(bench: &Bench, image: &str) -> Vec<String> {
    let stack: Vec<String> = chain_of(bench, image)
        .iter()
        .rev()
        .map(|chain| bench.root().join("layers").join(chain).join("diff").display().to_string())
        .collect();
    let mount = if stack.len() == 1 {
        "mount --bind \"$1\" /mnt"
    } else {
        "mount -t overlay -o userxattr,lowerdir=\"$1\" none /mnt"
    };
    list(&format!("{mount}; python3 -c \"$LIST\" /mnt"), &[&stack.join(":")])
}

/// The tree of an image of an OCI layout, `DIRECTORY:TAG`, as umoci unpacks it to `bundle`.
#[track_caller]
pub fn of_umoci(image: &str, bundle: &str) -> Vec<String> {
    let script = "umoci unpack --image \"$1\" \"$2\" >&2; python3 -c \"$LIST\" \"$2/rootfs\"; rm -rf \"$2\"";
    list(script, &[image, bundle])
}

/// The chain ids of an image's layers, lowest first, by the specification's arithmetic.
#[track_caller]
pub fn chain_of(bench: &Bench, image: &str) -> Vec<String> {
    let diffs: Vec<String> = serde_json::from_str(&bench.inspect(image, "{{json .RootFS.Layers}}")).unwrap();
    let mut chain: Vec<String> = Vec::new();
    for diff in diffs {
        let next = match chain.last() {
            None => diff.trim_start_matches("sha256:").to_owned(),
            Some(parent) => sha256(format!("sha256:{parent} {diff}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

/// A podman with a store of its own, removed when it is dropped.
pub struct Podman {
    store: PathBuf,
    /// podman wants a short path for what it keeps while it runs.
    run: PathBuf,
}

impl Podman {
    pub fn new(bench: &Bench) -> Self {
        let run = PathBuf::from(program("mktemp").args(["-d", "/tmp/rbox-p.XXXXXX"]).ok());
        Self { store: bench.mkdir("podman"), run }
    }

    fn environment(&self, command: Cmd) -> Cmd {
        command.env("STORE", &self.store).env("RUN", &self.run).env("LIST", LIST).limit(180)
    }

    /// A shell script in which `podman` uses this store.
    pub fn script(&self, script: &str, arguments: &[&str]) -> Cmd {
        let prelude = r#"set -e
            podman() { command podman --root "$STORE" --runroot "$RUN" --storage-driver overlay \
                --runtime runc --cgroup-manager cgroupfs "$@"; }; export -f podman
            "#;
        let command = program("bash").args(["-c", &format!("{prelude}{script}"), "podman"]).args(arguments);
        self.environment(command)
    }

    /// The tree of an image.
    #[track_caller]
    pub fn tree(&self, image: &str) -> Vec<String> {
        let script = r#"podman unshare bash -ec 'm=$(podman image mount "$1"); python3 -c "$LIST" "$m"
            podman image unmount "$1" >&2' x "$1""#;
        lines(&self.script(script, &[image]).ok())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let script = r#"podman unshare sh -c 'umount -l "$STORE/overlay"; rm -rf "$STORE"'; rm -rf "$STORE" "$RUN""#;
        let _ = self.script(&format!("set +e; {script}"), &[]).run();
    }
}

/// An image of two layers with files of every kind that all tools unpack.
pub fn layered() -> Image {
    let capability: Vec<u8> = [0x0200_0001_u32, 1 << 13, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    let lower = Layer::new()
        .directory("opt", 0o755)
        .directory("opt/hidden", 0o755)
        .file("opt/hidden/lower", 0o644, "x")
        .file("opt/gone", 0o644, "x")
        .at(1_234_567_890)
        .directory("opt/old", 0o2750)
        .owned_by(1, 50)
        .file("opt/old/file", 0o644, noise(4, 200_000))
        .owned_by(1, 50)
        .hardlink("opt/old/same", "opt/old/file")
        .symlink("opt/absolute", "/opt/old/file")
        .symlink("opt/dangling", "nowhere/at/all");
    // As real layers have it: with the directories above what changed.
    let upper = Layer::new()
        .directory("./", 0o755)
        .directory("opt", 0o755)
        .whiteout("opt/gone")
        .directory("opt/hidden", 0o700)
        .opaque("opt/hidden")
        .file("opt/hidden/upper", 0o644, "y")
        .xattr("security.capability", &capability)
        .file("opt/ping", 0o755, "capable")
        .xattr("user.note", b"a note")
        .file("opt/noted", 0o644, "noted")
        .owned_by(65_534, 65_534)
        .file("opt/nobody", 0o4711, "suid")
        .fifo("opt/fifo");
    Image::small_with(vec![lower, upper])
}
