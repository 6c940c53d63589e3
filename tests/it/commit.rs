//! Images made of containers, and what containers changed: `commit`, `diff`, `export`, `history`.
//!
//! What is made is read back by podman, skopeo and umoci. RBOX_TEST_KILLS says how often a commit is
//! killed at a random moment; 100 in the long run, fewer otherwise.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::images::{Image, Layer};
use crate::common::registry::registry;
use crate::common::{Bench, names_in, program, read, sha256, write};
use rustix::process::Signal;
use serde_json::Value;

fn kills() -> usize {
    std::env::var("RBOX_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// A bench with the small image.
fn bench() -> (Bench, String) {
    let bench = Bench::new();
    let image = registry().small();
    bench.ok(&["pull", "-q", &image]);
    (bench, image)
}

/// Runs a script in a new container of this name, to its end.
fn ran(bench: &Bench, name: &str, image: &str, script: &str) {
    bench.rbox(&["run", "--net", "none", "--name", name, image, "sh", "-ec", script]).run().ok();
}

/// The image's manifest and its digest, as the store has it.
fn manifest(bench: &Bench, id: &str) -> (String, Value) {
    let images = bench.root().join("images");
    let records = names_in(&images).into_iter().filter(|name| name.ends_with(".json"));
    let mut records = records.map(|name| serde_json::from_str::<Value>(&read(images.join(name))).unwrap());
    let record = records.find(|record| record["config"] == id).unwrap_or_else(|| panic!("no image {id}"));
    let digest = record["manifest"].as_str().unwrap().to_owned();
    (digest.clone(), serde_json::from_slice(&blob(bench, &digest)).unwrap())
}

fn blob(bench: &Bench, digest: &str) -> Vec<u8> {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let bytes = fs::read(bench.root().join("blobs/sha256").join(hex)).unwrap();
    assert_eq!(sha256(&bytes), hex);
    bytes
}

fn config(bench: &Bench, id: &str) -> Value {
    serde_json::from_slice(&blob(bench, id)).unwrap()
}

/// Writes an image of the store as an OCI layout with the tag `image`.
fn layout(bench: &Bench, id: &str, name: &str) -> PathBuf {
    let directory = bench.mkdir(name);
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let (digest, manifest) = manifest(bench, id);
    let layers = manifest["layers"].as_array().unwrap().iter().map(|layer| &layer["digest"]);
    let all = layers.chain([&manifest["config"]["digest"]]).map(|digest| digest.as_str().unwrap().to_owned());
    for part in all.chain([digest.clone()]) {
        write(blobs.join(part.strip_prefix("sha256:").unwrap()), blob(bench, &part));
    }
    write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    let size = blob(bench, &digest).len();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": manifest["mediaType"], "digest": digest, "size": size,
        "annotations": {"org.opencontainers.image.ref.name": "image"}}]});
    write(directory.join("index.json"), index.to_string());
    directory
}

/// What a tree has at one path, owners left out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    kind: char,
    mode: u32,
    seconds: i64,
    content: String,
}

type Nodes = BTreeMap<Vec<u8>, Node>;

/// The tree of an archive; the second name of a file is as the first.
fn archived(archive: &[u8]) -> Nodes {
    let mut nodes = Nodes::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = trimmed(&entry.path_bytes()).to_owned();
        let header = entry.header();
        let (mode, seconds) = (header.mode().unwrap() & 0o7777, header.mtime().unwrap() as i64);
        let target = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
        let node = match entry.header().entry_type() {
            tar::EntryType::Link => nodes[trimmed(&target)].clone(),
            kind => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                let kind = match kind {
                    tar::EntryType::Directory => 'd',
                    tar::EntryType::Symlink => 'l',
                    tar::EntryType::Fifo => 'p',
                    tar::EntryType::Char => 'c',
                    _ => 'f',
                };
                let content = if kind == 'l' { target.escape_ascii().to_string() } else { sha256(&content) };
                Node { kind, mode, seconds, content: if "fl".contains(kind) { content } else { String::new() } }
            }
        };
        nodes.insert(path, node);
    }
    nodes.remove(&b""[..]);
    nodes
}

