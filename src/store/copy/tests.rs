use std::cell::{Cell, RefCell};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags};

use super::*;

struct Trees {
    _top: tempfile::TempDir,
    from: PathBuf,
    to: PathBuf,
}

impl Trees {
    fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    fn of(top: tempfile::TempDir) -> Self {
        let (from, to) = (top.path().join("from"), top.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        Self { _top: top, from, to }
    }

    fn copy(&self, options: &CopyOptions<'_>) -> Result<Copied, CopyError> {
        let (from, to) = (open(&self.from), open(&self.to));
        copy_tree(from.as_fd(), to.as_fd(), options, &mut |_| ())
    }

    fn entry(&self, name: &CStr, new: &CStr, options: &CopyOptions<'_>) -> Result<Copied, CopyError> {
        let (from, to) = (open(&self.from), open(&self.to));
        copy_entry(from.as_fd(), name, to.as_fd(), new, options, &mut |_| ())
    }
}

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn open_directory(at: &OwnedFd, name: &str) -> OwnedFd {
    rustix::fs::openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

fn stamp(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn modified(path: &Path) -> (i64, i64) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.mtime(), metadata.mtime_nsec())
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn every_kind_of_file_is_copied_with_what_belongs_to_it() {
    let trees = Trees::new();
    let from = &trees.from;
    fs::create_dir_all(from.join("dir/inner")).unwrap();
    fs::write(from.join("dir/file"), "content").unwrap();
    fs::set_permissions(from.join("dir/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::write(from.join("empty"), "").unwrap();
    symlink("../nowhere", from.join("dir/link")).unwrap();
    rustix::fs::mknodat(CWD, from.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
    fs::set_permissions(from.join("dir"), fs::Permissions::from_mode(0o2511)).unwrap();
    for (index, name) in ["dir/file", "dir/link", "dir/inner", "dir", "fifo", "empty", ""].into_iter().enumerate() {
        stamp(&from.join(name), -5 + index as i64 * 1_000_000_000, 123_456_789 - index as i64);
    }
    let copied = trees.copy(&CopyOptions { top: true, ..CopyOptions::default() }).unwrap();
    assert_eq!((copied.entries, copied.bytes, copied.size, copied.sockets), (6, 7, 7, 1));
    for name in ["dir/file", "dir/link", "dir/inner", "dir", "fifo", "empty", ""] {
        let (old, new) = (from.join(name), trees.to.join(name));
        let (was, is) = (fs::symlink_metadata(&old).unwrap(), fs::symlink_metadata(&new).unwrap());
        assert_eq!((was.mode(), was.uid(), was.gid(), was.len()), (is.mode(), is.uid(), is.gid(), is.len()), "{name}");
        assert_eq!(modified(&old), modified(&new), "{name}");
    }
    assert_eq!(fs::read(trees.to.join("dir/file")).unwrap(), b"content");
    assert_eq!(fs::read_link(trees.to.join("dir/link")).unwrap(), Path::new("../nowhere"));
    assert!(!trees.to.join("socket").exists());
}

#[test]
fn one_entry_is_copied_under_another_name() {
    let trees = Trees::new();
    fs::create_dir(trees.from.join("dir")).unwrap();
    fs::write(trees.from.join("dir/a"), "a").unwrap();
    symlink("dir", trees.from.join("link")).unwrap();
    fs::write(trees.from.join("file"), "file").unwrap();
    stamp(&trees.from.join("dir"), 17, 4);
    let options = CopyOptions::default();
    assert_eq!(trees.entry(c"dir", c"new", &options).unwrap().entries, 2);
    trees.entry(c"link", c"link", &options).unwrap();
    trees.entry(c"file", c"other", &CopyOptions { whole: true, ..options }).unwrap();
    assert_eq!(fs::read(trees.to.join("new/a")).unwrap(), b"a");
    assert_eq!(modified(&trees.to.join("new")), (17, 4));
    assert_eq!(fs::read_link(trees.to.join("link")).unwrap(), Path::new("dir"));
    assert_eq!(fs::read(trees.to.join("other")).unwrap(), b"file");
    let error = trees.entry(c"absent", c"x", &options).unwrap_err().below(OsStr::new("/base/absent"));
    assert_eq!(error.to_string(), "open /base/absent: no such file or directory");
    assert_eq!(error.errno(), Some(Errno::NOENT));
}

#[test]
fn holes_stay_holes() {
    const MIB: u64 = 1 << 20;
    for directory in ["/dev/shm", "/var/tmp"] {
        let trees = Trees::of(tempfile::tempdir_in(directory).unwrap());
        let file = fs::File::create(trees.from.join("sparse")).unwrap();
        file.write_all_at(b"middle", 40 * MIB).unwrap();
        file.set_len(100 * MIB).unwrap();
        fs::File::create(trees.from.join("hole")).unwrap().set_len(3 * MIB + 1).unwrap();
        let copied = trees.copy(&CopyOptions::default()).unwrap();
        assert_eq!(copied.size, 103 * MIB + 1);
        let new = fs::File::open(trees.to.join("sparse")).unwrap();
        let metadata = new.metadata().unwrap();
        assert_eq!(metadata.len(), 100 * MIB);
        assert!(metadata.blocks() * 512 < MIB, "{} blocks", metadata.blocks());
        let mut bytes = [0u8; 8];
        new.read_exact_at(&mut bytes, 40 * MIB - 1).unwrap();
        assert_eq!(&bytes, b"\0middle\0");
        assert_eq!(fs::metadata(trees.to.join("hole")).unwrap().blocks(), 0);
    }
}

#[test]
fn hard_links_stay_links() {
    let trees = Trees::new();
    let from = &trees.from;
    fs::create_dir_all(from.join("a/b")).unwrap();
    fs::write(from.join("a/one"), "same").unwrap();
    fs::hard_link(from.join("a/one"), from.join("a/b/two")).unwrap();
    fs::hard_link(from.join("a/one"), from.join("three")).unwrap();
    fs::write(from.join("outer"), "outer").unwrap();
    fs::hard_link(from.join("outer"), trees.from.parent().unwrap().join("elsewhere")).unwrap();
    for whole in [false, true] {
        for name in ["a", "three", "outer"] {
            let _ = crate::store::remove::remove_tree(&trees.to.join(name));
        }
        let copied = trees.copy(&CopyOptions { whole, ..CopyOptions::default() }).unwrap();
        assert_eq!((copied.bytes, copied.size), (4 + 5, 3 * 4 + 5));
        let inode = |name: &str| fs::metadata(trees.to.join(name)).unwrap().ino();
        assert!(inode("a/one") == inode("a/b/two") && inode("a/one") == inode("three"));
        assert_eq!(fs::metadata(trees.to.join("three")).unwrap().nlink(), 3);
        assert_eq!(fs::metadata(trees.to.join("outer")).unwrap().nlink(), 1);
    }
    // Over what is there already.
    let copied = trees.copy(&CopyOptions { existing: Existing::ReplaceSameKind, whole: true, ..Default::default() });
    assert_eq!(copied.unwrap().entries, 6);
    assert_eq!(fs::metadata(trees.to.join("three")).unwrap().nlink(), 3);
}

#[test]
fn attributes_are_copied_but_not_those_of_overlays() {
    let trees = Trees::of(tempfile::tempdir_in("/var/tmp").unwrap());
    let file = trees.from.join("file");
    fs::write(&file, "x").unwrap();
    fs::create_dir(trees.from.join("dir")).unwrap();
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap();
    };
    set(&file, "user.text", b"value");
    set(&file, "user.empty", b"");
    set(&file, "user.overlay.origin", b"x");
    set(&trees.from.join("dir"), "user.of-directory", &[b'z'; 900]);
    for index in 0..40 {
        set(&trees.from.join("dir"), &format!("user.many-names-that-make-the-list-long-{index}"), b"1");
    }
    assert_eq!(trees.copy(&CopyOptions::default()).unwrap().attributes_lost, 0);
    let get = |path: &str, name: &str| {
        let mut value = [0u8; 1000];
        let length = rustix::fs::getxattr(trees.to.join(path), name, &mut value[..]);
        length.ok().map(|length| value[..length].to_vec())
    };
    assert_eq!(get("file", "user.text").unwrap(), b"value");
    assert_eq!(get("file", "user.empty").unwrap(), b"");
    assert_eq!(get("file", "user.overlay.origin"), None);
    assert_eq!(get("dir", "user.of-directory").unwrap(), [b'z'; 900]);
    assert_eq!(get("dir", "user.many-names-that-make-the-list-long-39").unwrap(), b"1");
    crate::store::remove::remove_tree(&trees.to.join("file")).unwrap();
    let keep = CopyOptions { overlay: OverlayMarks::Keep, existing: Existing::Replace, ..Default::default() };
    trees.copy(&keep).unwrap();
    assert_eq!(get("file", "user.overlay.origin").unwrap(), b"x");
}

#[test]
fn names_may_be_any_bytes() {
    let trees = Trees::new();
    let name = std::ffi::OsString::from_vec(b"\xff\xfe\n\x1b[31m \\".to_vec());
    fs::create_dir(trees.from.join(&name)).unwrap();
    fs::write(trees.from.join(&name).join(&name), "x").unwrap();
    trees.copy(&CopyOptions::default()).unwrap();
    assert_eq!(fs::read(trees.to.join(&name).join(&name)).unwrap(), b"x");
    let error = trees.copy(&CopyOptions { whole: true, ..Default::default() }).unwrap_err().to_string();
    assert!(
        error.starts_with("create ") && error.ends_with("file exists") && !error.contains(['\x1b', '\n']),
        "{error}"
    );
}

#[test]
fn a_tree_of_any_depth_costs_few_descriptors() {
    const DEPTH: usize = 3000;
    let trees = Trees::of(tempfile::tempdir_in("/dev/shm").unwrap());
    let mut at = open(&trees.from);
    rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
    rustix::fs::openat(&at, "first", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    for level in 0..DEPTH {
        let above = at;
        at = open_directory(&above, "d");
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        if level % 1000 == 999 {
            // One file of many names, at depths no path reaches.
            rustix::fs::mkdirat(&at, "e", Mode::RWXU).unwrap();
            let root = open_directory(&open(&trees.from), ".");
            rustix::fs::linkat(&root, "first", &at, "link", AtFlags::empty()).unwrap();
        }
    }
    drop(at);
    let most = Cell::new(0);
    let before = descriptors();
    let turns = Cell::new(0);
    let watch = |_| {
        turns.set(turns.get() + 1);
        if turns.get() % 500 == 0 {
            most.set(most.get().max(descriptors()));
        }
    };
    let copied = trees.copy(&CopyOptions { rights: Some(&watch), ..Default::default() }).unwrap();
    assert_eq!(copied.entries as usize, DEPTH + 1 + 3 + 1 + 3);
    // Other tests run beside this one.
    assert!(most.get() < before + 400, "{} descriptors", most.get());
    assert_eq!(fs::metadata(trees.to.join("first")).unwrap().nlink(), 4);
    for tree in [&trees.from, &trees.to] {
        crate::store::remove::remove_tree(tree).unwrap();
    }
}

#[test]
fn owners_are_translated_and_one_without_an_id_is_named() {
    let trees = Trees::new();
    fs::create_dir(trees.from.join("dir")).unwrap();
    fs::write(trees.from.join("dir/file"), "x").unwrap();
    symlink("x", trees.from.join("dir/link")).unwrap();
    let owner = fs::metadata(&trees.from).unwrap();
    let shift = if owner.uid() == 0 { 5000 } else { 0 };
    let seen = RefCell::new(Vec::new());
    let uid = |id| {
        seen.borrow_mut().push(id);
        Some(id + shift)
    };
    let gid = |id| Some(id);
    trees.copy(&CopyOptions { owners: Owners::Map { uid: &uid, gid: &gid }, ..Default::default() }).unwrap();
    assert_eq!(seen.borrow().len(), 3);
    for name in ["dir", "dir/file", "dir/link"] {
        let copy = fs::symlink_metadata(trees.to.join(name)).unwrap();
        assert_eq!((copy.uid(), copy.gid()), (owner.uid() + shift, owner.gid()), "{name}");
    }
    crate::store::remove::remove_tree(&trees.to.join("dir")).unwrap();
    let none = |_| None;
    let error = trees.copy(&CopyOptions { owners: Owners::Map { uid: &none, gid: &gid }, ..Default::default() });
    let said = error.unwrap_err().to_string();
    assert!(
        said.starts_with("dir/") && said.ends_with(&format!("its owner {} has no id there", owner.uid())),
        "{said}"
    );
}

#[test]
fn a_copy_of_ones_own_drops_rights_of_others() {
    let trees = Trees::new();
    fs::write(trees.from.join("tool"), "x").unwrap();
    fs::set_permissions(trees.from.join("tool"), fs::Permissions::from_mode(0o6755)).unwrap();
    trees.copy(&CopyOptions { owners: Owners::Copier, ..Default::default() }).unwrap();
    assert_eq!(fs::metadata(trees.to.join("tool")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn what_exists_is_replaced_only_as_told() {
    let replace = CopyOptions { existing: Existing::ReplaceSameKind, ..Default::default() };
    for whole in [false, true] {
        let trees = Trees::new();
        fs::create_dir(trees.from.join("dir")).unwrap();
        fs::write(trees.from.join("dir/file"), "new").unwrap();
        fs::create_dir(trees.to.join("dir")).unwrap();
        fs::write(trees.to.join("dir/file"), "a longer old one").unwrap();
        fs::write(trees.to.join("dir/stays"), "stays").unwrap();
        let refused = trees.copy(&CopyOptions { whole, ..Default::default() }).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EXIST));
        trees.copy(&CopyOptions { whole, ..replace }).unwrap();
        assert_eq!(fs::read(trees.to.join("dir/file")).unwrap(), b"new");
        assert_eq!(fs::read_dir(trees.to.join("dir")).unwrap().count(), 2);
        // A link is replaced, not followed.
        fs::write(trees.to.join("canary"), "canary").unwrap();
        fs::remove_file(trees.to.join("dir/file")).unwrap();
        symlink("../canary", trees.to.join("dir/file")).unwrap();
        trees.copy(&CopyOptions { whole, ..replace }).unwrap();
        assert!(fs::symlink_metadata(trees.to.join("dir/file")).unwrap().is_file());
        assert_eq!(fs::read(trees.to.join("canary")).unwrap(), b"canary");
        // Kinds that differ.
        fs::remove_file(trees.to.join("dir/file")).unwrap();
        fs::create_dir(trees.to.join("dir/file")).unwrap();
        let error = trees.copy(&CopyOptions { whole, ..replace }).unwrap_err().to_string();
        assert_eq!(error, "cannot overwrite directory dir/file with non-directory");
        trees.copy(&CopyOptions { whole, existing: Existing::Replace, ..Default::default() }).unwrap();
        assert!(fs::metadata(trees.to.join("dir/file")).unwrap().is_file());
        crate::store::remove::remove_tree(&trees.to.join("dir")).unwrap();
        symlink("elsewhere", trees.to.join("dir")).unwrap();
        let error = trees.copy(&CopyOptions { whole, ..replace }).unwrap_err().to_string();
        assert_eq!(error, "cannot overwrite non-directory dir with directory");
        trees.copy(&CopyOptions { whole, existing: Existing::Replace, ..Default::default() }).unwrap();
        assert!(fs::symlink_metadata(trees.to.join("dir")).unwrap().is_dir());
    }
}

#[test]
fn a_stopped_copy_ends_soon_and_leaves_no_part_of_a_file() {
    let trees = Trees::of(tempfile::tempdir_in("/dev/shm").unwrap());
    fs::write(trees.from.join("large"), vec![7u8; 40 << 20]).unwrap();
    let stop = AtomicBool::new(false);
    let (from, to) = (open(&trees.from), open(&trees.to));
    let mut told = 0;
    let options = CopyOptions { whole: true, stop: Some(&stop), ..Default::default() };
    let outcome = copy_tree(from.as_fd(), to.as_fd(), &options, &mut |bytes| {
        told += bytes;
        stop.store(true, Ordering::Relaxed);
    });
    assert!(matches!(outcome, Err(CopyError::Stopped)));
    assert!(told < 20 << 20, "{told}");
    assert_eq!(fs::read_dir(&trees.to).unwrap().count(), 0);
    stop.store(false, Ordering::Relaxed);
    let mut told = 0;
    copy_tree(from.as_fd(), to.as_fd(), &options, &mut |bytes| told += bytes).unwrap();
    assert_eq!(told, 40 << 20);
    assert!(fs::read(trees.to.join("large")).unwrap().iter().all(|&byte| byte == 7));
}

#[test]
fn rights_are_changed_with_the_side() {
    let trees = Trees::new();
    fs::write(trees.from.join("a"), "x").unwrap();
    fs::write(trees.from.join("b"), "x").unwrap();
    let turns = RefCell::new(Vec::new());
    let turn = |side| turns.borrow_mut().push(side);
    trees.copy(&CopyOptions { rights: Some(&turn), ..Default::default() }).unwrap();
    let turns = turns.into_inner();
    assert_eq!(turns[..2], [Side::Source, Side::Target]);
    assert!(turns.windows(2).all(|pair| pair[0] != pair[1]), "{turns:?}");
}

#[test]
fn a_hollow_copy_has_sizes_and_what_the_hook_gives() {
    let trees = Trees::of(tempfile::tempdir_in("/var/tmp").unwrap());
    fs::create_dir(trees.from.join("dir")).unwrap();
    fs::write(trees.from.join("dir/file"), "content").unwrap();
    let hook =
        |file: BorrowedFd<'_>, path: &[u8]| Ok(rustix::fs::fsetxattr(file, c"user.path", path, XattrFlags::empty())?);
    trees.copy(&CopyOptions { contents: Contents::Hollow(&hook), ..Default::default() }).unwrap();
    let copy = trees.to.join("dir/file");
    assert_eq!((fs::metadata(&copy).unwrap().len(), fs::metadata(&copy).unwrap().blocks()), (7, 0));
    let mut value = [0u8; 20];
    assert_eq!(rustix::fs::getxattr(&copy, c"user.path", &mut value[..]).unwrap(), 8);
    assert_eq!(modified(&copy), modified(&trees.from.join("dir/file")));
}

#[test]
fn a_layer_is_laid_over_a_tree() {
    let trees = Trees::of(tempfile::tempdir_in("/var/tmp").unwrap());
    for (tree, name) in [(&trees.to, "opaque/below"), (&trees.to, "merged/below"), (&trees.from, "opaque/above")] {
        fs::create_dir_all(tree.join(name).parent().unwrap()).unwrap();
        fs::write(tree.join(name), "x").unwrap();
    }
    fs::write(trees.to.join("gone"), "x").unwrap();
    fs::create_dir(trees.from.join("merged")).unwrap();
    rustix::fs::setxattr(trees.from.join("opaque"), "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    let device = rustix::fs::makedev(0, 0);
    rustix::fs::mknodat(CWD, trees.from.join("gone"), FileType::CharacterDevice, Mode::empty(), device).unwrap();
    let options = CopyOptions { overlay: OverlayMarks::Apply, existing: Existing::Replace, ..Default::default() };
    trees.copy(&options).unwrap();
    let there = |name: &str| trees.to.join(name).exists();
    assert!(!there("gone") && !there("opaque/below") && there("opaque/above") && there("merged/below"));
    // As layers are: with the marks.
    let fresh = trees.from.parent().unwrap().join("fresh");
    fs::create_dir(&fresh).unwrap();
    let keep = CopyOptions { overlay: OverlayMarks::Keep, ..Default::default() };
    copy_tree(open(&trees.from).as_fd(), open(&fresh).as_fd(), &keep, &mut |_| ()).unwrap();
    assert_eq!(fs::metadata(fresh.join("gone")).unwrap().rdev(), 0);
    let mut value = [0u8; 1];
    assert_eq!(rustix::fs::getxattr(fresh.join("opaque"), "user.overlay.opaque", &mut value[..]), Ok(1));
}

#[test]
fn a_racing_source_never_leads_the_copy_elsewhere() {
    let trees = Trees::of(tempfile::tempdir_in("/dev/shm").unwrap());
    let secret = trees.from.parent().unwrap().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("inside"), "SECRET").unwrap();
    fs::create_dir(trees.from.join("victim")).unwrap();
    fs::write(trees.from.join("victim/inside"), "public").unwrap();
    fs::write(trees.from.join("file"), "public").unwrap();
    let (lure, link) = (trees.from.join("lure"), trees.from.join("link"));
    symlink(&secret, &lure).unwrap();
    symlink(secret.join("inside"), &link).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let exchange = |a: &Path, b: &Path| {
                    let _ = rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
                };
                exchange(&trees.from.join("victim"), &lure);
                exchange(&trees.from.join("file"), &link);
            }
        });
        let until = SystemTime::now() + Duration::from_secs(1);
        while SystemTime::now() < until {
            // It may fail, as files vanish; it must not follow.
            let _ = trees.copy(&CopyOptions { existing: Existing::Replace, whole: true, ..Default::default() });
            for entry in fs::read_dir(&trees.to).unwrap() {
                let path = entry.unwrap().path();
                let kind = fs::symlink_metadata(&path).unwrap();
                let file = if kind.is_dir() { path.join("inside") } else { path };
                if fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_file()) {
                    assert_eq!(fs::read(&file).unwrap(), b"public");
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
}

#[test]
fn a_racing_target_never_leads_the_copy_elsewhere() {
    let trees = Trees::of(tempfile::tempdir_in("/dev/shm").unwrap());
    let canary = trees.from.parent().unwrap().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::create_dir_all(trees.from.join("dir/inner")).unwrap();
    fs::write(trees.from.join("dir/inner/file"), "x").unwrap();
    fs::hard_link(trees.from.join("dir/inner/file"), trees.from.join("dir/link")).unwrap();
    let lure = trees.to.join("lure");
    symlink(&canary, &lure).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for name in ["dir", "dir/inner", "dir/inner/file", "dir/link"] {
                    let flags = RenameFlags::EXCHANGE;
                    let _ = rustix::fs::renameat_with(CWD, trees.to.join(name), CWD, &lure, flags);
                }
            }
        });
        let until = SystemTime::now() + Duration::from_secs(1);
        while SystemTime::now() < until {
            let _ = trees.copy(&CopyOptions { existing: Existing::Replace, whole: true, ..Default::default() });
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
}
