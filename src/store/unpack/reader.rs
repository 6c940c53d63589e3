//! Entries out of a tar stream. The library resolves headers without doing any input; this pumps
//! bytes into it and refuses whatever readers could take in two ways.

use std::ffi::CString;

use anyhow::{Context, Result, anyhow, bail};
use tar_core::PaxExtensions;
use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};

use super::header::{BLOCK, Chain, Numbers, block, is_zero};
use super::job::UnpackLimits;
use super::path::{EntryPath, show};
use super::pax::{Moment, Pax, check_global};
use super::sparse::{SparseMap, check_gnu_numbers};
use super::stream::Stream;
use crate::spec::digest::Digest;

/// Regions of one sparse file.
const SPARSE_REGIONS: usize = 10_000;
/// The longest run of headers for one entry: the map of a sparse file and everything else.
const HEADERS: usize = SPARSE_REGIONS * 48 + (64 << 10);

/// One member of the archive, its content still in the stream.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name as the archive spells it, for messages.
    pub raw_name: Vec<u8>,
    pub path: EntryPath,
    pub kind: Kind,
    pub meta: Meta,
}

/// What a member is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File { size: u64 },
    Sparse(SparseMap),
    Directory,
    Symlink(CString),
    HardLink(EntryPath),
    Fifo,
    Device,
}

/// Attributes of a member.
#[derive(Debug)]
pub(super) struct Meta {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: Moment,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads members one after the other.
pub(super) struct Reader {
    stream: Stream,
    parser: Parser,
    limits: UnpackLimits,
    entries: u64,
    /// Content of the current member not read yet, and the padding behind it.
    content: u64,
    padding: usize,
    last_name: Vec<u8>,
}

impl Reader {
    pub fn new(stream: Stream, limits: UnpackLimits) -> Self {
        let mut parser = Parser::new(Limits {
            max_metadata_size: limits.extensions,
            max_path_len: Some(limits.path),
            max_sparse_entries: SPARSE_REGIONS,
            ..Limits::default()
        });
        // Values are judged here, by a stricter measure that also knows negative times.
        parser.set_ignore_pax_errors(true);
        Self { stream, parser, limits, entries: 0, content: 0, padding: 0, last_name: Vec::new() }
    }

    /// Members seen so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The next member; None at the end of the archive. What is left of the current content is
    /// skipped.
    pub fn next(&mut self) -> Result<Option<Entry>> {
        let entry = self.skip_content().and_then(|()| self.next_header());
        let entry = entry.with_context(|| match self.last_name.as_slice() {
            [] => "first entry".to_owned(),
            name => format!("after entry {}", show(name)),
        })?;
        if let Some(entry) = &entry {
            self.last_name.clone_from(&entry.raw_name);
        }
        Ok(entry)
    }

    /// The next piece of the current content; empty at its end.
    pub fn content(&mut self, at_most: u64) -> Result<&[u8]> {
        let wanted = self.content.min(at_most);
        if wanted > 0 && !self.stream.fill(1)? {
            bail!("the archive ends inside a file");
        }
        let here = self.stream.available();
        let count = here.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
        Ok(&here[..count])
    }

    /// Marks `count` bytes of [`Reader::content`] as used.
    pub fn used(&mut self, count: usize) {
        self.stream.consume(count);
        self.content -= count as u64;
    }

    /// Reads what follows the archive and returns the digest of the whole stream.
    pub fn finish(self) -> Result<Digest> {
        self.stream.finish()
    }

    fn skip_content(&mut self) -> Result<()> {
        while self.content > 0 {
            let count = self.content(u64::MAX)?.len();
            self.used(count);
        }
        // Some writers (umoci insert) end behind the last file's content, without its padding.
        self.stream.fill(self.padding)?;
        self.stream.consume(self.padding);
        self.padding = 0;
        Ok(())
    }

