//! Root file systems mounted outside of containers, for a person to look into: each on a directory
//! of its own in the runtime directory. What is mounted is what the kernel says of a mount namespace;
//! nothing else keeps count.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use nix::libc;
use rustix::fs::CWD;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::mount::{mount_change, move_mount, open_tree, unmount as unmount_at};
use rustix::process::{DumpableBehavior, Pid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::plan::RootPlan;
use super::{builder, rootfs, userns};
use crate::store::Store;
use crate::store::containers::ProcessIdentity;
use crate::store::fs::Durability;
use crate::sys::process;

/// What is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Image,
    Container,
}

/// A root file system in sight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Of the image or the container, in hexadecimal.
    pub id: String,
    pub path: PathBuf,
}

/// Whether this process may mount at all: it is root, or in U.
pub fn is_possible() -> bool {
    rustix::process::geteuid().is_root()
}

/// Takes this process into U and a mount namespace of its own for good. Mounts of the host go on
/// appearing in it; none made in it appears on the host. Returns what the person should hear once.
pub fn enter_for_good(store: &Store) -> Result<Option<String>> {
    let warning = userns::enter_for_good(store)?;
    process::unshare(libc::CLONE_NEWNS).context("create a mount namespace")?;
    let downwards = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", downwards).context("keep mounts to the new namespace")?;
    Ok(warning)
}

/// What is mounted in this process's mount namespace, sorted by id.
pub fn list(store: &Store, kind: Kind) -> Result<Vec<Mounted>> {
    list_of(store, kind, Path::new("/proc/self"))
}

/// Where one is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Here(PathBuf),
    /// In the mount namespace of this process, which is in U.
    Elsewhere(Pid),
}

/// Where one is mounted, if anywhere that can be known. Costs little where nothing was mounted.
pub fn place(store: &Store, kind: Kind, id: &str) -> Result<Option<Place>> {
    let path = directory(store, kind)?.join(id);
    if !path.exists() {
        return Ok(None);
    }
    if let Some(path) = find(store, kind, id)? {
        return Ok(Some(Place::Here(path)));
    }
    let elsewhere = find_elsewhere(store, kind, id)?;
    if elsewhere.is_none() {
        // Whoever had it mounted has ended. Busy if somebody mounts it this moment.
        let _ = std::fs::remove_dir(path);
    }
    Ok(elsewhere.map(Place::Elsewhere))
}

/// Takes away what is mounted of something that is no more.
pub fn discard(store: &Store, kind: Kind, id: &str) -> Result<()> {
    let path = directory(store, kind)?.join(id);
    if is_possible()
        && let Some(path) = find(store, kind, id)?
    {
        unmount(&Mounted { id: id.to_owned(), path }, true)?;
    }
    // In another mount namespace the kernel takes away what is mounted on a directory that goes.
    let _ = std::fs::remove_dir(path);
    Ok(())
}

