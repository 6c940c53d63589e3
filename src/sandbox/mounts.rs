//! The Spec's mounts, in two steps: made as detached mounts while the host's file systems are in
//! sight, then attached inside the container's root by descriptor (invariants I2 and I3).

use std::cell::Cell;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};

use super::setup::{Doing, SetupError};
use super::tree::{self, Root};
use crate::explain;
use crate::sys;
use crate::sys::mount::attr;

/// A mount that is made but not yet visible anywhere.
#[derive(Debug)]
pub struct Detached {
    pub target: PathBuf,
    pub mount: OwnedFd,
    /// Whether its target is a directory.
    pub directory: bool,
}

/// What programs trust by these very names: an image may not lead them elsewhere
/// (CVE-2019-16884 and kin).
const REAL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// A mount's options, sorted by meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `MOUNT_ATTR_*` to set.
    pub attributes: u64,
    pub bind: bool,
    pub recursive: bool,
    /// Read-only reaches the mounts below a bind too.
    pub recursive_read_only: bool,
    /// `MS_PRIVATE` and kin.
    pub propagation: Option<u64>,
    /// What the file system itself is told, as `key=value` or a bare flag.
    pub data: Vec<String>,
}

/// Sorts OCI mount options (runtime-spec config.md, Linux mount options). Later ones win.
pub fn parse_options(options: &[String]) -> Options {
    let mut parsed = Options::default();
    for option in options {
        match option.as_str() {
            "ro" => parsed.attributes |= attr::RDONLY,
            "rro" => (parsed.attributes, parsed.recursive_read_only) = (parsed.attributes | attr::RDONLY, true),
            "rw" => parsed.attributes &= !attr::RDONLY,
            "nosuid" => parsed.attributes |= attr::NOSUID,
            "suid" => parsed.attributes &= !attr::NOSUID,
            "nodev" => parsed.attributes |= attr::NODEV,
            "dev" => parsed.attributes &= !attr::NODEV,
            "noexec" => parsed.attributes |= attr::NOEXEC,
            "exec" => parsed.attributes &= !attr::NOEXEC,
            "bind" => parsed.bind = true,
            "rbind" => (parsed.bind, parsed.recursive) = (true, true),
            // Access times are the kernel's default (relatime) except where a Spec says strict.
            "strictatime" => parsed.attributes |= MountAttrFlags::MOUNT_ATTR_STRICTATIME.bits() as u64,
            "noatime" => parsed.attributes |= MountAttrFlags::MOUNT_ATTR_NOATIME.bits() as u64,
            "relatime" | "defaults" | "newinstance" => {}
            "private" | "rprivate" => {
                parsed.propagation = Some(rustix::mount::MountPropagationFlags::PRIVATE.bits() as u64)
            }
            "slave" | "rslave" => {
                parsed.propagation = Some(rustix::mount::MountPropagationFlags::DOWNSTREAM.bits() as u64)
            }
            "shared" | "rshared" => {
                parsed.propagation = Some(rustix::mount::MountPropagationFlags::SHARED.bits() as u64)
            }
            "unbindable" | "runbindable" => {
                parsed.propagation = Some(rustix::mount::MountPropagationFlags::UNBINDABLE.bits() as u64);
            }
            other => parsed.data.push(other.to_owned()),
        }
    }
    parsed
}

/// Makes a new file system of type `kind`, detached.
pub fn new_filesystem(kind: &str, options: &Options) -> Result<OwnedFd, Errno> {
    let text = |value: &str| CString::new(value).map_err(|_| Errno::INVAL);
    let context = fsopen(text(kind)?.as_c_str(), FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"source", text(kind)?.as_c_str())?;
    for option in &options.data {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(context.as_fd(), text(key)?.as_c_str(), text(value)?.as_c_str())?,
            None => fsconfig_set_flag(context.as_fd(), text(option)?.as_c_str())?,
        }
    }
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::from_bits_retain(options.attributes as u32);
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Clones the mount tree at `source`, detached, with the attributes set before it can be seen.
pub fn clone_tree(source: &Path, options: &Options) -> io::Result<OwnedFd> {
    clone_tree_at(CWD, source, options)
}