fn trimmed(path: &[u8]) -> &[u8] {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_prefix(b"/").unwrap_or(path);
    path.strip_suffix(b"/").unwrap_or(path)
}

/// The tree of a directory.
fn on_disk(top: &Path) -> Nodes {
    fn walk(top: &Path, at: &Path, nodes: &mut Nodes) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let kind = meta.file_type();
            let (kind, content) = match () {
                () if kind.is_symlink() => {
                    ('l', fs::read_link(&path).unwrap().as_os_str().as_bytes().escape_ascii().to_string())
                }
                () if kind.is_dir() => ('d', String::new()),
                () if kind.is_fifo() => ('p', String::new()),
                () if kind.is_file() => ('f', sha256(&fs::read(&path).unwrap())),
                () => ('c', String::new()),
            };
            let name = path.strip_prefix(top).unwrap().as_os_str().as_bytes().to_owned();
            nodes.insert(name, Node { kind, mode: meta.mode() & 0o7777, seconds: meta.mtime(), content });
            if meta.is_dir() {
                walk(top, &path, nodes);
            }
        }
    }
    let mut nodes = Nodes::new();
    walk(top, top, &mut nodes);
    nodes
}

/// Both trees are the same, but for what containers are given by whoever runs them.
fn assert_same(ours: &Nodes, theirs: &Nodes, who: &str) {
    let given = |path: &[u8]| {
        let top = path.split(|&byte| byte == b'/').next().unwrap();
        matches!(top, b"dev" | b"proc" | b"sys" | b"run")
            || path.starts_with(b"etc/")
                && path.len() > 7
                && matches!(path, b"etc/hosts" | b"etc/hostname" | b"etc/resolv.conf" | b"etc/mtab")
    };
    let shown = |path: &Vec<u8>| path.escape_ascii().to_string();
    for (path, node) in ours.iter().filter(|(path, _)| !given(path)) {
        let other = theirs.get(path).unwrap_or_else(|| panic!("{who} lacks {}", shown(path)));
        // Directories are made before what is in them, links have no mode.
        let (mut a, mut b) = (node.clone(), other.clone());
        if node.kind == 'l' {
            (a.mode, b.mode) = (0, 0);
        }
        if node.kind == 'd' && path == b"etc" {
            (a.seconds, b.seconds) = (0, 0);
        }
        assert_eq!(a, b, "{who}: {}", shown(path));
    }
    for path in theirs.keys().filter(|path| !given(path)) {
        assert!(ours.contains_key(path), "{who} has {} too", shown(path));
    }
}

/// podman with a store of its own, which goes with it.
struct Podman {
    root: PathBuf,
    run: PathBuf,
}

impl Podman {
    fn new(bench: &Bench) -> Self {
        // podman takes no longer paths than 50 bytes here.
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let name = bench.path("").parent().unwrap().file_name().unwrap().to_string_lossy().replace("rbox-it-", "p");
        Self { root: bench.mkdir("podman"), run: runtime.join(name) }
    }

    fn cmd(&self, args: &[&str]) -> crate::common::command::Cmd {
        let command = program("podman")
            .args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--root"])
            .arg(&self.root)
            .arg("--runroot")
            .arg(&self.run);
        command.args(args).limit(120)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.cmd(&["unshare", "rm", "-rf"]).arg(&self.root).arg(&self.run).run();
    }
}

