//! The walk over both trees.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, makedev};
use rustix::io::Errno;

use super::content::{Content, ContentError, Job};
use super::links::{Links, identity};
use super::metadata::{self, Unmapped};
use super::open::{Listed, names, open_directory, open_file, open_kind, open_target};
use super::place::{self, Drafts, PlaceError};
use super::{Contents, Copied, CopyError, CopyOptions, OverlayMarks, Side};

/// Levels whose descriptors stay open while the walk is below them.
const OPEN_LEVELS: usize = 32;
/// How often an entry is looked at again that turned into another kind meanwhile.
const TRIES: usize = 16;

/// A copy that goes on.
pub(super) struct Copier<'a> {
    options: &'a CopyOptions<'a>,
    progress: &'a mut dyn FnMut(u64),
    side: Option<Side>,
    /// Where the walk is, relative to the top.
    path: Vec<u8>,
    copied: Copied,
    content: Content,
    drafts: Drafts,
    links: Links,
}

/// A directory on the way down.
struct Level {
    /// None while the level is too far above the bottom to stay open.
    open: Option<Pair>,
    identities: [(u64, u64); 2],
    /// What is still to be copied.
    names: std::vec::IntoIter<Listed>,
    /// Of the source.
    stat: Stat,
    /// Of the walk's path.
    length: usize,
    settle: Settle,
}

struct Pair {
    source: OwnedFd,
    target: OwnedFd,
}

/// What becomes of a directory's own owner, permissions, attributes and times.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settle {
    /// The source's.
    New,
    /// The source's, where the directory is ours to change.
    Existing,
    Leave,
}