    fn next_header(&mut self) -> Result<Option<Entry>> {
        loop {
            if self.at_end()? {
                return Ok(None);
            }
            let (consumed, member) = self.parse()?;
            self.entries += 1;
            if self.entries > self.limits.entries {
                bail!("the layer has more than the limit of {} entries", self.limits.entries);
            }
            self.stream.consume(consumed);
            if let Some((entry, content)) = member {
                self.content = content;
                self.padding = (content.next_multiple_of(BLOCK as u64) - content) as usize;
                return Ok(Some(entry));
            }
        }
    }

    /// Two zero blocks or the end of the stream. One zero block before something else is an error:
    /// some readers stop there, others go on.
    fn at_end(&mut self) -> Result<bool> {
        if !self.stream.fill(1)? {
            return Ok(true);
        }
        if !self.stream.fill(BLOCK)? {
            bail!("the archive ends inside a header");
        }
        if !block(self.stream.available(), 0).is_some_and(is_zero) {
            return Ok(false);
        }
        let two = self.stream.fill(2 * BLOCK)?;
        if two && !block(self.stream.available(), BLOCK).is_some_and(is_zero) {
            bail!("a lone zero block inside the archive");
        }
        Ok(true)
    }

    /// Parses one member or global header: bytes consumed, the member and its content's length.
    fn parse(&mut self) -> Result<(usize, Option<(Entry, u64)>)> {
        loop {
            let input = self.stream.available();
            let have = input.len();
            let wanted = match self.parser.parse(input)? {
                // The library may ask for what it has when a line of a sparse map does not end.
                ParseEvent::NeedData { min_bytes } => min_bytes.max(have + 1),
                ParseEvent::Entry { consumed, entry } => {
                    return Ok((consumed, Some(member(input, consumed, &entry, None)?)));
                }
                ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
                    let sparse = Some((sparse_map.as_slice(), real_size));
                    return Ok((consumed, Some(member(input, consumed, &entry, sparse)?)));
                }
                ParseEvent::GlobalExtensions { consumed, pax_data } => {
                    check_global(pax_data)?;
                    return Ok((consumed, None));
                }
                ParseEvent::End { .. } => bail!("a lone zero block inside the archive"),
            };
            if wanted > HEADERS + 2 * self.limits.extensions as usize {
                bail!("the headers of an entry exceed the limit of {} bytes", self.limits.extensions);
            }
            if !self.stream.fill(wanted)? {
                bail!("the archive ends inside a header");
            }
        }
    }
}

type Sparse<'a> = (&'a [tar_core::SparseEntry], u64);

/// Turns what the library resolved into an [`Entry`] and the length of its content.
fn member(input: &[u8], consumed: usize, parsed: &ParsedEntry<'_>, sparse: Option<Sparse<'_>>) -> Result<(Entry, u64)> {
    let build = || -> Result<(Entry, u64)> {
        let chain = Chain::walk(input, consumed)?;
        let header = block(input, chain.header).context("misread header")?;
        check_prefix(header)?;
        let numbers = Numbers::parse(header)?;
        let pax = parsed.pax.map(Pax::parse).transpose()?.unwrap_or_default();
        check_names(parsed, &chain, &pax)?;
        let size = pax.size.unwrap_or(numbers.size);
        let (kind, content) = match sparse {
            None => plain(parsed, header[156], size, &pax)?,
            Some(map) => {
                let map_blocks = (consumed - chain.header) / BLOCK - 1;
                sparse_file(input, &chain, map_blocks, parsed, size, &pax, map)?
            }
        };
        let path = EntryPath::parse(&parsed.path)?;
        let xattrs = pax.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let mtime = pax.mtime.unwrap_or(Moment { seconds: numbers.mtime, nanoseconds: 0 });
        let (uid, gid) = (pax.uid.unwrap_or(numbers.uid), pax.gid.unwrap_or(numbers.gid));
        let meta = Meta { mode: numbers.mode, uid, gid, mtime, xattrs };
        Ok((Entry { raw_name: parsed.path.to_vec(), path, kind, meta }, content))
    };
    build().with_context(|| format!("entry {}", show(&parsed.path)))
}