#[test]
fn the_tutorial() {
    let (bench, image) = bench();
    ran(&bench, "first", &image, "touch /a-file");
    let id = bench.ok(&["commit", "first", "example/first"]);
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    bench.ok(&["tag", "example/first", "example/second:v2"]);
    let listed = bench.ok(&["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    let short = &id[7..19];
    assert!(listed.contains(&format!("example/first:latest {short}")), "{listed}");
    assert!(listed.contains(&format!("example/second:v2 {short}")), "{listed}");
    assert_eq!(bench.run_rm(&[], "example/second:v2", &["ls", "/a-file"]).ok().out(), "/a-file");
    assert_eq!(bench.ok(&["rmi", "example/second:v2"]), "Untagged: example/second:v2");
    let removed = bench.ok(&["rmi", "example/first"]);
    assert!(removed.starts_with("Untagged: example/first:latest\nDeleted: sha256:"), "{removed}");
    assert_eq!(bench.ok(&["images", "-q", "example/first"]), "");

    let message = ["-m", "Add a file", "-a", "Ann <ann@example.com>"];
    bench.rbox(&["commit"]).args(message).args(["first", "noted:1"]).run().ok();
    assert_eq!(bench.inspect("noted:1", "{{.Author}}|{{.Comment}}"), "Ann <ann@example.com>|Add a file");
    let history = bench.ok(&["history", "noted:1"]);
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines.len(), 3, "{history}");
    assert!(lines[0].starts_with("IMAGE ") && lines[0].contains("CREATED BY") && lines[0].ends_with("COMMENT"));
    assert!(lines[1].contains("sh -ec touch /a-file") && lines[1].ends_with("Add a file"), "{history}");
    assert!(lines[2].contains("made by the tests"), "{history}");
}

#[test]
fn what_the_container_was_made_with_is_carried_on() {
    let (bench, image) = bench();
    let flags = [
        "run",
        "--net",
        "none",
        "--name",
        "made",
        "-e",
        "COLOUR=red",
        "-w",
        "/srv/work",
        "-u",
        "1000",
        "--expose",
        "80",
        "--label",
        "kind=test",
        "--stop-signal",
        "SIGUSR1",
        "--entrypoint",
        "/bin/echo",
        &image,
        "one",
        "two",
    ];
    assert_eq!(bench.rbox(&flags).run().ok().out(), "one two");
    let id = bench.ok(&["commit", "-c", "ENV SIZE=10", "-c", "EXPOSE 443/tcp", "-c", "LABEL a=b", "made", "carried"]);
    let made = &config(&bench, &id)["config"];
    assert_eq!(made["Entrypoint"], serde_json::json!(["/bin/echo"]));
    assert_eq!(made["Cmd"], serde_json::json!(["one", "two"]));
    assert_eq!((&made["User"], &made["WorkingDir"]), (&"1000".into(), &"/srv/work".into()));
    assert_eq!(made["Labels"], serde_json::json!({"kind": "test", "a": "b"}));
    assert_eq!(made["ExposedPorts"], serde_json::json!({"80/tcp": {}, "443/tcp": {}}));
    assert_eq!(made["StopSignal"], "SIGUSR1");
    let env: Vec<&str> = made["Env"].as_array().unwrap().iter().map(|entry| entry.as_str().unwrap()).collect();
    assert!(env.contains(&"COLOUR=red") && env.contains(&"SIZE=10"), "{env:?}");
    assert!(!env.iter().any(|entry| entry.starts_with("HOSTNAME=")), "{env:?}");
    assert_eq!(bench.run_rm(&[], "carried", &[]).ok().out(), "one two");
    assert_eq!(bench.run_rm(&[], "carried", &["three"]).ok().out(), "three");
}

#[test]
fn an_unchanged_container_gets_no_layer_and_no_name_is_none() {
    let (bench, image) = bench();
    bench.ok(&["create", "--name", "never", "--net", "none", &image]);
    ran(&bench, "idle", &image, "true");
    let before = names_in(bench.root().join("layers")).len();
    for name in ["never", "idle"] {
        let id = bench.ok(&["commit", name]);
        assert_eq!(config(&bench, &id)["rootfs"]["diff_ids"].as_array().unwrap().len(), 1, "{name}");
        assert_eq!(config(&bench, &id)["history"][1]["empty_layer"], true);
    }
    assert_eq!(names_in(bench.root().join("layers")).len(), before);
    let listed = bench.ok(&["images", "-a", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(listed.lines().filter(|line| *line == "<none>:<none>").count(), 2, "{listed}");
    assert_eq!(bench.ok(&["diff", "idle"]), "");
    assert_eq!(bench.ok(&["diff", "never"]), "");
}

/// Every kind of change, on an image that has something to change.
const CHANGES: &str = r#"
rm /etc/plain
rm -r /opt/tree
rm -r /opt/again; mkdir /opt/again; echo new >/opt/again/new; echo other >/opt/again/kept
rm /opt/file; mkdir /opt/file; echo in >/opt/file/inside
rm -r /opt/directory; echo now a file >/opt/directory
mkdir -p /new/deep; chmod 2775 /new/deep
echo one >/new/one; ln /new/one /new/two; chmod 4711 /new/one
ln -s ../etc/passwd /new/link; ln -s nowhere /new/dangling
mkfifo /new/fifo
touch "/new/$(printf '\377\376 odd')"
long=$(printf 'n%.0s' $(seq 1 150)); mkdir -p /new/$long; echo x >/new/$long/$long
dd if=/dev/zero of=/new/sparse bs=1 count=1 seek=5000000 2>/dev/null
touch -d @1000000000 /new/one /opt/capable
chown 1000:1000 /new/deep
chmod 700 /root
echo more >>/etc/group
"#;

fn changeable() -> String {
    // Version 2, effective, CAP_NET_BIND_SERVICE.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    registry().push_once("changeable:1", || {
        let layer = Layer::new()
            .directory("opt", 0o755)
            .directory("opt/tree", 0o755)
            .file("opt/tree/leaf", 0o644, "leaf")
            .directory("opt/again", 0o755)
            .file("opt/again/old", 0o644, "old")
            .file("opt/again/kept", 0o644, "kept")
            .file("opt/file", 0o644, "file")
            .directory("opt/directory", 0o755)
            .file("opt/directory/inside", 0o644, "x")
            .xattr("security.capability", &capability)
            .file("opt/capable", 0o755, "capable");
        vec![Image::small_with(vec![layer])]
    })
}

#[test]
fn others_unpack_the_same_tree() {
    let bench = Bench::new();
    let image = changeable();
    bench.ok(&["pull", "-q", &image]);
    ran(&bench, "changed", &image, CHANGES);
    let id = bench.ok(&["commit", "changed", "changed"]);
    bench.rbox(&["export", "-o", "ours.tar", "changed"]).current_dir(bench.path("")).run().ok();
    let ours = archived(&fs::read(bench.path("ours.tar")).unwrap());
    for (path, there) in
        [("opt/tree", false), ("opt/again/old", false), ("opt/again/new", true), ("opt/file/inside", true)]
    {
        assert_eq!(ours.contains_key(path.as_bytes()), there, "{path}");
    }

    // A container of the image has the very tree.
    bench.ok(&["create", "--name", "copy", "--net", "none", "changed"]);
    bench.rbox(&["export", "-o", "copy.tar", "copy"]).current_dir(bench.path("")).run().ok();
    assert_same(&ours, &archived(&fs::read(bench.path("copy.tar")).unwrap()), "the image");

    let layout = layout(&bench, &id, "layout");
    let bundle = bench.path("bundle");
    program("umoci")
        .args(["unpack", "--rootless", "--image"])
        .arg(format!("{}:image", layout.display()))
        .arg(&bundle)
        .limit(60)
        .ok();
    assert_same(&ours, &on_disk(&bundle.join("rootfs")), "umoci");

    let podman = Podman::new(&bench);
    let pulled = podman.cmd(&["pull", "-q"]).arg(format!("oci:{}:image", layout.display())).ok();
    let created = podman.cmd(&["create", &pulled]).ok();
    podman.cmd(&["export", "-o"]).arg(bench.path("theirs.tar")).arg(&created).ok();
    let theirs = archived(&fs::read(bench.path("theirs.tar")).unwrap());
    assert_same(&ours, &theirs, "podman");
    podman.cmd(&["rm", "-f", &created]).ok();

    // Capabilities and owners are in the layer.
    let (_, manifest) = manifest(&bench, &id);
    let layer = blob(&bench, manifest["layers"][2]["digest"].as_str().unwrap());
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&layer[..]));
    let mut seen = 0;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path_bytes().into_owned();
        let header = entry.header().clone();
        if path == b"new/deep/" {
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (1000, 1000));
            seen += 1;
        }
        if path == b"opt/capable" {
            let extensions = entry.pax_extensions().unwrap().unwrap();
            assert!(extensions.flatten().any(|record| record.key() == Ok("SCHILY.xattr.security.capability")));
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
}

