//! What a step has written becomes a layer. Runs in the user namespace.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::worker::Layer;
use crate::sandbox::userns;
use crate::spec::digest::Digest;
use crate::store::Store;
use crate::store::gc::Lease;
use crate::store::intake::{self, Adoption};
use crate::store::pack::{Form, PackOptions, Tree};
use crate::store::unpack::UnpackLimits;
use crate::sys::beneath;

/// Where every container has something mounted. What was made there, and only for that, is no change.
const MOUNT_POINTS: [&str; 6] = ["dev", "proc", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// What is to be done with a writable directory.
#[derive(Debug)]
pub struct Taking<'a> {
    pub upper: &'a Path,
    /// Lowest first.
    pub lowers: &'a [PathBuf],
    /// The diff ids of the same.
    pub below: &'a [Digest],
    /// Targets of mounts besides the usual ones.
    pub mount_points: &'a [String],
    /// A container ran in it.
    pub was_root: bool,
    /// How its directory says what it hides.
    pub form: Form,
    /// No file is younger, in seconds since the epoch.
    pub youngest: Option<i64>,
}

/// Makes a layer of it; None when nothing was changed.
pub fn take(store: &Store, lease: &Lease, taking: &Taking<'_>) -> Result<Option<Layer>> {
    if taking.was_root {
        let usual = MOUNT_POINTS.iter().map(|point| (*point).to_owned());
        let points = usual.chain(taking.mount_points.iter().map(|point| point.trim_matches('/').to_owned()));
        for point in points {
            clean(taking, &point).with_context(|| format!("clear away the mount point {point}"))?;
        }
    }
    // Such a directory becomes the layer's as it is, others are packed and unpacked.
    if let Some(seconds) = taking.youngest.filter(|_| taking.form == Form::Overlay) {
        let top = open_directory(CWD.as_fd(), taking.upper.as_os_str())?;
        clamp(&top, seconds).context("set the times of files")?;
    }
    let tree =
        Tree { upper: Some(taking.upper.to_owned()), lowers: taking.lowers.to_vec(), form: taking.form, ids: None };
    let adoption = Adoption {
        below: taking.below,
        options: PackOptions { youngest: taking.youngest, ..PackOptions::default() },
        limits: UnpackLimits::default(),
        single_id: userns::is_single(store)?,
    };
    let taken = intake::adopt(store, lease, &tree, &adoption)?;
    Ok(taken.map(|taken| Layer {
        diff_id: taken.diff_id,
        chain_id: taken.chain_id,
        blob: taken.blob,
        size: taken.size,
        compression: taken.compression,
    }))
}

/// Takes away what was made for a mount, and the directories that were made for that.
fn clean(taking: &Taking<'_>, point: &str) -> Result<()> {
    let mut path = Path::new(point);
    let mut first = true;
    while path.file_name().is_some() {
        if !first && exists_below(taking, path) {
            settle(taking, path)?;
            return Ok(());
        }
        if exists_below(taking, path) {
            return Ok(());
        }
        remove_empty(taking, path)?;
        if stat(taking.upper, path)?.is_some() {
            return Ok(());
        }
        first = false;
        path = path.parent().unwrap_or(Path::new(""));
    }
    Ok(())
}

/// A directory in which something was made and unmade is as it was: nothing is left of it if nothing else is
/// in it, and else at least its time is the old one.
fn settle(taking: &Taking<'_>, path: &Path) -> Result<()> {
    let Some(found) = taking.lowers.iter().rev().find_map(|lower| stat(lower, path).ok().flatten()) else {
        return Ok(());
    };
    let Some(here) = stat(taking.upper, path)? else { return Ok(()) };
    if !FileType::from_raw_mode(here.st_mode).is_dir() {
        return Ok(());
    }
    let same = (here.st_mode, here.st_uid, here.st_gid) == (found.st_mode, found.st_uid, found.st_gid);
    let is_opaque = || is_opaque(taking.upper, path);
    if same && !is_opaque() && remove_empty(taking, path)? {
        return match path.parent() {
            Some(parent) if parent.file_name().is_some() => settle(taking, parent),
            _ => Ok(()),
        };
    }
    Ok(())
}

fn is_opaque(upper: &Path, path: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::lgetxattr(upper.join(path), "user.overlay.opaque", &mut value[..]).is_ok()
}

fn exists_below(taking: &Taking<'_>, path: &Path) -> bool {
    taking.lowers.iter().rev().any(|lower| matches!(stat(lower, path), Ok(Some(_))))
}

/// The status of a path without links; None if there is nothing.
fn stat(top: &Path, path: &Path) -> Result<Option<rustix::fs::Stat>> {
    match open_within(top, path) {
        Ok(found) => Ok(Some(rustix::fs::fstat(found)?)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn open_within(top: &Path, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let top = rustix::fs::open(top, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    beneath::open(top, path, flags, resolve)
}

/// Removes an empty file or directory; false when there is none.
fn remove_empty(taking: &Taking<'_>, path: &Path) -> Result<bool> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(false) };
    let parent = match open_within(taking.upper, parent) {
        Ok(parent) => parent,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let found = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let flags = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => AtFlags::REMOVEDIR,
        FileType::RegularFile if found.st_size == 0 => AtFlags::empty(),
        _ => return Ok(false),
    };
    if taking.form == Form::FuseOverlay && flags == AtFlags::REMOVEDIR {
        forget_opaque(&open_directory(parent.as_fd(), name)?)?;
    }
    match rustix::fs::unlinkat(&parent, name, flags) {
        Ok(()) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes out the entries by which fuse-overlayfs says that a directory is new, if nothing else is in it.
fn forget_opaque(directory: &OwnedFd) -> Result<()> {
    const MARKS: [&CStr; 2] = [c".wh..wh..opq", c".wh..opq"];
    let mut entries = rustix::fs::Dir::read_from(directory)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." && !MARKS.contains(&name) {
            return Ok(());
        }
    }
    for mark in MARKS {
        match rustix::fs::unlinkat(directory, mark, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Gives everything below that is younger this time.
fn clamp(directory: &OwnedFd, seconds: i64) -> Result<()> {
    let mut entries = rustix::fs::Dir::read_from(directory)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode).is_dir() {
            use std::os::unix::ffi::OsStrExt;
            clamp(&open_directory(directory.as_fd(), OsStr::from_bytes(name.to_bytes()))?, seconds)?;
        }
        if found.st_mtime >= seconds {
            let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

fn open_directory(at: std::os::fd::BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

/// The form that the driver left which mounted the root.
pub fn form_of(directory: &Path) -> Form {
    Form::of_driver(std::fs::read_to_string(directory.join("driver")).unwrap_or_default().trim())
}
