//! The kernel and the walk are asked the same, and must answer the same.

use std::ffi::CString;
use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, RenameFlags, StatxFlags, renameat_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;
use crate::testing::{alone, assert_passed};

const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
const BELOW: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
const PLAIN: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// All that callers ask for.
const RESOLVES: [ResolveFlags; 8] = [
    ResolveFlags::IN_ROOT,
    INSIDE,
    INSIDE.union(ResolveFlags::NO_XDEV),
    ResolveFlags::BENEATH,
    BELOW,
    PLAIN,
    PLAIN.union(ResolveFlags::NO_XDEV),
    PLAIN.union(ResolveFlags::NO_MAGICLINKS),
];

const FLAGS: [OFlags; 9] = [
    OFlags::PATH,
    OFlags::PATH.union(OFlags::NOFOLLOW),
    OFlags::PATH.union(OFlags::DIRECTORY),
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW),
    OFlags::NONBLOCK,
    OFlags::NONBLOCK.union(OFlags::NOFOLLOW),
    OFlags::DIRECTORY,
    OFlags::DIRECTORY.union(OFlags::NOFOLLOW),
    OFlags::WRONLY.union(OFlags::NONBLOCK),
];

/// What tells files apart: mount, inode and mode.
type Known = (u64, u64, u16);

fn known(opened: Result<OwnedFd, Errno>) -> Result<Known, Errno> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let found = rustix::fs::statx(&opened?, c"", AtFlags::EMPTY_PATH, wanted)?;
    Ok((found.stx_mnt_id, found.stx_ino, found.stx_mode))
}

/// The answer of both, which must be one.
#[track_caller]
fn both(top: &File, path: &str, flags: OFlags, resolve: ResolveFlags) -> Result<Known, Errno> {
    let (top, name) = (top.as_fd(), CString::new(path).unwrap());
    let flags = flags | OFlags::CLOEXEC;
    let kernel = known(kernel(top, &name, flags, resolve));
    let walk = known(walk::open(top, &name, flags, resolve));
    assert_eq!(kernel, walk, "{path:?} with {flags:?} and {resolve:?}: openat2, and the walk");
    kernel
}

#[track_caller]
fn all(top: &File, path: &str) {
    for flags in FLAGS {
        for resolve in RESOLVES {
            let _ = both(top, path, flags, resolve);
        }
    }
}

