//! What is in an archive, by name: of a tar file, of a stream that is set aside in the store while
//! it is read, or of a directory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::DOCUMENT_MAX;
use super::decode::{self, Packing};
use super::members::{Forward, Kind, Member, Members, Skip, normal};
use crate::spec::digest::Digest;
use crate::spec::text::printable;
use crate::store::Store;
use crate::store::staging::Staging;
use crate::store::unpack::{self, UnpackLimits};
use crate::sys::beneath;

/// How many links lead from a name to a file, at most.
const LINKS_MAX: usize = 8;
/// Bytes of all names together.
const NAMES_MAX: usize = 32 << 20;
/// Bytes copied at a time.
const BUFFER: usize = 256 << 10;

/// Files by their names in an archive.
#[derive(Debug)]
pub struct Contents {
    source: Source,
    _staging: Option<Staging>,
}

#[derive(Debug)]
enum Source {
    Archive { file: Arc<File>, slots: HashMap<String, Slot> },
    Directory(OwnedFd),
}

/// What an archive has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Slot {
    File {
        offset: u64,
        size: u64,
    },
    Link(String),
    /// More than one: readers differ in which of them counts.
    Twice,
}

/// A file of an archive being read.
#[derive(Debug)]
pub(super) struct Part {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Part {
    /// Bytes not yet read.
    pub fn size(&self) -> u64 {
        self.left
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..most], self.offset)?;
        if count == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends inside a file"));
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

impl Contents {
    /// A directory: an OCI layout or what skopeo's `dir:` writes.
    pub fn of_directory(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { source: Source::Directory(directory), _staging: None })
    }

    /// A regular file. A plain archive is read where it is, a compressed one is set aside.
    pub fn of_file(store: &Store, file: File, limits: UnpackLimits) -> Result<Self> {
        let mut head = [0; 8];
        let count = file.read_at(&mut head, 0)?;
        match Packing::of(&head[..count]) {
            Packing::Plain => {
                let slots = index(Members::new(&file), |_, _| Ok(()))?;
                Ok(Self { source: Source::Archive { file: Arc::new(file), slots }, _staging: None })
            }
            _ => Self::of_stream(store, file, limits),
        }
    }

    /// A stream. What tells which of its files are layers may come last, so all are set aside first.
    pub fn of_stream(store: &Store, input: impl Read, limits: UnpackLimits) -> Result<Self> {
        let staging = Staging::create(store).context("create a staging directory")?;
        let path = staging.path().join("archive");
        let context = || format!("set the archive aside in {}", store.root().display());
        let file = File::options().read(true).write(true).create_new(true).open(&path).with_context(context)?;
        let mut position = 0;
        let input = decode::decoded(input, limits)?;
        let slots = index(Members::new(Forward(input)), |members, member| {
            member.offset = position;
            position += copy(&mut members.content(), &file, store)?;
            Ok(())
        })?;
        Ok(Self { source: Source::Archive { file: Arc::new(file), slots }, _staging: Some(staging) })
    }

    /// Opens a file; None when there is none of this name.
    pub(super) fn open(&self, name: &str) -> Result<Option<Part>> {
        let Some(mut name) = normal("", name) else { return Ok(None) };
        let (file, slots) = match &self.source {
            Source::Directory(directory) => return open_below(directory, &name),
            Source::Archive { file, slots } => (file, slots),
        };
        for _ in 0..LINKS_MAX {
            match slots.get(&name) {
                None => return Ok(None),
                Some(Slot::File { offset, size }) => {
                    return Ok(Some(Part { file: Arc::clone(file), offset: *offset, left: *size }));
                }
                Some(Slot::Link(target)) => name.clone_from(target),
                Some(Slot::Twice) => bail!("the archive holds {} twice", printable(&name)),
            }
        }
        bail!("too many links at {} in the archive", printable(&name))
    }

    /// Opens a file that must be there.
    pub(super) fn require(&self, name: &str) -> Result<Part> {
        self.open(name)?.with_context(|| format!("the archive has no file {}", printable(name)))
    }

    /// Reads a document; None when there is none of this name.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(mut part) = self.open(name)? else { return Ok(None) };
        if part.size() > DOCUMENT_MAX {
            bail!("{} of the archive is larger than {DOCUMENT_MAX} bytes", printable(name));
        }
        let mut bytes = Vec::new();
        part.read_to_end(&mut bytes).with_context(|| format!("read {} of the archive", printable(name)))?;
        Ok(Some(bytes))
    }

    /// Reads a document that must be there and have this digest.
    pub(super) fn verified(&self, name: &str, digest: Digest) -> Result<Vec<u8>> {
        let bytes = self.document(name)?.with_context(|| format!("the archive has no blob {digest}"))?;
        match Digest::of(&bytes) {
            found if found == digest => Ok(bytes),
            found => bail!("blob {digest} of the archive is damaged: it has the digest {found}"),
        }
    }
}

/// Reads an archive to its end; `each` may take a file's content, and say where it is now.
fn index<R: Skip>(
    mut members: Members<R>,
    mut each: impl FnMut(&mut Members<R>, &mut Member) -> Result<()>,
) -> Result<HashMap<String, Slot>> {
    let (mut slots, mut names) = (HashMap::new(), 0);
    let mut first = true;
    loop {
        let next = members.next();
        let Some(mut member) = (if first { next.context("it is not a tar archive") } else { next })? else { break };
        first = false;
        let slot = match (&member.name, &member.kind) {
            (Some(_), Kind::File) => {
                each(&mut members, &mut member)?;
                Slot::File { offset: member.offset, size: member.size }
            }
            (Some(_), Kind::Link(target)) => Slot::Link(target.clone()),
            _ => continue,
        };
        let Some(name) = member.name else { continue };
        names += name.len() + if let Slot::Link(target) = &slot { target.len() } else { 0 };
        if names > NAMES_MAX {
            bail!("the names in the archive exceed {NAMES_MAX} bytes");
        }
        slots.entry(name).and_modify(|slot| *slot = Slot::Twice).or_insert(slot);
    }
    if first {
        bail!("the archive is empty");
    }
    members.finish()?;
    Ok(slots)
}

fn copy(from: &mut impl Read, mut to: &File, store: &Store) -> Result<u64> {
    let mut buffer = Vec::with_capacity(BUFFER);
    let mut total = 0;
    loop {
        buffer.clear();
        from.by_ref().take(BUFFER as u64).read_to_end(&mut buffer)?;
        let count = buffer.len();
        total += count as u64;
        // Zeros alone become a hole, unless nothing follows that would end it.
        let written = match unpack::hole(&buffer) == BUFFER {
            true => to.seek(SeekFrom::Current(BUFFER as i64)).and_then(|end| to.set_len(end)),
            false => to.write_all(&buffer),
        };
        written.with_context(|| format!("write to {}", store.root().display()))?;
        if count < BUFFER {
            return Ok(total);
        }
    }
}

/// Opens a regular file below a directory, through no link.
fn open_below(directory: &OwnedFd, name: &str) -> Result<Option<Part>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = match beneath::open(directory, name, flags, resolve) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => bail!("{} is reached through a symbolic link", printable(name)),
        Err(error) => return Err(error).with_context(|| format!("open {}", printable(name))),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        bail!("{} is not a regular file", printable(name));
    }
    Ok(Some(Part { left: metadata.len(), file: Arc::new(file), offset: 0 }))
}
