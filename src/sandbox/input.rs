//! The invocation's stdin on its way to the process.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::queue::Queue;

/// Bytes that are copied at once.
const CHUNK: usize = 256 * 1024;
/// As much as any user may let a pipe hold (/proc/sys/fs/pipe-max-size).
const SPLICE: usize = 1024 * 1024;
/// After that many bytes it is a stream worth a large pipe. Not before: what a user's pipes may hold
/// in all is limited (pipe(7)).
const STREAM: usize = 8 * 1024 * 1024;
/// How often to splice before signals and output are looked at again.
const TURNS: usize = 16;

/// Which way stdin goes.
#[derive(Debug)]
pub enum Input {
    /// There is none, or no more.
    Ended,
    /// In frames, through the supervisor.
    Frames,
    /// Straight into the process's pipe: nothing needs to look at the bytes.
    Pipe(Pipe),
}

/// The write end of the process's stdin.
#[derive(Debug)]
pub struct Pipe {
    pipe: OwnedFd,
    /// Our stdin is a pipe too, so that bytes need not be copied.
    splices: bool,
    chunk: Vec<u8>,
    /// What was read and found no room.
    pending: Queue,
    full: bool,
    /// Bytes on the way to [`STREAM`].
    moved: usize,
}

/// How moving bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// There may be more.
    On,
    /// Our stdin is at its end, and all of it was delivered.
    Ended,
    /// The process takes no more.
    Refused,
}

impl Pipe {
    /// Feeds `pipe`, which does not block.
    pub fn new(pipe: OwnedFd) -> Self {
        let stdin = rustix::fs::fstat(rustix::stdio::stdin());
        // Only from pipes: pages of a file that were spliced change when the file does.
        let splices = stdin.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        Self { pipe, splices, chunk: Vec::new(), pending: Queue::default(), full: false, moved: 0 }
    }

    /// The descriptor, to poll.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.pipe
    }

    /// Whether it waits for room, and not for our stdin.
    pub fn is_full(&self) -> bool {
        self.full || !self.pending.is_empty()
    }

    /// Our stdin has something.
    pub fn read(&mut self) -> io::Result<Moved> {
        if self.splices
            && let Some(moved) = self.splice()
        {
            return Ok(moved);
        }
        self.chunk.resize(CHUNK, 0);
        match rustix::io::read(rustix::stdio::stdin(), &mut self.chunk[..]) {
            Ok(0) => Ok(Moved::Ended),
            Ok(count) => {
                let written = match rustix::io::write(&self.pipe, &self.chunk[..count]) {
                    Ok(written) => written,
                    Err(Errno::AGAIN | Errno::INTR) => 0,
                    Err(Errno::PIPE) => return Ok(Moved::Refused),
                    Err(error) => return Err(error.into()),
                };
                self.pending.extend(&self.chunk[written..count]);
                self.count(written);
                Ok(Moved::On)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::On),
            // A stdin that cannot be read is an end.
            Err(_) => Ok(Moved::Ended),
        }
    }

    /// Moves pages; None where that cannot be done.
    fn splice(&mut self) -> Option<Moved> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        for turn in 0..TURNS {
            match splice(rustix::stdio::stdin(), None, &self.pipe, None, SPLICE, flags) {
                Ok(0) => return Some(Moved::Ended),
                Ok(count) => self.count(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // At first our stdin had something, so it was the room that was wanting.
                    self.full = turn == 0;
                    break;
                }
                Err(Errno::PIPE) => return Some(Moved::Refused),
                Err(_) => {
                    self.splices = false;
                    return None;
                }
            }
        }
        Some(Moved::On)
    }

    /// Gives a stream a large pipe: fewer, longer turns for everybody. Without it goes on as it is.
    fn count(&mut self, moved: usize) {
        if self.moved < STREAM {
            self.moved += moved;
            if self.moved >= STREAM {
                let _ = rustix::pipe::fcntl_setpipe_size(&self.pipe, SPLICE);
            }
        }
    }

    /// The pipe has room, or nobody reads it any more.
    pub fn write(&mut self) -> io::Result<Moved> {
        self.full = false;
        if self.pending.is_empty() {
            return Ok(Moved::On);
        }
        match rustix::io::write(&self.pipe, self.pending.rest()) {
            Ok(count) => self.pending.consume(count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::PIPE) => return Ok(Moved::Refused),
            Err(error) => return Err(error.into()),
        }
        Ok(Moved::On)
    }
}

/// Reads our stdin no more: who writes to it learns that, as from any program that closed it.
pub fn close_stdin() {
    if let Ok(null) = super::devices::open_null() {
        // What fails leaves it open, as it was.
        let _ = rustix::stdio::dup2_stdin(&null);
    }
}
