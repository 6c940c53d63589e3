//! `rootfs:PATH`: a directory of the host below an overlay.
//!
//! One overlay cannot cover a tree that has mounts in it or that holds the store (overlayfs refuses
//! both in a user namespace). Such a tree is split: a directory on the way to a mount, or to
//! something hidden, becomes an ordinary directory of the container whose other children are
//! overlays of their own. Kernel interfaces, homes and the store never appear.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode};

use super::mounted::mount_points;
use super::mounts::{self, Detached, Options};
use super::rootfs::{self, Layout};
use super::setup::{Doing, SetupError};
use super::tree::Root;
use crate::explain;
use crate::store::fs::Durability;
use crate::sys::mount::attr;

/// Directories of the host that are never shown, only stood in for by empty ones.
const HIDDEN: [&str; 10] =
    ["/proc", "/sys", "/dev", "/run", "/var/run", "/home", "/root", "/tmp", "/var/tmp", "/lost+found"];
/// Directories of the host's whose tree is made writable inside by mirroring it in the upper layer:
/// files keep their unmapped owner, but can be replaced, added and removed.
const MIRRORED: [&str; 2] = ["etc", "var"];
const MIRROR_LIMIT: usize = 512;

/// One directory of the resulting tree.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// An ordinary directory, to be filled by further parts.
    Plain(PathBuf),
    /// An empty directory in place of something hidden.
    Empty(PathBuf),
    Link(PathBuf, PathBuf),
    /// A regular file beside something that had to be split around, shown read-only.
    File(PathBuf),
    Overlay(PathBuf),
}

/// Mounts the view of `host` at `merged`; `directory` keeps its writable layers. What is mounted
/// below `merged` is returned: read-only must reach it too.
pub fn mount(host: &Path, directory: &Path, merged: &Path, durability: Durability) -> Result<Vec<OwnedFd>, SetupError> {
    let host = std::fs::canonicalize(host)
        .map_err(|error| explain::path::annotate(error, host))
        .doing(format_args!("use the root file system {}", host.display()))?;
    if !host.is_dir() {
        return Err(SetupError::new(format!("{} is not a directory", host.display())));
    }
    let obstacles = obstacles(&host, directory).doing("read the list of mounts")?;
    let parts = split(&host, &obstacles).doing(format_args!("read {}", host.display()))?;
    let driver = directory.join("driver");
    let (upper, work) = (directory.join("upper"), directory.join("work"));
    if let [Part::Overlay(_)] = parts[..] {
        let lowers = std::slice::from_ref(&host);
        let layout = Layout { lowers, data: None, upper: &upper, work: &work, merged, durability };
        rootfs::mount(&layout, &driver).doing(format_args!("mount {} below an overlay", host.display()))?;
        return Ok(Vec::new());
    }

    let base = upper.join("base");
    make_directory(&base, 0o755).doing("make the root directory")?;
    let options = Options { bind: true, attributes: attr::NODEV, ..Options::default() };
    let base_mount = mounts::clone_tree(&base, &options).doing("mount the root directory")?;
    let target = Root::open(merged).doing("open the mount point of the root")?;
    super::tree::attach(std::os::fd::AsFd::as_fd(&base_mount), std::os::fd::AsFd::as_fd(&target))
        .doing("mount the root directory")?;
    let root = Root::open(merged).doing("open the root directory")?;
    let mut mounted = Vec::new();
    for part in &parts {
        mounted.extend(mount_part(part, &host, &root, (directory, durability)).doing("lay out the root file system")?);
    }
    Ok(mounted)
}

/// What one overlay must not cover: other mounts, hidden directories, the container's own files.
fn obstacles(host: &Path, directory: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found: BTreeSet<PathBuf> = HIDDEN.iter().map(PathBuf::from).collect();
    if let Some(store) = directory.parent().and_then(Path::parent) {
        found.insert(store.to_owned());
    }
    found.extend(std::env::var_os("HOME").map(PathBuf::from));
    found.extend(mount_points(Path::new("/proc/self"))?);
    Ok(found.into_iter().filter(|path| path.starts_with(host) && path != host).collect())
}