fn tree() -> (tempfile::TempDir, File) {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().join("top");
    std::fs::create_dir_all(top.join("a/b/c")).unwrap();
    std::fs::create_dir(directory.path().join("beside")).unwrap();
    std::fs::write(top.join("file"), "").unwrap();
    std::fs::write(top.join("a/file"), "").unwrap();
    let fifo = top.join("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    std::fs::create_dir(top.join("closed")).unwrap();
    std::fs::set_permissions(top.join("closed"), Permissions::from_mode(0o600)).unwrap();
    for (target, link) in [
        ("a/b", "relative"),
        ("a/b/", "slash"),
        ("/a/b", "absolute"),
        ("/", "root"),
        (".", "here"),
        ("..", "up"),
        ("../..", "a/b/up"),
        ("../../../beside", "a/out"),
        ("../../file", "a/b/file"),
        ("loop", "loop"),
        ("pong", "ping"),
        ("ping", "pong"),
        ("nowhere", "dangling"),
        ("relative", "chain"),
        ("chain/../b/", "long"),
        ("file/", "file-slash"),
        ("closed/..", "through"),
    ] {
        symlink(target, top.join(link)).unwrap();
    }
    // As many links in a row as are followed, and one more.
    symlink("a", top.join("1")).unwrap();
    for number in 2..=41 {
        symlink((number - 1).to_string(), top.join(number.to_string())).unwrap();
    }
    let top = File::open(top).unwrap();
    (directory, top)
}

#[test]
fn the_kernel_and_the_walk_agree() {
    let (directory, top) = tree();
    let names = [
        "a",
        "a/b",
        "a/b/c",
        "file",
        "a/file",
        "fifo",
        "missing",
        "closed",
        "relative",
        "slash",
        "absolute",
        "root",
        "here",
        "up",
        "a/b/up",
        "a/out",
        "a/b/file",
        "loop",
        "ping",
        "dangling",
        "chain",
        "long",
        "file-slash",
        "through",
        "20",
        "",
    ];
    for name in names {
        for tail in ["", "/", "//", "/.", "/./", "/..", "/../", "/c", "/b", "/b/..", "/../..", "/../../..", "/missing"]
        {
            all(&top, &format!("{name}{tail}"));
            all(&top, &format!("/{name}{tail}"));
            all(&top, &format!("./{name}{tail}"));
            all(&top, &format!("a/../{name}{tail}"));
        }
    }
    let deep = "./".repeat(2047);
    let longer = format!("{deep}/");
    for path in [".", "..", "a//b///c", &"x".repeat(255), &"x".repeat(256), &deep, &longer, &format!("{longer}/")] {
        all(&top, path);
    }
    // No `..` after so many: an answer of EXDEV takes the kernel two walks, whose links it adds up.
    for path in ["40", "41", "40/", "41/", "40/b/c", "41/b/c", "40/missing"] {
        all(&top, path);
    }
    // Below what is no directory there is nothing.
    let file = File::open(directory.path().join("top/file")).unwrap();
    for path in ["", ".", "..", "/", "x"] {
        all(&file, path);
    }
}

#[test]
fn nothing_leads_out() {
    let (directory, top) = tree();
    let inode = |path: &str| {
        let path = directory.path().join(path);
        known(Ok(File::open(path).unwrap().into())).unwrap()
    };
    let (root, b) = (inode("top"), inode("top/a/b"));
    for (path, inside, below) in [
        ("a/b", Ok(b), Ok(b)),
        ("/a/b", Ok(b), Err(Errno::XDEV)),
        ("relative", Ok(b), Ok(b)),
        ("absolute", Ok(b), Err(Errno::XDEV)),
        ("root/a/b", Ok(b), Err(Errno::XDEV)),
        ("..", Ok(root), Err(Errno::XDEV)),
        ("a/../../..", Ok(root), Err(Errno::XDEV)),
        ("up", Ok(root), Err(Errno::XDEV)),
        ("a/out", Err(Errno::NOENT), Err(Errno::XDEV)),
        ("a/../a/b", Ok(b), Ok(b)),
        ("loop", Err(Errno::LOOP), Err(Errno::LOOP)),
        ("41", Err(Errno::LOOP), Err(Errno::LOOP)),
        ("40/b", Ok(b), Ok(b)),
        ("file/", Err(Errno::NOTDIR), Err(Errno::NOTDIR)),
    ] {
        assert_eq!(both(&top, path, OFlags::PATH, INSIDE), inside, "{path}");
        assert_eq!(both(&top, path, OFlags::PATH, BELOW), below, "{path}");
    }
    assert_eq!(both(&top, "relative", OFlags::PATH, PLAIN), Err(Errno::LOOP));
    assert_eq!(both(&top, "relative/c", OFlags::PATH | OFlags::NOFOLLOW, PLAIN), Err(Errno::LOOP));
}

#[test]
fn mounts_and_magic_links() {
    let top = File::open("/").unwrap();
    for path in ["proc", "proc/", "proc/version", "proc/..", "proc/../etc", "dev/null", "sys/kernel", "etc"] {
        for resolve in RESOLVES {
            let _ = both(&top, path, OFlags::PATH, resolve);
            let _ = both(&top, path, OFlags::RDONLY, resolve);
        }
    }
    let bounded = INSIDE | ResolveFlags::NO_XDEV;
    assert_eq!(both(&top, "proc", OFlags::PATH, bounded), Err(Errno::XDEV));
    assert_eq!(both(&top, "proc/../etc", OFlags::DIRECTORY, bounded), Err(Errno::XDEV));
    // The inodes of procfs are made when they are looked up: only what kind of file it is stays.
    let kind = |opened: Result<OwnedFd, Errno>| known(opened).map(|(_, _, mode)| mode);
    let proc = File::open("/proc").unwrap();
    for path in [
        "self",
        "self/status",
        "thread-self/status",
        "mounts",
        "net/dev",
        "self/exe",
        "self/cwd",
        "self/root/etc",
        "self/fd/0",
        "self/ns/mnt",
        "self/task/../exe",
        "sys/kernel/hostname",
    ] {
        let name = CString::new(path).unwrap();
        for resolve in RESOLVES {
            for flags in [OFlags::PATH, OFlags::PATH | OFlags::NOFOLLOW] {
                let kernel = kind(kernel(proc.as_fd(), &name, flags, resolve));
                assert_eq!(
                    kernel,
                    kind(walk::open(proc.as_fd(), &name, flags, resolve)),
                    "{path} {flags:?} {resolve:?}"
                );
            }
        }
    }
    let magic = |resolve| walk::open(proc.as_fd(), c"self/root/etc", OFlags::PATH, resolve).map(drop);
    assert_eq!(magic(INSIDE), Err(Errno::LOOP));
    assert_eq!(magic(ResolveFlags::IN_ROOT), Err(Errno::XDEV));
}

/// More levels than descriptors are left for.
#[test]
fn a_deep_path_takes_no_descriptor_a_level() {
    assert_passed(&alone(module_path!(), "with_few_descriptors").output().unwrap());
}

/// Limits bind the whole process.
#[test]
#[ignore = "run by a_deep_path_takes_no_descriptor_a_level"]
fn with_few_descriptors() {
    let directory = tempfile::tempdir().unwrap();
    let path = vec!["d"; 1500].join("/");
    std::fs::create_dir_all(directory.path().join(&path)).unwrap();
    let top = File::open(directory.path()).unwrap();
    let all = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(32), ..all }).unwrap();
    let [down, up] = [path.clone(), path + "/.."].map(|path| CString::new(path).unwrap());
    let down = walk::open(top.as_fd(), &down, OFlags::PATH, INSIDE).map(drop);
    let up = walk::open(top.as_fd(), &up, OFlags::PATH, INSIDE).map(drop);
    // To remove the tree takes many.
    setrlimit(Resource::Nofile, all).unwrap();
    assert_eq!(down, Ok(()));
    assert_eq!(up, Err(Errno::MFILE), "the limit was not felt");
}

