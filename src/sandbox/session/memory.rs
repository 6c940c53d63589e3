//! Word of a container whose memory is full.

use std::os::fd::BorrowedFd;

use rustix::event::PollFlags;

use super::Session;
use crate::sandbox::cgroup::Watch;

/// A container's memory and who hears of its being full.
pub(super) struct Memory {
    watch: Watch,
    notice: Box<dyn Fn()>,
    killed: bool,
}

impl Memory {
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.watch.descriptor()
    }

    pub(super) fn flags(&self) -> PollFlags {
        self.watch.flags()
    }

    pub(super) fn tell(&mut self) {
        if self.watch.take() > 0 {
            self.killed = true;
            (self.notice)();
        }
    }
}

impl Session {
    /// Says by `notice` when the kernel kills a process because the container's memory is full.
    pub fn watch_memory(&mut self, watch: Watch, notice: impl Fn() + 'static) {
        self.memory = Some(Memory { watch, notice: Box::new(notice), killed: false });
    }

    /// Whether that has happened.
    pub fn was_killed_for_memory(&mut self) -> bool {
        self.memory.as_mut().is_some_and(|memory| {
            memory.tell();
            memory.killed
        })
    }
}
