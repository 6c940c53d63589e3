//! The bytes of a file: shared, copied in the kernel or through a buffer, holes left out.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{SeekFrom, Stat};
use rustix::io::{Errno, retry_on_intr};

/// Of copies through memory: fits caches, and makes system calls rare enough.
const BUFFER: usize = 256 << 10;
/// Of copies in the kernel: how often progress is told of.
const PIECE: u64 = 8 << 20;
/// Smaller files are not worth the question whether blocks can be shared.
const WORTH_SHARING: u64 = 4 << 10;

/// How a copy of bytes failed.
pub(super) enum ContentError {
    Read(Errno),
    Write(Errno),
    Stopped,
}

/// Copies contents; remembers what the file systems can do.
pub(super) struct Content {
    buffer: Vec<u8>,
    shares: bool,
    copies: bool,
}

/// Copies the contents of single files, and remembers what the file systems can do.
#[derive(Default)]
pub struct Files(Content);

impl Files {
    /// Copies all of the source, which `stat` is of, into the empty target.
    pub fn copy(&mut self, source: &OwnedFd, target: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
        let mut job = Job { source, target, stat, progress: &mut |_| {}, stop: None };
        match self.0.copy(&mut job) {
            Ok(_) => Ok(()),
            Err(ContentError::Read(error) | ContentError::Write(error)) => Err(error),
            Err(ContentError::Stopped) => Err(Errno::CANCELED),
        }
    }
}

/// A file to copy and whom to tell.
pub(super) struct Job<'a> {
    pub source: &'a OwnedFd,
    pub target: &'a OwnedFd,
    /// Of the source.
    pub stat: &'a Stat,
    pub progress: &'a mut dyn FnMut(u64),
    pub stop: Option<&'a AtomicBool>,
}

impl Job<'_> {
    fn advance(&mut self, count: u64) -> Result<(), ContentError> {
        (self.progress)(count);
        match self.stop {
            Some(stop) if stop.load(Ordering::Relaxed) => Err(ContentError::Stopped),
            _ => Ok(()),
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self { buffer: Vec::new(), shares: true, copies: true }
    }
}

impl Content {
    /// Copies all into the empty target; returns how many bytes that were. Of a file that grows
    /// meanwhile the rest is left.
    pub fn copy(&mut self, job: &mut Job<'_>) -> Result<u64, ContentError> {
        let size = u64::try_from(job.stat.st_size).unwrap_or(0);
        if size == 0 {
            // Files of the kernel's own say so and hold something nevertheless.
            return self.through_buffer(job, 0, u64::MAX);
        }
        if self.shares && size >= WORTH_SHARING && self.share(job) {
            job.advance(size)?;
            return Ok(size);
        }
        let allocated = u64::try_from(job.stat.st_blocks).unwrap_or(0).saturating_mul(512);
        if allocated >= size {
            return self.stretch(job, 0, size);
        }
        let (mut position, mut copied) = (0, 0);
        while let Some((start, end)) = next_data(job.source, position, size)? {
            copied += self.stretch(job, start, end - start)?;
            position = end;
            if position >= size {
                break;
            }
        }
        if position < size {
            rustix::fs::ftruncate(job.target, size).map_err(ContentError::Write)?;
        }
        Ok(copied)
    }

    fn share(&mut self, job: &Job<'_>) -> bool {
        match rustix::fs::ioctl_ficlone(job.target, job.source) {
            Ok(()) => true,
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS) => {
                self.shares = false;
                false
            }
            // Of this file only; whatever it is, a copy will tell.
            Err(_) => false,
        }
    }

    fn stretch(&mut self, job: &mut Job<'_>, offset: u64, length: u64) -> Result<u64, ContentError> {
        let mut done = 0;
        while self.copies && done < length {
            let (mut read_at, mut write_at) = (offset + done, offset + done);
            let wanted = (length - done).min(PIECE) as usize;
            let copy =
                || rustix::fs::copy_file_range(job.source, Some(&mut read_at), job.target, Some(&mut write_at), wanted);
            match copy_again(copy) {
                // Shorter than it was, or a file system that cannot and does not say so.
                Ok(0) => break,
                Ok(count) => {
                    done += count as u64;
                    job.advance(count as u64)?;
                }
                Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => return Err(ContentError::Write(error)),
                Err(error @ Errno::IO) => return Err(ContentError::Read(error)),
                Err(_) => self.copies = false,
            }
        }
        if done < length {
            done += self.through_buffer(job, offset + done, length - done)?;
        }
        Ok(done)
    }

    fn through_buffer(&mut self, job: &mut Job<'_>, offset: u64, length: u64) -> Result<u64, ContentError> {
        self.buffer.resize(BUFFER, 0);
        let mut done = 0;
        while done < length {
            let wanted = usize::try_from(length - done).unwrap_or(BUFFER).min(BUFFER);
            let piece = &mut self.buffer[..wanted];
            let count = retry_on_intr(|| rustix::io::pread(job.source, &mut *piece, offset + done))
                .map_err(ContentError::Read)?;
            if count == 0 {
                break;
            }
            let mut written = 0;
            while written < count {
                let at = offset + done + written as u64;
                written += retry_on_intr(|| rustix::io::pwrite(job.target, &piece[written..count], at))
                    .map_err(ContentError::Write)?;
            }
            done += count as u64;
            job.advance(count as u64)?;
        }
        Ok(done)
    }
}

/// A call that may be interrupted before it did anything.
fn copy_again(mut copy: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match copy() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// The next stretch of data at or after `position`, at most up to `size`.
fn next_data(file: &OwnedFd, position: u64, size: u64) -> Result<Option<(u64, u64)>, ContentError> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(position)) {
        Ok(start) if start < size => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL) => return Ok(Some((position, size))),
        Err(error) => return Err(ContentError::Read(error)),
    };
    let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
        Ok(end) => end,
        // It shrank meanwhile.
        Err(Errno::NXIO) => size,
        Err(error) => return Err(ContentError::Read(error)),
    };
    // Never none at all, whatever a file system answers.
    Ok(Some((start, end.clamp(start + 1, size))))
}
