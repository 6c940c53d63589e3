//! Puts entries into the tree. Every name is resolved inside the tree by the kernel, everything is
//! made exclusively, and attributes go through descriptors.

use std::borrow::Cow;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::directories::{Directories, Surroundings, is_whiteout, join, open_child};
use super::job::Unpacked;
use super::meta::{self, Owners};
use super::path::{EntryPath, show};
use super::reader::{Entry, Kind, Meta, Reader};
use super::sparse::{self, SparseMap};
use super::whiteout::Whiteout;
use crate::store::remove;

/// A tree being filled from an archive.
pub(super) struct Applier {
    reader: Reader,
    directories: Directories,
    owners: Owners,
    place: Option<Place>,
    size: u64,
    skipped_devices: u64,
}

/// Where entries go that are no layer's: into a container's files.
pub(super) struct Place {
    /// The directory that they are relative to, from the root and without links.
    pub path: Vec<u8>,
    /// A directory may take the place of another kind of file, and the other way round.
    pub replace_kinds: bool,
}

impl Applier {
    /// Will fill the empty directory `root`.
    pub fn new(reader: Reader, root: OwnedFd, owners: Owners) -> Result<Self> {
        owners.settle(root.as_fd(), 0, 0, 0o755, &[])?;
        let directories = Directories::new(root, owners.clone(), Surroundings::Nothing)?;
        Ok(Self { reader, directories, owners, place: None, size: 0, skipped_devices: 0 })
    }

    /// Will add to what `root` holds.
    pub fn within(reader: Reader, root: OwnedFd, owners: Owners, place: Place) -> Result<Self> {
        let directories = Directories::new(root, owners.clone(), Surroundings::Container)?;
        Ok(Self { reader, directories, owners, place: Some(place), size: 0, skipped_devices: 0 })
    }

    /// Applies the whole archive.
    pub fn run(mut self) -> Result<Unpacked> {
        while let Some(entry) = self.reader.next()? {
            self.apply(&entry).with_context(|| format!("entry {}", show(&entry.raw_name)))?;
        }
        self.directories.finish()?;
        let (size, entries, skipped_devices) = (self.size, self.reader.entries(), self.skipped_devices);
        Ok(Unpacked { diff_id: self.reader.finish()?, size, entries, skipped_devices })
    }

    fn apply(&mut self, entry: &Entry) -> Result<()> {
        let EntryPath::Below { parent, name } = &entry.path else { return self.apply_root(entry) };
        if let Some(place) = &self.place {
            let parent = below(&place.path, parent);
            return self.put(&parent, name, entry);
        }
        match Whiteout::of(parent, name)? {
            None => self.put(parent, name, entry),
            Some(Whiteout::Bookkeeping) => Ok(()),
            Some(Whiteout::Opaque) => self.hide_lower(parent),
            Some(Whiteout::Deleted(name)) => self.delete(parent, name),
        }
    }

