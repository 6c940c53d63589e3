//! The directories of the tree under construction. Entries that share a directory share its
//! descriptor, and a directory's time is put back whenever its descriptor is let go, so nothing has
//! to be remembered until the end of the layer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::meta::{self, Owners};
use super::path::show;
use super::pax::Moment;
use crate::sys::beneath;

/// Directories that stay open, the root included.
const OPEN: usize = 16;
/// Links in a row that lead to directories that do not exist yet (Linux follows 40).
const LINKS: u32 = 40;
/// Permissions of a directory that the archive does not describe.
const IMPLIED: u32 = 0o755;

/// What to do about a whiteout on the way to a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whiteouts {
    /// Make a directory in its place.
    Replace,
    /// Stop: below a deleted directory nothing is left to do.
    Respect,
}

/// The open directories of one tree.
pub(super) struct Directories {
    root: Rc<OwnedFd>,
    /// The root comes first and stays.
    open: Vec<Directory>,
    clock: u64,
    owners: Owners,
    surroundings: Surroundings,
}

/// What lies around the entries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Surroundings {
    /// Nothing: the tree is ours.
    Nothing,
    /// A container's files, with what is mounted in them. Times of directories that the archive does
    /// not describe are theirs.
    Container,
}

struct Directory {
    /// One of the names it can be reached by, from the root.
    path: Vec<u8>,
    fd: Rc<OwnedFd>,
    /// Device and inode: two names may lead to one directory.
    identity: (u64, u64),
    /// What its time has to be once no entry is added any more.
    mtime: Option<Moment>,
    used: u64,
}

impl Directories {
    /// Starts with the root of a tree.
    pub fn new(root: OwnedFd, owners: Owners, surroundings: Surroundings) -> Result<Self> {
        let root = Rc::new(root);
        let mut directories =
            Self { root: Rc::clone(&root), open: Vec::with_capacity(OPEN), clock: 0, owners, surroundings };
        directories.keep(Vec::new(), root)?;
        Ok(directories)
    }

    /// The root directory.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens the directory `path` as seen from inside the tree, making what is missing on the way.
    pub fn open(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        match self.look_up(path, Whiteouts::Replace)? {
            Some(directory) => Ok(directory),
            None => bail!("cannot make the directory {}", show(path)),
        }
    }

    /// Like [`Directories::open`]; None when a whiteout of this layer says that the directory is gone.
    pub fn open_unless_deleted(&mut self, path: &[u8]) -> Result<Option<Rc<OwnedFd>>> {
        self.look_up(path, Whiteouts::Respect)
    }

    /// Opens a directory that must be there.
    pub fn open_existing(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        if let Some(directory) = self.cached(path) {
            return Ok(directory);
        }
        let directory = self.resolve(path).with_context(|| format!("open the directory {}", show(path)))?;
        self.keep(path.to_vec(), Rc::new(directory))
    }

    /// Takes in a directory that an entry described; it ends up with that time.
    pub fn describe(&mut self, path: Vec<u8>, directory: OwnedFd, mtime: Moment) -> Result<()> {
        self.keep(path, Rc::new(directory))?;
        if let Some(kept) = self.open.iter_mut().find(|kept| kept.used == self.clock) {
            kept.mtime = Some(mtime);
        }
        Ok(())
    }

    /// The root ends up with that time.
    pub fn describe_root(&mut self, mtime: Moment) {
        if let Some(root) = self.open.first_mut() {
            root.mtime = Some(mtime);
        }
    }

    /// Lets go of all but the root, as names lead elsewhere once a directory or link is removed.
    pub fn forget(&mut self) -> Result<()> {
        self.open.drain(1..).try_for_each(Directory::let_go)
    }

    /// Puts the last times back.
    pub fn finish(self) -> Result<()> {
        self.open.into_iter().try_for_each(Directory::let_go)
    }

    /// Whether `path`, resolved anew, is the directory that was opened by it before.
    pub fn still_leads_to(&self, path: &[u8], directory: &OwnedFd) -> Result<bool> {
        let Ok(now) = self.resolve(path) else { return Ok(false) };
        let (now, before) = (rustix::fs::fstat(now)?, rustix::fs::fstat(directory)?);
        Ok((now.st_dev, now.st_ino) == (before.st_dev, before.st_ino))
    }

    fn look_up(&mut self, path: &[u8], whiteouts: Whiteouts) -> Result<Option<Rc<OwnedFd>>> {
        if let Some(directory) = self.cached(path) {
            return Ok(Some(directory));
        }
        match self.resolve(path) {
            Ok(directory) => self.keep(path.to_vec(), Rc::new(directory)).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_path(path, whiteouts, 0),
            Err(error) => Err(error).with_context(|| format!("open the directory {}", show(path))),
        }
    }

    fn cached(&mut self, path: &[u8]) -> Option<Rc<OwnedFd>> {
        self.clock += 1;
        let directory = self.open.iter_mut().find(|directory| directory.path == path)?;
        directory.used = self.clock;
        Some(Rc::clone(&directory.fd))
    }

    /// Follows links as they would be followed with the tree as the root directory.
    fn resolve(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | self.bounds();
        open_directory(self.root.as_fd(), path, inside)
    }

    /// Opens the directory `name` in `parent` itself, as it was there before.
    pub fn open_old(&self, parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
        open_directory(parent.as_fd(), name, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | self.bounds())
    }

