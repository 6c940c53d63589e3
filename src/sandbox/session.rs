//! One process and everybody who watches it: a single-threaded poll loop that moves its output to
//! the log and to attached clients, their input to it, and waits for its end.
//!
//! Back-pressure: the container's output is not read while the client it belongs to has much
//! unread; a client's input is not read while the container has much unread. A client that only
//! looks on is dropped instead.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, wait, waitid, waitpid};
use rustix::termios::{Winsize, tcsetwinsize};

use super::logfile::{LogFile, Stream};
use super::message::{self, Decoder, Kind, push_frame};

/// Unread bytes above which a source is not read any more.
const HIGH_WATER: usize = 256 * 1024;
/// Unread bytes above which a client that only looks on is dropped.
const SPECTATOR_MAX: usize = 4 * 1024 * 1024;
const CHUNK: usize = 64 * 1024;
/// The most that is taken from the streams after the process has ended: more than all pipes hold.
/// What it left running may write for ever.
const LEFTOVER_MAX: usize = 4 * 1024 * 1024;

/// The process's side of its standard streams.
#[derive(Debug, Default)]
pub struct Streams {
    /// The terminal's controller, for all three streams.
    pub terminal: Option<OwnedFd>,
    /// The terminal's user side, held so that the controller never reports an error while nobody
    /// inside has it open.
    pub terminal_user: Option<OwnedFd>,
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// Somebody attached.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    decoder: Decoder,
    out: Vec<u8>,
    /// The container's fate hangs on this client, and its output waits for it.
    owner: bool,
    gone: bool,
}

impl Streams {
    /// Gives the terminal, if there is one, its rows and columns. One that is gone has no size.
    pub fn resize(&self, size: Option<(u16, u16)>) {
        if let (Some(terminal), Some((ws_row, ws_col))) = (&self.terminal, size) {
            let _ = tcsetwinsize(terminal, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 });
        }
    }
}

/// How a process is made to end.
#[derive(Clone, Copy, Debug)]
pub struct StopRule {
    pub signal: Signal,
    /// None waits for ever.
    pub timeout: Option<Duration>,
    /// What the owning client's disappearance means: stop the process, or leave it alone.
    pub on_owner_lost: bool,
}

/// A process being watched.
pub struct Session {
    pidfd: OwnedFd,
    helper: Option<Pid>,
    streams: Streams,
    log: Option<LogFile>,
    listener: Option<OwnedFd>,
    clients: Vec<Client>,
    stdin: Vec<u8>,
    stdin_ended: bool,
    signals: SignalFd,
    rule: StopRule,
    kill_at: Option<Instant>,
    stopping: bool,
    exit: Option<i32>,
    /// What may still be read from the streams once `exit` is known.
    leftover: usize,
    chunk: Vec<u8>,
}

/// Blocks the signals a session takes from its descriptor.
pub fn block_signals() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [NixSignal::SIGTERM, NixSignal::SIGINT, NixSignal::SIGHUP, NixSignal::SIGQUIT, NixSignal::SIGCHLD] {
        mask.add(signal);
    }
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

impl Session {
    /// Watches the process behind `pidfd`, a child of ours.
    pub fn new(
        pidfd: OwnedFd,
        streams: Streams,
        log: Option<LogFile>,
        signals: SignalFd,
        rule: StopRule,
    ) -> io::Result<Self> {
        let all = [&streams.terminal, &streams.stdin, &streams.stdout, &streams.stderr];
        for stream in all.into_iter().flatten() {
            rustix::io::ioctl_fionbio(stream, true)?;
        }
        Ok(Self {
            pidfd,
            helper: None,
            streams,
            log,
            listener: None,
            clients: Vec::new(),
            stdin: Vec::new(),
            stdin_ended: false,
            signals,
            rule,
            kill_at: None,
            stopping: false,
            exit: None,
            leftover: LEFTOVER_MAX,
            chunk: vec![0; CHUNK],
        })
    }