#[test]
fn changes_are_listed_as_podman_lists_them() {
    let bench = Bench::new();
    let image = changeable();
    bench.ok(&["pull", "-q", &image]);
    // Not what the two see differently: podman calls a directory that was made anew deleted.
    let script = CHANGES
        .lines()
        .filter(|line| !line.contains("/opt/again") && !line.contains("/opt/file"))
        .collect::<Vec<_>>()
        .join("\n");
    ran(&bench, "ours", &image, &script);
    let ours = bench.rbox(&["diff", "ours"]).run().ok();
    let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let mut lines: Vec<Vec<u8>> =
            bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
        lines.sort();
        lines
    };
    let podman = Podman::new(&bench);
    podman.cmd(&["pull", "-q", "--tls-verify=false", &image]).ok();
    podman.cmd(&["run", "--network", "none", "--name", "theirs", &image, "sh", "-ec", &script]).run().ok();
    let theirs = podman.cmd(&["diff", "theirs"]).run().ok();
    podman.cmd(&["rm", "-f", "theirs"]).ok();
    let shown = |lines: Vec<Vec<u8>>| lines.iter().map(|line| line.escape_ascii().to_string()).collect::<Vec<_>>();
    let own_of_podman = |line: &Vec<u8>| {
        [&b"C /etc"[..], b"C /run", b"A /run", b"C /dev", b"A /dev", b"C /sys", b"C /proc"].contains(&&line[..])
            || line.ends_with(b"/.containerenv")
            || line.ends_with(b"/run/secrets")
    };
    let filtered = |bytes: &[u8]| {
        let mut lines = lines(bytes);
        lines.retain(|line| !own_of_podman(line));
        shown(lines)
    };
    assert_eq!(filtered(&ours.stdout), filtered(&theirs.stdout));

    // As docker has it, what a directory made anew no longer has is deleted from it.
    ran(&bench, "again", &image, CHANGES);
    let listed = bench.ok(&["diff", "--format", "json", "again"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let has = |kind: &str, path: &str| listed[kind].as_array().unwrap().iter().any(|entry| entry == path);
    assert!(has("deleted", "/opt/again/old") && has("added", "/opt/again/new") && has("changed", "/opt/again/kept"));
    assert!(has("changed", "/opt/again") && has("changed", "/opt/file") && has("added", "/opt/file/inside"));
    assert!(has("changed", "/opt/directory") && !has("deleted", "/opt/directory/inside"));
    let id = bench.ok(&["commit", "again"]);
    assert_eq!(bench.ok(&["image", "diff", &id]).lines().count(), bench.ok(&["diff", "again"]).lines().count());
    assert_eq!(bench.ok(&["diff", "again", &id]), "");
}

#[test]
fn a_timestamp_gives_the_same_image_again() {
    let (bench, image) = bench();
    ran(&bench, "dated", &image, "echo x >/file; mkdir /d; touch /d/e");
    let id = bench.ok(&["commit", "--timestamp", "1700000000", "dated", "dated:1"]);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(bench.ok(&["commit", "--timestamp", "1700000000", "dated", "dated:2"]), id);
    let by_environment = bench.rbox(&["commit", "dated"]).env("SOURCE_DATE_EPOCH", "1700000000").run().ok().out();
    assert_eq!(by_environment, id);
    assert_ne!(bench.ok(&["commit", "dated"]), id);
    assert_eq!(config(&bench, &id)["created"], "2023-11-14T22:13:20Z");
    // Made elsewhere it is the same, for it depends on nothing else.
    let (other, _) = self::bench();
    ran(&other, "dated", &image, "echo x >/file; mkdir /d; touch /d/e");
    assert_eq!(other.ok(&["commit", "--timestamp", "1700000000", "dated"]), id);
}

#[test]
fn formats_and_squash() {
    let bench = Bench::new();
    let image = changeable();
    bench.ok(&["pull", "-q", &image]);
    ran(&bench, "some", &image, "echo x >/file; rm /opt/file");
    let docker = bench.ok(&[
        "commit",
        "-f",
        "docker",
        "-m",
        "why",
        "--iidfile",
        bench.path("iid").to_str().unwrap(),
        "some",
        "some:docker",
    ]);
    assert_eq!(read(bench.path("iid")), docker);
    let (_, made) = manifest(&bench, &docker);
    assert_eq!(made["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert!(
        made["layers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|layer| layer["mediaType"] == "application/vnd.docker.image.rootfs.diff.tar.gzip")
    );
    assert_eq!(config(&bench, &docker)["comment"], "why");
    // skopeo's plain directory: the manifest beside the blobs.
    let directory = bench.mkdir("docker");
    let (digest, _) = manifest(&bench, &docker);
    write(directory.join("manifest.json"), blob(&bench, &digest));
    for part in made["layers"].as_array().unwrap().iter().chain([&made["config"]]) {
        let part = part["digest"].as_str().unwrap();
        write(directory.join(part.strip_prefix("sha256:").unwrap()), blob(&bench, part));
    }
    let (from, to) =
        (format!("dir:{}", directory.display()), format!("docker-archive:{}:x", bench.path("x.tar").display()));
    program("skopeo").args(["copy", "--insecure-policy", "-q", &from, &to]).limit(60).ok();

    let squashed = bench.ok(&["commit", "-s", "some", "some:flat"]);
    assert_eq!(config(&bench, &squashed)["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);
    let script = "test ! -e /opt/file; cat /file /etc/os-release";
    assert_eq!(bench.run_rm(&[], "some:flat", &["sh", "-ec", script]).ok().out(), "x\nID=small");
    // It stands on its own.
    bench.rbox(&["rmi", "-f", &image]).run().ok();
    bench.rbox(&["commit", "some"]).run().refused(1, "commit with --squash");
    bench.ok(&["commit", "-s", "some"]);
    assert_eq!(bench.ok(&["history", "-q", "some:docker"]).lines().count(), 3);
}

#[test]
fn a_running_container_is_committed_as_it_stands() {
    let (bench, image) = bench();
    let script = "i=0; while :; do i=$((i+1)); echo $i >/a; echo $i >/b; mkdir -p /d; echo $i >/d/$((i%50)); rm -f /d/$((i%7)); done";
    bench.ok(&["run", "-d", "--net", "none", "--name", "busy", &image, "sh", "-c", script]);
    for round in 0..4 {
        std::thread::sleep(Duration::from_millis(100));
        let flags: &[&str] = if round % 2 == 0 { &[] } else { &["--no-pause"] };
        let id = bench.rbox(&["commit"]).args(flags).arg("busy").run().ok().out();
        let read = bench.run_rm(&[], &id, &["cat", "/a", "/b"]).ok().out();
        let numbers: Vec<u64> = read.lines().filter_map(|line| line.parse().ok()).collect();
        if round % 2 == 0 {
            // Between two lines of the script at most.
            assert!(numbers.len() < 2 || numbers[0] == numbers[1] || numbers[0] == numbers[1] + 1, "{read:?}");
        }
        bench.rbox(&["export", "busy"]).run().ok();
        bench.ok(&["diff", "busy"]);
    }
    // It goes on.
    let count = || bench.ok(&["exec", "busy", "cat", "/b"]);
    let before = count();
    crate::common::wait_until("the container goes on", || count() != before);
    bench.ok(&["rm", "-f", "busy"]);
}

#[test]
fn a_killed_commit_leaves_nothing_behind() {
    let (bench, image) = bench();
    bench.ok(&["run", "-d", "--net", "none", "--name", "work", &image, "sh", "-c", "for i in $(seq 1 400); do mkdir /d$i; dd if=/dev/urandom of=/d$i/x bs=10k count=1 2>/dev/null; done; touch /ready; while :; do date +%s%N >/now; sleep 0.05; done"]);
    crate::common::wait_until("the files are there", || {
        bench.rbox(&["exec", "work", "test", "-e", "/ready"]).run().code == 0
    });
    // Temporary files of killed writers go after an hour.
    let digests = |path: &str| names_in(bench.root().join(path)).into_iter().filter(|name| name.len() == 64);
    let stored = || digests("blobs/sha256").chain(digests("layers")).collect::<Vec<_>>();
    let before = stored();
    for round in 0..kills() {
        let running = bench.rbox(&["commit", "work", "killed"]).spawn();
        let delay = crate::common::noise(round as u64 + std::process::id() as u64, 1)[0];
        std::thread::sleep(Duration::from_millis(u64::from(delay) * 2));
        running.signal(Signal::KILL);
        drop(running);
        // The container goes on, whoever ended.
        let now = || bench.ok(&["exec", "work", "cat", "/now"]);
        let stamp = now();
        crate::common::wait_until("the container goes on", || now() != stamp);
        bench.ok(&["system", "check"]);
    }
    bench.rbox(&["rmi", "-f", "killed"]).run();
    bench.ok(&["image", "prune", "-f"]);
    assert_eq!(stored(), before);
    assert_eq!(names_in(bench.root().join("staging")), Vec::<String>::new());
    let id = bench.ok(&["commit", "work", "killed"]);
    assert_eq!(bench.run_rm(&[], &id, &["sh", "-c", "ls -d /d* | wc -l"]).ok().out(), "401");
    bench.ok(&["rm", "-f", "work"]);
}

#[test]
fn what_cannot_be_is_said_in_one_line() {
    let (bench, image) = bench();
    ran(&bench, "c", &image, "echo x >/x");
    bench.rbox(&["commit", "nosuch"]).run().refused(1, "No such container: nosuch");
    bench.rbox(&["commit", "c", "UPPER:x"]).run().refused(1, "invalid reference format");
    bench.rbox(&["commit", "c", &format!("x@sha256:{}", "0".repeat(64))]).run().refused(1, "digest reference");
    bench.rbox(&["commit", "-c", "RUN ls", "c"]).run().refused(1, "run is not a valid change command");
    bench.rbox(&["commit", "-f", "v1", "c"]).run().refused(125, "must be one of oci, docker");
    bench.rbox(&["commit", "-i", "c"]).run().refused(1, "cannot include volumes");
    bench.rbox(&["export", "-o", "/nosuch/x.tar", "c"]).run().refused(1, "directory \"/nosuch\" does not exist");
    bench.rbox(&["export", "nosuch"]).run().refused(1, "No such container: nosuch");
    bench.rbox(&["diff", "nosuch"]).run().refused(1, "No such container: nosuch");
    bench.rbox(&["diff", "--format", "table", "c"]).run().refused(1, "only the format json");
    bench.rbox(&["history", "nosuch"]).run().refused(1, "No such image: nosuch:latest");
    let left: Vec<String> = names_in(bench.root().join("staging"));
    assert!(left.is_empty(), "{left:?}");
    // A file of .wh. in its name is told of, and an export into a pipe that closes is no failure.
    ran(&bench, "odd", &image, "touch /.wh.x /y");
    let output = bench.rbox(&["commit", "odd", "odd"]).run().ok();
    assert!(output.err().contains("left out /.wh.x"), "{}", output.report());
    assert_eq!(bench.shell("rbox export c | head -c 1000 | wc -c").ok(), "1000");
}
