//! One process and everybody who watches it: a single-threaded poll loop that moves its output to
//! the log and to attached clients, their input to it, and waits for its end.
//!
//! Back-pressure: the process's output is not read while the client it belongs to has much
//! unread; a client's input is not read while the process has much unread. For a client that only
//! looks on nothing waits longer than a moment: what it does not read in time, it is not shown.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, wait, waitid, waitpid};

use super::door::Door;
use super::logfile::{LogFile, Stream};
use super::message::{self, HEADER, Kind, PAYLOAD_MAX, header, wish};
use super::network::{Change, Finished, Links};
use super::queue::Queue;
use super::streams::Nudge;
pub use super::streams::Streams;
use super::viewer::{Role, Viewer};

/// Unread bytes above which a source is not read any more.
const HIGH_WATER: usize = 256 * 1024;
/// Connections that have not shown the key; beyond, the oldest is closed.
const STRANGERS_MAX: usize = 8;
/// Clients at the same time.
const VIEWERS_MAX: usize = 64;
/// How long an onlooker that does not read may delay the end of a supervisor.
const PARTING: Duration = Duration::from_secs(2);
/// The most that is taken from the streams after the process has ended: more than all pipes hold.
/// What it left running may write for ever.
const LEFTOVER_MAX: usize = 4 * 1024 * 1024;

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
    links: Option<Links>,
    streams: Streams,
    log: Option<LogFile>,
    door: Option<Door>,
    /// No descriptor was left for a newcomer: the next is looked for when somebody left.
    full: bool,
    viewers: Vec<Viewer>,
    /// How many have come by the door.
    newcomers: u64,
    /// Input that clients sent as frames.
    stdin: Queue,
    stdin_ended: bool,
    signals: SignalFd,
    rule: StopRule,
    kill_at: Option<Instant>,
    nudge: Option<Nudge>,
    stopping: bool,
    exit: Option<i32>,
    /// What may still be read from the streams once `exit` is known.
    leftover: usize,
    /// A frame's header, then what was read from the process.
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
            links: None,
            streams,
            log,
            door: None,
            full: false,
            viewers: Vec::new(),
            newcomers: 0,
            stdin: Queue::default(),
            stdin_ended: false,
            signals,
            rule,
            kill_at: None,
            nudge: None,
            stopping: false,
            exit: None,
            leftover: LEFTOVER_MAX,
            chunk: vec![0; HEADER + PAYLOAD_MAX],
        })
    }

    /// Reaps another child when it ends, which would stay a zombie for as long as the process runs.
    pub fn expect_end_of(&mut self, helper: Pid) {
        self.helper = Some(helper);
    }

    /// Looks after the container's networks.
    pub fn tend(&mut self, links: Links) {
        self.links = Some(links);
    }

    /// Lets go of the container's networks.
    pub fn take_links(&mut self) -> Option<Links> {
        self.links.take()
    }

    /// Accepts further clients on `listener`. Where they cannot be told from strangers there are none.
    pub fn listen(&mut self, listener: OwnedFd) {
        self.door = Door::new(listener).ok();
    }

    /// Attaches a client; `owner` is the invocation that started the process in the foreground.
    pub fn attach(&mut self, socket: OwnedFd, owner: bool) -> io::Result<()> {
        let mut viewer = Viewer::new(socket, if owner { Role::Owner } else { Role::Onlooker })?;
        if let Some(stdin) = self.streams.stdin.as_ref().filter(|_| owner) {
            viewer.give_stdin(stdin);
        }
        self.viewers.push(viewer);
        Ok(())
    }

    /// Lets every client go: the process is on its own.
    pub fn drop_clients(&mut self) {
        self.viewers.clear();
    }

    /// Says something to every client.
    pub fn tell(&mut self, kind: Kind, payload: &[u8]) {
        for viewer in &mut self.viewers {
            viewer.tell(kind, payload);
        }
    }

    /// Whether somebody waits to start the container again.
    pub fn is_restarted(&self) -> bool {
        self.viewers.iter().any(|viewer| viewer.wishes & wish::RESTART != 0)
    }

    /// Runs until the process has ended and its last output was taken; the exit code as a shell has
    /// it.
    pub fn run(&mut self) -> io::Result<i32> {
        loop {
            // The turn that learns of the end, by a signal meant for another child perhaps, may have looked at
            // the streams before the last output was written.
            let had_ended = self.exit.is_some();
            let timeout = if had_ended { Some(Duration::ZERO) } else { self.until_next() };
            let progressed = self.turn(timeout)?;
            if let Some(code) = self.exit
                && had_ended
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
            if let Some(nudge) = self.nudge.take_if(|nudge| nudge.until <= Instant::now()) {
                self.streams.settle(&nudge);
            }
        }
    }

    /// Tells the clients the exit code and waits until they took everything or left; for onlookers,
    /// not long.
    pub fn finish(mut self, code: i32) {
        // Who knocks from here on finds nobody.
        self.door = None;
        self.tell(Kind::Exited, &code.to_le_bytes());
        let deadline = Instant::now() + PARTING;
        loop {
            let patient = Instant::now() < deadline;
            let waiting = |viewer: &Viewer| {
                let waits = viewer.role == Role::Owner || patient && viewer.role == Role::Onlooker;
                waits && viewer.unread() > 0 && !viewer.gone
            };
            self.viewers.retain(waiting);
            if self.viewers.is_empty() {
                return;
            }
            let mut descriptors: Vec<PollFd<'_>> =
                self.viewers.iter().map(|viewer| PollFd::new(&viewer.socket, PollFlags::OUT)).collect();
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
            let timeout = if self.viewers.iter().any(|viewer| viewer.role == Role::Onlooker) { left } else { None };
            match poll(&mut descriptors, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            for viewer in &mut self.viewers {
                viewer.flush();
            }
        }
    }

    fn until_next(&self) -> Option<Duration> {
        let links = self.links.as_ref().and_then(Links::deadline);
        let next = self.kill_at.into_iter().chain(self.nudge.as_ref().map(|nudge| nudge.until)).chain(links).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// One round of poll; whether a stream of the process gave anything.
    fn turn(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let now = Instant::now();
        let patience = self.viewers.iter_mut().filter_map(|viewer| viewer.patience(now)).min();
        let left = patience.map(|until| until.saturating_duration_since(now));
        let timeout = timeout.into_iter().chain(left).min();
        let ready = self.wait(timeout, patience.is_some())?;
        let (mut progressed, mut network) = (false, self.links.as_ref().is_some_and(Links::is_due));
        for (source, events) in ready {
            match source {
                Source::Process => self.reap()?,
                Source::Signals => self.take_signals()?,
                Source::Terminal => progressed |= self.read_stream(Stream::Stdout, true),
                Source::Stdout => progressed |= self.read_stream(Stream::Stdout, false),
                Source::Stderr => progressed |= self.read_stream(Stream::Stderr, false),
                Source::StdinRoom => self.serve_stdin(),
                Source::Door => self.accept(),
                Source::Network => network = true,
                Source::Viewer(index) => self.serve(index, events),
            }
        }
        if network {
            self.tend_links();
        }
        self.drop_gone_viewers();
        Ok(progressed)
    }

    fn wait(&self, timeout: Option<Duration>, is_held_up: bool) -> io::Result<Vec<(Source, PollFlags)>> {
        let is_full = |viewer: &Viewer| viewer.role == Role::Owner && viewer.unread() > HIGH_WATER;
        let owner_full = self.viewers.iter().any(is_full);
        // What is left after the end fits in memory.
        let read_output = !(owner_full || is_held_up) || self.exit.is_some();
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
        if let Some(door) = self.door.as_ref().filter(|_| !self.full) {
            watch(Source::Door, door.listener().as_fd(), PollFlags::IN);
        }
        for descriptor in self.links.iter().flat_map(Links::descriptors) {
            watch(Source::Network, descriptor, PollFlags::IN);
        }
        for (index, viewer) in self.viewers.iter().enumerate() {
            let mut flags = if self.stdin.len() < HIGH_WATER { PollFlags::IN } else { PollFlags::empty() };
            if viewer.unread() > 0 {
                flags |= PollFlags::OUT;
            }
            watch(Source::Viewer(index), viewer.socket.as_fd(), flags);
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

    /// Looks after the networks, and tells those who asked for changes how they went.
    fn tend_links(&mut self) {
        let finished = self.links.as_mut().map(Links::tend).unwrap_or_default();
        self.tell_finished(finished);
    }

    fn tell_finished(&mut self, finished: Vec<Finished>) {
        for Finished { viewer, result } in finished {
            if let Some(viewer) = self.viewers.iter_mut().find(|one| one.id == viewer) {
                viewer.tell(Kind::Changed, result.err().unwrap_or_default().as_bytes());
            }
        }
    }

    /// Changes the networks as a viewer asks.
    fn change_links(&mut self, index: usize, payload: &[u8]) {
        let Some(viewer) = self.viewers.get(index).map(|viewer| viewer.id) else { return };
        let refused = |text| vec![Finished { viewer, result: Err(text) }];
        let finished = match (serde_json::from_slice::<Change>(payload), &mut self.links, host_pid(&self.pidfd)) {
            (Ok(change), Some(links), Ok(init)) => links.change(change, init, viewer),
            (Err(error), ..) => refused(format!("the request is not understood: {error}")),
            _ => refused("the container has no networks of its own".to_owned()),
        };
        self.tell_finished(finished);
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
        if let Some(links) = &mut self.links {
            links.reap();
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
        match rustix::io::read(descriptor, &mut self.chunk[HEADER..]) {
            Ok(count) if count > 0 => {
                if self.exit.is_some() {
                    self.leftover = self.leftover.saturating_sub(count);
                }
                let kind = if stream == Stream::Stdout { Kind::Stdout } else { Kind::Stderr };
                self.chunk[..HEADER].copy_from_slice(&header(kind, count));
                let frame = &self.chunk[..HEADER + count];
                // The log first: what somebody has seen must be in it.
                if let Some(log) = &mut self.log {
                    log.write(stream, &frame[HEADER..]);
                }
                for viewer in &mut self.viewers {
                    viewer.show(stream, frame, count);
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
            self.close_stdin();
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
        match rustix::io::write(descriptor, self.stdin.rest()) {
            Ok(count) => self.stdin.consume(count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.stdin.clear();
                self.close_stdin();
            }
        }
        if self.stdin.is_empty() && self.stdin_ended {
            self.close_stdin();
        }
    }

    /// A client has no more input. That is the process's end of input, too, if its stdin was made for
    /// the client that started it (docker's StdinOnce).
    fn end_stdin(&mut self) {
        if self.streams.terminal.is_none() && !self.streams.keep_stdin {
            self.stdin_ended = true;
            if self.stdin.is_empty() {
                self.close_stdin();
            }
        }
    }

    /// Lets go of the process's stdin, and so do all who write to it.
    fn close_stdin(&mut self) {
        if self.streams.stdin.take().is_some() {
            for viewer in self.viewers.iter_mut().filter(|viewer| viewer.wishes & wish::STDIN != 0) {
                viewer.tell(Kind::StdinEnd, &[]);
            }
        }
    }

    fn accept(&mut self) {
        let Some(door) = &self.door else { return };
        let newcomer = match door.accept() {
            Ok(Some(socket)) => Viewer::new(socket, Role::Stranger),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        match newcomer {
            Ok(mut viewer) => {
                self.newcomers += 1;
                viewer.id = self.newcomers;
                self.viewers.push(viewer);
            }
            Err(_) => self.full = true,
        }
        // Whoever waits outside for long is not one of ours.
        if self.viewers.iter().filter(|viewer| viewer.role == Role::Stranger).count() > STRANGERS_MAX
            && let Some(oldest) = self.viewers.iter_mut().find(|viewer| viewer.role == Role::Stranger)
        {
            oldest.gone = true;
        }
    }

    fn serve(&mut self, index: usize, events: PollFlags) {
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        if viewer.flush() {
            self.redraw();
        }
        // Room for output alone is no reason to take input while the process has much unread.
        if !events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        match rustix::io::read(&viewer.socket, viewer.decoder.space()) {
            Ok(0) => viewer.gone = true,
            Ok(count) => viewer.decoder.filled(count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => viewer.gone = true,
        }
        while let Some(viewer) = self.viewers.get_mut(index) {
            match viewer.decoder.peek() {
                Ok(Some((Kind::Stdin, payload))) if viewer.wishes & wish::STDIN != 0 => {
                    self.stdin.extend(payload);
                    viewer.decoder.advance();
                }
                Ok(Some((kind, payload))) => {
                    let payload = payload.to_vec();
                    viewer.decoder.advance();
                    self.handle(index, kind, &payload);
                }
                Ok(None) => break,
                Err(_) => {
                    viewer.gone = true;
                    break;
                }
            }
        }
        if !self.stdin.is_empty() {
            self.write_stdin();
        }
    }

    fn handle(&mut self, index: usize, kind: Kind, payload: &[u8]) {
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        if viewer.role == Role::Stranger {
            return self.admit(index, kind, payload);
        }
        match kind {
            Kind::StdinEnd if viewer.wishes & wish::STDIN != 0 => self.end_stdin(),
            Kind::Resize => {
                if let [r0, r1, c0, c1] = *payload {
                    let fresh = std::mem::take(&mut viewer.fresh);
                    self.resize((u16::from_le_bytes([r0, r1]), u16::from_le_bytes([c0, c1])), fresh);
                }
            }
            Kind::Signal => {
                if let Some(signal) = message::number(payload).ok().and_then(crate::sys::process::signal_from_number) {
                    self.send_signal(signal);
                }
            }
            Kind::Change if viewer.wishes & wish::CHANGE != 0 => self.change_links(index, payload),
            Kind::Detach => {
                // An owner that says so leaves the process to itself.
                viewer.role = Role::Onlooker;
                viewer.gone = true;
            }
            _ => {}
        }
    }

    /// A stranger shows the key and says what it wants, or has to go.
    fn admit(&mut self, index: usize, kind: Kind, payload: &[u8]) {
        let pid = host_pid(&self.pidfd).map_or(0, |pid| pid.as_raw_nonzero().get());
        let room = self.viewers.len() <= VIEWERS_MAX + STRANGERS_MAX;
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        let wishes = self.door.as_ref().filter(|_| kind == Kind::Attach && room).and_then(|door| door.admit(payload));
        let Some(&[wishes]) = wishes else {
            viewer.gone = true;
            return;
        };
        viewer.role = Role::Onlooker;
        viewer.wishes = wishes;
        viewer.fresh = true;
        viewer.tell(Kind::Started, &pid.to_le_bytes());
        if wishes & wish::STDIN != 0 && self.streams.terminal.is_none() && self.streams.stdin.is_none() {
            viewer.tell(Kind::StdinEnd, &[]);
        }
    }

    /// The size of the client that came or changed last holds. `fresh`: it just came and has seen
    /// nothing yet.
    fn resize(&mut self, size: (u16, u16), fresh: bool) {
        if fresh && self.streams.has_size(size) {
            return self.redraw();
        }
        self.nudge = None;
        self.streams.resize(Some(size));
    }

    fn redraw(&mut self) {
        if self.nudge.is_none() {
            self.nudge = self.streams.nudge();
        }
    }

    fn drop_gone_viewers(&mut self) {
        if !self.viewers.iter().any(|viewer| viewer.gone) {
            return;
        }
        let left = |role| self.viewers.iter().any(|viewer| viewer.gone && viewer.role == role);
        let owner_lost = left(Role::Owner);
        let fed = self.viewers.iter().any(|viewer| viewer.gone && viewer.wishes & wish::STDIN != 0);
        self.viewers.retain(|viewer| !viewer.gone);
        self.full = false;
        if fed {
            self.end_stdin();
        }
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
    Door,
    Network,
    Viewer(usize),
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
