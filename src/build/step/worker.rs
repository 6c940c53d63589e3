//! A worker process: forked for one step, which it does with blocking code, and heard through frames.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::signal::SigSet;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, waitpid};
use serde::{Deserialize, Serialize};

use crate::build::cache::elsewhere::Entry;
use crate::sandbox::userns;
use crate::spec::digest::Digest;
use crate::store::Store;
use crate::store::unpack::Compression;
use crate::sys::process::{self, Fork};

const OUTPUT: u8 = 0;
const PROGRESS: u8 = 3;
const WARNING: u8 = 4;
const DONE: u8 = 5;
/// A kind and a length.
const HEADER: usize = 5;
/// The longest payload that makes sense.
const PAYLOAD_MAX: usize = 16 << 20;

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// What a command wrote to stream 1 or 2.
    Output(u8, Vec<u8>),
    Progress(Progress),
    Warning(String),
    Done(Box<Result<Report, Failure>>),
}

/// How far a part of a step is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub name: String,
    pub done: u64,
    pub total: Option<u64>,
}

/// A layer on top of those below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    pub diff_id: Digest,
    pub chain_id: Digest,
    pub blob: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Of the blob.
    #[serde(default = "uncompressed")]
    pub compression: Compression,
}

/// As all were before some came from elsewhere.
fn uncompressed() -> Compression {
    Compression::None
}

/// What came of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// None when nothing changed.
    pub layer: Option<Layer>,
    /// It was there already.
    pub cached: bool,
    /// When it was made, as it was recorded then.
    pub created: Option<String>,
    /// Of a fetched image: its id.
    pub image: Option<Digest>,
    /// What the build cache knows it by.
    pub key: Option<Digest>,
    /// What a cache elsewhere knows.
    pub entries: Vec<Entry>,
    /// It was done, but its layer is not here yet.
    pub away: Option<Entry>,
    /// The layer of the step with this key could not be brought here.
    pub missed: Option<Digest>,
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub message: String,
    /// Of the command.
    pub exit_code: Option<i32>,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { message: format!("{error:#}"), exit_code: None }
    }
}

/// The worker's way to the invocation.
pub struct Teller(File);

impl Teller {
    /// Passes on what a command writes.
    pub fn output(&mut self, stream: u8, bytes: &[u8]) -> io::Result<()> {
        bytes.chunks(64 << 10).try_for_each(|part| self.send(OUTPUT + stream, part))
    }

    /// Says how far it is. Nobody fails for want of being heard.
    pub fn progress(&mut self, name: &str, done: u64, total: Option<u64>) {
        let _ = self.json(PROGRESS, &Progress { name: name.to_owned(), done, total });
    }

    /// Says what a person should hear.
    pub fn warn(&mut self, text: &str) {
        let _ = self.send(WARNING, text.as_bytes());
    }

    fn json(&mut self, kind: u8, value: &impl Serialize) -> io::Result<()> {
        self.send(kind, &serde_json::to_vec(value)?)
    }

    fn send(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(HEADER + payload.len());
        frame.push(kind);
        frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        frame.extend_from_slice(payload);
        self.0.write_all(&frame)
    }
}

/// A worker as the invocation sees it. Killed when dropped.
#[derive(Debug)]
pub struct Worker {
    pid: Pid,
    pidfd: OwnedFd,
    socket: File,
    received: Vec<u8>,
    reaped: bool,
}

/// Where a worker works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where the invocation is.
    Here,
    /// In the user namespace U.
    Inside,
}

impl Worker {
    /// Forks it; the caller has one thread.
    pub fn start(
        store: &Store,
        place: Place,
        work: impl FnOnce(&mut Teller) -> Result<Report, Failure>,
    ) -> Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let parent = rustix::process::getpid();
        let mut theirs = Some(theirs);
        let mut work = Some(work);
        let mut be = || -> i32 {
            let (Some(socket), Some(work)) = (theirs.take(), work.take()) else { return 125 };
            if die_with(parent).is_err() {
                return 125;
            }
            let mut teller = Teller(socket.into());
            let done = work(&mut teller);
            i32::from(teller.json(DONE, &done).is_err())
        };
        let pid = match place {
            Place::Inside => userns::fork_into(store, be)?.pid,
            Place::Here => match process::fork().context("fork")? {
                Fork::Child => process::exit_now(be()),
                Fork::Parent(pid) => pid,
            },
        };
        rustix::io::ioctl_fionbio(&ours, true)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("watch a worker")?;
        Ok(Self { pid, pidfd, socket: ours.into(), received: Vec::new(), reaped: false })
    }

    /// What to poll for input: what it says, and its end.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.socket.as_fd(), self.pidfd.as_fd()]
    }

    /// What it has said since. Its end without a last word is one, too.
    pub fn hear(&mut self) -> Result<Vec<Frame>> {
        // Asked before what it has said is read, so that nothing comes after its end.
        let ended = !self.reaped && !matches!(waitpid(Some(self.pid), WaitOptions::NOHANG), Ok(None));
        self.reaped |= ended;
        let mut chunk = vec![0; 64 << 10];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let mut frames = Vec::new();
        while let Some(frame) = self.take_frame()? {
            frames.push(frame);
        }
        if self.reaped && !matches!(frames.last(), Some(Frame::Done(_))) {
            let message = "the process that did it died".to_owned();
            frames.push(Frame::Done(Box::new(Err(Failure { message, exit_code: None }))));
        }
        Ok(frames)
    }

    fn take_frame(&mut self) -> Result<Option<Frame>> {
        let Some((header, rest)) = self.received.split_at_checked(HEADER) else { return Ok(None) };
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        anyhow::ensure!(length <= PAYLOAD_MAX, "a worker said something too long");
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let frame = match header[0] {
            PROGRESS => Frame::Progress(serde_json::from_slice(payload)?),
            WARNING => Frame::Warning(String::from_utf8_lossy(payload).into_owned()),
            DONE => Frame::Done(Box::new(serde_json::from_slice(payload)?)),
            stream => Frame::Output(stream, payload.to_vec()),
        };
        self.received.drain(..HEADER + length);
        Ok(Some(frame))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.reaped {
            // With the programs that it started; the number is its own as long as nobody has waited for it.
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()));
        }
    }
}

/// This process ends when `parent` does, in a group of its own: the keyboard's signals are the parent's affair.
pub fn die_with(parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    let _ = rustix::process::setpgid(None, None);
    Ok(SigSet::empty().thread_set_mask()?)
}
