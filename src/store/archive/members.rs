//! The members of an archive, one after the other. Only names, kinds and sizes: what a layer holds
//! is the unpacking process's concern.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use anyhow::{Context, Result, bail};
use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, HEADER_SIZE};

const BLOCK: u64 = HEADER_SIZE as u64;
/// Members of one archive: an image has at most 500 layers, each with three members in old archives.
const MEMBERS_MAX: u64 = 200_000;
/// Bytes of extended headers of one member.
const EXTENSIONS_MAX: u32 = 1 << 20;
const NAME_MAX: u32 = 4095;

/// An input that can leave bytes out.
pub(super) trait Skip: Read {
    /// Passes over so many bytes, or says that there are fewer.
    fn skip(&mut self, bytes: u64) -> io::Result<()>;

    /// Reads what nobody needs, so that whoever writes it is not disturbed.
    fn drain(&mut self) -> io::Result<()>;
}

impl Skip for &File {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let distance = i64::try_from(bytes).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let position = self.seek(SeekFrom::Current(distance))?;
        if position > self.metadata()?.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn drain(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An input that only goes forward.
pub(super) struct Forward<R>(pub R);

impl<R: Read> Read for Forward<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Skip for Forward<R> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.0).take(bytes), &mut io::sink())?;
        if skipped < bytes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn drain(&mut self) -> io::Result<()> {
        io::copy(&mut self.0, &mut io::sink()).map(drop)
    }
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    /// A symbolic or hard link to this name.
    Link(String),
    /// A directory, or nothing that an image archive has.
    Other,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Without `.` and double slashes; None for one that no image archive has.
    pub name: Option<String>,
    pub kind: Kind,
    /// Bytes of content.
    pub size: u64,
    /// Where its content begins.
    pub offset: u64,
}

/// Reads members.
pub(super) struct Members<R> {
    input: R,
    parser: Parser,
    /// The headers being read.
    buffer: Vec<u8>,
    /// Where the input is.
    offset: u64,
    /// Content not read yet, and the padding behind it.
    content: u64,
    padding: u64,
    count: u64,
}

impl<R: Skip> Members<R> {
    pub fn new(input: R) -> Self {
        let limits = Limits { max_metadata_size: EXTENSIONS_MAX, max_path_len: Some(NAME_MAX), ..Limits::default() };
        let (parser, buffer) = (Parser::new(limits), Vec::new());
        Self { input, parser, buffer, offset: 0, content: 0, padding: 0, count: 0 }
    }

    /// The next member; None at the end. Content that was not read is passed over.
    pub fn next(&mut self) -> Result<Option<Member>> {
        let behind = self.content + self.padding;
        self.input.skip(behind).map_err(|error| cut(error, "a file"))?;
        self.offset += behind;
        (self.content, self.padding) = (0, 0);
        self.buffer.clear();
        self.header()
    }

    /// Reads the current member's content.
    pub fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    /// Ends, after the last member.
    pub fn finish(mut self) -> io::Result<()> {
        self.input.drain()
    }

    fn header(&mut self) -> Result<Option<Member>> {
        loop {
            if !self.fill(self.buffer.len() + HEADER_SIZE)? || self.buffer.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let (consumed, member) = self.parse()?;
            self.count += 1;
            if self.count > MEMBERS_MAX {
                bail!("the archive has more than {MEMBERS_MAX} members");
            }
            if consumed != self.buffer.len() {
                bail!("the archive's headers are ambiguous");
            }
            self.buffer.clear();
            let Some(mut member) = member else { continue };
            (self.content, member.offset) = (member.size, self.offset);
            self.padding =
                member.size.checked_next_multiple_of(BLOCK).context("a member's size is absurd")? - member.size;
            return Ok(Some(member));
        }
    }

    /// One member's headers, or a global header.
    fn parse(&mut self) -> Result<(usize, Option<Member>)> {
        loop {
            let wanted = match self.parser.parse(&self.buffer)? {
                ParseEvent::NeedData { min_bytes } => min_bytes.max(self.buffer.len() + 1),
                ParseEvent::Entry { consumed, entry } => return Ok((consumed, Some(member(&entry)))),
                ParseEvent::SparseEntry { consumed, entry, .. } => {
                    return Ok((consumed, Some(Member { kind: Kind::Other, ..member(&entry) })));
                }
                ParseEvent::GlobalExtensions { consumed, .. } => return Ok((consumed, None)),
                ParseEvent::End { .. } => bail!("a lone zero block inside the archive"),
            };
            if wanted > 4 * EXTENSIONS_MAX as usize {
                bail!("a member's extended headers exceed {EXTENSIONS_MAX} bytes");
            }
            if !self.fill(wanted)? {
                bail!("the archive ends inside a header");
            }
        }
    }

    /// Reads until `count` bytes are there; false at the end of the input before the first of them.
    fn fill(&mut self, count: usize) -> Result<bool> {
        let count = count.next_multiple_of(HEADER_SIZE);
        let (empty, have) = (self.buffer.is_empty(), self.buffer.len());
        let read = (&mut self.input).take((count - have) as u64).read_to_end(&mut self.buffer)?;
        self.offset += read as u64;
        match self.buffer.len() {
            0 if empty => Ok(false),
            length if length < count => bail!("the archive ends inside a header"),
            _ => Ok(true),
        }
    }
}

fn cut(error: io::Error, inside: &str) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => anyhow::anyhow!("the archive ends inside {inside}"),
        _ => error.into(),
    }
}

/// The current member's content.
pub(super) struct Content<'a, R>(&'a mut Members<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let members = &mut *self.0;
        let count = (&mut members.input).take(members.content).read(buffer)?;
        if count == 0 && members.content > 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends inside a file"));
        }
        members.content -= count as u64;
        members.offset += count as u64;
        Ok(count)
    }
}

fn member(entry: &ParsedEntry<'_>) -> Member {
    let name = std::str::from_utf8(&entry.path).ok().and_then(|name| normal("", name));
    let target = || std::str::from_utf8(entry.link_target.as_deref()?).ok();
    let link = |from: &str| target().and_then(|target| normal(from, target)).map_or(Kind::Other, Kind::Link);
    let (kind, size) = match entry.entry_type {
        EntryType::Regular | EntryType::Continuous if !entry.path.ends_with(b"/") => (Kind::File, entry.size),
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => (Kind::Other, entry.size),
        EntryType::Symlink => (link(name.as_deref().and_then(parent).unwrap_or_default()), 0),
        EntryType::Link => (link(""), 0),
        // Only files have content: whatever size another kind gives, none follows (POSIX).
        _ => (Kind::Other, 0),
    };
    Member { name, kind, size, offset: 0 }
}

/// The name of the directory that a name is in.
fn parent(name: &str) -> Option<&str> {
    name.rsplit_once('/').map(|(parent, _)| parent)
}

/// A name below the archive's root without `.`, `..` and double slashes; None when it leads out.
pub(super) fn normal(below: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    let below = if name.starts_with('/') { "" } else { below };
    for part in below.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