impl<'a> Copier<'a> {
    pub fn new(options: &'a CopyOptions<'a>, progress: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            options,
            progress,
            side: None,
            path: Vec::new(),
            copied: Copied::default(),
            content: Content::default(),
            drafts: Drafts::new(),
            links: Links::default(),
        }
    }

    /// Copies what one directory holds into another.
    pub fn tree(mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<Copied, CopyError> {
        self.turn(Side::Source);
        let source = open_directory(from, c".").map_err(|error| self.source("open", error))?;
        self.turn(Side::Target);
        let target = open_target(to, c".").map_err(|error| self.target("open", error))?;
        let settle = if self.options.top { Settle::Existing } else { Settle::Leave };
        let top = self.level(source, target, settle)?;
        self.walk(top)?;
        Ok(self.copied)
    }

    /// Copies one entry.
    pub fn single(
        mut self,
        from: BorrowedFd<'_>,
        name: &CStr,
        to: BorrowedFd<'_>,
        new_name: &CStr,
    ) -> Result<Copied, CopyError> {
        if let Some(top) = self.entry(from, name, to, to, new_name, FileType::Unknown)? {
            self.walk(top)?;
        }
        Ok(self.copied)
    }

    fn walk(&mut self, top: Level) -> Result<(), CopyError> {
        let open = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        let root = top.open.as_ref().map(|pair| open(pair.target.as_fd())).ok_or(CopyError::Stopped)?;
        let root = root.map_err(|error| self.target("open", error))?;
        let mut levels = vec![top];
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.length);
            let Some(pair) = level.open.as_ref() else { return Err(CopyError::Moved(self.shown())) };
            let Some(Listed { name, kind }) = level.names.next() else {
                self.ascend(&mut levels)?;
                continue;
            };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            let below = self.entry(pair.source.as_fd(), &name, root.as_fd(), pair.target.as_fd(), &name, kind)?;
            if let Some(below) = below {
                if let Some(above) = levels.len().checked_sub(OPEN_LEVELS) {
                    levels[above].open = None;
                }
                levels.push(below);
            }
        }
        Ok(())
    }

    /// Leaves the deepest directory: now that nothing is made in it any more it gets its times.
    fn ascend(&mut self, levels: &mut Vec<Level>) -> Result<(), CopyError> {
        let Some(left) = levels.pop() else { return Ok(()) };
        let Some(pair) = left.open else { return Ok(()) };
        self.settle_directory(&pair, &left.stat, left.settle)?;
        let Some(parent) = levels.last_mut() else { return Ok(()) };
        if parent.open.is_none() {
            self.turn(Side::Source);
            let source = open_directory(pair.source.as_fd(), c"..").map_err(|error| self.source("open", error))?;
            self.turn(Side::Target);
            let target = open_target(pair.target.as_fd(), c"..").map_err(|error| self.target("open", error))?;
            // Somebody moved the directory: what is above it now is none of our business.
            if self.identities(&source, &target)? != parent.identities {
                return Err(CopyError::Moved(self.shown()));
            }
            parent.open = Some(Pair { source, target });
        }
        Ok(())
    }

    fn settle_directory(&mut self, pair: &Pair, stat: &Stat, settle: Settle) -> Result<(), CopyError> {
        if settle == Settle::Leave {
            return Ok(());
        }
        self.turn(Side::Source);
        let attributes = metadata::attributes(pair.source.as_fd(), self.options.overlay, &self.options.owners)
            .map_err(|error| self.source("read the attributes of", error))?;
        self.turn(Side::Target);
        let owner = self.options.owners.of(stat).map_err(|unmapped| self.unmapped(unmapped))?;
        let target = pair.target.as_fd();
        let owned = match owner {
            Some((uid, gid)) => rustix::fs::fchown(target, Some(uid), Some(gid)),
            None => Ok(()),
        };
        match owned.and_then(|()| metadata::settle(target, stat, &self.options.owners, &attributes)) {
            Ok(lost) => self.copied.attributes_lost += lost,
            // Another one's, or one that we may only write to.
            Err(Errno::PERM | Errno::ACCESS | Errno::BADF | Errno::ROFS) if settle == Settle::Existing => {}
            Err(error) => return Err(self.target("set the attributes of", error)),
        }
        Ok(())
    }

    /// Copies an entry; returns the level below when it is a directory. One that is gone since its
    /// directory was read is passed over. `root` is the top of the target's tree.
    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        name: &CStr,
        root: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        new_name: &CStr,
        mut kind: FileType,
    ) -> Result<Option<Level>, CopyError> {
        if self.options.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Err(CopyError::Stopped);
        }
        for _ in 0..TRIES {
            self.turn(Side::Source);
            let done = match kind {
                FileType::Directory => match open_directory(from, name) {
                    Ok(source) => return self.directory(source, to, new_name).map(Some),
                    Err(error) => Err(error),
                },
                FileType::RegularFile => match open_file(from, name) {
                    Ok(Some((source, stat))) => return self.file(&source, &stat, root, to, new_name).map(|()| None),
                    Ok(None) => Err(Errno::LOOP),
                    Err(error) => Err(error),
                },
                FileType::Unknown => Err(Errno::LOOP),
                kind => {
                    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW);
                    match stat {
                        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == kind => {
                            return self.special(from, name, &stat, to, new_name).map(|()| None);
                        }
                        Ok(_) => Err(Errno::LOOP),
                        Err(error) => Err(error),
                    }
                }
            };
            match done {
                Ok(()) => return Ok(None),
                Err(Errno::NOENT) if !self.path.is_empty() => return Ok(None),
                // Not, or no more, what it was taken for.
                Err(Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => {}
                Err(error) => return Err(self.source("open", error)),
            }
            let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW);
            kind = match stat {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) if !self.path.is_empty() => return Ok(None),
                Err(error) => return Err(self.source("open", error)),
            };
        }
        Err(CopyError::Moved(self.shown()))
    }

    fn directory(&mut self, source: OwnedFd, to: BorrowedFd<'_>, name: &CStr) -> Result<Level, CopyError> {
        self.turn(Side::Target);
        if self.options.overlay == OverlayMarks::Apply && metadata::is_opaque(source.as_fd()) {
            place::remove_all(to, name).map_err(|error| self.target("remove", error))?;
        }
        let existed = place::make_directory(to, name, self.options.existing).map_err(|error| self.place(error))?;
        let target = open_target(to, name).map_err(|error| self.target("open", error))?;
        self.copied.entries += 1;
        self.level(source, target, if existed { Settle::Existing } else { Settle::New })
    }

    fn level(&mut self, source: OwnedFd, target: OwnedFd, settle: Settle) -> Result<Level, CopyError> {
        self.turn(Side::Source);
        let stat = rustix::fs::fstat(&source).map_err(|error| self.source("examine", error))?;
        let names = names(source.as_fd()).map_err(|error| self.source("read", error))?;
        let identities = self.identities(&source, &target)?;
        let open = Some(Pair { source, target });
        Ok(Level { open, identities, names: names.into_iter(), stat, length: self.path.len(), settle })
    }

    fn file(
        &mut self,
        source: &OwnedFd,
        stat: &Stat,
        root: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), CopyError> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if stat.st_nlink > 1 && self.link(stat, root, to, name)? {
            self.copied.entries += 1;
            self.copied.size += size;
            return Ok(());
        }
        let attributes = metadata::attributes(source.as_fd(), self.options.overlay, &self.options.owners)
            .map_err(|error| self.source("read the attributes of", error))?;
        self.turn(Side::Target);
        let CopyOptions { existing, whole, .. } = *self.options;
        // Twice at most: the second time with a name from the start.
        let (bytes, made) = loop {
            let draft = self.drafts.start(to, name, existing, whole).map_err(|error| self.place(error))?;
            let filled = self.fill(source, &draft.file, stat, &attributes);
            let filled = filled.and_then(|bytes| {
                let made = rustix::fs::fstat(&draft.file).map_err(|error| self.target("examine", error))?;
                Ok((bytes, made))
            });
            if filled.is_err() {
                draft.discard(to);
            }
            let filled = filled?;
            match self.drafts.keep(draft, to, name, existing) {
                Ok(true) => break filled,
                Ok(false) => {}
                Err(PlaceError::System(Errno::BUSY)) => {
                    let bytes = self.write_mounted(source, stat, to, name)?;
                    break (bytes, filled.1);
                }
                Err(error) => return Err(self.place(error)),
            }
        };
        if stat.st_nlink > 1 && !self.path.is_empty() {
            self.links.remember(stat, &self.path, &made);
        }
        self.copied.entries += 1;
        self.copied.bytes += bytes;
        self.copied.size += size;
        Ok(())
    }

    /// Fills a new file and gives it all but its name.
    fn fill(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        stat: &Stat,
        attributes: &metadata::Attributes,
    ) -> Result<u64, CopyError> {
        let bytes = match self.options.contents {
            Contents::Copy => self.copy_content(source, target, stat)?,
            Contents::Hollow(hook) => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                rustix::fs::ftruncate(target, size).map_err(|error| self.target("write", error))?;
                hook(target.as_fd(), &self.path).map_err(|error| CopyError::Hook { path: self.shown(), error })?;
                0
            }
        };
        if let Some((uid, gid)) = self.options.owners.of(stat).map_err(|unmapped| self.unmapped(unmapped))? {
            rustix::fs::fchown(target, Some(uid), Some(gid)).map_err(|error| self.target("set the owner of", error))?;
        }
        self.copied.attributes_lost += metadata::settle(target.as_fd(), stat, &self.options.owners, attributes)
            .map_err(|error| self.target("set the attributes of", error))?;
        Ok(bytes)
    }

    fn copy_content(&mut self, source: &OwnedFd, target: &OwnedFd, stat: &Stat) -> Result<u64, CopyError> {
        let mut job = Job { source, target, stat, progress: &mut *self.progress, stop: self.options.stop };
        self.content.copy(&mut job).map_err(|error| match error {
            ContentError::Read(error) => self.source("read", error),
            ContentError::Write(error) => self.target("write", error),
            ContentError::Stopped => CopyError::Stopped,
        })
    }

    /// Writes to a file that something is mounted on: it stays the file that it is.
    fn write_mounted(
        &mut self,
        source: &OwnedFd,
        stat: &Stat,
        to: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<u64, CopyError> {
        let target = place::open_mounted(to, name).map_err(|error| self.target("write", error))?;
        self.copy_content(source, &target, stat)
    }

    /// Links to a copy of the same file, if there is one.
    fn link(&mut self, stat: &Stat, root: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<bool, CopyError> {
        self.turn(Side::Target);
        let links = &mut self.links;
        let mut linked = false;
        let outcome = place::put(to, name, self.options.existing, &mut |name| {
            linked = links.link(stat, root, to, name)?;
            // Nothing was made: there is nothing to rename either.
            if linked { Ok(()) } else { Err(Errno::AGAIN) }
        });
        let outcome = match outcome {
            Err(PlaceError::System(Errno::AGAIN)) => Ok(false),
            Err(error) => Err(self.place(error)),
            Ok(()) => Ok(linked),
        };
        self.turn(Side::Source);
        outcome
    }

    /// Copies what is neither a file nor a directory.
    fn special(
        &mut self,
        from: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        to: BorrowedFd<'_>,
        new_name: &CStr,
    ) -> Result<(), CopyError> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let leads =
                    rustix::fs::readlinkat(from, name, Vec::new()).map_err(|error| self.source("read", error))?;
                self.put(to, new_name, &mut |name| rustix::fs::symlinkat(&leads, to, name))?;
                self.settle_link(to, new_name, stat)?;
            }
            FileType::Fifo => {
                let mode = Mode::RUSR | Mode::WUSR;
                self.put(to, new_name, &mut |name| rustix::fs::mknodat(to, name, FileType::Fifo, mode, 0))?;
                self.settle_fifo(to, new_name, stat)?;
            }
            FileType::CharacterDevice
                if stat.st_rdev == makedev(0, 0) && self.options.overlay != OverlayMarks::Drop =>
            {
                return self.whiteout(to, new_name);
            }
            FileType::Socket => {
                self.copied.sockets += 1;
                return Ok(());
            }
            _ => {
                self.copied.devices += 1;
                return Ok(());
            }
        }
        self.copied.entries += 1;
        Ok(())
    }

    fn whiteout(&mut self, to: BorrowedFd<'_>, name: &CStr) -> Result<(), CopyError> {
        if self.options.overlay == OverlayMarks::Apply {
            self.turn(Side::Target);
            return place::remove_all(to, name).map_err(|error| self.target("remove", error));
        }
        self.copied.entries += 1;
        let kind = FileType::CharacterDevice;
        self.put(to, name, &mut |name| rustix::fs::mknodat(to, name, kind, Mode::empty(), makedev(0, 0)))
    }

    fn put(
        &mut self,
        to: BorrowedFd<'_>,
        name: &CStr,
        make: &mut dyn FnMut(&CStr) -> Result<(), Errno>,
    ) -> Result<(), CopyError> {
        self.turn(Side::Target);
        place::put(to, name, self.options.existing, make).map_err(|error| self.place(error))
    }

    /// Through handles whose kind is checked: whoever can rename here must not choose what gets the
    /// owner.
    fn settle_link(&mut self, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), CopyError> {
        let owner = self.options.owners.of(stat).map_err(|unmapped| self.unmapped(unmapped))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let settled = open_kind(to, name, flags, FileType::Symlink)
            .and_then(|link| metadata::settle_link(link.as_fd(), stat, owner));
        settled.map_err(|error| self.target("set the attributes of", error))
    }

    fn settle_fifo(&mut self, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), CopyError> {
        let owner = self.options.owners.of(stat).map_err(|unmapped| self.unmapped(unmapped))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let settled = open_kind(to, name, flags, FileType::Fifo).and_then(|fifo| {
            if let Some((uid, gid)) = owner {
                rustix::fs::fchown(&fifo, Some(uid), Some(gid))?;
            }
            metadata::settle(fifo.as_fd(), stat, &self.options.owners, &Vec::new())
        });
        settled.map(drop).map_err(|error| self.target("set the attributes of", error))
    }

    fn identities(&mut self, source: &OwnedFd, target: &OwnedFd) -> Result<[(u64, u64); 2], CopyError> {
        let of = |stat: Stat| identity(&stat);
        Ok([
            rustix::fs::fstat(source).map(of).map_err(|error| self.source("examine", error))?,
            rustix::fs::fstat(target).map(of).map_err(|error| self.target("examine", error))?,
        ])
    }

    fn turn(&mut self, side: Side) {
        if let Some(rights) = self.options.rights
            && self.side != Some(side)
        {
            rights(side);
            self.side = Some(side);
        }
    }

    fn shown(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.path))
    }

    fn source(&self, doing: &'static str, error: Errno) -> CopyError {
        CopyError::Io { doing, side: Side::Source, path: self.shown(), error }
    }

    fn target(&self, doing: &'static str, error: Errno) -> CopyError {
        CopyError::Io { doing, side: Side::Target, path: self.shown(), error }
    }

    fn place(&self, error: PlaceError) -> CopyError {
        match error {
            PlaceError::System(error) => self.target("create", error),
            PlaceError::DirectoryInTheWay => CopyError::DirectoryInTheWay(self.shown()),
            PlaceError::FileInTheWay => CopyError::FileInTheWay(self.shown()),
        }
    }

    fn unmapped(&self, Unmapped(id): Unmapped) -> CopyError {
        CopyError::NoOwner { path: self.shown(), id }
    }
}
