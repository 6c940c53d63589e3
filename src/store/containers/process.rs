//! Processes by facts that a reused pid cannot match.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::sys::process::start_time;

/// A process of this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessIdentity {
    pub pid: Pid,
    /// `/proc/PID/stat` field 22, in clock ticks since boot.
    pub start: u64,
}

impl ProcessIdentity {
    /// The identity of the process that has `pid` now.
    pub fn of(pid: Pid) -> io::Result<Self> {
        Ok(Self { pid, start: start_time(pid)? })
    }

    /// A descriptor of this very process; None when it is gone.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        // EINVAL: it is being reaped this moment (kernel/pid.c, pid_has_task).
        let gone =
            |error: &io::Error| matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::SRCH | Errno::INVAL));
        // The descriptor first: once it is open, the pid read below cannot be a later process's.
        let found = pidfd_open(self.pid, PidfdFlags::empty())
            .map_err(io::Error::from)
            .and_then(|descriptor| Ok((descriptor, start_time(self.pid)?)));
        match found {
            Ok((descriptor, start)) => Ok((start == self.start).then_some(descriptor)),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The kernel's name for this boot (random(4)); empty when it cannot be read.
pub fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        text.trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_pid_is_not_taken_for_the_process() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let identity = ProcessIdentity::of(Pid::from_child(&child)).unwrap();
        assert!(identity.open().unwrap().is_some());
        assert!(ProcessIdentity { start: identity.start + 1, ..identity }.open().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(identity.open().unwrap().is_none());
    }

    #[test]
    fn one_that_is_being_reaped_is_gone() {
        for _ in 0..200 {
            let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
            let identity = ProcessIdentity::of(Pid::from_child(&child)).unwrap();
            let looking = std::thread::spawn(move || while identity.open().unwrap().is_some() {});
            child.wait().unwrap();
            looking.join().unwrap();
        }
    }

    #[test]
    fn a_boot_has_a_name() {
        assert_eq!(boot_id().len(), 36);
    }
}
