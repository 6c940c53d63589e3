//! Entries as a tar stream: ustar headers, with PAX records (POSIX.1-2017, pax) for what they cannot
//! hold. The bytes depend on nothing but the tree.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tar_core::builder::{HeaderBuilder, PaxBuilder};
use tar_core::{EntryType, HeaderError};

use super::content::{Content, xattrs};
use super::level::show;
use super::walk::{Entry, Place, Visitor};
use super::{PackOptions, Packed};

const BLOCK: u64 = 512;
const BUFFER: usize = 256 << 10;
/// The longest name or link target of a ustar header.
const NAME_MAX: usize = 100;
/// The greatest number that 7 octal digits hold, for ids; 11 are for sizes and times.
const ID_MAX: u32 = 0o777_7777;
const NUMBER_MAX: u64 = 0o777_7777_7777;
/// How many names are told of that could not be kept.
const NAMES_TOLD: usize = 10;

/// The name of the entry of extended records, which no reader makes a file of.
const EXTENDED: &[u8] = b"PaxHeaders.0";
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A tar stream being written.
pub(super) struct Archive<W: Write> {
    out: BufWriter<W>,
    options: PackOptions,
    /// The first path of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    content: Content,
    packed: Packed,
    /// Whose file capabilities are those of root.
    root: u32,
}

/// What a header says beside the path.
struct Meta<'a> {
    kind: EntryType,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    /// Seconds and nanoseconds.
    mtime: (i64, u32),
    link: &'a [u8],
    device: Option<(u32, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<W: Write> Archive<W> {
    pub fn new(out: W, options: PackOptions, root: u32) -> Self {
        let out = BufWriter::with_capacity(BUFFER, out);
        Self { out, options, links: HashMap::new(), content: Content::default(), packed: Packed::default(), root }
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<Packed> {
        self.out.write_all(&[0; 2 * BLOCK as usize]).and_then(|()| self.out.flush()).context(WRITING)?;
        self.packed.bytes += 2 * BLOCK;
        Ok(self.packed)
    }

    fn meta<'a>(&self, kind: EntryType, stat: &Stat) -> Meta<'a> {
        let mtime = match (self.options.timestamp, self.options.youngest) {
            (Some(seconds), _) => (seconds, 0),
            (None, Some(youngest)) if stat.st_mtime >= youngest => (youngest, 0),
            _ => (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        };
        let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
        Meta { kind, mode, uid, gid, size: 0, mtime, link: b"", device: None, xattrs: Vec::new() }
    }

    fn directory(&mut self, path: &[u8], stat: &Stat, directory: BorrowedFd<'_>) -> Result<()> {
        let xattrs = xattrs(directory, self.root)?;
        let path = if path.is_empty() { b"./".to_vec() } else { [path, b"/"].concat() };
        self.header(&path, &Meta { xattrs, ..self.meta(EntryType::Directory, stat) })
    }

    /// An entry that is no directory.
    fn file(&mut self, path: &[u8], stat: &Stat, directory: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => {
                self.packed.sockets += 1;
                return Ok(());
            }
            FileType::RegularFile => return self.regular(path, stat, directory, name),
            _ if self.link_to_earlier(path, stat)? => return Ok(()),
            FileType::Symlink => {
                let target = match rustix::fs::readlinkat(directory, name, Vec::new()) {
                    Ok(target) => target,
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                    Err(error) => return Err(error).context("read a symbolic link"),
                };
                self.header(path, &Meta { link: target.to_bytes(), ..self.meta(EntryType::Symlink, stat) })?;
            }
            FileType::Fifo => self.header(path, &self.meta(EntryType::Fifo, stat))?,
            kind => {
                let character = kind == FileType::CharacterDevice;
                let kind = if character { EntryType::Char } else { EntryType::Block };
                let device = Some((rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)));
                self.header(path, &Meta { device, ..self.meta(kind, stat) })?;
            }
        }
        self.remember(path, stat);
        Ok(())
    }

    fn regular(&mut self, path: &[u8], listed: &Stat, directory: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        if self.link_to_earlier(path, listed)? {
            return Ok(());
        }
        let Some((file, mut stat)) = open_regular(directory, name)? else { return Ok(()) };
        // Who was listed is whom the container sees.
        (stat.st_uid, stat.st_gid) = (listed.st_uid, listed.st_gid);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let xattrs = xattrs(file.as_fd(), self.root)?;
        self.header(path, &Meta { size, xattrs, ..self.meta(EntryType::Regular, &stat) })?;
        self.content.copy(&file, &stat, &mut self.out).context(WRITING)?;
        self.pad(size)?;
        self.remember(path, &stat);
        Ok(())
    }

    /// Writes a hard link when the file is in the archive already.
    fn link_to_earlier(&mut self, path: &[u8], stat: &Stat) -> Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) else { return Ok(false) };
        let first = first.clone();
        self.header(path, &Meta { link: &first, ..self.meta(EntryType::Link, stat) })?;
        Ok(true)
    }

    fn remember(&mut self, path: &[u8], stat: &Stat) {
        if stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
    }

    /// An empty file that says something by its name.
    fn mark(&mut self, path: &[u8]) -> Result<()> {
        let mtime = (self.options.timestamp.unwrap_or(0), 0);
        let (kind, link) = (EntryType::Regular, &b""[..]);
        let meta = Meta { kind, mode: 0, uid: 0, gid: 0, size: 0, mtime, link, device: None, xattrs: Vec::new() };
        self.header(path, &meta)
    }

    fn header(&mut self, path: &[u8], meta: &Meta<'_>) -> Result<()> {
        let context = || format!("describe {}", show(path));
        let records = records(path, meta);
        if !records.is_empty() {
            let size = records.len() as u64;
            let extended = ustar(EXTENDED, &Meta { mode: 0o644, ..extension(size) }).with_context(context)?;
            self.out.write_all(&extended).and_then(|()| self.out.write_all(&records)).context(WRITING)?;
            self.packed.bytes += BLOCK + size;
            self.pad(size)?;
        }
        self.out.write_all(&ustar(path, meta).with_context(context)?).context(WRITING)?;
        self.packed.entries += 1;
        self.packed.bytes += BLOCK + meta.size;
        Ok(())
    }

    /// Fills up the last block of `size` bytes.
    fn pad(&mut self, size: u64) -> Result<()> {
        let missing = (BLOCK - size % BLOCK) % BLOCK;
        self.packed.bytes += missing;
        self.out.write_all(&[0; BLOCK as usize][..missing as usize]).context(WRITING)
    }
}

