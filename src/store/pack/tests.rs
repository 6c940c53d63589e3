//! Trees made by hand, packed, and unpacked again by this program's own reader.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use tempfile::TempDir;

use super::*;
use crate::store::unpack::{Compression, UnpackJob, UnpackLimits, unpack_layer};

/// A directory for `upper` and the layers below it.
struct Stack {
    top: TempDir,
}

impl Stack {
    fn new() -> Self {
        let stack = Self { top: tempfile::tempdir().unwrap() };
        for name in ["upper", "lower", "base"] {
            fs::create_dir(stack.path(name)).unwrap();
        }
        stack
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    fn file(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn directory(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    fn opaque(&self, name: &str) {
        self.directory(name);
        rustix::fs::setxattr(self.path(name), c"user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    }

    /// False where this user may make no whiteouts.
    fn whiteout(&self, name: &str) -> bool {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).is_ok()
    }

    fn tree(&self, form: Form) -> Tree {
        Tree { upper: Some(self.path("upper")), lowers: vec![self.path("base"), self.path("lower")], form, ids: None }
    }

    fn changes(&self, form: Form) -> Vec<String> {
        shown(&changes(&self.tree(form)).unwrap())
    }

    fn layer(&self, options: PackOptions) -> (Vec<u8>, Packed) {
        let mut archive = Vec::new();
        let packed = layer(&self.tree(Form::Overlay), options, &mut archive).unwrap();
        assert_eq!(packed.bytes, archive.len() as u64);
        (archive, packed)
    }
}

fn shown(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|change| format!("{} {}", change.kind, change.path.escape_ascii())).collect()
}

/// Names of an archive's entries, with what a link leads to.
fn names(archive: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let entry = entry.unwrap();
        let link = entry.link_name_bytes().map(|link| format!(" -> {}", link.escape_ascii())).unwrap_or_default();
        names.push(format!("{}{link}", entry.path_bytes().escape_ascii()));
    }
    names
}

fn unpacked(archive: Vec<u8>) -> (TempDir, PathBuf) {
    let target = tempfile::tempdir().unwrap();
    let job = UnpackJob {
        compression: Compression::None,
        target: target.path().to_owned(),
        limits: UnpackLimits::default(),
        single_id: true,
    };
    unpack_layer(std::io::Cursor::new(archive), &job).unwrap();
    let diff = target.path().join("diff");
    (target, diff)
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn an_unchanged_container_packs_to_nothing() {
    let stack = Stack::new();
    let (archive, packed) = stack.layer(PackOptions::default());
    assert_eq!((archive.len(), packed.entries), (1024, 0));
    let never_started = Tree { upper: None, ..stack.tree(Form::Overlay) };
    let mut archive = Vec::new();
    layer(&never_started, PackOptions::default(), &mut archive).unwrap();
    assert_eq!(archive, [0; 1024]);
    assert!(changes(&never_started).unwrap().is_empty());
}

#[test]
fn what_was_made_for_mounts_is_no_change() {
    let stack = Stack::new();
    stack.directory("lower/etc");
    for file in ["etc/hosts", "etc/hostname", "etc/resolv.conf"] {
        stack.file(&format!("upper/{file}"), "");
    }
    for directory in ["proc", "sys", "dev", "data"] {
        stack.directory(&format!("upper/{directory}"));
    }
    assert_eq!(stack.changes(Form::Overlay), ["A /data"]);
    assert_eq!(names(&stack.layer(PackOptions::default()).0), ["data/"]);
    // What the container put there is.
    stack.file("upper/etc/hosts", "127.0.0.1 localhost");
    stack.file("upper/dev/x", "");
    assert_eq!(stack.changes(Form::Overlay), ["A /data", "A /dev", "A /dev/x", "C /etc", "A /etc/hosts"]);
}

#[test]
fn added_changed_and_deleted() {
    let stack = Stack::new();
    stack.file("base/etc/passwd", "old");
    stack.file("base/etc/deep/inside", "old");
    stack.file("lower/usr/lib/a", "old");
    stack.file("lower/usr/lib/b", "old");
    stack.file("upper/etc/passwd", "new");
    stack.file("upper/new/file", "new");
    stack.directory("upper/etc/deep");
    let whiteouts = stack.whiteout("upper/usr/lib/a") && stack.whiteout("upper/usr/lib/never");
    let changes = stack.changes(Form::Overlay);
    let (archive, _) = stack.layer(PackOptions::default());
    if !whiteouts {
        assert_eq!(changes, ["C /etc", "C /etc/passwd", "A /new", "A /new/file"]);
        return;
    }
    assert_eq!(changes, ["C /etc", "C /etc/passwd", "A /new", "A /new/file", "C /usr", "C /usr/lib", "D /usr/lib/a"]);
    let expected = ["etc/", "etc/deep/", "etc/passwd", "new/", "new/file", "usr/", "usr/lib/", "usr/lib/.wh.a"];
    assert_eq!(names(&archive), expected);
}

#[test]
fn opaque_directories_hide_what_is_below() {
    let stack = Stack::new();
    stack.file("base/d/one", "1");
    stack.file("lower/d/two", "2");
    stack.file("lower/d/sub/three", "3");
    stack.opaque("upper/d");
    stack.file("upper/d/two", "new");
    stack.file("upper/d/four", "4");
    // New directories are marked too, though nothing is below them.
    stack.opaque("upper/n");
    let expected = ["C /d", "A /d/four", "D /d/one", "D /d/sub", "C /d/two", "A /n"];
    assert_eq!(stack.changes(Form::Overlay), expected);
    let (archive, _) = stack.layer(PackOptions::default());
    assert_eq!(names(&archive), ["d/", "d/.wh..wh..opq", "d/four", "d/two", "n/"]);
    let (_target, diff) = unpacked(archive);
    let mut value = [0; 1];
    assert_eq!(rustix::fs::getxattr(diff.join("d"), c"user.overlay.opaque", &mut value[..]), Ok(1));
    assert!(rustix::fs::getxattr(diff.join("n"), c"user.overlay.opaque", &mut value[..]).is_err());
}

#[test]
fn files_and_directories_take_each_others_place() {
    let stack = Stack::new();
    stack.file("lower/was/a/directory", "x");
    stack.file("lower/file", "x");
    stack.file("upper/was", "a file now");
    stack.file("upper/file/now", "x");
    assert_eq!(stack.changes(Form::Overlay), ["C /file", "A /file/now", "C /was"]);
    assert_eq!(names(&stack.layer(PackOptions::default()).0), ["file/", "file/now", "was"]);
}

#[test]
fn fuse_overlays_say_by_names_what_they_hide() {
    let stack = Stack::new();
    stack.file("lower/gone", "x");
    stack.file("lower/d/one", "x");
    stack.file("upper/.wh.gone", "");
    stack.file("upper/d/.wh..wh..opq", "");
    stack.file("upper/d/two", "");
    assert_eq!(stack.changes(Form::FuseOverlay), ["C /d", "D /d/one", "A /d/two", "D /gone"]);
    let mut archive = Vec::new();
    whole(&stack.tree(Form::FuseOverlay), PackOptions::default(), &mut archive).unwrap();
    assert_eq!(names(&archive).last_chunk(), Some(&["d/".to_owned(), "d/two".to_owned()]));
}

#[test]
fn a_copy_lacks_what_was_deleted() {
    let stack = Stack::new();
    for name in ["lower/kept", "lower/gone", "lower/d/kept", "lower/d/changed", "upper/kept", "upper/d/kept"] {
        stack.file(name, "x");
        set_time(&stack.path(name), 5, 7);
    }
    stack.file("upper/d/changed", "y");
    assert_eq!(stack.changes(Form::Copy), ["C /d", "C /d/changed", "D /gone"]);
    let mut archive = Vec::new();
    layer(&stack.tree(Form::Copy), PackOptions::default(), &mut archive).unwrap();
    assert_eq!(names(&archive), ["d/", "d/changed", ".wh.gone"]);
}

#[test]
fn every_kind_of_file_comes_back_as_it_was() {
    let stack = Stack::new();
    let long = format!("upper/{}/{}", "d".repeat(120), "n".repeat(150));
    stack.file(&long, "long");
    stack.file("upper/one", "linked");
    fs::hard_link(stack.path("upper/one"), stack.path("upper/two")).unwrap();
    symlink("/somewhere/../else", stack.path("upper/link")).unwrap();
    symlink("t".repeat(300), stack.path("upper/long-link")).unwrap();
    rustix::fs::mknodat(CWD, stack.path("upper/fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(stack.path("upper/socket")).unwrap();
    let odd = stack.path("upper").join(std::ffi::OsStr::from_bytes(b"\xff\xfe\n name"));
    fs::write(&odd, "odd").unwrap();
    let long_odd = stack.path("upper").join(std::ffi::OsStr::from_bytes(&[0xe9; 200]));
    fs::write(&long_odd, "odd").unwrap();
    rustix::fs::setxattr(stack.path("upper/one"), c"user.note", b"a\0b=\n", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(stack.path("upper/one"), c"user.overlay.origin", b"x", XattrFlags::empty()).unwrap();
    let sparse = fs::File::create(stack.path("upper/sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 1 << 20).unwrap();
    fs::set_permissions(stack.path("upper/one"), fs::Permissions::from_mode(0o4711)).unwrap();
    for (name, seconds) in [("one", 1_600_000_000), ("link", -5), ("fifo", 0)] {
        set_time(&stack.path("upper").join(name), seconds, 123_456_789);
    }
    let (archive, packed) = stack.layer(PackOptions::default());
    assert_eq!(packed.sockets, 1);
    let (_target, diff) = unpacked(archive);
    for path in [stack.path(&long), stack.path("upper/one"), odd, long_odd, stack.path("upper/sparse")] {
        let twin = diff.join(path.strip_prefix(stack.path("upper")).unwrap());
        assert_eq!(fs::read(&path).unwrap(), fs::read(&twin).unwrap());
        let (a, b) = (fs::metadata(&path).unwrap(), fs::metadata(&twin).unwrap());
        assert_eq!((a.mode(), a.mtime(), a.mtime_nsec()), (b.mode(), b.mtime(), b.mtime_nsec()));
    }
    let meta = |name: &str| fs::symlink_metadata(diff.join(name)).unwrap();
    assert_eq!(meta("one").ino(), meta("two").ino());
    assert_eq!((meta("link").mtime(), meta("link").mtime_nsec()), (-5, 123_456_789));
    assert_eq!(fs::read_link(diff.join("long-link")).unwrap().as_os_str().len(), 300);
    assert_eq!(meta("fifo").mode(), 0o010640);
    assert!(!diff.join("socket").exists());
    let mut value = [0; 16];
    assert_eq!(rustix::fs::getxattr(diff.join("one"), c"user.note", &mut value[..]), Ok(5));
    assert!(rustix::fs::getxattr(diff.join("one"), c"user.overlay.origin", &mut value[..]).is_err());
}

#[test]
fn a_timestamp_makes_archives_equal() {
    let options = PackOptions { timestamp: Some(1_000_000_000), ..PackOptions::default() };
    let [first, second] = [1, 2].map(|seconds| {
        let stack = Stack::new();
        stack.directory("lower/d");
        for name in ["upper/d/a", "upper/d/b"] {
            stack.file(name, "x");
            set_time(&stack.path(name), seconds, 1);
        }
        stack.layer(options).0
    });
    assert_eq!(first, second);
}

#[test]
fn names_that_mean_deletions_are_left_out_and_told_of() {
    let stack = Stack::new();
    stack.file("upper/.wh.x", "");
    stack.file("upper/d/.wh..wh..opq", "");
    let (archive, packed) = stack.layer(PackOptions::default());
    assert_eq!(names(&archive), ["d/"]);
    assert_eq!(packed.reserved, [".wh.x", "d/.wh..wh..opq"]);
}

#[test]
fn merged_trees_show_the_topmost() {
    let stack = Stack::new();
    stack.file("base/a", "base");
    stack.file("base/d/x", "base");
    stack.file("lower/a", "lower");
    stack.opaque("lower/d");
    stack.file("lower/d/y", "lower");
    stack.file("upper/d/z", "upper");
    let mut archive = Vec::new();
    whole(&stack.tree(Form::Overlay), PackOptions::default(), &mut archive).unwrap();
    let (_target, diff) = unpacked(archive);
    assert_eq!(fs::read(diff.join("a")).unwrap(), b"lower");
    let mut names: Vec<_> = fs::read_dir(diff.join("d")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["y", "z"]);
    let of = |layers: &[&str]| Tree {
        upper: None,
        lowers: layers.iter().map(|name| stack.path(name)).collect(),
        form: Form::Overlay,
        ids: None,
    };
    let differing = differences(&of(&["base"]), &of(&["base", "lower"])).unwrap();
    assert_eq!(shown(&differing), ["C /a", "C /d", "D /d/x", "A /d/y"]);
}

#[test]
fn a_tree_that_changes_during_the_walk_is_packed_whole_and_stays_inside() {
    let stack = Stack::new();
    stack.file("outside/secret", "canary");
    stack.file("upper/d/file", &"x".repeat(100_000));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (stop, stack) = (&stop, &stack);
        scope.spawn(move || {
            let (victim, lure) = (stack.path("upper/d"), stack.path("upper/lure"));
            symlink(stack.path("outside"), &lure).unwrap();
            let file = stack.path("upper/shrinks");
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = rustix::fs::renameat_with(CWD, &victim, CWD, &lure, rustix::fs::RenameFlags::EXCHANGE);
                let _ = fs::write(&file, "x".repeat(50_000));
                let _ = fs::write(&file, "");
                let _ = fs::remove_file(&file);
            }
        });
        for _ in 0..300 {
            let (archive, _) = stack.layer(PackOptions::default());
            let seen = names(&archive);
            assert!(!seen.iter().any(|name| name.contains("secret")), "{seen:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn deep_trees_are_packed() {
    let stack = Stack::new();
    let mut at = rustix::fs::open(stack.path("upper"), rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..400 {
        rustix::fs::mkdirat(&at, "deeper", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "deeper", rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    }
    assert_eq!(stack.layer(PackOptions::default()).1.entries, 400);
}