/// What is moved out of the root in the middle of a walk takes nobody along, neither by `..` nor by a
/// link that is put in the place of a directory.
#[test]
fn races_lead_nowhere_else() {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    std::fs::create_dir_all(at("top/a/b")).unwrap();
    std::fs::create_dir_all(at("top/swap")).unwrap();
    std::fs::create_dir_all(at("outside/empty")).unwrap();
    std::fs::write(at("outside/secret"), "").unwrap();
    symlink(at("outside"), at("top/link")).unwrap();
    let top = File::open(at("top")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let exchange = |one: &Path, other: &Path| {
                    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
                };
                exchange(&at("top/swap"), &at("top/link"));
                exchange(&at("top/a/b"), &at("outside/empty"));
            }
        });
        let mut answers = std::collections::BTreeSet::new();
        for _ in 0..5000 {
            for (path, flags) in
                [(c"a/b/../secret", OFlags::PATH), (c"swap/secret", OFlags::RDONLY), (c"swap", OFlags::DIRECTORY)]
            {
                for resolve in [INSIDE, BELOW, PLAIN] {
                    match walk::open(top.as_fd(), path, flags, resolve) {
                        Ok(found) if path == c"swap" => {
                            let empty = rustix::fs::statat(&found, "secret", AtFlags::empty()).is_err();
                            assert!(empty, "the link was followed");
                        }
                        Ok(_) => panic!("{path:?} with {resolve:?} led out"),
                        Err(error) => drop(answers.insert(error.raw_os_error())),
                    }
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        let expected = [Errno::NOENT, Errno::LOOP, Errno::XDEV, Errno::NOTDIR].map(Errno::raw_os_error);
        assert!(answers.iter().all(|answer| expected.contains(answer)), "{answers:?}");
    });
}

#[derive(Clone, Debug)]
enum Kind {
    Directory,
    File,
    Link(String),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    let part = prop_oneof![4 => name(), 1 => Just(".".to_owned()), 2 => Just("..".to_owned())];
    let slash = || prop_oneof![3 => Just(""), 1 => Just("/")];
    let parts = prop::collection::vec(part, 1..6);
    (slash(), parts, slash()).prop_map(|(first, parts, last)| format!("{first}{}{last}", parts.join("/")))
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![3 => Just(Kind::Directory), 1 => Just(Kind::File), 3 => path().prop_map(Kind::Link)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn they_agree_about_any_tree(
        entries in prop::collection::vec((prop::collection::vec(name(), 1..4), kind()), 1..20),
        paths in prop::collection::vec(path(), 1..12),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let top = File::open(directory.path()).unwrap();
        for (mut parts, kind) in entries {
            let name = parts.pop().unwrap();
            let parent = CString::new(format!("./{}", parts.join("/"))).unwrap();
            // Below a link or a file nothing is made, and what is there stays.
            let Ok(parent) = kernel(top.as_fd(), &parent, OFlags::PATH, PLAIN) else { continue };
            let _ = match kind {
                Kind::Directory => rustix::fs::mkdirat(parent, name, Mode::RWXU),
                Kind::File => rustix::fs::mknodat(parent, name, FileType::RegularFile, Mode::RUSR | Mode::WUSR, 0),
                Kind::Link(target) => rustix::fs::symlinkat(target, parent, name),
            };
        }
        for path in paths {
            all(&top, &path);
        }
    }
}
