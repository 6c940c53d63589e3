//! The invocation's side of an attachment: moves its own standard streams, passes signals and the
//! terminal's size on, and learns the end.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::door;
use super::health::CheckReport;
use super::input::{self, Input, Moved, Pipe};
use super::keys::KeyWatch;
use super::message::{self, Decoder, Kind, wish};
use super::notify::Manager;
use super::output::Output;
use super::queue::Queue;
use super::setup::SetupError;
use super::terminal;
use crate::spec::detach_keys::DetachKeys;
use crate::store::containers::Container;

const CHUNK: usize = 64 * 1024;

/// A connection to a supervisor.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    decoder: Decoder,
    out: Queue,
    /// The process's stdin itself, if it is a pipe and we started the process.
    stdin: Option<OwnedFd>,
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
    /// Keys that leave without ending.
    pub detach_keys: DetachKeys,
}

/// How an attachment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Exited(i32),
    /// The person typed the detach keys.
    Detached,
    /// Only stdin was attached, and it is at its end.
    Fed,
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
        Self { socket, decoder: Decoder::default(), out: Queue::default(), stdin: None }
    }

    /// Connects to the supervisor of a running container, as an onlooker. None: it just ended.
    pub fn connect(container: &Container, attach: &Attach) -> io::Result<Option<Self>> {
        let wishes = [(attach.stdin, wish::STDIN), (attach.stdout, wish::STDOUT), (attach.stderr, wish::STDERR)];
        Self::enter(container, wishes.into_iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, one)| all | one))
    }

    /// Keeps a container that is about to be stopped and started again, even one of `--rm`, for as long
    /// as the client lives. None: it just ended.
    pub fn hold(container: &Container) -> io::Result<Option<Self>> {
        Self::enter(container, wish::RESTART)
    }

    /// Connects to change the networks of a running container. None: it just ended.
    pub fn manage(container: &Container) -> io::Result<Option<Self>> {
        Self::enter(container, wish::CHANGE)
    }

    /// Asks for a change and waits for it; the supervisor's reason if it cannot be.
    pub fn change(mut self, change: &[u8]) -> io::Result<Result<(), String>> {
        self.out.push(Kind::Change, change);
        self.verdict(Kind::Changed)
    }

    /// Has the supervisor go by the health check that the container's record says now; its reason if it
    /// cannot.
    pub fn update(mut self) -> io::Result<Result<(), String>> {
        self.out.push(Kind::Update, &[]);
        self.verdict(Kind::Updated)
    }

    /// Sends what was asked, and waits for an answer that says what was wrong, if anything.
    fn verdict(&mut self, kind: Kind) -> io::Result<Result<(), String>> {
        self.flush()?;
        let refusal = self.answer(kind)?;
        Ok(if refusal.is_empty() { Ok(()) } else { Err(String::from_utf8_lossy(&refusal).into_owned()) })
    }

    /// Connects to check the health of a running container, or to change its check. None: it just ended.
    pub fn examine(container: &Container) -> io::Result<Option<Self>> {
        Self::enter(container, wish::CHECK)
    }

    /// Has the container's health checked; None where it has no check.
    pub fn check(mut self) -> io::Result<Option<CheckReport>> {
        self.out.push(Kind::Check, &[]);
        self.flush()?;
        match self.answer(Kind::Checked)? {
            report if report.is_empty() => Ok(None),
            report => Ok(Some(serde_json::from_slice(&report)?)),
        }
    }

    /// Waits for a frame of this kind, and passes over others.
    fn answer(&mut self, wanted: Kind) -> io::Result<Vec<u8>> {
        loop {
            match self.decoder.peek()?.map(|(kind, payload)| (kind == wanted).then(|| payload.to_vec())) {
                Some(Some(answer)) => return Ok(answer),
                Some(None) => self.decoder.advance(),
                None if self.receive()? == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                None => {}
            }
        }
    }

    fn enter(container: &Container, wishes: u8) -> io::Result<Option<Self>> {
        let Some(supervisor) = container.state.supervisor() else { return Ok(None) };
        let Some((socket, key)) = door::knock(container.directory(), &supervisor)? else { return Ok(None) };
        let mut client = Self::new(socket);
        client.out.push(Kind::Attach, &[&key[..], &[wishes]].concat());
        client.flush()?;
        loop {
            match client.decoder.peek()?.map(|(kind, _)| kind) {
                Some(Kind::Started) => {
                    client.decoder.advance();
                    return Ok(Some(client));
                }
                Some(_) => client.decoder.advance(),
                None if client.receive()? == 0 => return Ok(None),
                None => {}
            }
        }
    }

    /// Waits until the process was executed (its pid on the host) or could not be.
    pub fn wait_started(&mut self) -> Result<i32, SetupError> {
        let said = |error: io::Error| SetupError::new(format!("lost the supervisor: {error}"));
        loop {
            let answer = match self.decoder.peek().map_err(said)? {
                Some((Kind::Started, payload)) => message::number(payload).map_err(said),
                Some((Kind::Failed, [code, text @ ..])) => {
                    Err(SetupError { code: *code, text: String::from_utf8_lossy(text).into_owned() })
                }
                Some(_) => {
                    self.decoder.advance();
                    continue;
                }
                None => {
                    if self.receive().map_err(said)? == 0 {
                        return Err(SetupError::new("the supervisor died while starting the container"));
                    }
                    continue;
                }
            };
            self.decoder.advance();
            return answer;
        }
    }

    /// Attaches this process's standard streams until the process ends or the person leaves.
    /// `warn` is told what the supervisor has to say to a person.
    pub fn pump(self, attach: &Attach, warn: &mut dyn FnMut(&str)) -> io::Result<Outcome> {
        Pump::new(self, attach)?.run(warn)
    }

    /// Passes on what the process writes, with its stream (1 or 2), until it ends; for who has no streams of
    /// his own to attach. `warn` is told what the supervisor has to say to a person.
    pub fn follow(
        mut self,
        output: &mut dyn FnMut(u8, &[u8]) -> io::Result<()>,
        warn: &mut dyn FnMut(&str),
    ) -> io::Result<Outcome> {
        loop {
            match self.decoder.peek()? {
                Some((Kind::Stdout, payload)) => output(1, payload)?,
                Some((Kind::Stderr, payload)) => output(2, payload)?,
                Some((Kind::Warning, payload)) => warn(&String::from_utf8_lossy(payload)),
                Some((Kind::Exited, payload)) => return Ok(Outcome::Exited(message::number(payload)?)),
                Some(_) => {}
                None => {
                    if self.receive()? == 0 {
                        return Ok(Outcome::Lost);
                    }
                    continue;
                }
            }
            self.decoder.advance();
        }
    }

    /// Receives once; what comes along can only be the process's stdin. 0 at the end, EAGAIN (where
    /// the socket does not block) is an error.
    fn receive(&mut self) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let count = loop {
            let mut buffer = [IoSliceMut::new(self.decoder.space())];
            match recvmsg(&self.socket, &mut buffer, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received.bytes,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => break 0,
                Err(error) => return Err(error.into()),
            }
        };
        self.decoder.filled(count);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.stdin = descriptors.last().or(self.stdin.take());
            }
        }
        Ok(count)
    }

    /// Sends what the socket takes.
    fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match rustix::net::send(&self.socket, self.out.rest(), rustix::net::SendFlags::NOSIGNAL) {
                Ok(count) => self.out.consume(count),
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

    fn send_size(&mut self) {
        if let Some((rows, columns)) = terminal::size() {
            self.out.push(Kind::Resize, &[rows.to_le_bytes(), columns.to_le_bytes()].concat());
        }
    }
}