    /// Reaps another child when it ends, which would stay a zombie for as long as the process runs.
    pub fn expect_end_of(&mut self, helper: Pid) {
        self.helper = Some(helper);
    }

    /// Accepts further clients on `listener`.
    pub fn listen(&mut self, listener: OwnedFd) {
        self.listener = Some(listener);
    }

    /// Attaches a client; `owner` is the invocation that started the process in the foreground.
    pub fn attach(&mut self, socket: OwnedFd, owner: bool) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        self.clients.push(Client { socket, decoder: Decoder::default(), out: Vec::new(), owner, gone: false });
        Ok(())
    }

    /// Lets every client go: the process is on its own.
    pub fn drop_clients(&mut self) {
        self.clients.clear();
    }

    /// Says something to every client.
    pub fn tell(&mut self, kind: Kind, payload: &[u8]) {
        for client in &mut self.clients {
            push_frame(&mut client.out, kind, payload);
            client.flush();
        }
    }

    /// Runs until the process has ended and its last output was taken; the exit code as a shell has
    /// it.
    pub fn run(&mut self) -> io::Result<i32> {
        loop {
            let timeout = if self.exit.is_some() { Some(Duration::ZERO) } else { self.until_kill() };
            let progressed = self.turn(timeout)?;
            if let Some(code) = self.exit
                && (!progressed || self.leftover == 0)
            {
                if let Some(log) = &mut self.log {
                    log.finish();
                }
                return Ok(code);
            }
            if self.kill_at.is_some_and(|at| at <= Instant::now()) {
                self.kill_at = None;
                self.send_signal(Signal::KILL);
            }
        }
    }

    /// Tells the clients the exit code and waits until they took everything or left.
    pub fn finish(mut self, code: i32) {
        self.tell(Kind::Exited, &code.to_le_bytes());
        for client in &mut self.clients {
            let _ = rustix::io::ioctl_fionbio(&client.socket, false);
            client.flush();
        }
    }

    fn until_kill(&self) -> Option<Duration> {
        self.kill_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// One round of poll; whether a stream of the process gave anything.
    fn turn(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let ready = self.wait(timeout)?;
        let mut progressed = false;
        for (source, events) in ready {
            match source {
                Source::Process => self.reap()?,
                Source::Signals => self.take_signals()?,
                Source::Terminal => progressed |= self.read_stream(Stream::Stdout, true),
                Source::Stdout => progressed |= self.read_stream(Stream::Stdout, false),
                Source::Stderr => progressed |= self.read_stream(Stream::Stderr, false),
                Source::StdinRoom => self.serve_stdin(),
                Source::Listener => self.accept(),
                Source::Client(index) => self.serve(index, events),
            }
        }
        self.drop_gone_clients();
        Ok(progressed)
    }

    fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<(Source, PollFlags)>> {
        let owner_full = self.clients.iter().any(|client| client.owner && client.out.len() > HIGH_WATER);
        // What is left after the end fits in memory.
        let read_output = !owner_full || self.exit.is_some();
        let output = if read_output { PollFlags::IN } else { PollFlags::empty() };
        let pending = if self.stdin.is_empty() { PollFlags::empty() } else { PollFlags::OUT };

        let mut sources = Vec::with_capacity(8);
        let mut descriptors = Vec::with_capacity(8);
        let mut watch = |source, descriptor, flags| {
            sources.push(source);
            descriptors.push(PollFd::from_borrowed_fd(descriptor, flags));
        };
        if self.exit.is_none() {
            watch(Source::Process, self.pidfd.as_fd(), PollFlags::IN);
        }
        watch(Source::Signals, self.signals.as_fd(), PollFlags::IN);
        if let Some(terminal) = &self.streams.terminal {
            if read_output {
                watch(Source::Terminal, terminal.as_fd(), PollFlags::IN);
            }
            if !self.stdin.is_empty() {
                watch(Source::StdinRoom, terminal.as_fd(), pending);
            }
        }
        if let Some(stdin) = &self.streams.stdin {
            watch(Source::StdinRoom, stdin.as_fd(), pending);
        }
        for (source, stream) in [(Source::Stdout, &self.streams.stdout), (Source::Stderr, &self.streams.stderr)] {
            if let Some(stream) = stream
                && read_output
            {
                watch(source, stream.as_fd(), output);
            }
        }
        if let Some(listener) = &self.listener {
            watch(Source::Listener, listener.as_fd(), PollFlags::IN);
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = if self.stdin.len() < HIGH_WATER { PollFlags::IN } else { PollFlags::empty() };
            if !client.out.is_empty() {
                flags |= PollFlags::OUT;
            }
            watch(Source::Client(index), client.socket.as_fd(), flags);
        }
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // Nothing ready must mean just that: it ends the reading of a process that has ended.
        while let Err(error) = poll(&mut descriptors, timeout.as_ref()) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
        let events = descriptors.iter().map(PollFd::revents);
        Ok(sources.into_iter().zip(events).filter(|(_, events)| !events.is_empty()).collect())
    }

    fn reap(&mut self) -> io::Result<()> {
        if self.exit.is_some() {
            return Ok(());
        }
        if let Some(status) = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?
        {
            let killed = status.terminating_signal().map(|signal| 128 + signal);
            self.exit = Some(status.exit_status().or(killed).unwrap_or(255));
        }
        Ok(())
    }

    fn take_signals(&mut self) -> io::Result<()> {
        while let Some(signal) = self.signals.read_signal()? {
            if signal.ssi_signo == NixSignal::SIGCHLD as u32 {
                self.reap_others()?;
            } else {
                self.stop();
            }
        }
        Ok(())
    }

    /// As the first process of its pid namespace a supervisor inherits orphans.
    fn reap_others(&mut self) -> io::Result<()> {
        self.reap()?;
        if let Some(helper) = self.helper
            && !matches!(waitpid(Some(helper), WaitOptions::NOHANG), Ok(None))
        {
            self.helper = None;
        }
        while self.exit.is_some() {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                _ => break,
            }
        }
        Ok(())
    }

    /// Sends the stop signal once and starts the clock for SIGKILL.
    fn stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.send_signal(self.rule.signal);
            self.kill_at = self.rule.timeout.map(|timeout| Instant::now() + timeout);
        }
    }

    fn send_signal(&self, signal: Signal) {
        // A process that ended a moment ago needs no signal.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }

    /// Reads once from the process and passes it on; whether there was anything.
    fn read_stream(&mut self, stream: Stream, terminal: bool) -> bool {
        let slot = match (terminal, stream) {
            (true, _) => &mut self.streams.terminal,
            (false, Stream::Stdout) => &mut self.streams.stdout,
            (false, Stream::Stderr) => &mut self.streams.stderr,
        };
        let Some(descriptor) = slot else { return false };
        match rustix::io::read(descriptor, &mut self.chunk[..]) {
            Ok(count) if count > 0 => {
                if self.exit.is_some() {
                    self.leftover = self.leftover.saturating_sub(count);
                }
                let kind = if stream == Stream::Stdout { Kind::Stdout } else { Kind::Stderr };
                if let Some(log) = &mut self.log {
                    log.write(stream, &self.chunk[..count]);
                }
                for client in &mut self.clients {
                    push_frame(&mut client.out, kind, &self.chunk[..count]);
                    client.flush();
                    client.gone |= !client.owner && client.out.len() > SPECTATOR_MAX;
                }
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            _ => {
                *slot = None;
                false
            }
        }
    }

    /// The process takes input again, or has closed its end for good.
    fn serve_stdin(&mut self) {
        if self.stdin.is_empty() {
            self.streams.stdin = None;
        } else {
            self.write_stdin();
        }
    }

    fn write_stdin(&mut self) {
        let descriptor = match (&self.streams.terminal, &self.streams.stdin) {
            (Some(terminal), _) => terminal,
            (None, Some(stdin)) => stdin,
            (None, None) => return self.stdin.clear(),
        };
        match rustix::io::write(descriptor, &self.stdin) {
            Ok(count) => drop(self.stdin.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.stdin.clear();
                self.streams.stdin = None;
            }
        }
        if self.stdin.is_empty() && self.stdin_ended {
            self.streams.stdin = None;
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let Ok(socket) = rustix::net::accept_with(listener, flags) else { return };
        // Only the same user may attach, whatever the socket's mode says (invariant I12).
        let own =
            rustix::net::sockopt::socket_peercred(&socket).is_ok_and(|peer| peer.uid == rustix::process::geteuid());
        if own {
            let _ = self.attach(socket, false);
        }
    }

    fn serve(&mut self, index: usize, events: PollFlags) {
        let Some(client) = self.clients.get_mut(index) else { return };
        client.flush();
        // Room for output alone is no reason to take input while the process has much unread.
        if !events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        match rustix::io::read(&client.socket, &mut self.chunk[..]) {
            Ok(0) => client.gone = true,
            Ok(count) => client.decoder.extend(&self.chunk[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => client.gone = true,
        }
        loop {
            let Some(client) = self.clients.get_mut(index) else { return };
            let frame = match client.decoder.next_frame() {
                Ok(Some((kind, payload))) => (kind, payload.to_vec()),
                Ok(None) => return,
                Err(_) => {
                    client.gone = true;
                    return;
                }
            };
            self.handle(index, frame.0, &frame.1);
        }
    }

    fn handle(&mut self, index: usize, kind: Kind, payload: &[u8]) {
        match kind {
            Kind::Stdin => {
                self.stdin.extend_from_slice(payload);
                self.write_stdin();
            }
            Kind::StdinEnd if self.streams.terminal.is_none() => {
                self.stdin_ended = true;
                if self.stdin.is_empty() {
                    self.streams.stdin = None;
                }
            }
            Kind::Resize => {
                if let [r0, r1, c0, c1] = *payload {
                    self.streams.resize(Some((u16::from_le_bytes([r0, r1]), u16::from_le_bytes([c0, c1]))));
                }
            }
            Kind::Signal => {
                if let Some(signal) = message::number(payload).ok().and_then(crate::sys::process::signal_from_number) {
                    self.send_signal(signal);
                }
            }
            Kind::Detach => {
                if let Some(client) = self.clients.get_mut(index) {
                    client.owner = false;
                    client.gone = true;
                }
            }
            _ => {}
        }
    }

    fn drop_gone_clients(&mut self) {
        let owner_lost = self.clients.iter().any(|client| client.gone && client.owner);
        self.clients.retain(|client| !client.gone);
        if owner_lost && self.rule.on_owner_lost && self.exit.is_none() {
            self.stop();
        }
    }
}

/// What poll found ready.
#[derive(Clone, Copy, Debug)]
enum Source {
    Process,
    Signals,
    Terminal,
    Stdout,
    Stderr,
    StdinRoom,
    Listener,
    Client(usize),
}

impl Client {
    fn flush(&mut self) {
        while !self.out.is_empty() {
            match rustix::net::send(&self.socket, &self.out, rustix::net::SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.gone = true;
                    self.out.clear();
                }
            }
        }
    }
}

/// The process behind a pidfd, as a number in the pid namespace of the procfs at /proc.
pub fn host_pid(pidfd: &OwnedFd) -> io::Result<Pid> {
    use std::os::fd::AsRawFd;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let number = info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<i32>().ok());
    // -1 once it was reaped, 0 where this /proc cannot show it.
    let pid = number.filter(|number| *number > 0).and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}