const WRITING: &str = "write the archive";

impl<W: Write> Visitor for Archive<W> {
    fn entry(&mut self, entry: &Entry<'_>, _: bool) -> Result<()> {
        let name = entry.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        if !self.options.plain && name.starts_with(WHITEOUT) {
            if self.packed.reserved.len() < NAMES_TOLD {
                self.packed.reserved.push(show(entry.path));
            }
            return Ok(());
        }
        let written = match entry.place {
            Place::Open(directory) => self.directory(entry.path, entry.stat, directory),
            Place::Named(directory, name) => self.file(entry.path, entry.stat, directory, name),
        };
        written.with_context(|| format!("pack /{}", show(entry.path)))
    }

    fn deleted(&mut self, path: &[u8]) -> Result<()> {
        let split = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        self.mark(&[&path[..split], WHITEOUT, &path[split..]].concat())
    }

    fn opaque(&mut self, path: &[u8]) -> Result<()> {
        self.mark(&[path, b"/", OPAQUE].concat())
    }
}

/// Opens a regular file for reading, without touching what else may have come in its place. None when it is gone.
fn open_regular(directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<(OwnedFd, Stat)>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::STALE) => return Ok(None),
        Err(error) => return Err(error).context("open"),
    };
    let stat = rustix::fs::fstat(&file)?;
    Ok((FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some((file, stat)))
}

fn extension<'a>(size: u64) -> Meta<'a> {
    let kind = EntryType::XHeader;
    Meta { kind, mode: 0, uid: 0, gid: 0, size, mtime: (0, 0), link: b"", device: None, xattrs: Vec::new() }
}

/// The header block. What does not fit is left at zero, or cut: a record says it.
fn ustar(path: &[u8], meta: &Meta<'_>) -> Result<[u8; BLOCK as usize], HeaderError> {
    let mut header = HeaderBuilder::new_ustar();
    let seconds = u64::try_from(meta.mtime.0).ok().filter(|seconds| *seconds <= NUMBER_MAX).unwrap_or(0);
    header
        .path(cut(path))?
        .mode(meta.mode)?
        .uid(u64::from(if meta.uid > ID_MAX { 0 } else { meta.uid }))?
        .gid(u64::from(if meta.gid > ID_MAX { 0 } else { meta.gid }))?
        .size(if meta.size > NUMBER_MAX { 0 } else { meta.size })?
        .mtime(seconds)?
        .entry_type(meta.kind)
        .link_name(cut(meta.link))?;
    if let Some((major, minor)) = meta.device {
        header.device(major, minor)?;
    }
    Ok(*header.finish().as_bytes())
}

fn cut(name: &[u8]) -> &[u8] {
    &name[..name.len().min(NAME_MAX)]
}

/// The PAX records of an entry, in the order of their keys.
fn records(path: &[u8], meta: &Meta<'_>) -> Vec<u8> {
    let mut records = PaxBuilder::new();
    for (name, value) in &meta.xattrs {
        // Attribute names are text: `is_kept` saw to it.
        records.add(&format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)), value);
    }
    if meta.gid > ID_MAX {
        records.add_u64("gid", u64::from(meta.gid));
    }
    if meta.link.len() > NAME_MAX {
        records.linkpath(meta.link);
    }
    let (seconds, nanoseconds) = meta.mtime;
    if nanoseconds != 0 || u64::try_from(seconds).map_or(true, |seconds| seconds > NUMBER_MAX) {
        records.add("mtime", moment(seconds, nanoseconds));
    }
    if path.len() > NAME_MAX {
        records.path(path);
    }
    if meta.size > NUMBER_MAX {
        records.size(meta.size);
    }
    if meta.uid > ID_MAX {
        records.add_u64("uid", u64::from(meta.uid));
    }
    records.finish()
}

/// A decimal number of seconds. Before the epoch the fraction counts backwards from zero, as the
/// number is one.
fn moment(seconds: i64, nanoseconds: u32) -> String {
    let (sign, whole, fraction) = match (seconds < 0, nanoseconds) {
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, _) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
        (false, _) => ("", seconds.unsigned_abs(), nanoseconds),
    };
    match fraction {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{}", format!("{fraction:09}").trim_end_matches('0')),
    }
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn moments_are_decimal_numbers() {
        assert_eq!(moment(5, 0), "5");
        assert_eq!(moment(5, 120_000_000), "5.12");
        assert_eq!(moment(0, 1), "0.000000001");
        assert_eq!(moment(-1, 500_000_000), "-0.5");
        assert_eq!(moment(-2, 999_999_999), "-1.000000001");
        assert_eq!(moment(-3, 0), "-3");
    }
}
