//! Processes that outlive the init of a container without a pid namespace of its own. Nothing in
//! the kernel ends them with it, so the supervisor does.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::sys::process::parent_namespace;

/// A container that forks faster than it is killed is given up after this many rounds.
const ROUNDS: usize = 500;
const PAUSE: Duration = Duration::from_millis(2);
/// The deepest nesting of user namespaces (user_namespaces(7)).
const DEPTH: usize = 32;

/// What all processes of one container have in common, as inodes of namespaces.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// They are in this user namespace or below it.
    User(u64),
    /// They are in this mount namespace, where the user namespace is shared with others.
    Mount(u64),
}

impl Mark {
    /// The mark of the container whose init is `pid`.
    pub fn of(pid: Pid, own_user_namespace: bool) -> io::Result<Self> {
        let inode = |name| Ok::<_, io::Error>(open_namespace(pid, name)?.metadata()?.ino());
        Ok(if own_user_namespace { Self::User(inode("user")?) } else { Self::Mount(inode("mnt")?) })
    }

    /// Kills every process that bears the mark, until none is left.
    pub fn kill_all(self) {
        for _ in 0..ROUNDS {
            // Zombies are not found any more.
            let found: Vec<OwnedFd> = pids().into_iter().filter_map(|pid| self.find(pid)).collect();
            for process in &found {
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
            if found.is_empty() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Every process that bears the mark now.
    pub fn members(self) -> Vec<Pid> {
        pids().into_iter().filter(|&pid| self.find(pid).is_some()).collect()
    }

    /// `pid`, if it is a living process that bears the mark.
    fn find(self, pid: Pid) -> Option<OwnedFd> {
        // The descriptor first: then the namespaces looked at cannot be a later process's.
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // A process that has ended is in no mount namespace.
        let mount = open_namespace(pid, "mnt").ok()?;
        let marked = match self {
            Self::Mount(inode) => mount.metadata().ok()?.ino() == inode,
            Self::User(inode) => is_below(open_namespace(pid, "user").ok()?, inode),
        };
        marked.then_some(process)
    }
}

/// Whether `namespace` or one that it lies in has this inode.
fn is_below(mut namespace: File, inode: u64) -> bool {
    for _ in 0..=DEPTH {
        if namespace.metadata().is_ok_and(|metadata| metadata.ino() == inode) {
            return true;
        }
        // The last one we may ask about is our own.
        match parent_namespace(namespace.as_fd()) {
            Ok(parent) => namespace = File::from(parent),
            Err(_) => return false,
        }
    }
    false
}

/// The inode of a process's namespace.
pub fn namespace(pid: Pid, name: &str) -> io::Result<u64> {
    Ok(open_namespace(pid, name)?.metadata()?.ino())
}

/// The inodes of a process's user namespace and of those that it lies in, as far as we may ask.
pub fn user_namespaces(pid: Pid) -> impl Iterator<Item = u64> {
    let first = open_namespace(pid, "user").ok();
    let above = |namespace: &File| parent_namespace(namespace.as_fd()).ok().map(File::from);
    let all = std::iter::successors(first, above).take(DEPTH + 1);
    all.filter_map(|namespace| Some(namespace.metadata().ok()?.ino()))
}

fn open_namespace(pid: Pid, name: &str) -> io::Result<File> {
    File::open(format!("/proc/{}/ns/{name}", pid.as_raw_nonzero()))
}

/// Every process.
pub fn pids() -> Vec<Pid> {
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    numbers.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}
