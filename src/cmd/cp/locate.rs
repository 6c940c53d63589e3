//! Where a path leads, on the host or inside a container, as a directory's descriptor and a name in
//! it.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::paths::split;
use crate::sandbox::view::Root;

/// Links in a row, as Linux follows them.
const LINKS: u32 = 40;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A tree of files with a root of its own.
pub trait Files {
    /// Opens a path, all links on the way resolved within the tree.
    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno>;
}

/// The files of this process.
pub struct Host;

impl Files for Host {
    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(CWD, path, flags, Mode::empty())
    }
}

impl Files for Root {
    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let opened = self.open_at(Path::new(OsStr::from_bytes(path)), flags);
        opened.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

/// Where a path leads.
pub struct Located {
    pub parent: OwnedFd,
    /// `.` when the path is that of a directory which has no name to be reached by.
    pub name: CString,
    /// None where nothing is by that name.
    pub stat: Option<Stat>,
    /// The path that it was reached by at last.
    pub path: Vec<u8>,
}

/// Why nothing can be there.
#[derive(Debug)]
pub enum Nowhere {
    /// This directory does not exist.
    NoParent(Vec<u8>),
    System(Errno),
}

impl From<Errno> for Nowhere {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

/// Finds out where `path` leads, behind a last link too if it is to be followed. What does not exist is
/// found if its directory does.
pub fn locate(files: &impl Files, path: &[u8], follow: bool) -> Result<Located, Nowhere> {
    let mut path = path.to_owned();
    for _ in 0..=LINKS {
        let (directory, name) = split(&path);
        if matches!(name, b"" | b"." | b"..") {
            let parent = files.open(&path, DIRECTORY)?;
            let stat = rustix::fs::fstat(&parent)?;
            return Ok(Located { parent, name: c".".to_owned(), stat: Some(stat), path });
        }
        let parent = match files.open(directory, DIRECTORY) {
            Err(Errno::NOENT) => return Err(Nowhere::NoParent(directory.to_owned())),
            parent => parent?,
        };
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        let stat = match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Located { parent, name, stat: None, path }),
            Err(error) => return Err(error.into()),
        };
        if !follow || kind(&stat) != FileType::Symlink {
            return Ok(Located { parent, name, stat: Some(stat), path });
        }
        let target = match rustix::fs::readlinkat(&parent, &name, Vec::new()) {
            Ok(target) => target.into_bytes(),
            // Something else by now: look again.
            Err(Errno::INVAL | Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        path = if target.starts_with(b"/") { target } else { [directory, b"/", &target].concat() };
    }
    Err(Errno::LOOP.into())
}

impl Located {
    /// What is there.
    pub fn kind(&self) -> Option<FileType> {
        self.stat.as_ref().map(kind)
    }

    /// The directory that this is.
    pub fn directory(&self) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.parent, &self.name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
    }
}

/// What the copy is made of: an entry of a directory.
pub struct Entry<'a> {
    pub parent: BorrowedFd<'a>,
    pub name: &'a CStr,
}

impl Located {
    /// For the copier.
    pub fn entry(&self) -> Entry<'_> {
        Entry { parent: self.parent.as_fd(), name: &self.name }
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
