//! The signals that end a command, for one that has something to clear away then.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Result, anyhow};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::error::with_code;

/// The signals, taken from a descriptor while this lives.
pub struct Interruptions {
    signals: SignalFd,
    mask: SigSet,
}

impl Interruptions {
    /// Takes them from now on.
    pub fn watch() -> Result<Self> {
        let mask: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        mask.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self { signals: SignalFd::with_flags(&mask, flags)?, mask })
    }

    /// What to poll for input.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Fails if one came.
    pub fn check(&self) -> Result<()> {
        let Some(signal) = self.signals.read_signal()? else { return Ok(()) };
        // The number of a signal fits.
        let code = u8::try_from(128 + signal.ssi_signo).unwrap_or(u8::MAX);
        Err(with_code(anyhow!("interrupted"), code))
    }
}

impl Drop for Interruptions {
    fn drop(&mut self) {
        let _ = self.mask.thread_unblock();
    }
}