/// The ids of what may be mounted anywhere.
pub fn known(store: &Store, kind: Kind) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(directory(store, kind)?).into_iter().flatten().flatten();
    Ok(entries.filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Where one is mounted in this process's mount namespace.
fn find(store: &Store, kind: Kind, id: &str) -> Result<Option<PathBuf>> {
    Ok(list(store, kind)?.into_iter().find(|mounted| mounted.id == id).map(|mounted| mounted.path))
}

/// A process in U in whose mount namespace one is mounted, if that is another one than ours.
fn find_elsewhere(store: &Store, kind: Kind, id: &str) -> Result<Option<Pid>> {
    let namespace = |of: &Path| std::fs::metadata(of.join("ns/mnt")).ok().map(|found| found.ino());
    let own = namespace(Path::new("/proc/self"));
    for pid in userns::pids(store)? {
        let directory = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        // One that ends meanwhile has nothing mounted.
        if namespace(&directory) != own
            && list_of(store, kind, &directory).is_ok_and(|list| list.iter().any(|mounted| mounted.id == id))
        {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

/// Mounts an image's layers, lowest first, read-only. One that is mounted already stays as it is.
pub fn image(store: &Store, id: &str, layers: &[PathBuf]) -> Result<PathBuf> {
    if let Some(path) = find(store, Kind::Image, id)? {
        return Ok(path);
    }
    let target = make_place(store, Kind::Image, id)?;
    // An image of no layers is an empty directory, which may as well be its own.
    let empty = [target.clone()];
    rootfs::mount_read_only(if layers.is_empty() { &empty } else { layers }, &target)
        .map_err(|error| anyhow!("cannot mount the image: {error}"))?;
    Ok(target)
}

/// Mounts the root of a container that does not run and cannot be started meanwhile. One that is
/// mounted already stays as it is.
pub fn container(store: &Store, id: &str, root: &RootPlan, directory: &Path) -> Result<PathBuf> {
    if let Some(path) = find(store, Kind::Container, id)? {
        return Ok(path);
    }
    let target = make_place(store, Kind::Container, id)?;
    builder::mount_root(root, directory, &target, Durability::Durable)?;
    Ok(target)
}

/// Mounts the root of a running container, with all that is mounted in it.
pub fn running_container(store: &Store, id: &str, init: &ProcessIdentity) -> Result<PathBuf> {
    if let Some(path) = find(store, Kind::Container, id)? {
        return Ok(path);
    }
    let target = make_place(store, Kind::Container, id)?;
    let Some(init) = init.open().context("find the container's init")? else {
        bail!("the container is not running any more");
    };
    let own = File::open("/proc/self/ns/mnt").context("open the mount namespace")?;
    // Nobody in there may look into us meanwhile.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    process::join_namespaces(init.as_fd(), libc::CLONE_NEWNS).context("enter the container's mount namespace")?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, "/", flags);
    // Back before anything else, failures too.
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount)).context("leave the container")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    move_mount(
        tree.context("copy the container's mounts")?,
        c"",
        CWD,
        &target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .context("mount the container's root")?;
    Ok(target)
}

/// Takes a mount away, with all that is mounted in it. Without `force`, one that somebody is in stays.
pub fn unmount(mounted: &Mounted, force: bool) -> Result<()> {
    let path = &mounted.path;
    let plainly = || unmount_at(path, UnmountFlags::NOFOLLOW);
    let has_inner = || -> io::Result<bool> {
        Ok(mount_points(Path::new("/proc/self"))?.iter().any(|point| point != path && point.starts_with(path)))
    };
    let detached = || unmount_at(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    // What a container has mounted in itself comes and goes with it.
    let done = if force || has_inner()? { detached() } else { plainly() };
    done.with_context(|| format!("unmount {}", path.display()))?;
    // Something else may have been put there meanwhile.
    let _ = std::fs::remove_dir(path);
    Ok(())
}

fn directory(store: &Store, kind: Kind) -> Result<PathBuf> {
    let name = match kind {
        Kind::Image => "mounts/images",
        Kind::Container => "mounts/containers",
    };
    store.runtime_path(name)
}

fn make_place(store: &Store, kind: Kind, id: &str) -> Result<PathBuf> {
    let path = directory(store, kind)?.join(id);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
    made.and_then(|()| std::fs::canonicalize(&path)).with_context(|| format!("create {}", path.display()))
}

fn list_of(store: &Store, kind: Kind, process: &Path) -> Result<Vec<Mounted>> {
    // Where nothing was ever mounted there is no directory.
    let Ok(directory) = std::fs::canonicalize(directory(store, kind)?) else { return Ok(Vec::new()) };
    let points = mount_points(process).context("read the list of mounts")?;
    let mut found: Vec<Mounted> = points
        .into_iter()
        .filter(|path| path.parent() == Some(&directory))
        .filter_map(|path| Some(Mounted { id: path.file_name()?.to_str()?.to_owned(), path }))
        .collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found.dedup();
    Ok(found)
}

/// Where something is mounted in the mount namespace of a process, given by its directory in /proc.
pub fn mount_points(process: &Path) -> io::Result<Vec<PathBuf>> {
    let text = std::fs::read(process.join("mountinfo"))?;
    let fields = text.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Ok(fields.map(unescape).collect())
}

/// mountinfo writes blanks and backslashes as octal escapes (proc_pid_mountinfo(5)).
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_mountinfo_are_undone() {
        let cases = [
            ("/a", "/a"),
            ("/a\\040b", "/a b"),
            ("/a\\134040", "/a\\040"),
            ("/a\\011\\012", "/a\t\n"),
            ("/a\\", "/a\\"),
            ("/a\\9", "/a\\9"),
            ("", ""),
        ];
        for (escaped, plain) in cases {
            assert_eq!(unescape(escaped.as_bytes()), Path::new(plain), "{escaped}");
        }
    }

    #[test]
    fn mounts_of_this_process_are_seen() {
        let points = mount_points(Path::new("/proc/self")).unwrap();
        assert!(points.contains(&PathBuf::from("/")) && points.contains(&PathBuf::from("/proc")));
        let store = crate::store::testing::TestStore::new();
        assert!(list(&store, Kind::Image).unwrap().is_empty());
        assert_eq!(find(&store, Kind::Container, "x").unwrap(), None);
    }
}