    /// In a tree of ours nothing is mounted.
    fn bounds(&self) -> ResolveFlags {
        match self.surroundings {
            Surroundings::Nothing => ResolveFlags::NO_XDEV,
            Surroundings::Container => ResolveFlags::empty(),
        }
    }

    /// Keeps an open directory and notes the time it has. Returns the descriptor that is kept,
    /// which is another one when the directory was open by another name.
    fn keep(&mut self, path: Vec<u8>, directory: Rc<OwnedFd>) -> Result<Rc<OwnedFd>> {
        let stat = rustix::fs::fstat(&directory)?;
        let identity = (stat.st_dev, stat.st_ino);
        self.clock += 1;
        if let Some(known) = self.open.iter_mut().find(|known| known.identity == identity) {
            // The root keeps its own name, by which it is found without a system call.
            if !known.path.is_empty() {
                known.path = path;
            }
            known.used = self.clock;
            return Ok(Rc::clone(&known.fd));
        }
        if self.open.len() == OPEN {
            let oldest = (1..OPEN).min_by_key(|&index| self.open[index].used).unwrap_or(1);
            self.open.swap_remove(oldest).let_go()?;
        }
        let time = Moment { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 };
        let mtime = (self.surroundings == Surroundings::Nothing).then_some(time);
        self.open.push(Directory { path, fd: Rc::clone(&directory), identity, mtime, used: self.clock });
        Ok(directory)
    }

    /// Walks down and makes what is missing.
    fn make_path(&mut self, path: &[u8], whiteouts: Whiteouts, links: u32) -> Result<Option<Rc<OwnedFd>>> {
        let mut at = Rc::clone(&self.root);
        let mut end = 0;
        for component in path.split(|&byte| byte == b'/') {
            let parent = &path[..end.max(1) - 1];
            let prefix = &path[..end + component.len()];
            end += component.len() + 1;
            if matches!(component, b"" | b".") {
                continue;
            }
            at = match self.step(&at, component, prefix)? {
                Some(directory) => Rc::new(directory),
                None => {
                    // Its time must be noted before something is made in it.
                    let at = self.keep(parent.to_vec(), at)?;
                    match self.make_one(&at, parent, component, whiteouts, links)? {
                        Some(directory) => directory,
                        None => return Ok(None),
                    }
                }
            };
        }
        self.keep(path.to_vec(), at).map(Some)
    }

    /// Goes one level down; None when there is nothing to go to.
    fn step(&self, at: &OwnedFd, component: &[u8], prefix: &[u8]) -> Result<Option<OwnedFd>> {
        let plain = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        // `..` comes from a link's target: only the kernel, seeing the root, takes it right.
        if component != b".."
            && let Ok(directory) = open_directory(at.as_fd(), component, plain)
        {
            return Ok(Some(directory));
        }
        match self.resolve(prefix) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("open the directory {}", show(prefix))),
        }
    }

    fn make_one(
        &mut self,
        at: &OwnedFd,
        parent: &[u8],
        name: &[u8],
        whiteouts: Whiteouts,
        links: u32,
    ) -> Result<Option<Rc<OwnedFd>>> {
        match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => self.make_directory(at, name, false).map(Some),
            Err(error) => Err(error.into()),
            Ok(stat) if is_whiteout(&stat) && whiteouts == Whiteouts::Respect => Ok(None),
            Ok(stat) if is_whiteout(&stat) => {
                rustix::fs::unlinkat(at, name, AtFlags::empty())?;
                self.make_directory(at, name, true).map(Some)
            }
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink && links < LINKS => {
                let target = rustix::fs::readlinkat(at, name, Vec::new())?.into_bytes();
                let target = match target.strip_prefix(b"/") {
                    Some(absolute) => absolute.to_vec(),
                    None => [parent, b"/", &target].concat(),
                };
                self.make_path(&target, whiteouts, links + 1)
            }
            Ok(_) => bail!("{} is not a directory", show(&join(parent, name))),
        }
    }

    fn make_directory(&self, at: &OwnedFd, name: &[u8], opaque: bool) -> Result<Rc<OwnedFd>> {
        rustix::fs::mkdirat(at, name, Mode::RWXU)?;
        let directory = open_child(at, name)?;
        self.owners.settle(directory.as_fd(), 0, 0, IMPLIED, &[])?;
        if opaque {
            meta::make_opaque(directory.as_fd())?;
        }
        Ok(Rc::new(directory))
    }
}

impl Directory {
    fn let_go(self) -> Result<()> {
        let Some(mtime) = self.mtime else { return Ok(()) };
        meta::set_times(self.fd.as_fd(), mtime)
            .with_context(|| format!("set the time of the directory {}", show(&self.path)))
    }
}

/// Opens the directory `name` in `parent` itself, not where a link leads.
pub(super) fn open_child(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    open_directory(parent.as_fd(), name, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV)
}

/// A character device 0:0 is how overlayfs says that a lower name is deleted.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// `parent/name`.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match parent {
        [] => name.to_vec(),
        _ => [parent, b"/", name].concat(),
    }
}

fn open_directory(at: BorrowedFd<'_>, path: &[u8], resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    beneath::open(at, path, OFlags::RDONLY | OFlags::DIRECTORY, resolve)
}
