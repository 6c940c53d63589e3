//! Mounts of volumes in memory that the Spec cannot describe: what another container has is shared.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::libc;
use oci_spec::runtime::Mount;
use rustix::fs::{FsWord, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::mounts::{self, Detached, Options};
use super::plan::{Donor, VolumePlan, Volumes};
use super::setup::{Doing, SetupError};
use super::tree::{self, Root};
use crate::sys::{beneath, process};

/// TMPFS_MAGIC of linux/magic.h.
const TMPFS_MAGIC: FsWord = 0x0102_1994;

impl Volumes {
    /// The volume mounted at `target`, if there is more to it than the Spec and the mount's needs say.
    pub fn special(&self, target: &Path) -> Option<&VolumePlan> {
        let special = |volume: &&VolumePlan| volume.subpath.is_some() || volume.donor.is_some();
        self.mounts.iter().find(|volume| volume.target == target).filter(special)
    }
}

/// Makes such a mount, detached.
pub fn prepare(mount: &Mount, volume: &VolumePlan) -> Result<Detached, SetupError> {
    let what = format!("mount volume {} on {}", volume.name, volume.target.display());
    let options = mounts::parse_options(mount.options().as_deref().unwrap_or_default());
    let theirs = match &volume.donor {
        Some(donor) => shared(donor, volume, &options).doing(&what)?,
        None => None,
    };
    let made = match theirs {
        Some(theirs) => theirs?,
        None if volume.subpath.is_some() => return Err(no_part(volume, Errno::NOENT)),
        // The other container has ended.
        None => mounts::new_filesystem("tmpfs", &options).doing(&what)?,
    };
    let directory = tree::is_directory(made.as_fd()).doing(&what)?;
    Ok(Detached { target: volume.target.clone(), mount: made, directory })
}

fn no_part(volume: &VolumePlan, error: Errno) -> SetupError {
    let why = match error {
        Errno::XDEV => "it leads out of the volume".to_owned(),
        Errno::NOENT => "no such file or directory in the volume".to_owned(),
        error => error.to_string(),
    };
    let subpath = volume.subpath.as_deref().unwrap_or_default();
    SetupError::new(format!("cannot use subpath {subpath:?} of volume {}: {why}", volume.name))
}

/// The mount as another container has it, cloned in its mount namespace, with the mount's own options. None when
/// the other has ended or has something else there.
fn shared(donor: &Donor, volume: &VolumePlan, options: &Options) -> io::Result<Option<Result<OwnedFd, SetupError>>> {
    let open = |path: &str| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let pid = donor.pid.as_raw_nonzero();
    let Ok(theirs) = open(&format!("/proc/{pid}/ns/mnt")) else { return Ok(None) };
    let Ok(root) = Root::open(Path::new(&format!("/proc/{pid}/root"))) else { return Ok(None) };
    if process::start_time(donor.pid).ok() != Some(donor.start) {
        return Ok(None);
    }
    let ours = open("/proc/self/ns/mnt")?;
    process::join_namespaces(theirs.as_fd(), libc::CLONE_NEWNS)?;
    // What a file system is told when it is made is no matter here.
    let options = Options { bind: true, data: Vec::new(), ..options.clone() };
    let clone = || -> io::Result<Option<Result<OwnedFd, SetupError>>> {
        let top = root.open_at(&donor.target, OFlags::RDONLY | OFlags::DIRECTORY)?;
        if rustix::fs::fstatfs(&top)?.f_type != TMPFS_MAGIC {
            return Ok(None);
        }
        let part = match &volume.subpath {
            Some(subpath) => within(&top, subpath),
            None => Ok(top),
        };
        Ok(Some(match part {
            Ok(part) => Ok(mounts::clone_tree_at(part.as_fd(), Path::new(""), &options)?),
            Err(error) => Err(no_part(volume, error)),
        }))
    };
    let cloned = clone();
    process::join_namespaces(ours.as_fd(), libc::CLONE_NEWNS)?;
    cloned
}

/// A path within a volume, which no link leads out of.
fn within(top: &OwnedFd, subpath: &str) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    beneath::open(top, subpath, OFlags::PATH, resolve)
}