fn split(host: &Path, obstacles: &BTreeSet<PathBuf>) -> io::Result<Vec<Part>> {
    if obstacles.is_empty() {
        return Ok(vec![Part::Overlay(PathBuf::from("/"))]);
    }
    let mut parts = Vec::new();
    split_directory(host, Path::new("/"), obstacles, &mut parts)?;
    Ok(parts)
}

fn split_directory(host: &Path, inside: &Path, obstacles: &BTreeSet<PathBuf>, parts: &mut Vec<Part>) -> io::Result<()> {
    let outside = host.join(inside.strip_prefix("/").unwrap_or(inside));
    let Ok(entries) = std::fs::read_dir(&outside) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let (path, target) = (entry.path(), inside.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            parts.push(Part::Link(target, std::fs::read_link(&path)?));
        } else if !kind.is_dir() {
            if kind.is_file() && rustix::fs::access(&path, rustix::fs::Access::READ_OK).is_ok() {
                parts.push(Part::File(target));
            }
        } else if obstacles.contains(&path) {
            parts.push(Part::Empty(target));
        } else if obstacles.iter().any(|obstacle| obstacle.starts_with(&path)) {
            parts.push(Part::Plain(target.clone()));
            split_directory(host, &target, obstacles, parts)?;
        } else if rustix::fs::access(&path, rustix::fs::Access::READ_OK | rustix::fs::Access::EXEC_OK).is_ok() {
            parts.push(Part::Overlay(target));
        } else {
            parts.push(Part::Empty(target));
        }
    }
    Ok(())
}

fn mount_part(part: &Part, host: &Path, root: &Root, layer: (&Path, Durability)) -> io::Result<Option<OwnedFd>> {
    match part {
        Part::Plain(path) => root.ensure_directory(path).map(|_| None),
        Part::Empty(path) => {
            let made = root.ensure_directory(path)?;
            if matches!(path.to_str(), Some("/tmp" | "/var/tmp")) {
                let made = root.open_at(path, rustix::fs::OFlags::RDONLY).unwrap_or(made);
                rustix::fs::fchmod(&made, Mode::from_raw_mode(0o1777))?;
            }
            Ok(None)
        }
        Part::Link(path, target) => {
            let parent = root.ensure_directory(path.parent().unwrap_or(Path::new("/")))?;
            let name = path.file_name().unwrap_or_default();
            match rustix::fs::symlinkat(target, &parent, name) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
        Part::File(path) => mount_file(path, host, root).map(|()| None),
        Part::Overlay(path) => mount_overlay(path, host, root, layer).map(Some),
    }
}

/// Without an overlay a write would reach the host's own file, so there is none.
fn mount_file(path: &Path, host: &Path, root: &Root) -> io::Result<()> {
    let source = host.join(path.strip_prefix("/").unwrap_or(path));
    let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV;
    let tree = mounts::clone_tree(&source, &Options { bind: true, attributes, ..Options::default() })?;
    let mount = Detached { target: path.to_owned(), mount: tree, directory: false };
    mount.attach(root).map_err(io::Error::other)
}

fn mount_overlay(
    path: &Path,
    host: &Path,
    root: &Root,
    (directory, durability): (&Path, Durability),
) -> io::Result<OwnedFd> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let lower = host.join(relative);
    let name = layer_name(relative);
    let (upper, work) = (directory.join("upper").join(&name), directory.join("work").join(&name));
    let metadata = std::fs::metadata(&lower)?;
    if !upper.exists() {
        make_directory(&upper, metadata.mode() & 0o7777)?;
        if MIRRORED.iter().any(|mirrored| relative.starts_with(mirrored)) {
            mirror(&lower, &upper)?;
        }
    }
    make_directory(&work, 0o700)?;
    let mut staging = name.clone();
    staging.push("%mount");
    let staging = directory.join("work").join(staging);
    make_directory(&staging, 0o700)?;
    let layout = Layout { lowers: &[lower], data: None, upper: &upper, work: &work, merged: &staging, durability };
    rootfs::mount(&layout, &directory.join("driver"))?;
    let tree = mounts::clone_tree(&staging, &Options { bind: true, ..Options::default() })?;
    let mount = Detached { target: path.to_owned(), mount: tree, directory: true };
    mount.attach(root).map_err(io::Error::other)?;
    Ok(mount.mount)
}

