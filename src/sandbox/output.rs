//! The invocation's stdout and stderr. A write must not block: as long as nobody reads, signals,
//! keys and the window's size still want attention.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// What fits into a pipe that has any room at all (pipe(7), PIPE_BUF).
const PIECE: usize = 4096;

/// A standard stream to write to.
#[derive(Debug)]
pub struct Output {
    standard: BorrowedFd<'static>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// It never blocks for long.
    Direct,
    /// The same file opened once more: only there may blocking be switched off, as others write
    /// through the description that we were given.
    Own(OwnedFd),
    /// After asking for room, as little as certainly fits.
    Piecewise,
}

impl Output {
    /// Finds out how to write to a standard stream.
    pub fn new(standard: BorrowedFd<'static>) -> Self {
        let kind = rustix::fs::fstat(standard).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let blocks = match kind {
            Ok(FileType::Fifo | FileType::Socket) => true,
            Ok(FileType::CharacterDevice) => rustix::termios::isatty(standard),
            _ => false,
        };
        let way = if blocks { reopen(standard).map_or(Way::Piecewise, Way::Own) } else { Way::Direct };
        Self { standard, way }
    }

    /// What to poll for room.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Own(own) => std::os::fd::AsFd::as_fd(own),
            Way::Direct | Way::Piecewise => self.standard,
        }
    }

    /// Writes what there is room for; 0 when there is none.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let piece = match self.way {
            Way::Piecewise => {
                let mut descriptors = [PollFd::new(&self.standard, PollFlags::OUT)];
                if poll(&mut descriptors, Some(&Timespec::default())).unwrap_or(0) == 0 {
                    return Ok(0);
                }
                &bytes[..bytes.len().min(PIECE)]
            }
            Way::Direct | Way::Own(_) => bytes,
        };
        match rustix::io::write(self.descriptor(), piece) {
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

/// None where it may not be opened again: it is another user's, or a socket.
fn reopen(standard: BorrowedFd<'_>) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", standard.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}
