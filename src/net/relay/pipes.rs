//! Pipes for splice, lent to a flow only while bytes are on their way.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Pages of a pipe count against the user's limit (fs.pipe-user-pages-soft, 64 MiB by default), so
/// these two are bounded: all pipes together stay at a quarter of it.
const SIZE: usize = 256 * 1024;
const MAX: usize = 64;
/// Unused ones that are kept.
const KEPT: usize = 4;

/// A pipe: what is written to `entry` comes out of `exit`.
pub(crate) struct Pipe {
    pub entry: OwnedFd,
    pub exit: OwnedFd,
}

/// The pipes of one relay.
#[derive(Default)]
pub(crate) struct Pipes {
    idle: Vec<Pipe>,
    lent: usize,
}

impl Pipes {
    /// An empty pipe, or None when there is none to be had: the flow then copies.
    pub fn take(&mut self) -> Option<Pipe> {
        let pipe = match self.idle.pop() {
            Some(pipe) => pipe,
            None if self.lent < MAX => open().ok()?,
            None => return None,
        };
        self.lent += 1;
        Some(pipe)
    }

    /// Takes an empty pipe back.
    pub fn give(&mut self, pipe: Pipe) {
        self.lent = self.lent.saturating_sub(1);
        if self.idle.len() < KEPT {
            self.idle.push(pipe);
        }
    }

    /// Closes a pipe that still holds bytes.
    pub fn discard(&mut self, pipe: Pipe) {
        self.lent = self.lent.saturating_sub(1);
        drop(pipe);
    }
}

fn open() -> io::Result<Pipe> {
    let (exit, entry) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Refused when the user's pipes hold too many pages already; a small pipe works as well.
    let _ = fcntl_setpipe_size(&entry, SIZE);
    Ok(Pipe { entry, exit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_run_out_and_come_back() {
        let mut pipes = Pipes::default();
        let mut taken: Vec<Pipe> = std::iter::from_fn(|| pipes.take()).collect();
        assert_eq!(taken.len(), MAX);
        pipes.discard(taken.pop().unwrap());
        assert!(pipes.take().is_some());
        for pipe in taken {
            pipes.give(pipe);
        }
        assert_eq!(pipes.idle.len(), KEPT);
    }
}
