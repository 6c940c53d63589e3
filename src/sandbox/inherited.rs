//! Descriptors of whoever called us that the container's process gets under the same numbers: sockets
//! that systemd opened, and what `--preserve-fds` names. They are the caller's own, so what goes through
//! them passes nothing of ours.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::FdFlags;

use crate::spec::descriptors::{FIRST, Listen};
use crate::sys::process;

/// The descriptors, until they are given away.
#[derive(Debug, Default)]
pub struct Inherited {
    /// By the numbers they had, and will have.
    descriptors: Vec<OwnedFd>,
    listen: Option<Listen>,
}

/// Why a descriptor cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    #[error(
        "file descriptor {0} is not available - the preserve-fds option requires that file descriptors must be passed"
    )]
    NotOpen(i32),
    #[error("file descriptor {0} is not open, but LISTEN_FDS={1} says so")]
    NotPassed(i32, u32),
    #[error("cannot close inherited descriptors: {0}")]
    Close(io::Error),
}

impl Inherited {
    /// Takes over what `numbers` and `listen` name, and closes all other descriptors but the standard
    /// streams. To be called before this process has opened anything.
    pub fn claim(numbers: &BTreeSet<i32>, listen: Option<Listen>) -> Result<Self, InheritError> {
        for number in listen.iter().flat_map(Listen::numbers) {
            let count = listen.as_ref().map_or(0, |listen| listen.count);
            process::set_descriptor_flags(number, FdFlags::CLOEXEC)
                .map_err(|_| InheritError::NotPassed(number, count))?;
        }
        for number in numbers {
            process::set_descriptor_flags(*number, FdFlags::CLOEXEC).map_err(|_| InheritError::NotOpen(*number))?;
        }
        let kept: BTreeSet<i32> = listen.iter().flat_map(Listen::numbers).chain(numbers.iter().copied()).collect();
        let kept: Vec<i32> = kept.into_iter().collect();
        process::close_all_but(&kept).map_err(InheritError::Close)?;
        let take = |number: &i32| process::inherited_descriptor(*number).map_err(|_| InheritError::NotOpen(*number));
        Ok(Self { descriptors: kept.iter().map(take).collect::<Result<_, _>>()?, listen })
    }

    /// The descriptors, each with its number inside, which is the one it has here.
    pub fn descriptors(&self) -> impl Iterator<Item = (i32, BorrowedFd<'_>)> {
        self.descriptors.iter().map(|descriptor| (descriptor.as_raw_fd(), descriptor.as_fd()))
    }

    /// The first number behind all of them.
    pub fn end(&self) -> i32 {
        self.descriptors.iter().map(AsRawFd::as_raw_fd).max().map_or(FIRST, |last| last.saturating_add(1))
    }

    /// Tells the process of the sockets, in place of what the environment said of any.
    pub fn tell(&self, environment: &mut Vec<String>, pid: u32) {
        if let Some(listen) = &self.listen {
            environment.retain(|entry| !entry.starts_with("LISTEN_"));
            environment.extend(listen.environment(pid));
        }
    }
}
