//! Where COPY and ADD take files from: a directory held by descriptor, with patterns that hide parts of
//! it. Nothing is opened by a path of the host after that, and no link leads out.

pub mod entry;
pub mod resolve;
pub mod scan;
pub mod stat_cache;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{CWD, Mode, OFlags};

use crate::spec::digest::Digest;
pub use entry::{Entry, Kind, Stamp};
pub use stat_cache::StatCache;

/// What is hidden of a tree. Paths are relative to its top, without `.`, `..` and slashes at the ends.
pub trait Ignore {
    /// Whether this is hidden, by itself or because a directory above it is.
    fn excludes(&self, path: &[u8], is_dir: bool) -> bool;
    /// Whether something in a hidden directory may be visible after all.
    fn may_descend(&self, directory: &[u8]) -> bool;
}

impl Ignore for crate::spec::dockerfile::ignore::Ignore {
    fn excludes(&self, path: &[u8], is_dir: bool) -> bool {
        self.excludes(path, is_dir)
    }

    fn may_descend(&self, directory: &[u8]) -> bool {
        self.may_descend(directory)
    }
}

/// Whose the copies of a tree's files are, unless the instruction says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TreeOwners {
    /// Root's: the tree is somebody's directory on the host.
    #[default]
    Root,
    /// The files' own: the tree is that of an image or a stage.
    Keep,
}

/// A directory with what is hidden of it.
#[derive(Clone)]
pub struct Tree {
    root: Rc<OwnedFd>,
    ignore: Option<Rc<dyn Ignore>>,
    owners: TreeOwners,
}

impl Tree {
    /// Pins the directory at `path`, a context.
    pub fn open(path: &Path, ignore: Option<Rc<dyn Ignore>>) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { root: Rc::new(root), ignore, owners: TreeOwners::Root })
    }

    /// The mounted root of an image or a stage; its files keep their owners.
    pub fn of_root(root: OwnedFd) -> Self {
        Self { root: Rc::new(root), ignore: None, owners: TreeOwners::Keep }
    }

    /// Files of ours, such as downloads: all is visible, and root's.
    pub fn of_directory(root: OwnedFd) -> Self {
        Self { root: Rc::new(root), ignore: None, owners: TreeOwners::Root }
    }

    /// The directory.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whose the copies are.
    pub fn owners(&self) -> TreeOwners {
        self.owners
    }

    pub(super) fn shared_root(&self) -> Rc<OwnedFd> {
        Rc::clone(&self.root)
    }

    pub(super) fn ignore(&self) -> Option<&dyn Ignore> {
        self.ignore.as_deref()
    }

    /// Names this directory among others, for its [`StatCache`].
    pub fn identity(&self) -> io::Result<Digest> {
        let stat = rustix::fs::fstat(&self.root)?;
        Ok(Digest::of(format!("{}:{}", stat.st_dev, stat.st_ino).as_bytes()))
    }

    /// Whether `path` itself is hidden, and nothing of it is visible but for exceptions below.
    pub(super) fn hides(&self, path: &[u8], is_dir: bool) -> bool {
        !path.is_empty() && self.ignore().is_some_and(|ignore| ignore.excludes(path, is_dir))
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("root", &self.root).field("owners", &self.owners).finish_non_exhaustive()
    }
}
