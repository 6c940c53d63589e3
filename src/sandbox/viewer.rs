//! One attached client as the supervisor sees it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::{Errno, IoSlice};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};

use super::log::Stream;
use super::message::{Decoder, Kind, header, wish};
use super::queue::Queue;

/// Unread bytes above which the process's output waits for an onlooker, but not for long.
const FULL: usize = 4 * 1024 * 1024;
/// Unread bytes at which it has caught up.
const RELIEVED: usize = FULL / 2;
/// How long an onlooker has for that. One that takes longer is stalled: it is shown no more, and
/// nothing waits for it, until it has read everything.
const PATIENCE: Duration = Duration::from_millis(300);

/// What a client is to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It came by the door and has not shown the key.
    Stranger,
    /// It comes and goes as it likes, and nothing waits for it but for a moment.
    Onlooker,
    /// The invocation that started the process: the process's fate hangs on it, and its output
    /// waits for it.
    Owner,
}

/// An attached client.
#[derive(Debug)]
pub struct Viewer {
    /// Tells it from others of its session.
    pub id: u64,
    pub socket: OwnedFd,
    pub decoder: Decoder,
    pub role: Role,
    /// Bits of [`wish`].
    pub wishes: u8,
    /// It came to a terminal that is in use already, and has not said its size.
    pub fresh: bool,
    /// It is to be let go.
    pub gone: bool,
    out: Queue,
    /// When there was too much unread.
    full_since: Option<Instant>,
    stalled: bool,
    /// Bytes it was not shown while it was stalled.
    skipped: u64,
}

impl Viewer {
    /// Wraps a connected socket.
    pub fn new(socket: OwnedFd, role: Role) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let wishes = if role == Role::Owner { wish::STDIN | wish::STDOUT | wish::STDERR } else { 0 };
        Ok(Self {
            id: 0,
            socket,
            decoder: Decoder::default(),
            role,
            wishes,
            fresh: false,
            gone: false,
            out: Queue::default(),
            full_since: None,
            stalled: false,
            skipped: 0,
        })
    }

    /// Unread bytes.
    pub fn unread(&self) -> usize {
        self.out.len()
    }

    /// Shows it output: a frame and how much of it is payload.
    pub fn show(&mut self, stream: Stream, frame: &[u8], payload: usize) {
        let wanted = match stream {
            Stream::Stdout => wish::STDOUT,
            Stream::Stderr => wish::STDERR,
        };
        if self.wishes & wanted == 0 || self.gone {
            return;
        }
        if self.stalled {
            self.skipped += payload as u64;
        } else {
            self.send(&[frame]);
        }
    }

    /// Until when the process's output waits for this onlooker.
    pub fn patience(&mut self, now: Instant) -> Option<Instant> {
        let enough = if self.full_since.is_some() { RELIEVED } else { FULL };
        if self.role != Role::Onlooker || self.stalled || self.unread() <= enough {
            self.full_since = None;
            return None;
        }
        let until = *self.full_since.get_or_insert(now) + PATIENCE;
        self.stalled = until <= now;
        (!self.stalled).then_some(until)
    }

    /// Tells it something that is no output, and what it missed before that.
    pub fn tell(&mut self, kind: Kind, payload: &[u8]) {
        if self.role != Role::Stranger && !self.gone {
            self.own_up();
            self.send(&[&header(kind, payload.len()), payload]);
        }
    }

    /// Sends what waits. True when an onlooker that missed output has read everything and is shown
    /// output again.
    pub fn flush(&mut self) -> bool {
        while !self.out.is_empty() {
            match send(&self.socket, self.out.rest(), SendFlags::NOSIGNAL) {
                Ok(count) => self.out.consume(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                Err(_) => self.lose(),
            }
        }
        self.stalled = false;
        self.own_up()
    }

    /// Says what was left out, if anything.
    fn own_up(&mut self) -> bool {
        if self.skipped == 0 {
            return false;
        }
        let text = format!("{} bytes of output were left out: they were not read in time", self.skipped);
        self.skipped = 0;
        self.send(&[&header(Kind::Warning, text.len()), text.as_bytes()]);
        true
    }

    /// Sends at once what the socket takes and keeps the rest.
    fn send(&mut self, parts: &[&[u8]]) {
        let mut sent = 0;
        if self.out.is_empty() {
            let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            match sendmsg(&self.socket, &slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL) {
                Ok(count) => sent = count,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => return self.lose(),
            }
        }
        for part in parts {
            let taken = sent.min(part.len());
            self.out.extend(&part[taken..]);
            sent -= taken;
        }
    }

    /// Hands over the write end of the process's stdin. The first thing a client is told, so that
    /// the socket has room; one that does not get it sends its input as frames.
    pub fn give_stdin(&mut self, stdin: &OwnedFd) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [stdin.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let frame = header(Kind::StdinPipe, 0);
        if sendmsg(&self.socket, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL).is_err() {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.gone = true;
        self.out.clear();
    }
}