/// The same for what `source` names at `at`, or for `at` itself where it is empty.
pub fn clone_tree_at(at: BorrowedFd<'_>, source: &Path, options: &Options) -> io::Result<OwnedFd> {
    let recursive = if options.recursive { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH | recursive;
    let tree = open_tree(at, source, flags)?;
    let read_only = options.attributes & attr::RDONLY;
    let others = options.attributes & !attr::RDONLY;
    if others != 0 {
        sys::mount::set_attributes(&tree, others, 0, options.recursive)?;
    }
    if read_only != 0 {
        sys::mount::set_attributes(&tree, read_only, 0, options.recursive && options.recursive_read_only)?;
    }
    // A copy of one of the host's mounts would go on receiving what is mounted there.
    let private = u64::from(rustix::mount::MountPropagationFlags::PRIVATE.bits());
    sys::mount::set_propagation(&tree, options.propagation.unwrap_or(private), options.recursive)?;
    Ok(tree)
}

/// Makes the mount `mount` asks for, detached; it is a bind when its options say so.
pub fn prepare(mount: &Mount) -> Result<Detached, SetupError> {
    let target = mount.destination().clone();
    let options = parse_options(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().as_deref().unwrap_or("none");
    if !options.bind {
        let filesystem = new_filesystem(kind, &options).doing(format_args!("mount {kind} on {}", target.display()))?;
        return Ok(Detached { target, mount: filesystem, directory: true });
    }
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    bind(open_source(source, &target)?.as_fd(), source, target, &options)
}

/// A handle of a mount's source on the host.
pub fn open_source(source: &Path, target: &Path) -> Result<OwnedFd, SetupError> {
    rustix::fs::openat(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| explain::path::annotate(error, source))
        .doing(format_args!("bind {} to {}", source.display(), target.display()))
}

/// A bind of what `handle` names, detached; `source` is what it is called.
pub fn bind(handle: BorrowedFd<'_>, source: &Path, target: PathBuf, options: &Options) -> Result<Detached, SetupError> {
    let tree = clone_tree_at(handle, Path::new(""), options)
        .map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::INVAL) if !options.recursive => {
                "something is mounted below it, which only root can leave out: mount it recursively".to_owned()
            }
            _ => explain::path::annotate(error, source),
        })
        .doing(format_args!("bind {} to {}", source.display(), target.display()))?;
    let directory = tree::is_directory(tree.as_fd()).doing(format_args!("inspect {}", source.display()))?;
    Ok(Detached { target, mount: tree, directory })
}

impl Detached {
    /// Attaches the mount inside `root`, making its target where it is missing.
    pub fn attach(&self, root: &Root) -> Result<(), SetupError> {
        self.attach_to(self.target_in(root)?.as_fd())
    }

    /// Attaches the mount to what [`Self::target_in`] gave.
    pub fn attach_to(&self, target: BorrowedFd<'_>) -> Result<(), SetupError> {
        tree::attach(self.mount.as_fd(), target).doing(format_args!("mount on {}", self.target.display()))
    }

