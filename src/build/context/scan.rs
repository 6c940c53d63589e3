//! Looking through directories: names and stat data, one directory open at a time for each level, and
//! below many levels none but the last.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::entry::{Entry, Kind, c_name, join};
use super::resolve::open_real;
use super::{Tree, TreeOwners};
use crate::spec::digest::Digest;
use crate::store::copy::{OverlayMarks, Owners, attributes};

/// Levels whose descriptors stay open while the scan is below them.
const OPEN_LEVELS: usize = 64;
/// Linux's PATH_MAX: what is deeper cannot be named.
const PATH_MAX: usize = 4095;
/// Levels of directories, each of which costs stack.
const LEVELS_MAX: usize = 500;

/// Chooses what is taken: called with a path relative to what is scanned.
pub trait Filter {
    /// What to do with an entry.
    fn judge(&self, path: &[u8], is_dir: bool) -> Verdict;
}

/// About one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Take,
    /// Not this directory, but perhaps something in it.
    Pass,
    Leave,
}

/// Why a scan ended, with the path in the tree.
#[derive(Debug)]
pub struct ScanError {
    pub path: Vec<u8>,
    pub doing: &'static str,
    pub error: Errno,
}

/// What was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Sockets, which nobody listens on in an image.
    pub sockets: u64,
    /// What patterns hide, but not what is below it.
    pub hidden: u64,
}

impl LeftOut {
    /// Counts another scan's in.
    pub fn add(&mut self, other: Self) {
        self.sockets += other.sockets;
        self.hidden += other.hidden;
    }
}

/// Scans below one entry of a tree.
pub struct Scan<'a> {
    tree: &'a Tree,
    filter: Option<&'a dyn Filter>,
    /// Length of the path that the filter does not see.
    base: usize,
    pub left_out: LeftOut,
}

impl<'a> Scan<'a> {
    /// `base` is the path that the filter's paths are relative to.
    pub fn new(tree: &'a Tree, filter: Option<&'a dyn Filter>, base: &[u8]) -> Self {
        let base = if base.is_empty() { 0 } else { base.len() + 1 };
        Self { tree, filter, base, left_out: LeftOut::default() }
    }

    /// The entry `name` in `parent`, a directory with what it holds; None when nothing of it is visible. It was named
    /// itself, so the filter is not asked about it. `path` is its own.
    pub fn top(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        stat: Stat,
    ) -> Result<Option<Entry>, ScanError> {
        let is_dir = super::entry::is_directory(&stat);
        let verdict = if self.tree.hides(path, is_dir) { Verdict::Pass } else { Verdict::Take };
        self.judged(parent, name, path, stat, verdict, 0)
    }

    fn judge(&self, path: &[u8], is_dir: bool) -> Verdict {
        let hidden = match self.tree.ignore() {
            Some(ignore) if !path.is_empty() && ignore.excludes(path, is_dir) => {
                if !is_dir || !ignore.may_descend(path) {
                    return Verdict::Leave;
                }
                true
            }
            _ => false,
        };
        let wanted = match self.filter {
            Some(filter) => filter.judge(path.get(self.base..).unwrap_or_default(), is_dir),
            None => Verdict::Take,
        };
        if wanted == Verdict::Take && hidden { Verdict::Pass } else { wanted }
    }

    fn judged(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        stat: Stat,
        verdict: Verdict,
        depth: usize,
    ) -> Result<Option<Entry>, ScanError> {
        let failed = |doing, error| ScanError { path: path.to_vec(), doing, error };
        let c_name = c_name(name).map_err(|error| failed("lstat", error))?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            _ if verdict == Verdict::Leave => return Ok(None),
            FileType::Directory => {
                let wanted = verdict == Verdict::Take;
                let directory = match self.open(parent, name, path, depth) {
                    // Gone since the directory above was read.
                    Err(Errno::NOENT) if !path.is_empty() => return Ok(None),
                    opened => opened.map_err(|error| failed("open", error))?,
                };
                let attributes =
                    self.attributes(&directory).map_err(|error| failed("read the attributes of", error))?;
                let entries = self.directory(directory, path, depth)?;
                if !wanted && entries.is_empty() {
                    return Ok(None);
                }
                let has = attributes.is_some();
                let kind = Kind::Directory { entries, wanted, attributes };
                return Ok(Some(Entry { name: c_name, kind, stat, attributes: Some(has) }));
            }
            _ if verdict == Verdict::Pass => return Ok(None),
            FileType::RegularFile => Kind::File { digest: None, racy: true },
            FileType::Symlink => match rustix::fs::readlinkat(parent, &c_name, Vec::new()) {
                Ok(target) => Kind::Link(target),
                Err(error) => return Err(failed("readlink", error)),
            },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => {
                self.left_out.sockets += 1;
                return Ok(None);
            }
            _ => Kind::Device,
        };
        let attributes = (!matches!(kind, Kind::File { .. })).then_some(false);
        Ok(Some(Entry { name: c_name, kind, stat, attributes }))
    }

    fn open(&self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8], depth: usize) -> Result<OwnedFd, Errno> {
        if path.len() > PATH_MAX || depth > LEVELS_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        if depth >= OPEN_LEVELS {
            return open_real(self.tree.root(), path);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::empty())
    }

    fn attributes(&self, directory: &OwnedFd) -> Result<Option<Digest>, Errno> {
        let found = attributes(directory.as_fd(), OverlayMarks::Drop, &owners(self.tree.owners()))?;
        Ok((!found.is_empty()).then(|| super::stat_cache::attribute_digest(&found)))
    }

    /// What a directory holds.
    fn directory(&mut self, directory: OwnedFd, path: &[u8], depth: usize) -> Result<Vec<Entry>, ScanError> {
        let failed = |doing, error| ScanError { path: path.to_vec(), doing, error };
        let mut names = names(directory.as_fd()).map_err(|error| failed("read", error))?;
        names.sort_unstable();
        let mut directory = Some(directory);
        let mut entries = Vec::with_capacity(names.len());
        let mut found = Vec::new();
        for name in names {
            let below = join(path, &name);
            let Some(at) = &directory else { break };
            let stat = match rustix::fs::statat(at, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Gone since the directory was read.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(ScanError { path: below, doing: "lstat", error }),
            };
            let verdict = self.judge(&below, super::entry::is_directory(&stat));
            if verdict != Verdict::Take && self.tree.hides(&below, super::entry::is_directory(&stat)) {
                self.left_out.hidden += 1;
            }
            if depth + 1 < OPEN_LEVELS || !super::entry::is_directory(&stat) {
                entries.extend(self.judged(at.as_fd(), &name, &below, stat, verdict, depth + 1)?);
            } else {
                found.push((name, below, stat, verdict));
            }
        }
        if !found.is_empty() {
            directory.take();
            for (name, below, stat, verdict) in found {
                entries.extend(self.judged(self.tree.root(), &name, &below, stat, verdict, depth + 1)?);
            }
            entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(entries)
    }
}

/// The names in a directory, all at once.
pub fn names(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = match entry {
            // The directory was deleted.
            Err(Errno::NOENT) => break,
            entry => entry?,
        };
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Which access lists go along: those of a host's directory are about others.
pub fn owners(owners: TreeOwners) -> Owners<'static> {
    match owners {
        TreeOwners::Root => Owners::One(0, 0),
        TreeOwners::Keep => Owners::Keep,
    }
}