    fn apply_root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Directory {
            bail!("the root of the tree must stay a directory");
        }
        if self.place.is_some() {
            // The directory that was there stays as it is.
            return Ok(());
        }
        let Meta { mode, uid, gid, mtime, xattrs } = &entry.meta;
        self.owners.settle(self.directories.root(), *uid, *gid, *mode, xattrs)?;
        self.directories.describe_root(*mtime);
        Ok(())
    }

    /// `.wh..wh..opq`: nothing that lower layers have in the directory shows.
    fn hide_lower(&mut self, directory: &[u8]) -> Result<()> {
        match self.directories.open_unless_deleted(directory)? {
            Some(directory) => meta::make_opaque(directory.as_fd()),
            None => Ok(()),
        }
    }

    /// `.wh.NAME`: what lower layers have by this name does not show. Whatever this layer itself
    /// has there stays, before or after the whiteout in the archive (OCI image-spec, layer.md).
    fn delete(&mut self, parent: &[u8], name: &[u8]) -> Result<()> {
        let Some(directory) = self.directories.open_unless_deleted(parent)? else { return Ok(()) };
        match rustix::fs::mknodat(&*directory, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => match open_child(&directory, name) {
                Ok(child) => meta::make_opaque(child.as_fd()),
                Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error).context("make a whiteout"),
        }
    }

    fn put(&mut self, parent: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        if entry.kind == Kind::Device {
            self.skipped_devices += 1;
            return Ok(());
        }
        if self.make(parent, name, entry)? {
            return Ok(());
        }
        let directory = self.directories.open(parent)?;
        let occupant = rustix::fs::statat(&*directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if entry.kind == Kind::Directory && is_directory(&occupant) {
            let child = self.directories.open_old(&directory, name)?;
            return self.settle_directory(parent, name, child, &entry.meta);
        }
        self.check_kinds(parent, name, entry, &occupant)?;
        if let Kind::HardLink(source) = &entry.kind
            && !is_directory(&occupant)
            && self.is_same(source, &occupant)?
        {
            return Ok(());
        }
        self.vacate(parent, name, &occupant)?;
        if !self.make(parent, name, entry)? {
            bail!("the name cannot be freed");
        }
        if entry.kind == Kind::Directory && is_whiteout(&occupant) {
            meta::make_opaque(self.directories.open_existing(&join(parent, name))?.as_fd())?;
        }
        Ok(())
    }

    /// docker's refusal.
    fn check_kinds(&self, parent: &[u8], name: &[u8], entry: &Entry, occupant: &Stat) -> Result<()> {
        let shown = || show(&join(parent, name));
        match self.place.as_ref().filter(|place| !place.replace_kinds) {
            Some(_) if is_directory(occupant) => bail!("cannot overwrite directory {} with non-directory", shown()),
            Some(_) if entry.kind == Kind::Directory => {
                bail!("cannot overwrite non-directory {} with directory", shown())
            }
            _ => Ok(()),
        }
    }

    /// Removes what has the name.
    fn vacate(&mut self, parent: &[u8], name: &[u8], occupant: &Stat) -> Result<()> {
        let leads_on = is_directory(occupant) || FileType::from_raw_mode(occupant.st_mode) == FileType::Symlink;
        if leads_on {
            self.directories.forget()?;
        }
        let directory = self.directories.open(parent)?;
        remove::remove_at(directory.as_fd(), &CString::new(name)?).context("replace an earlier entry")?;
        if leads_on && !self.directories.still_leads_to(parent, &directory)? {
            bail!("the entry replaces what its own name goes through");
        }
        Ok(())
    }

    /// Makes the entry; false when the name is taken.
    fn make(&mut self, parent: &[u8], name: &[u8], entry: &Entry) -> Result<bool> {
        let directory = self.directories.open(parent)?;
        let made = match &entry.kind {
            Kind::File { .. } => self.make_file(&directory, name, &entry.meta, None),
            Kind::Sparse(map) => self.make_file(&directory, name, &entry.meta, Some(map)),
            Kind::Directory => self.make_directory(&directory, parent, name, &entry.meta),
            Kind::Symlink(target) => self.make_symlink(&directory, name, target, &entry.meta),
            Kind::HardLink(source) => self.make_hard_link(&directory, name, source),
            Kind::Fifo => self.make_fifo(&directory, name, &entry.meta),
            Kind::Device => Ok(()),
        };
        match made {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.downcast_ref(), Some(Taken)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn make_file(&mut self, directory: &OwnedFd, name: &[u8], meta: &Meta, map: Option<&SparseMap>) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // The special bits come last: writing and a change of owner would drop them.
        let mode = Mode::from_raw_mode(meta.mode & 0o777);
        let file = rustix::fs::openat(directory, name, flags, mode).map_err(taken)?;
        match map {
            None => self.write(&file)?,
            Some(map) => self.write_sparse(&file, map)?,
        }
        self.owners.settle(file.as_fd(), meta.uid, meta.gid, meta.mode, &meta.xattrs)?;
        meta::set_times(file.as_fd(), meta.mtime).context("set times")
    }

    /// Writes what follows. Long runs of zeros become holes, as the disk knows them.
    fn write(&mut self, file: &OwnedFd) -> Result<()> {
        let (mut offset, mut written) = (0, 0);
        loop {
            let piece = self.reader.content(u64::MAX)?;
            if piece.is_empty() {
                break;
            }
            let mut count = sparse::hole(piece);
            if count == 0 {
                let solid = &piece[..sparse::solid(piece)];
                count = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, solid, offset)).context("write")?;
                written = offset + count as u64;
            }
            self.reader.used(count);
            offset += count as u64;
        }
        if written < offset {
            rustix::fs::ftruncate(file, offset).with_context(|| format!("make a file of {offset} bytes"))?;
        }
        self.size += offset;
        Ok(())
    }

    /// Writes the regions where they belong; what lies between stays a hole.
    fn write_sparse(&mut self, file: &OwnedFd, map: &SparseMap) -> Result<()> {
        rustix::fs::ftruncate(file, map.file_size)
            .with_context(|| format!("make a file of {} bytes", map.file_size))?;
        for region in &map.regions {
            let (mut offset, end) = (region.offset, region.offset + region.length);
            while offset < end {
                let piece = self.reader.content(end - offset)?;
                let count = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, piece, offset)).context("write")?;
                self.reader.used(count);
                self.size += count as u64;
                offset += count as u64;
            }
        }
        Ok(())
    }

    fn make_directory(&mut self, directory: &OwnedFd, parent: &[u8], name: &[u8], meta: &Meta) -> Result<()> {
        rustix::fs::mkdirat(directory, name, Mode::RWXU).map_err(taken)?;
        let child = open_child(directory, name)?;
        self.settle_directory(parent, name, child, meta)
    }

    fn settle_directory(&mut self, parent: &[u8], name: &[u8], child: OwnedFd, meta: &Meta) -> Result<()> {
        self.owners.settle(child.as_fd(), meta.uid, meta.gid, meta.mode, &meta.xattrs)?;
        self.directories.describe(join(parent, name), child, meta.mtime)
    }

    fn make_symlink(&self, directory: &OwnedFd, name: &[u8], target: &CString, meta: &Meta) -> Result<()> {
        rustix::fs::symlinkat(target, directory, name).map_err(taken)?;
        self.owners.settle_link(directory, name, meta.uid, meta.gid)?;
        meta::set_link_times(directory, name, meta.mtime).context("set times")
    }

    /// The source's directories are resolved inside the tree, its last component is not followed.
    fn make_hard_link(&mut self, directory: &OwnedFd, name: &[u8], source: &EntryPath) -> Result<()> {
        let EntryPath::Below { parent, name: source } = source else { bail!("a hard link to the root directory") };
        let from = self.directories.open_existing(&self.placed(parent))?;
        match rustix::fs::linkat(&*from, source.as_slice(), directory, name, AtFlags::empty()) {
            Err(Errno::EXIST) => Err(Taken.into()),
            outcome => outcome.with_context(|| format!("link to {}", show(&join(parent, source)))),
        }
    }

    /// Whether the last component of `path` itself is the file of `stat`.
    fn is_same(&mut self, path: &EntryPath, stat: &Stat) -> Result<bool> {
        let EntryPath::Below { parent, name } = path else { return Ok(false) };
        let directory = self.directories.open_existing(&self.placed(parent))?;
        let found = rustix::fs::statat(&*directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
        Ok(found.is_ok_and(|found| (found.st_dev, found.st_ino) == (stat.st_dev, stat.st_ino)))
    }

    /// A directory of the archive's, from the root.
    fn placed<'p>(&self, path: &'p [u8]) -> Cow<'p, [u8]> {
        match &self.place {
            Some(place) => Cow::Owned(below(&place.path, path)),
            None => Cow::Borrowed(path),
        }
    }

    fn make_fifo(&self, directory: &OwnedFd, name: &[u8], meta: &Meta) -> Result<()> {
        rustix::fs::mknodat(directory, name, FileType::Fifo, Mode::RWXU, 0).map_err(taken)?;
        // Non-blocking, so that nobody has to write for it to open.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fifo = rustix::fs::openat(directory, name, flags, Mode::empty())?;
        self.owners.settle(fifo.as_fd(), meta.uid, meta.gid, meta.mode, &[])?;
        meta::set_times(fifo.as_fd(), meta.mtime).context("set times")
    }
}

/// `path` as seen from the directory that `base` is relative to.
fn below(base: &[u8], path: &[u8]) -> Vec<u8> {
    match path {
        [] => base.to_owned(),
        _ => join(base, path),
    }
}

/// The name of an entry exists already.
#[derive(Debug, thiserror::Error)]
#[error("the name is taken")]
struct Taken;

fn taken(error: Errno) -> anyhow::Error {
    match error {
        Errno::EXIST => Taken.into(),
        error => error.into(),
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