/// The star format keeps times in the last bytes of what is the name's prefix elsewhere.
fn check_prefix(header: &[u8; BLOCK]) -> Result<()> {
    if &header[508..] == b"tar\0" && !header[345..476].contains(&0) {
        bail!("a name that tar readers split differently");
    }
    Ok(())
}

/// Both GNU and PAX may give a long name; only one of them may.
fn check_names(parsed: &ParsedEntry<'_>, chain: &Chain, pax: &Pax<'_>) -> Result<()> {
    if chain.long_name && pax.path.is_some() || chain.long_link && pax.link_path.is_some() {
        bail!("two extended headers name the entry");
    }
    let target = parsed.link_target.as_deref().unwrap_or_default();
    for name in [&parsed.path, target] {
        if name.contains(&0) {
            bail!("the name or link target holds a zero byte");
        }
    }
    Ok(())
}

/// Every kind that is not sparse, with its content's length.
fn plain(parsed: &ParsedEntry<'_>, kind: u8, size: u64, pax: &Pax<'_>) -> Result<(Kind, u64)> {
    if pax.sparse {
        bail!("unknown sparse file format");
    }
    let target =
        || parsed.link_target.as_deref().filter(|target| !target.is_empty()).context("a link without a target");
    let slash = parsed.path.ends_with(b"/");
    // Only files have content: whatever size the header of another kind gives, none follows (POSIX).
    let kind = match kind {
        // The oldest tars knew directories by their final slash only.
        0 if slash => Kind::Directory,
        0 | b'0' | b'7' if slash => bail!("a file named like a directory"),
        0 | b'0' | b'7' => return file(parsed, size),
        b'1' => Kind::HardLink(EntryPath::parse(target()?)?),
        b'2' => Kind::Symlink(CString::new(target()?)?),
        b'3' | b'4' => Kind::Device,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        unknown => bail!("unknown entry type {}", show(&[unknown])),
    };
    Ok((kind, 0))
}

fn file(parsed: &ParsedEntry<'_>, size: u64) -> Result<(Kind, u64)> {
    // Two readings of the same number must agree.
    if parsed.size != size || size > i64::MAX as u64 {
        bail!("ambiguous size {size}");
    }
    Ok((Kind::File { size }, size))
}

fn sparse_file(
    input: &[u8],
    chain: &Chain,
    map_blocks: usize,
    parsed: &ParsedEntry<'_>,
    size: u64,
    pax: &Pax<'_>,
    (regions, file_size): Sparse<'_>,
) -> Result<(Kind, u64)> {
    let header = block(input, chain.header).context("misread header")?;
    let gnu = header[156] == b'S';
    if !(gnu || matches!(header[156], 0 | b'0' | b'7')) || (gnu && pax.sparse) || parsed.path.ends_with(b"/") {
        bail!("a sparse map on something that is no file");
    }
    if gnu {
        check_gnu_numbers(input, chain.header, map_blocks)?;
    } else {
        check_pax_version(parsed.pax.unwrap_or_default(), map_blocks > 0)?;
    }
    // In format 1.0 the map precedes the data and counts as content; the old format's extra map
    // blocks do not.
    let map_bytes = if gnu { 0 } else { (map_blocks * BLOCK) as u64 };
    let stored = size.checked_sub(map_bytes).ok_or_else(|| anyhow!("the sparse map exceeds the file"))?;
    Ok((Kind::Sparse(SparseMap::new(regions, file_size, stored)?), stored))
}

/// Formats 0.0 and 0.1 keep the map in the extended header, 1.0 before the data.
fn check_pax_version(pax: &[u8], map_in_data: bool) -> Result<()> {
    let version = |key| PaxExtensions::new(pax).get(key);
    match (version("GNU.sparse.major"), version("GNU.sparse.minor")) {
        (Some("1"), Some("0")) if map_in_data => Ok(()),
        (None, None) | (Some("0"), Some("0" | "1")) if !map_in_data => Ok(()),
        _ => bail!("unknown sparse file format"),
    }
}
