//! A container's processes brought to a halt, so that its files can be looked at in one state.
//!
//! Without a freezer they are stopped by signal, parents first, and go on children first: nobody
//! sees his child stopped. A process of its own in the user namespace does it and waits; it lets them
//! go on however the one ends that asked for it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, WaitOptions, pidfd_send_signal, waitpid};

use super::userns;
use crate::store::Store;
use crate::store::containers::ProcessIdentity;
use crate::sys::process;

/// How often the list of processes is read again for those that were made meanwhile.
const ROUNDS: usize = 100;
/// How long the last of them may take to stop.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the keeper answers: stopped, or why not.
const STOPPED: u8 = b'1';
const SHARED: u8 = b'2';

/// Processes at a halt until it is dropped.
#[derive(Debug)]
pub struct Halt {
    control: Option<OwnedFd>,
    keeper: Pid,
}

/// What became of the wish to halt a container.
#[derive(Debug)]
pub enum Halting {
    Halted(Halt),
    /// It has no processes of its own to tell from others: it shares a pid namespace.
    Shared,
    /// It ended.
    Gone,
}

impl Halt {
    /// Stops every process in the pid namespace of `init`. The caller has one thread.
    pub fn start(store: &Store, init: ProcessIdentity) -> Result<Halting> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let forked = userns::fork_into(store, move || i32::from(keep(theirs, init).is_err()))?;
        let mut halt = Self { control: Some(ours), keeper: forked.pid };
        let mut answer = [0];
        let heard = match &halt.control {
            Some(control) => File::from(control.try_clone()?).read(&mut answer)?,
            None => 0,
        };
        match (heard, answer[0]) {
            (1, STOPPED) => Ok(Halting::Halted(halt)),
            (1, SHARED) => {
                halt.release();
                Ok(Halting::Shared)
            }
            _ => {
                halt.release();
                match init.open()? {
                    None => Ok(Halting::Gone),
                    Some(_) => bail!("cannot stop the container's processes"),
                }
            }
        }
    }

    fn release(&mut self) {
        // A word, for others may have inherited this end.
        if let Some(control) = self.control.take() {
            let _ = File::from(control).write_all(&[0]);
            let _ = rustix::io::retry_on_intr(|| waitpid(Some(self.keeper), WaitOptions::empty()));
        }
    }
}

impl Drop for Halt {
    fn drop(&mut self) {
        self.release();
    }
}

/// The keeper: stops, says so, waits, and lets go on.
fn keep(control: OwnedFd, init: ProcessIdentity) -> Result<()> {
    // A signal to the group of the asking process must not end the keeper before its work is done.
    let _ = rustix::process::setsid();
    process::close_all_but(&[0, 1, 2, control.as_raw_fd()])?;
    let mut control = File::from(control);
    let namespace = namespace_of(init.pid).context("find the container's pid namespace")?;
    if init.open()?.is_none() {
        return Ok(());
    }
    if namespace == namespace_of(rustix::process::getpid())? || has_others(init, namespace)? {
        control.write_all(&[SHARED])?;
        return Ok(());
    }
    let stopped = Stopped::all(namespace)?;
    let told = control.write_all(&[STOPPED]);
    if told.is_ok() {
        let _ = rustix::io::retry_on_intr(|| rustix::io::read(control.as_fd(), &mut [0u8; 1]));
    }
    drop(stopped);
    Ok(told?)
}

/// A process as /proc shows it.
struct Process {
    pid: Pid,
    start: u64,
    stopped: bool,
    /// Whether it is waiting where no signal reaches it, or ended.
    unreachable: bool,
}

/// Those that were stopped, in the order of their beginning.
struct Stopped(Vec<(ProcessIdentity, OwnedFd)>);

impl Stopped {
    fn all(namespace: u64) -> Result<Self> {
        let mut stopped = Self(Vec::new());
        for _ in 0..ROUNDS {
            let mut new: Vec<Process> = processes_in(namespace)?;
            new.retain(|process| !process.stopped && !stopped.0.iter().any(|(known, _)| known.pid == process.pid));
            if new.is_empty() {
                break;
            }
            new.sort_by_key(|process| process.start);
            for process in new {
                stopped.stop(&process)?;
            }
        }
        stopped.settle(namespace)?;
        Ok(stopped)
    }

    fn stop(&mut self, process: &Process) -> Result<()> {
        let identity = ProcessIdentity { pid: process.pid, start: process.start };
        let Some(descriptor) = identity.open()? else { return Ok(()) };
        match pidfd_send_signal(&descriptor, Signal::STOP) {
            Ok(()) => self.0.push((identity, descriptor)),
            Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).context("stop a process of the container"),
        }
        Ok(())
    }

    /// Waits until they do stand still.
    fn settle(&self, namespace: u64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while processes_in(namespace)?.iter().any(|process| !process.stopped && !process.unreachable) {
            if Instant::now() > deadline {
                bail!("the container's processes do not stop");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for (_, descriptor) in self.0.iter().rev() {
            let _ = pidfd_send_signal(descriptor, Signal::CONT);
        }
    }
}

/// The processes of a pid namespace.
fn processes_in(namespace: u64) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else { continue };
        if namespace_of(pid).ok() == Some(namespace)
            && let Some(process) = look(pid)
        {
            found.push(process);
        }
    }
    Ok(found)
}

fn look(pid: Pid) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    let (stopped, unreachable) = (matches!(state, "T" | "t"), matches!(state, "Z" | "X" | "D"));
    Some(Process { pid, start, stopped, unreachable })
}

/// Whether the namespace is older than the container: its first process is another one's.
fn has_others(init: ProcessIdentity, namespace: u64) -> io::Result<bool> {
    Ok(processes_in(namespace)?.iter().any(|process| process.start < init.start))
}

fn namespace_of(pid: Pid) -> io::Result<u64> {
    Ok(std::fs::metadata(format!("/proc/{}/ns/pid", pid.as_raw_nonzero()))?.ino())
}
