//! Word of processes that the kernel killed because the cgroup's memory was full.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFlags, eventfd};

use super::{Group, write};

/// What tells of it, to be waited for.
#[derive(Debug)]
pub struct Watch {
    /// Has a line `oom_kill COUNT`.
    count: File,
    /// Version 1 tells by an eventfd.
    signal: Option<OwnedFd>,
    seen: u64,
}

impl Watch {
    /// None where memory is not this cgroup's.
    pub fn new(group: &Group) -> io::Result<Option<Self>> {
        let Some(directory) = group.with_controller("memory") else { return Ok(None) };
        let mut watch = if group.is_legacy() {
            let count = File::open(directory.join("memory.oom_control"))?;
            let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let request = format!("{} {}", signal.as_raw_fd(), count.as_raw_fd());
            write(&directory.join("cgroup.event_control"), &request)?;
            Self { count, signal: Some(signal), seen: 0 }
        } else {
            Self { count: File::open(directory.join("memory.events"))?, signal: None, seen: 0 }
        };
        // Reading is what the next change is told after. What it says already happened since the start.
        watch.read()?;
        Ok(Some(watch))
    }

    /// For poll, with [`Watch::flags`].
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.signal.as_ref().map_or_else(|| self.count.as_fd(), AsFd::as_fd)
    }

    /// What to wait for.
    pub fn flags(&self) -> PollFlags {
        if self.signal.is_some() { PollFlags::IN } else { PollFlags::PRI }
    }

    /// How many were killed since the last time this was asked.
    pub fn take(&mut self) -> u64 {
        if let Some(signal) = &self.signal {
            let _ = rustix::io::read(signal, &mut [0u8; 8]);
        }
        let now = self.read().unwrap_or(self.seen);
        let new = now.saturating_sub(self.seen);
        self.seen = now;
        new
    }

    fn read(&mut self) -> io::Result<u64> {
        let mut text = String::new();
        self.count.seek(SeekFrom::Start(0))?;
        self.count.read_to_string(&mut text)?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok());
        Ok(count.unwrap_or(0))
    }
}
