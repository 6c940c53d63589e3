//! Files of several names: the first is copied, the others are linked to it.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::sys::beneath;

/// Device and inode.
type Identity = (u64, u64);
/// What one call takes of a path, with room to spare.
const PATH: usize = 3000;

/// The first names of files that have more.
#[derive(Default)]
pub struct Links {
    first: HashMap<Identity, First>,
}

struct First {
    /// Of the copy, relative to the top of the tree.
    path: Vec<u8>,
    copy: Identity,
    /// How many names of the source are still to come, if all are within the tree.
    left: u64,
}

impl Links {
    /// Remembers that the file of `source` was copied as `path`, if it has other names.
    pub fn remember(&mut self, source: &Stat, path: &[u8], copy: &Stat) {
        let first = First { path: path.to_owned(), copy: identity(copy), left: source.st_nlink - 1 };
        self.first.insert(identity(source), first);
    }

    /// Links `name` in `directory` to the copy of the same file. False when there is none yet, or none
    /// that can be linked to: the caller then copies.
    pub fn link(
        &mut self,
        source: &Stat,
        top: BorrowedFd<'_>,
        directory: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<bool, Errno> {
        let Some(first) = self.first.get_mut(&identity(source)) else { return Ok(false) };
        let linked = match link_to(first, top, directory, name) {
            Ok(linked) => linked,
            Err(Errno::EXIST) => return Err(Errno::EXIST),
            // Too many names, a mount in between, somebody who moved it: then it is two files.
            Err(_) => false,
        };
        first.left = first.left.saturating_sub(1);
        if first.left == 0 || !linked {
            self.first.remove(&identity(source));
        }
        Ok(linked)
    }
}

/// Makes the link and looks whether it leads to the file meant.
fn link_to(first: &First, top: BorrowedFd<'_>, directory: BorrowedFd<'_>, name: &CStr) -> Result<bool, Errno> {
    let (parent, file) = match first.path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (open_beneath(top, &first.path[..slash])?, &first.path[slash + 1..]),
        None => (open_beneath(top, b".")?, &first.path[..]),
    };
    rustix::fs::linkat(&parent, file, directory, name, AtFlags::empty())?;
    let made = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if identity(&made) == first.copy {
        return Ok(true);
    }
    rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
    Ok(false)
}

/// Opens a directory of any depth, through no link.
fn open_beneath(top: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut rest = path;
    let mut at: Option<OwnedFd> = None;
    loop {
        let cut = match rest.len() {
            0..=PATH => rest.len(),
            _ => rest[..PATH].iter().rposition(|&byte| byte == b'/').ok_or(Errno::NAMETOOLONG)?,
        };
        let from = at.as_ref().map_or(top, |fd| fd.as_fd());
        let opened = beneath::open(from, &rest[..cut], flags, resolve)?;
        if cut == rest.len() {
            return Ok(opened);
        }
        rest = &rest[cut + 1..];
        at = Some(opened);
    }
}

pub(super) fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}