/// An attachment under way.
struct Pump<'a> {
    client: Client,
    attach: &'a Attach,
    signals: SignalFd,
    raw: Option<terminal::RawMode>,
    keys: KeyWatch,
    input: Input,
    stdout: Output,
    stderr: Output,
    /// How much of the frame at hand was written.
    written: usize,
    /// The stream that has no room for the rest of it.
    blocked: Option<Kind>,
    /// Who is told what the container has to say about itself.
    manager: Option<Manager>,
}

/// What poll found ready.
struct Ready {
    socket: bool,
    signals: bool,
    stdin: bool,
    pipe: PollFlags,
}

impl<'a> Pump<'a> {
    fn new(mut client: Client, attach: &'a Attach) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&client.socket, true)?;
        let signals = block_signals()?;
        let raw = (attach.terminal && attach.stdin).then(terminal::RawMode::enter).transpose()?.flatten();
        let keys = KeyWatch::new(raw.as_ref().map(|_| &attach.detach_keys));
        let input = match client.stdin.take() {
            // A pipe that is not ours to feed must not be kept open.
            _ if !attach.stdin => Input::Ended,
            Some(pipe) if raw.is_none() => Input::Pipe(Pipe::new(pipe)),
            _ => Input::Frames,
        };
        if attach.terminal {
            client.send_size();
        }
        let stdout = Output::new(rustix::stdio::stdout());
        let stderr = Output::new(rustix::stdio::stderr());
        let manager = Manager::of_environment();
        Ok(Self { client, attach, signals, raw, keys, input, stdout, stderr, written: 0, blocked: None, manager })
    }

