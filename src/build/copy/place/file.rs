//! One regular file: its content, and all else that belongs to it, in as few system calls as may be.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::{Errno, retry_on_intr};

use super::tree::{Place, Writer};
use super::{PlaceError, vacate};
use crate::build::context::entry::identity;
use crate::build::context::{Entry, Kind, Stamp};
use crate::build::copy::digest;
use crate::spec::digest::Digest;
use crate::store::copy::{OverlayMarks, Owners, attributes, settle};

/// Larger files are shared or copied within the kernel.
const SMALL: usize = 128 << 10;

impl Writer<'_> {
    /// Copies a file to `place`.
    pub(super) fn regular(&mut self, entry: &Entry, from: BorrowedFd<'_>, place: &Place<'_>) -> Result<(), PlaceError> {
        let Kind::File { digest, racy } = entry.kind else { return Ok(()) };
        if entry.stat.st_nlink > 1 && self.link(entry, place)? {
            return Ok(());
        }
        let source = self.open_source(entry, from)?;
        let read_failed = |this: &Self, error| this.source_error("read", entry, error);
        let stat = rustix::fs::fstat(&source).map_err(|error| read_failed(self, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(PlaceError::Changed(self.source_path(entry)));
        }
        let mode = self.mode(&stat, false);
        let target = create(place.directory, place.name, mode & 0o777, place.path)?;
        let bytes = self.fill(&source, &target, &stat, place)?;
        self.settle(entry, &source, &target, &stat, mode, place)?;
        let after = rustix::fs::fstat(&source).map_err(|error| read_failed(self, error))?;
        self.compare(entry, digest, racy, &after, &target, place)?;
        if stat.st_nlink > 1 {
            let made = rustix::fs::fstat(&target).map_err(|error| place.failed("examine", error))?;
            self.links.remember(&stat, place.below, &made);
        }
        self.placed.bytes += bytes;
        (self.progress)(bytes);
        Ok(())
    }

    fn open_source(&self, entry: &Entry, from: BorrowedFd<'_>) -> Result<OwnedFd, PlaceError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::openat(from, &entry.name, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP | Errno::NXIO | Errno::NOENT => PlaceError::Changed(self.source_path(entry)),
            error => self.source_error("open", entry, error),
        })
    }

    /// Links to the copy of another name of the same file, if there is one.
    fn link(&mut self, entry: &Entry, place: &Place<'_>) -> Result<bool, PlaceError> {
        let name = crate::build::context::entry::c_name(place.name).map_err(|error| place.failed("link", error))?;
        for _ in 0..2 {
            match self.links.link(&entry.stat, place.top, place.directory, &name) {
                Err(Errno::EXIST) => vacate(place.directory, place.name, place.path)?,
                linked => return linked.map_err(|error| place.failed("link", error)),
            }
        }
        Ok(false)
    }

    fn fill(&mut self, source: &OwnedFd, target: &OwnedFd, stat: &Stat, place: &Place<'_>) -> Result<u64, PlaceError> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        if size > SMALL as u64 || allocated < size && size > 4096 {
            self.files.copy(source, target, stat).map_err(|error| place.failed("write", error))?;
            return Ok(size);
        }
        if self.buffer.is_empty() {
            self.buffer = vec![0; SMALL + 1];
        }
        let mut offset = 0;
        loop {
            let count = retry_on_intr(|| rustix::io::read(source, &mut *self.buffer))
                .map_err(|error| PlaceError::Io { doing: "read", path: place.path.to_vec(), error })?;
            let mut written = 0;
            while written < count {
                let piece = &self.buffer[written..count];
                written +=
                    retry_on_intr(|| rustix::io::write(target, piece)).map_err(|error| place.failed("write", error))?;
            }
            offset += count as u64;
            if count == 0 || offset == size {
                return Ok(offset);
            }
        }
    }

    /// Owner, attributes, permissions, times.
    fn settle(
        &mut self,
        entry: &Entry,
        source: &OwnedFd,
        target: &OwnedFd,
        stat: &Stat,
        mode: u32,
        place: &Place<'_>,
    ) -> Result<(), PlaceError> {
        let failed = |error| place.failed("set the attributes of", error);
        if let Some((uid, gid)) = self.new_owner(stat, place.quirks) {
            rustix::fs::fchown(target, Some(uid), Some(gid)).map_err(failed)?;
        }
        if entry.attributes != Some(false) {
            let owners = self.owners();
            let found = attributes(source.as_fd(), OverlayMarks::Drop, &owners)
                .map_err(|error| self.source_error("read the attributes of", entry, error))?;
            let mut wanted = *stat;
            wanted.st_mode = mode;
            // settle() knows a rule of its own for the copying process's files.
            settle(target.as_fd(), &wanted, &Owners::Keep, &found).map_err(failed)?;
            return Ok(());
        }
        // What the creation gave is right already, as a rule.
        if mode & 0o7000 != 0 || mode & self.umask != 0 || place.quirks.access_list {
            rustix::fs::fchmod(target, Mode::from_raw_mode(mode)).map_err(failed)?;
        }
        rustix::fs::futimens(target, &times(stat)).map_err(failed)
    }

    /// Whether the copy is what the digest was made of.
    fn compare(
        &mut self,
        entry: &Entry,
        digest: Option<Digest>,
        racy: bool,
        after: &Stat,
        target: &OwnedFd,
        place: &Place<'_>,
    ) -> Result<(), PlaceError> {
        let Some(expected) = digest else { return Ok(()) };
        let same = identity(after) == identity(&entry.stat) && Stamp::of(after) == Stamp::of(&entry.stat);
        let changed = if !same {
            true
        } else if racy {
            // Its times may not show a change: its bytes do. Attributes were read from it just now.
            self.buffer.resize(SMALL + 1, 0);
            let copy = digest::content(target, self.selected.owners, &mut self.buffer);
            let copy = copy.map_err(|error| place.failed("read", error))?;
            copy.digest != expected
        } else {
            false
        };
        if changed {
            self.placed.changed.push(format!("/{}", crate::build::context::entry::show(&self.source_path(entry))));
        }
        Ok(())
    }
}

/// Makes a new file, where another one may be. It can be read and written.
pub(super) fn create(directory: impl AsFd, name: &[u8], mode: u32, path: &[u8]) -> Result<OwnedFd, PlaceError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..2 {
        match rustix::fs::openat(directory.as_fd(), name, flags, Mode::from_raw_mode(mode)) {
            Err(Errno::EXIST) => vacate(directory.as_fd(), name, path)?,
            opened => return opened.map_err(|error| PlaceError::Io { doing: "create", path: path.to_vec(), error }),
        }
    }
    Err(PlaceError::Io { doing: "create", path: path.to_vec(), error: Errno::EXIST })
}

pub(super) fn times(stat: &Stat) -> Timestamps {
    let stamp = |seconds: i64, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    Timestamps {
        last_access: stamp(stat.st_atime, stat.st_atime_nsec),
        last_modification: stamp(stat.st_mtime, stat.st_mtime_nsec),
    }
}

pub(super) type Owner = (Uid, Gid);
