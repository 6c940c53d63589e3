//! The log in files. A full file is renamed to `NAME.1`, that to `NAME.2` and so on; what exceeds the
//! number of files is gone.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use rustix::fs::OFlags;

use super::compress::Compressor;
use super::json::Json;
use super::loss::{self, Loss};
use super::names::{remove_if_present, shift, with_suffix};
use super::plan::{FileFormat, FilePlan};
use super::{Driver, Piece, Stamp, Stream, k8s};
use crate::explain;

/// Bytes of lines after which they are written. A burst of short lines becomes many times as long.
const ENOUGH: usize = 128 * 1024;
/// Where the end of a torn line is looked for.
const LINE_MAX: u64 = 1 << 20;

/// The writer.
#[derive(Debug)]
pub(super) struct LogFile {
    plan: FilePlan,
    format: Format,
    file: File,
    /// Bytes in the file.
    size: u64,
    /// Whether it can be gone on with in another file.
    rotates: bool,
    buffer: Vec<u8>,
    /// Lost since the last success: lines, bytes, and why.
    lost: (u64, u64, String),
    /// The same, not yet counted by who asked.
    uncounted: (u64, u64),
    compressor: Option<Compressor>,
}

#[derive(Debug)]
enum Format {
    Json(Json),
    K8s,
}

impl Format {
    fn encode(&self, out: &mut Vec<u8>, piece: Piece<'_>, stamp: &Stamp) {
        match self {
            Self::Json(json) => json.encode(out, piece, stamp),
            Self::K8s => k8s::encode(out, piece, stamp),
        }
    }
}

impl LogFile {
    /// Opens the log for appending.
    pub(super) fn open(plan: &FilePlan) -> io::Result<Self> {
        let file = append_to(&plan.path)?;
        let metadata = file.metadata()?;
        let is_file = metadata.is_file();
        // Not a pipe, which would keep us waiting, nor a disk.
        let is_null = metadata.file_type().is_char_device() && plan.path == Path::new("/dev/null");
        if !(is_file || is_null) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let size = if is_file { without_torn_line(&file, metadata.len())? } else { 0 };
        let compress = is_file && plan.compress && plan.max_file > 1;
        let format = match &plan.format {
            FileFormat::Json(attributes) => Format::Json(Json::new(attributes)),
            FileFormat::K8s => Format::K8s,
        };
        Ok(Self {
            format,
            file,
            size,
            rotates: is_file,
            buffer: Vec::new(),
            lost: (0, 0, String::new()),
            uncounted: (0, 0),
            compressor: compress.then(|| Compressor::new(&plan.path, plan.max_file)),
            plan: plan.clone(),
        })
    }

    /// For tests of what fails.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    /// Writes the buffer's lines, to as many files as it takes.
    fn write_out(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            // A directory in which nothing can be made still has a file to go on with.
            let stuck = self.is_full() && self.rotate().is_err();
            let (now, later) = rest.split_at(if stuck { rest.len() } else { self.fitting(rest) });
            self.append(now);
            rest = later;
        }
        self.buffer = buffer;
        self.buffer.clear();
    }

    fn is_full(&self) -> bool {
        self.rotates && self.plan.max_size.is_some_and(|limit| self.size >= limit)
    }

    /// How many bytes of whole lines go to the current file: up to and with the line that fills it,
    /// as docker does it.
    fn fitting(&self, lines: &[u8]) -> usize {
        let Some(limit) = self.plan.max_size.filter(|_| self.rotates) else { return lines.len() };
        let room = usize::try_from(limit.saturating_sub(self.size)).unwrap_or(usize::MAX);
        let filling = lines.get(room.saturating_sub(1)..).unwrap_or_default();
        let end = filling.iter().position(|byte| *byte == b'\n');
        end.map_or(lines.len(), |end| room.saturating_sub(1) + end + 1)
    }

    /// Begins a new file. It is made before another loses its name, as a full disk may not let it.
    fn rotate(&mut self) -> io::Result<()> {
        let path = &self.plan.path;
        let next = with_suffix(path, "new");
        remove_if_present(&next)?;
        let file = append_to(&next)?;
        shift(path, self.plan.max_file)?;
        std::fs::rename(&next, path)?;
        (self.file, self.size) = (file, 0);
        if let Some(compressor) = &mut self.compressor {
            compressor.shifted(self.plan.max_file);
        }
        Ok(())
    }

    fn append(&mut self, lines: &[u8]) {
        if self.lost.0 > 0 && self.write_note().is_ok() {
            self.lost = (0, 0, String::new());
        }
        let failure = match self.lost.0 {
            0 => self.write_whole(lines).err(),
            _ => None,
        };
        if let Some(error) = &failure {
            self.lost.2 = explain::reason(error);
        }
        if failure.is_some() || self.lost.0 > 0 {
            let (messages, bytes) = (lines.iter().filter(|byte| **byte == b'\n').count() as u64, lines.len() as u64);
            self.lost = (self.lost.0 + messages, self.lost.1 + bytes, std::mem::take(&mut self.lost.2));
            self.uncounted = (self.uncounted.0 + messages, self.uncounted.1 + bytes);
        }
    }

    fn write_note(&mut self) -> io::Result<()> {
        let (messages, bytes, reason) = &self.lost;
        let text = loss::note(*messages, *bytes, reason);
        let mut line = Vec::new();
        let piece = Piece { stream: Stream::Stderr, text: text.as_bytes(), ends: true };
        self.format.encode(&mut line, piece, &Stamp::now());
        self.write_whole(&line)
    }

    /// Writes all or, as half a line would spoil the next one, nothing.
    fn write_whole(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    if let written @ 1.. = (bytes.len() - rest.len()) as u64 {
                        let length = self.file.metadata()?.len();
                        self.file.set_len(length.saturating_sub(written))?;
                    }
                    return Err(error);
                }
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
            }
        }
        self.size += bytes.len() as u64;
        Ok(())
    }
}

impl Driver for LogFile {
    fn take(&mut self, piece: Piece<'_>, stamp: &Stamp) {
        self.format.encode(&mut self.buffer, piece, stamp);
        if self.buffer.len() >= ENOUGH {
            self.write_out();
        }
    }

    fn flush(&mut self, loss: &mut Loss) {
        self.write_out();
        if let (messages @ 1.., bytes) = std::mem::take(&mut self.uncounted) {
            loss.add(messages, bytes, &self.lost.2);
        }
    }

    fn is_busy(&self, _now: Instant) -> bool {
        false
    }

    fn outlet(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn reap(&mut self) {
        if let Some(compressor) = &mut self.compressor {
            compressor.reap(self.plan.max_file);
        }
    }
}

/// Opening never waits, whatever is there.
fn append_to(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600).custom_flags(flags.bits().cast_signed());
    options.open(path)
}

/// Cuts off what a writer that was killed in the middle of a line left of it; the file's length then.
fn without_torn_line(file: &File, length: u64) -> io::Result<u64> {
    let mut last = [0];
    if length == 0 || (file.read_exact_at(&mut last, length - 1).is_ok() && last == *b"\n") {
        return Ok(length);
    }
    let start = length.saturating_sub(LINE_MAX);
    let mut bytes = vec![0; usize::try_from(length - start).unwrap_or_default()];
    file.read_exact_at(&mut bytes, start)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
    if end == 0 && start > 0 {
        // No log, or not ours: nothing of it is cut off.
        let mut file = file;
        file.write_all(b"\n")?;
        return Ok(length + 1);
    }
    file.set_len(start + end)?;
    Ok(start + end)
}