    fn run(mut self, warn: &mut dyn FnMut(&str)) -> io::Result<Outcome> {
        loop {
            if let Some(outcome) = self.take_frames(warn)? {
                return Ok(outcome);
            }
            self.client.flush()?;
            if let Some(outcome) = self.is_over() {
                return Ok(outcome);
            }
            let ready = self.wait()?;
            if ready.signals
                && let Some(outcome) = self.take_signals()?
            {
                return Ok(outcome);
            }
            if ready.stdin && self.may_read() && self.read_stdin()? {
                return Ok(self.depart(Outcome::Detached));
            }
            if !ready.pipe.is_empty() {
                self.serve_pipe(ready.pipe)?;
            }
            if ready.socket {
                match self.client.receive() {
                    Ok(0) => return Ok(Outcome::Lost),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Ok(Outcome::Lost),
                }
            }
        }
    }

    /// Whether the end of stdin is the end of everything.
    fn is_over(&mut self) -> Option<Outcome> {
        if !matches!(self.input, Input::Ended) {
            return None;
        }
        if self.raw.is_some() {
            // Raw mode has no end-of-file key: an end is a hang-up.
            return Some(Outcome::HungUp);
        }
        let only_stdin = !self.attach.stdout && !self.attach.stderr;
        only_stdin.then(|| self.depart(Outcome::Fed))
    }

