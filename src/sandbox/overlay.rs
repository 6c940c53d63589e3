//! Overlays that a container mounts below its root: images, and directories whose changes are kept
//! apart (`-v SOURCE:TARGET:O`).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::needs::{Below, Overlay};
use super::rootfs::{self, Layout};
use super::setup::{Doing, SetupError};
use super::tree;
use crate::store::fs::Durability;
use crate::store::remove::remove_tree;
use crate::sys::beneath;

/// Where they keep their changes, below the container's directory.
const PLACE: &str = "mounts";

/// Forgets the changes of an earlier run.
pub fn clear(container: &Path) -> Result<(), SetupError> {
    remove_tree(&container.join(PLACE)).doing("clear away the container's earlier overlays")
}

/// Mounts the overlay at a place of its own and gives a handle of its top. `number` tells the
/// container's overlays apart; `source` is what is mounted, if it is no image.
pub fn mount(
    container: &Path,
    number: usize,
    overlay: &Overlay,
    source: Option<BorrowedFd<'_>>,
    what: &dyn std::fmt::Display,
) -> Result<OwnedFd, SetupError> {
    let place = container.join(PLACE).join(number.to_string());
    let doing = format!("mount {what} below an overlay");
    let lowers = match (&overlay.below, source) {
        (Below::Layers { lowers, .. }, _) => lowers.clone(),
        // By number: what was opened is what is mounted.
        (Below::Source, Some(source)) => {
            vec![PathBuf::from(format!("/proc/self/fd/{}", source.as_raw_fd()))]
        }
        (Below::Source, None) => return Err(SetupError::new(format!("cannot {doing}: it has no source"))),
    };
    if let Some(source) = source
        && !tree::is_directory(source).doing(&doing)?
    {
        return Err(SetupError::new(format!("cannot {doing}: it is not a directory")));
    }
    let make = |name: &str| {
        let path = place.join(name);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map(|()| path)
    };
    let merged = make("merged").doing(&doing)?;
    let (upper, work) = match &overlay.dirs {
        Some((upper, work)) => (named(upper)?, named(work)?),
        None => {
            let upper = make("upper").doing(&doing)?;
            if let Some(top) = lowers.last() {
                look_like(&upper, top).doing(&doing)?;
            }
            (upper, make("work").doing(&doing)?)
        }
    };
    // A directory that was named is the user's.
    let durability = if overlay.dirs.is_some() { Durability::Durable } else { Durability::Volatile };
    let data = match &overlay.below {
        Below::Layers { data, .. } => data.as_deref(),
        Below::Source => None,
    };
    let layout = Layout { lowers: &lowers, data, upper: &upper, work: &work, merged: &merged, durability };
    rootfs::mount(&layout, &container.join("driver")).map_err(explain).doing(&doing)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, &merged, flags, Mode::empty()).doing(&doing)
}

/// A directory that was named must be there: what is written to it is to be kept.
fn named(path: &Path) -> Result<PathBuf, SetupError> {
    let directory = File::open(path).and_then(|file| file.metadata()).map(|metadata| metadata.is_dir());
    match directory.doing(format_args!("use the overlay's directory {}", path.display()))? {
        true => Ok(path.to_owned()),
        false => {
            Err(SetupError::new(format!("cannot use the overlay's directory {}: not a directory", path.display())))
        }
    }
}

/// The upper directory is the overlay's own top: its owner and mode are those of what lies below, as
/// far as this user can give them.
fn look_like(upper: &Path, lower: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(lower)?;
    let _ = chown(upper, Some(metadata.uid()), Some(metadata.gid()));
    std::fs::set_permissions(upper, std::fs::Permissions::from_mode(metadata.mode() & 0o7777))
}

/// What the kernel's EINVAL mostly means.
fn explain(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::INVAL) => io::Error::other(format!(
            "{error}: something may be mounted below it, which an overlay cannot show, or its directories lie in one another"
        )),
        _ => error,
    }
}

/// A handle of `path` within `top`, which no link leads out of.
pub fn within(top: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match beneath::open(top, path, OFlags::PATH, resolve) {
        Err(Errno::XDEV) => Err(io::Error::other("it leads out of the source")),
        opened => Ok(opened?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_part_lies_outside() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("top");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::create_dir(directory.path().join("beside")).unwrap();
        for (target, link) in [("a/b", "inside"), ("..", "up"), ("/etc", "absolute"), ("../../beside", "a/beside")] {
            symlink(target, top.join(link)).unwrap();
        }
        symlink("/proc/self/root", top.join("magic")).unwrap();
        let top = File::open(&top).unwrap();
        let at = |path: &str| within(top.as_fd(), Path::new(path));
        assert!(at("a/b").is_ok() && at("inside").is_ok() && at(".").is_ok() && at("a/../a").is_ok());
        for path in
            ["up", "up/beside", "a/beside/..", "absolute", "magic", "magic/etc", "../beside", "/etc", "a/../../beside"]
        {
            assert_eq!(at(path).unwrap_err().to_string(), "it leads out of the source", "{path}");
        }
        assert_eq!(at("missing").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