    /// The mount's target inside `root`, made where it is missing.
    pub fn target_in(&self, root: &Root) -> Result<OwnedFd, SetupError> {
        let target = match (self.directory, REAL.iter().any(|real| self.target == Path::new(real))) {
            (true, true) => root.ensure_real_directory(&self.target),
            (true, false) => root.ensure_directory(&self.target),
            (false, _) => root.ensure_file(&self.target),
        };
        let mismatch = || {
            let other = if self.directory { "a directory onto a file" } else { "a file onto a directory" };
            SetupError::new(format!("cannot mount on {}: this would put {other}", self.target.display()))
        };
        let target = match target {
            Err(error) if self.directory && error.kind() == io::ErrorKind::NotADirectory => {
                // Or a part on the way to it is a file.
                return Err(match root.handle(&self.target) {
                    Ok(_) => mismatch(),
                    Err(_) => {
                        SetupError::new(format!("cannot make the mount point {}: {error}", self.target.display()))
                    }
                });
            }
            result => result.doing(format_args!("make the mount point {}", self.target.display()))?,
        };
        let what = format_args!("inspect {}", self.target.display()).to_string();
        if !self.directory && tree::is_directory(target.as_fd()).doing(&what)? {
            return Err(mismatch());
        }
        // A link of the image may lead there: nothing but a mask may cover a part of procfs.
        if tree::is_procfs(target.as_fd()).doing(&what)? {
            return Err(SetupError::new(format!("cannot mount on {}: it leads into /proc", self.target.display())));
        }
        Ok(target)
    }
}

/// Hides `path`: a file behind /dev/null, a directory behind an empty read-only tmpfs.
pub fn mask(root: &Root, path: &Path, null: &Cover) -> Result<(), SetupError> {
    let Some(target) = existing(root, path)? else { return Ok(()) };
    let what = format_args!("mask {}", path.display()).to_string();
    if tree::is_directory(target.as_fd()).doing(&what)? {
        let options = parse_options(&["ro", "nosuid", "nodev", "noexec", "size=0k"].map(str::to_owned));
        let empty = new_filesystem("tmpfs", &options).doing(&what)?;
        return tree::attach(empty.as_fd(), target.as_fd()).doing(&what);
    }
    null.attach(target.as_fd()).doing(&what)
}

/// A mount that covers several files.
pub struct Cover {
    mount: OwnedFd,
    attached: Cell<bool>,
}

impl Cover {
    /// Of a mount that is detached.
    pub fn new(mount: OwnedFd) -> Self {
        Self { mount, attached: Cell::new(false) }
    }

    /// The first file gets the mount itself and the others copies of it: Linux before 6.15 copies no
    /// detached mount.
    fn attach(&self, target: BorrowedFd<'_>) -> io::Result<()> {
        if !self.attached.replace(true) {
            return tree::attach(self.mount.as_fd(), target);
        }
        let copy = clone_tree_at(self.mount.as_fd(), Path::new(""), &Options::default())?;
        tree::attach(copy.as_fd(), target)
    }
}

/// Makes `path` and what is mounted below it read-only, by a bind onto itself.
pub fn make_read_only(root: &Root, path: &Path) -> Result<(), SetupError> {
    let Some(target) = existing(root, path)? else { return Ok(()) };
    let what = format_args!("make {} read-only", path.display()).to_string();
    let options = Options {
        attributes: attr::RDONLY,
        bind: true,
        recursive: true,
        recursive_read_only: true,
        ..Options::default()
    };
    let tree = clone_tree_at(target.as_fd(), Path::new(""), &options).doing(&what)?;
    tree::attach(tree.as_fd(), target.as_fd()).doing(&what)
}

/// Only a missing file may be left alone; every other failure to open is fatal.
fn existing(root: &Root, path: &Path) -> Result<Option<OwnedFd>, SetupError> {
    match root.handle(path) {
        Ok(handle) => Ok(Some(handle)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SetupError::new(format!("cannot open {} in the container: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted_by_meaning_and_later_ones_win() {
        let options = ["rbind", "rprivate", "ro", "nosuid", "rw", "size=64m", "noexec", "exec"].map(str::to_owned);
        let parsed = parse_options(&options);
        assert_eq!(parsed.attributes, attr::NOSUID);
        assert!(parsed.bind && parsed.recursive && !parsed.recursive_read_only);
        assert_eq!(parsed.data, ["size=64m"]);
        assert_eq!(parsed.propagation, Some(1 << 18));
    }
}