/// The name of a part's directories: no two paths share one, and none has that of the root's own
/// (`base`) or of a mount point, as a bare `%` occurs in no escaped path.
fn layer_name(relative: &Path) -> OsString {
    let escape = |byte: &u8| match byte {
        b'%' => b"%25".to_vec(),
        b'/' => b"%2f".to_vec(),
        byte => vec![*byte],
    };
    let bytes = relative.as_os_str().as_bytes().iter().flat_map(escape);
    OsString::from_vec(b"%part-".iter().copied().chain(bytes).collect())
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Ok(()) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the directories of `lower` in `upper`, breadth first, up to a limit. What cannot be read
/// is left out and so stays as it is.
fn mirror(lower: &Path, upper: &Path) -> io::Result<()> {
    let mut queue = std::collections::VecDeque::from([(lower.to_owned(), upper.to_owned())]);
    let mut made = 0;
    while let Some((lower, upper)) = queue.pop_front() {
        let Ok(entries) = std::fs::read_dir(&lower) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let readable = rustix::fs::access(entry.path(), rustix::fs::Access::READ_OK | rustix::fs::Access::EXEC_OK);
            if FileType::from_raw_mode(metadata.mode()) != FileType::Directory || readable.is_err() {
                continue;
            }
            if made == MIRROR_LIMIT {
                return Ok(());
            }
            let target = upper.join(entry.file_name());
            make_directory(&target, metadata.mode() & 0o7777)?;
            made += 1;
            queue.push_back((entry.path(), target));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_directories_of_their_own() {
        let paths = ["base", "usr", "usr%mount", "usr/mount", "usr%2fmount", "%part-usr"].map(Path::new);
        let names: BTreeSet<OsString> = paths.into_iter().map(layer_name).collect();
        assert_eq!(names.len(), paths.len());
        assert!(!names.contains(std::ffi::OsStr::new("base")));
        assert_eq!(layer_name(Path::new("usr/lo%cal")), "%part-usr%2flo%25cal");
    }

    #[test]
    fn a_tree_is_split_around_what_must_not_show() {
        let directory = tempfile::tempdir().unwrap();
        let host = directory.path().to_owned();
        for path in ["usr/bin", "var/lib/store", "var/log", "home/me"] {
            std::fs::create_dir_all(host.join(path)).unwrap();
        }
        std::os::unix::fs::symlink("usr/bin", host.join("bin")).unwrap();
        std::fs::write(host.join("var/note"), "").unwrap();
        let obstacles = [host.join("var/lib/store"), host.join("home")].into();
        let mut parts = split(&host, &obstacles).unwrap();
        parts.sort_by_key(|part| format!("{part:?}"));
        assert_eq!(
            parts,
            [
                Part::Empty("/home".into()),
                Part::Empty("/var/lib/store".into()),
                Part::File("/var/note".into()),
                Part::Link("/bin".into(), "usr/bin".into()),
                Part::Overlay("/usr".into()),
                Part::Overlay("/var/log".into()),
                Part::Plain("/var".into()),
                Part::Plain("/var/lib".into()),
            ]
        );
        assert_eq!(split(&host, &BTreeSet::new()).unwrap(), [Part::Overlay("/".into())]);
    }
}