    /// Tells the supervisor that we leave on purpose.
    fn depart(&mut self, outcome: Outcome) -> Outcome {
        self.client.out.push(Kind::Detach, &[]);
        self.client.flush_blocking();
        outcome
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut sources = Vec::with_capacity(5);
        let mut descriptors = Vec::with_capacity(5);
        let mut watch = |source, descriptor, flags| {
            sources.push(source);
            descriptors.push(PollFd::from_borrowed_fd(descriptor, flags));
        };
        watch(Source::Signals, self.signals.as_fd(), PollFlags::IN);
        // Nothing more is taken from the supervisor before what it sent is written. That it hung up is
        // no news then, and not to be polled for.
        let mut flags = if self.blocked.is_none() { PollFlags::IN } else { PollFlags::empty() };
        if !self.client.out.is_empty() {
            flags |= PollFlags::OUT;
        }
        if !flags.is_empty() {
            watch(Source::Socket, self.client.socket.as_fd(), flags);
        }
        if let Some(stream) = self.blocked {
            watch(Source::Room, self.output(stream).descriptor(), PollFlags::OUT);
        }
        // Input is read only when the last of it is gone: never more in flight than a chunk.
        let reads = match &self.input {
            Input::Ended => false,
            Input::Frames => self.client.out.is_empty(),
            Input::Pipe(pipe) => {
                let flags = if pipe.is_full() { PollFlags::OUT } else { PollFlags::empty() };
                watch(Source::Pipe, pipe.descriptor().as_fd(), flags);
                !pipe.is_full()
            }
        };
        if reads && self.may_read() {
            watch(Source::Stdin, rustix::stdio::stdin(), PollFlags::IN);
        }
        match poll(&mut descriptors, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = Ready { socket: false, signals: false, stdin: false, pipe: PollFlags::empty() };
        for (source, descriptor) in sources.into_iter().zip(&descriptors) {
            let events = descriptor.revents();
            match source {
                Source::Signals => ready.signals = !events.is_empty(),
                Source::Socket => ready.socket = events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
                Source::Stdin => ready.stdin = !events.is_empty(),
                Source::Pipe => ready.pipe = events,
                Source::Room => {}
            }
        }
        // While output waits, the end of the connection does too.
        ready.socket &= self.blocked.is_none();
        Ok(ready)
    }

    fn output(&self, stream: Kind) -> &Output {
        if stream == Kind::Stderr { &self.stderr } else { &self.stdout }
    }

    /// In the background the terminal's input is the shell's: reading would stop us, and once continued
    /// wait for a line that nobody types, deaf to signals. SIGCONT brings us back here.
    fn may_read(&self) -> bool {
        self.raw.is_none() || terminal::is_ours()
    }

    /// Reads once from stdin; true when the person typed the detach keys.
    fn read_stdin(&mut self) -> io::Result<bool> {
        if let Input::Pipe(pipe) = &mut self.input {
            let moved = pipe.read()?;
            self.after(moved);
            return Ok(false);
        }
        let mut chunk = [0; CHUNK];
        match rustix::io::read(rustix::stdio::stdin(), &mut chunk) {
            Err(Errno::INTR | Errno::AGAIN) => Ok(false),
            // A terminal that went away, or a stdin that cannot be read, is an end.
            Ok(0) | Err(_) => {
                self.after(Moved::Ended);
                Ok(false)
            }
            Ok(count) => {
                let (bytes, detach) = self.keys.filter(&chunk[..count]);
                if !bytes.is_empty() {
                    self.client.out.push(Kind::Stdin, &bytes);
                }
                Ok(detach)
            }
        }
    }

    fn serve_pipe(&mut self, events: PollFlags) -> io::Result<()> {
        let Input::Pipe(pipe) = &mut self.input else { return Ok(()) };
        let moved = if events.contains(PollFlags::ERR) { Moved::Refused } else { pipe.write()? };
        self.after(moved);
        Ok(())
    }

    fn after(&mut self, moved: Moved) {
        match moved {
            Moved::On => {}
            Moved::Ended => {
                // Closes the pipe, if any; the supervisor has the other write end.
                self.input = Input::Ended;
                self.client.out.push(Kind::StdinEnd, &[]);
            }
            Moved::Refused => self.refuse_stdin(),
        }
    }

    /// The process takes no more input.
    fn refuse_stdin(&mut self) {
        if self.raw.is_none() && !matches!(self.input, Input::Ended) {
            self.input = Input::Ended;
            input::close_stdin();
        }
    }

    /// Takes all whole frames, or those before one that there is no room for.
    fn take_frames(&mut self, warn: &mut dyn FnMut(&str)) -> io::Result<Option<Outcome>> {
        self.blocked = None;
        while let Some((kind, payload)) = self.client.decoder.peek()? {
            let output = match kind {
                Kind::Stdout if self.attach.stdout => Some(&self.stdout),
                Kind::Stderr if self.attach.stderr => Some(&self.stderr),
                _ => None,
            };
            if let Some(output) = output {
                while self.written < payload.len() {
                    match output.write(&payload[self.written..])? {
                        0 => {
                            self.blocked = Some(kind);
                            return Ok(None);
                        }
                        count => self.written += count,
                    }
                }
                self.written = 0;
            }
            match kind {
                Kind::Exited => return Ok(Some(Outcome::Exited(message::number(payload)?))),
                Kind::Warning => {
                    let text = String::from_utf8_lossy(payload).into_owned();
                    self.speak(&text, warn);
                }
                Kind::Notify => {
                    if let Some(manager) = &self.manager {
                        manager.tell(&String::from_utf8_lossy(payload));
                    }
                }
                Kind::StdinEnd => self.refuse_stdin(),
                _ => {}
            }
            self.client.decoder.advance();
        }
        Ok(None)
    }

    /// Says something to a person, whose terminal needs its own line ends for that.
    fn speak(&self, text: &str, warn: &mut dyn FnMut(&str)) {
        if let Some(raw) = &self.raw {
            raw.leave();
            warn(text);
            raw.enter_again();
        } else {
            warn(text);
        }
    }

    /// Ends the attachment rather than the process at a signal that is not passed on: a terminal in
    /// raw mode must be put right first.
    fn take_signals(&mut self) -> io::Result<Option<Outcome>> {
        while let Some(signal) = self.signals.read_signal()? {
            let number = signal.ssi_signo as i32;
            match NixSignal::try_from(number) {
                Ok(NixSignal::SIGWINCH) => self.follow_size(),
                Ok(NixSignal::SIGTSTP) => {
                    if let Some(raw) = &self.raw {
                        raw.leave();
                    }
                    terminal::stop_self()?;
                    self.go_on();
                }
                Ok(NixSignal::SIGCONT) => self.go_on(),
                signal if self.attach.signal_proxy => {
                    self.client.out.push(Kind::Signal, &number.to_le_bytes());
                    // The window was closed. The shell inside may take no notice, but the person is gone.
                    if self.attach.terminal && signal == Ok(NixSignal::SIGHUP) {
                        self.client.flush_blocking();
                        return Ok(Some(Outcome::HungUp));
                    }
                }
                _ => return Ok(Some(Outcome::Interrupted(number))),
            }
        }
        Ok(None)
    }

    /// After a stop: the shell has set the terminal as it likes it, and the window may be another.
    fn go_on(&mut self) {
        if let Some(raw) = &self.raw {
            raw.enter_again();
        }
        self.follow_size();
    }

    fn follow_size(&mut self) {
        if self.attach.terminal {
            self.client.send_size();
        }
    }
}

/// What to poll.
#[derive(Clone, Copy, Debug)]
enum Source {
    Socket,
    Signals,
    Stdin,
    /// The process's stdin.
    Pipe,
    /// Our stdout or stderr, for what is blocked.
    Room,
}

/// The signals an attached invocation handles itself or passes on: those that would end it with its
/// terminal in raw mode, those of job control, and the change of the window's size. SIGPIPE, SIGCHLD
/// and SIGURG keep their meaning.
fn block_signals() -> io::Result<SignalFd> {
    use NixSignal::*;
    let mut mask = SigSet::empty();
    for signal in
        [SIGWINCH, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGTSTP, SIGCONT]
    {
        mask.add(signal);
    }
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}
