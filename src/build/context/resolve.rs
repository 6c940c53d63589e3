//! Paths within a root, component by component through descriptors: links lead where they would with the
//! root as the root directory, and the real path is known in the end. What somebody moves meanwhile
//! leads nowhere else.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::entry::{c_name, join};
use crate::sys::beneath;

/// As many links as the kernel follows (path_resolution(7)).
const LINKS_MAX: u32 = 40;
/// How often a component is looked at again that changes its kind meanwhile.
const TRIES: u32 = 16;
const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What a path leads to.
#[derive(Debug)]
pub struct Resolved {
    /// The directory that it is in; the root is in itself.
    pub parent: OwnedFd,
    /// Its own name; `.` for the root.
    pub name: Vec<u8>,
    /// Relative to the root, without links; empty for the root.
    pub path: Vec<u8>,
    /// None where nothing is: the parent is there.
    pub stat: Option<Stat>,
}

/// What to do about the last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Go where it leads.
    Follow,
    /// Leave a link be.
    Keep,
}

/// Makes a directory that is missing on the way: called with its parent and its name.
pub type Make<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &[u8]) -> Result<(), Errno>;

/// Resolves `path`, absolute or not, within `root`. Without `make`, [`Errno::NOENT`] says that a
/// directory on the way is missing.
pub fn resolve(root: BorrowedFd<'_>, path: &[u8], last: Last, make: Option<Make<'_>>) -> Result<Resolved, Errno> {
    let mut walk = Walk { root, above: Vec::new(), rest: VecDeque::new(), links: 0 };
    walk.push_front(path);
    walk.run(last, make)
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// The directories that the walk went down, each with its name.
    above: Vec<(OwnedFd, Vec<u8>)>,
    rest: VecDeque<Vec<u8>>,
    links: u32,
}

impl Walk<'_> {
    fn push_front(&mut self, path: &[u8]) {
        let parts = path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
        for part in parts.rev() {
            self.rest.push_front(part.to_vec());
        }
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.above.last().map_or(self.root, |(fd, _)| fd.as_fd())
    }

    fn path(&self) -> Vec<u8> {
        self.above.iter().fold(Vec::new(), |path, (_, name)| join(&path, name))
    }

    fn run(&mut self, last: Last, mut make: Option<Make<'_>>) -> Result<Resolved, Errno> {
        let mut tries = 0;
        while let Some(part) = self.rest.pop_front() {
            if part == b".." {
                self.above.pop();
                continue;
            }
            let name = c_name(&part)?;
            let is_last = self.rest.is_empty();
            let stat = match rustix::fs::statat(self.here(), &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) if is_last => return self.found(part, None),
                Err(Errno::NOENT) => {
                    let Some(make) = make.as_mut() else { return Err(Errno::NOENT) };
                    match make(self.here(), &part) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error),
                    }
                    tries += 1;
                    if tries > TRIES * LINKS_MAX {
                        return Err(Errno::LOOP);
                    }
                    self.rest.push_front(part);
                    continue;
                }
                Err(error) => return Err(error),
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink if !is_last || last == Last::Follow => self.follow(&name)?,
                FileType::Directory => {
                    match rustix::fs::openat(self.here(), &name, HANDLE | OFlags::DIRECTORY, Mode::empty()) {
                        Ok(fd) => self.above.push((fd, part)),
                        Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) if tries < TRIES => {
                            tries += 1;
                            self.rest.push_front(part);
                        }
                        Err(error) => return Err(error),
                    }
                }
                _ if is_last => return self.found(part, Some(stat)),
                _ => return Err(Errno::NOTDIR),
            }
        }
        let path = self.path();
        let (directory, name) = match self.above.pop() {
            Some((directory, name)) => (directory, name),
            None => (rustix::fs::openat(self.root, c".", HANDLE | OFlags::DIRECTORY, Mode::empty())?, b".".to_vec()),
        };
        let stat = Some(rustix::fs::fstat(&directory)?);
        Ok(Resolved { parent: self.parent()?, name, path, stat })
    }

    fn follow(&mut self, name: &std::ffi::CStr) -> Result<(), Errno> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        let target = match rustix::fs::readlinkat(self.here(), name, Vec::new()) {
            Ok(target) => target.into_bytes(),
            // It is no link any more.
            Err(Errno::INVAL) => name.to_bytes().to_vec(),
            Err(error) => return Err(error),
        };
        if target.starts_with(b"/") {
            self.above.clear();
        }
        self.push_front(&target);
        Ok(())
    }

    fn found(&self, name: Vec<u8>, stat: Option<Stat>) -> Result<Resolved, Errno> {
        Ok(Resolved { parent: self.parent()?, path: join(&self.path(), &name), name, stat })
    }

    fn parent(&self) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(self.here(), c".", HANDLE | OFlags::DIRECTORY, Mode::empty())
    }
}

/// Opens the directory of this real path, through no link.
pub fn open_real(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = if path.is_empty() { b"." } else { path };
    beneath::open(root, path, flags, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}
