//! The invocation's side of an attachment: moves its own standard streams over the socket, passes
//! signals and the terminal's size on, and learns the end.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::message::{self, Decoder, Kind, push_frame};
use super::setup::SetupError;
use super::terminal;

const CHUNK: usize = 64 * 1024;

/// A connection to a supervisor.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    decoder: Decoder,
    out: VecDeque<u8>,
}

/// What the invocation takes part in.
#[derive(Clone, Debug)]
pub struct Attach {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// The container has a terminal.
    pub terminal: bool,
    /// Signals are passed on instead of acted upon.
    pub signal_proxy: bool,
    /// Keys that leave without ending; empty for none.
    pub detach_keys: Vec<u8>,
}

/// How an attachment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Exited(i32),
    Detached,
    /// This invocation got a signal that it does not pass on.
    Interrupted(i32),
    /// The supervisor died.
    Lost,
    /// Our own terminal went away, and the person with it.
    HungUp,
}

impl Client {
    /// Wraps a connected socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, decoder: Decoder::default(), out: VecDeque::new() }
    }

    /// Waits until the process was executed (its pid on the host) or could not be.
    pub fn wait_started(&mut self) -> Result<i32, SetupError> {
        loop {
            let frame = self.decoder.next_frame().map_err(|error| SetupError::new(error.to_string()))?;
            match frame {
                Some((Kind::Started, payload)) => {
                    return message::number(payload).map_err(|error| SetupError::new(error.to_string()));
                }
                Some((Kind::Failed, [code, text @ ..])) => {
                    return Err(SetupError { code: *code, text: String::from_utf8_lossy(text).into_owned() });
                }
                Some(_) => {}
                None => {
                    let mut chunk = [0; 4096];
                    match rustix::io::read(&self.socket, &mut chunk) {
                        Ok(0) => return Err(SetupError::new("the supervisor died while starting the container")),
                        Ok(count) => self.decoder.extend(&chunk[..count]),
                        Err(Errno::INTR) => {}
                        Err(error) => return Err(SetupError::new(format!("lost the supervisor: {error}"))),
                    }
                }
            }
        }
    }

    /// Attaches this process's standard streams until the process ends or the person leaves.
    /// `warn` is told what the supervisor has to say to a person.
    pub fn pump(mut self, attach: &Attach, warn: &mut dyn FnMut(&str)) -> io::Result<Outcome> {
        rustix::io::ioctl_fionbio(&self.socket, true)?;
        let signals = block_signals(attach.signal_proxy)?;
        let raw = (attach.terminal && attach.stdin).then(terminal::RawMode::enter).transpose()?.flatten();
        let mut keys = DetachKeys::new(if raw.is_some() { attach.detach_keys.clone() } else { Vec::new() });
        if attach.terminal {
            self.send_size();
        }
        let mut reading = attach.stdin;
        // Frames that came together with the news of the start.
        if let Some(outcome) = self.take_frames(attach, warn)? {
            return Ok(outcome);
        }
        loop {
            let ready = self.wait(&signals, reading)?;
            if ready.signals
                && let Some(outcome) = self.take_signals(&signals, attach)?
            {
                return Ok(outcome);
            }
            if ready.stdin && self.read_stdin(&mut reading, &mut keys)? {
                push_to(&mut self.out, Kind::Detach, &[]);
                self.flush_blocking();
                return Ok(Outcome::Detached);
            }
            // Raw mode has no end-of-file key: an end is a hang-up.
            if raw.is_some() && !reading {
                return Ok(Outcome::HungUp);
            }
            self.flush()?;
            if ready.socket
                && let Some(outcome) = self.read_socket(attach, warn)?
            {
                return Ok(outcome);
            }
        }
    }

    fn wait(&self, signals: &SignalFd, reading: bool) -> io::Result<Ready> {
        // Input is read only when the last of it is gone: never more in flight than a chunk.
        let stdin = if reading && self.out.is_empty() { PollFlags::IN } else { PollFlags::empty() };
        let socket = if self.out.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let input = rustix::stdio::stdin();
        let mut descriptors = vec![
            PollFd::from_borrowed_fd(self.socket.as_fd(), socket),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        if !stdin.is_empty() {
            descriptors.push(PollFd::from_borrowed_fd(input, stdin));
        }
        match poll(&mut descriptors, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let fired = |index: usize| descriptors.get(index).is_some_and(|descriptor| !descriptor.revents().is_empty());
        Ok(Ready { socket: fired(0), signals: fired(1), stdin: fired(2) })
    }

    /// Reads once from stdin; true when the person typed the detach keys.
    fn read_stdin(&mut self, reading: &mut bool, keys: &mut DetachKeys) -> io::Result<bool> {
        let mut chunk = [0; CHUNK];
        match rustix::io::read(rustix::stdio::stdin(), &mut chunk) {
            Ok(0) => {
                *reading = false;
                push_to(&mut self.out, Kind::StdinEnd, &[]);
                Ok(false)
            }
            Ok(count) => {
                let (bytes, detach) = keys.filter(&chunk[..count]);
                if !bytes.is_empty() {
                    push_to(&mut self.out, Kind::Stdin, &bytes);
                }
                Ok(detach)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(false),
            // A terminal that went away, or a stdin that cannot be read, is an end.
            Err(_) => {
                *reading = false;
                push_to(&mut self.out, Kind::StdinEnd, &[]);
                Ok(false)
            }
        }
    }

    fn read_socket(&mut self, attach: &Attach, warn: &mut dyn FnMut(&str)) -> io::Result<Option<Outcome>> {
        let mut chunk = [0; CHUNK];
        match rustix::io::read(&self.socket, &mut chunk) {
            Ok(0) => return Ok(Some(Outcome::Lost)),
            Ok(count) => self.decoder.extend(&chunk[..count]),
            Err(Errno::INTR | Errno::AGAIN) => return Ok(None),
            Err(_) => return Ok(Some(Outcome::Lost)),
        }
        self.take_frames(attach, warn)
    }

    fn take_frames(&mut self, attach: &Attach, warn: &mut dyn FnMut(&str)) -> io::Result<Option<Outcome>> {
        while let Some((kind, payload)) = self.decoder.next_frame()? {
            match kind {
                Kind::Stdout if attach.stdout => write_out(rustix::stdio::stdout(), payload)?,
                Kind::Stderr if attach.stderr => write_out(rustix::stdio::stderr(), payload)?,
                Kind::Exited => return Ok(Some(Outcome::Exited(message::number(payload)?))),
                Kind::Warning => warn(&String::from_utf8_lossy(payload)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Ends the attachment rather than the process at a signal that is not passed on: a terminal in
    /// raw mode must be put right first.
    fn take_signals(&mut self, signals: &SignalFd, attach: &Attach) -> io::Result<Option<Outcome>> {
        while let Some(signal) = signals.read_signal()? {
            let number = signal.ssi_signo as i32;
            if number == NixSignal::SIGWINCH as i32 {
                if attach.terminal {
                    self.send_size();
                }
            } else if attach.signal_proxy {
                push_to(&mut self.out, Kind::Signal, &number.to_le_bytes());
                // The window was closed. The shell inside may take no notice, but the person is gone.
                if attach.terminal && number == NixSignal::SIGHUP as i32 {
                    self.flush_blocking();
                    return Ok(Some(Outcome::HungUp));
                }
            } else {
                return Ok(Some(Outcome::Interrupted(number)));
            }
        }
        Ok(None)
    }

    fn send_size(&mut self) {
        if let Some((rows, columns)) = terminal::size() {
            let payload = [rows.to_le_bytes(), columns.to_le_bytes()].concat();
            push_to(&mut self.out, Kind::Resize, &payload);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            let (front, _) = self.out.as_slices();
            match rustix::net::send(&self.socket, front, rustix::net::SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                // Its last words may still be unread: the reading side decides.
                Err(_) => self.out.clear(),
            }
        }
        Ok(())
    }

    fn flush_blocking(&mut self) {
        let _ = rustix::io::ioctl_fionbio(&self.socket, false);
        let _ = self.flush();
    }
}

struct Ready {
    socket: bool,
    signals: bool,
    stdin: bool,
}

fn push_to(out: &mut VecDeque<u8>, kind: Kind, payload: &[u8]) {
    let mut frame = Vec::with_capacity(payload.len() + 8);
    push_frame(&mut frame, kind, payload);
    out.extend(frame);
}

/// Output is passed on at once: the container decides about lines, not we.
fn write_out(out: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(&out, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::INTR) => {}
            // Another program made the stream we share with it non-blocking.
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&out, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The signals an attached invocation handles itself or passes on. SIGPIPE, SIGCHLD, SIGURG and the
/// job-control signals of its own terminal keep their meaning for it.
fn block_signals(proxy: bool) -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [NixSignal::SIGWINCH, NixSignal::SIGTERM, NixSignal::SIGINT, NixSignal::SIGHUP, NixSignal::SIGQUIT] {
        mask.add(signal);
    }
    if proxy {
        for signal in
            [NixSignal::SIGUSR1, NixSignal::SIGUSR2, NixSignal::SIGALRM, NixSignal::SIGVTALRM, NixSignal::SIGPROF]
        {
            mask.add(signal);
        }
    }
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// Watches typed bytes for the detach sequence. A prefix of it is withheld until it is broken off.
#[derive(Debug)]
struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// The bytes to deliver, and whether the sequence was completed.
    fn filter(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        if self.keys.is_empty() {
            return (bytes.to_vec(), false);
        }
        let mut deliver = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if byte != self.keys[self.matched] {
                deliver.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (deliver, true);
                }
            } else {
                deliver.push(byte);
            }
        }
        (deliver, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_withheld_and_given_back() {
        let mut keys = DetachKeys::new(vec![0x10, 0x11]);
        assert_eq!(keys.filter(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(keys.filter(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.filter(b"\x11rest"), (Vec::new(), true));
        let mut none = DetachKeys::new(Vec::new());
        assert_eq!(none.filter(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
