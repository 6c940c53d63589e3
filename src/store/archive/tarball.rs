//! A tar file being written: plain members of fixed owner and time, so that the same content gives
//! the same bytes. Contents go from file to file within the kernel where it can.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result, bail};
use tar::{EntryType, Header};

use super::decode::pump;

const BLOCK: u64 = 512;
/// A ustar header holds sizes below this.
const USTAR_MAX: u64 = 1 << 33;
/// Zeros enough for what pads a file, and for the end.
const ZEROS: [u8; 2 * BLOCK as usize] = [0; 2 * BLOCK as usize];

/// The file an archive is written to.
pub(super) struct Tarball<'a> {
    out: &'a File,
    /// Whether a header can be written after its content.
    seekable: bool,
}

impl<'a> Tarball<'a> {
    pub fn new(out: &'a File, seekable: bool) -> Self {
        Self { out, seekable }
    }

    pub fn directory(&mut self, name: &str) -> Result<()> {
        self.header(&format!("{name}/"), EntryType::Directory, 0)
    }

    pub fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.header(name, EntryType::Regular, bytes.len() as u64)?;
        self.out.write_all(bytes)?;
        self.pad(bytes.len() as u64)
    }

    /// A file of a known size.
    pub fn file(&mut self, name: &str, file: &mut File, size: u64) -> Result<()> {
        self.header(name, EntryType::Regular, size)?;
        copy_exactly(file, self.out, size)?;
        self.pad(size)
    }

    /// Content whose size shows at its end; `open` gives it, if need be twice.
    pub fn stream<'s>(&mut self, name: &str, open: impl Fn() -> Result<Box<dyn Read + 's>>) -> Result<()> {
        if !self.seekable {
            let size = pump(&mut open()?, &mut io::sink())?;
            self.header(name, EntryType::Regular, size)?;
            let written = pump(&mut open()?.take(size), &mut self.out)?;
            if written != size {
                bail!("{name} changed while it was written");
            }
            return self.pad(size);
        }
        let start = self.out.stream_position()?;
        self.header(name, EntryType::Regular, 0)?;
        let size = pump(&mut open()?, &mut self.out)?;
        self.out.seek(SeekFrom::Start(start))?;
        self.header(name, EntryType::Regular, size)?;
        self.out.seek(SeekFrom::End(0))?;
        self.pad(size)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<()> {
        self.out.write_all(&ZEROS).map_err(Into::into)
    }

    fn header(&mut self, name: &str, kind: EntryType, size: u64) -> Result<()> {
        let mut header = if size < USTAR_MAX { Header::new_ustar() } else { Header::new_gnu() };
        header.set_path(name).with_context(|| format!("the name {name} in an archive"))?;
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        Ok(self.out.write_all(header.as_bytes())?)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let padding = (size.next_multiple_of(BLOCK) - size) as usize;
        Ok(self.out.write_all(&ZEROS[..padding])?)
    }
}

/// Copies a file of this size (copy_file_range(2), sendfile(2) or splice(2), as the library finds).
pub(super) fn copy_exactly(from: &mut File, mut to: &File, size: u64) -> Result<()> {
    let copied = io::copy(&mut from.take(size), &mut to)?;
    if copied != size {
        bail!("a blob of the store has {copied} bytes, expected {size}: run 'rbox system check --repair'");
    }
    Ok(())
}
