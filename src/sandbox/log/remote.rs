//! A log that others keep. What they do not take at once waits, up to a limit; beyond, it is lost, and
//! a message in its place says how much.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::journald::Journal;
use super::loss::{self, Loss};
use super::outbox::Outbox;
use super::plan::{Receiver, RemotePlan};
use super::syslog::Syslog;
use super::{Driver, Piece, Stamp, Stream};
use crate::explain;

/// How long the container's output waits for a receiver that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pauses between attempts to reach a receiver that is gone.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(8);
/// Pause between notes about what was lost.
const NOTE_PERIOD: Duration = Duration::from_secs(1);
/// Even the smallest buffer takes a few messages of the longest kind.
const BUFFER_MIN: usize = 64 * 1024;

/// A way to a receiver. Nothing of it waits.
pub(super) trait Transport: std::fmt::Debug {
    /// Writes a message.
    fn encode(&mut self, out: &mut Vec<u8>, piece: Piece<'_>, stamp: &Stamp);

    /// Makes the connection, or begins to.
    fn connect(&mut self) -> io::Result<()>;

    /// Sends a part of a message; all of it where messages are datagrams. `WouldBlock`: not now.
    fn send(&mut self, message: &[u8]) -> io::Result<usize>;

    /// Whether an error is only about one message.
    fn is_of_message(&self, error: &io::Error) -> bool;

    /// The connection.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// The writer.
#[derive(Debug)]
pub(super) struct Remote {
    transport: Box<dyn Transport>,
    outbox: Outbox,
    limit: usize,
    non_blocking: bool,
    /// The message being made.
    scratch: Vec<u8>,
    /// Bytes of the first message that were sent.
    sent: usize,
    /// When to try to connect again, and the pause after that.
    retry: Option<(Instant, Duration)>,
    /// When the receiver took something last, or something began to wait.
    progress: Instant,
    /// Lost since the last note: messages, bytes, why.
    lost: (u64, u64, String),
    noted: Option<Instant>,
    uncounted: (u64, u64),
    failure: String,
}

impl Remote {
    /// Connects; a receiver that is not there is an error now and none later.
    pub(super) fn open(plan: &RemotePlan, pid: i32) -> io::Result<Self> {
        let mut transport: Box<dyn Transport> = match &plan.receiver {
            Receiver::Journald { socket, fields } => Box::new(Journal::new(socket, fields)),
            Receiver::Syslog { server, tag, facility, format } => {
                Box::new(Syslog::new(server.clone(), tag, *facility, *format, pid))
            }
        };
        transport.connect()?;
        Ok(Self {
            transport,
            outbox: Outbox::default(),
            limit: plan.buffer.max(BUFFER_MIN),
            non_blocking: plan.non_blocking,
            scratch: Vec::new(),
            sent: 0,
            retry: None,
            progress: Instant::now(),
            lost: (0, 0, String::new()),
            noted: None,
            uncounted: (0, 0),
            failure: "the receiver is too slow".to_owned(),
        })
    }

    /// Adds the message in `scratch` to those that wait, if there is room.
    fn post(&mut self) {
        if self.outbox.len() == 0 {
            self.progress = Instant::now();
        }
        if self.outbox.len() + self.scratch.len() <= self.limit {
            self.outbox.push(&self.scratch);
        } else {
            self.lose(self.scratch.len());
        }
    }

    fn lose(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.failure.clone_into(&mut self.lost.2);
        self.lost = (self.lost.0 + 1, self.lost.1 + bytes, std::mem::take(&mut self.lost.2));
        self.uncounted = (self.uncounted.0 + 1, self.uncounted.1 + bytes);
    }

    /// Says what was lost, once there is room again.
    fn note(&mut self) {
        let early = self.noted.is_some_and(|noted| noted.elapsed() < NOTE_PERIOD);
        if self.lost.0 == 0 || early || self.outbox.len() > self.limit / 2 || self.retry.is_some() {
            return;
        }
        let (messages, bytes, reason) = std::mem::take(&mut self.lost);
        let text = loss::note(messages, bytes, &reason);
        self.scratch.clear();
        let piece = Piece { stream: Stream::Stderr, text: text.as_bytes(), ends: true };
        self.transport.encode(&mut self.scratch, piece, &Stamp::now());
        self.noted = Some(Instant::now());
        self.post();
    }

    /// Sends what the receiver takes.
    fn pump(&mut self) {
        if let Some((at, pause)) = self.retry {
            if Instant::now() < at {
                return;
            }
            match self.transport.connect() {
                Ok(()) => self.retry = None,
                Err(error) => return self.unreachable(&error, pause),
            }
        }
        while let Some(message) = self.outbox.front() {
            match self.transport.send(&message[self.sent..]) {
                Ok(count) => {
                    self.progress = Instant::now();
                    self.sent += count;
                    if self.sent >= message.len() {
                        self.outbox.pop();
                        self.sent = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if self.transport.is_of_message(&error) => {
                    let bytes = message.len();
                    self.failure = explain::reason(&error);
                    self.outbox.pop();
                    self.lose(bytes);
                    self.sent = 0;
                }
                Err(error) => return self.unreachable(&error, RETRY_FIRST),
            }
        }
        "the receiver is too slow".clone_into(&mut self.failure);
    }

    /// A message that was sent in part is sent again, whole, over the next connection.
    fn unreachable(&mut self, error: &io::Error, pause: Duration) {
        self.failure = explain::reason(error);
        self.sent = 0;
        self.retry = Some((Instant::now() + pause, (pause * 2).min(RETRY_LAST)));
    }

    /// Whether it takes nothing for so long that output goes on without it.
    fn is_stalled(&self, now: Instant) -> bool {
        now.duration_since(self.progress) >= PATIENCE
    }

    fn is_filling(&self) -> bool {
        self.outbox.len() > self.limit / 2
    }
}

impl Driver for Remote {
    fn take(&mut self, piece: Piece<'_>, stamp: &Stamp) {
        self.note();
        self.scratch.clear();
        self.transport.encode(&mut self.scratch, piece, stamp);
        // A burst must not be lost only because nobody looked whether the receiver is ready.
        if self.outbox.len() + self.scratch.len() > self.limit {
            self.pump();
        }
        self.post();
    }

    fn flush(&mut self, loss: &mut Loss) {
        self.pump();
        if self.lost.0 > 0 {
            self.note();
            self.pump();
        }
        if let (messages @ 1.., bytes) = std::mem::take(&mut self.uncounted) {
            let reason = if self.lost.2.is_empty() { &self.failure } else { &self.lost.2 };
            loss.add(messages, bytes, reason);
        }
    }

    fn is_busy(&self, now: Instant) -> bool {
        !self.non_blocking && self.is_filling() && !self.is_stalled(now)
    }

    fn outlet(&self) -> Option<BorrowedFd<'_>> {
        self.transport.descriptor().filter(|_| self.outbox.len() > 0 && self.retry.is_none())
    }

    fn deadline(&self) -> Option<Instant> {
        let wanted = self.outbox.len() > 0 || self.lost.0 > 0;
        let retry = self.retry.map(|(at, _)| at).filter(|_| wanted);
        let patience = Some(self.progress + PATIENCE).filter(|_| self.is_busy(Instant::now()));
        let note = self.noted.map(|noted| noted + NOTE_PERIOD).filter(|_| self.lost.0 > 0 && !self.is_filling());
        retry.into_iter().chain(patience).chain(note).min()
    }

    fn waiting(&self) -> usize {
        self.outbox.len()
    }

    fn abandon(&mut self, loss: &mut Loss) {
        if self.outbox.count() > 0 {
            loss.add(self.outbox.count(), self.outbox.len() as u64, &self.failure);
            self.outbox.clear();
        }
    }
}

/// Waits until one of the descriptors can be written to, or the time is over.
pub(super) fn wait<'a>(outlets: impl Iterator<Item = BorrowedFd<'a>>, limit: Duration) {
    let mut descriptors: Vec<PollFd<'_>> =
        outlets.map(|outlet| PollFd::from_borrowed_fd(outlet, PollFlags::OUT)).collect();
    // Whoever calls looks at the time and at what waits.
    let _ = poll(&mut descriptors, Timespec::try_from(limit).ok().as_ref());
}
