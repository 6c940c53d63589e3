//! One process and everybody who watches it: a single-threaded poll loop that moves its output to
//! the log and to attached clients, their input to it, and waits for its end.
//!
//! Back-pressure: the process's output is not read while the client it belongs to has much
//! unread; a client's input is not read while the process has much unread. For a client that only
//! looks on nothing waits longer than a moment: what it does not read in time, it is not shown.

mod ending;
mod flow;
mod health;
mod links;
mod memory;
mod timers;
mod viewers;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;

pub use self::ending::StopRule;
use self::memory::Memory;
use super::door::Door;
use super::health::Checks;
use super::log::{Log, Stream};
use super::message::{HEADER, PAYLOAD_MAX};
use super::network::Links;
use super::notify::Notifier;
use super::queue::Queue;
use super::recorder::Recorder;
use super::streams::Nudge;
pub use super::streams::Streams;
use super::viewer::{Role, Viewer};

/// Unread bytes above which a source is not read any more.
const HIGH_WATER: usize = 256 * 1024;
/// The most that is taken from the streams after the process has ended: more than all pipes hold.
/// What it left running may write for ever.
const LEFTOVER_MAX: usize = 4 * 1024 * 1024;

/// A process being watched.
pub struct Session {
    pidfd: OwnedFd,
    helper: Option<Pid>,
    links: Option<Links>,
    checks: Option<Checks>,
    notifier: Notifier,
    memory: Option<Memory>,
    recorder: Option<Recorder>,
    streams: Streams,
    log: Option<Log>,
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
    /// A client sent a signal that is meant to end the process, or its health asked for the end.
    end_wanted: bool,
    /// The container is to be started again once it has stopped.
    restart_wanted: bool,
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
        log: Option<Log>,
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
            checks: None,
            notifier: Notifier::default(),
            memory: None,
            recorder: None,
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
            end_wanted: false,
            restart_wanted: false,
            exit: None,
            leftover: LEFTOVER_MAX,
            chunk: vec![0; HEADER + PAYLOAD_MAX],
        })
    }

    /// Reaps another child when it ends, which would stay a zombie for as long as the process runs.
    pub fn expect_end_of(&mut self, helper: Option<Pid>) {
        self.helper = helper;
    }

    /// Stands between the container and systemd.
    pub fn notify(&mut self, notifier: Notifier) {
        self.notifier = notifier;
    }

    /// Records what the container's viewers do.
    pub fn keep_record(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    fn record(&self, action: &str, attributes: &[(&str, String)]) {
        if let Some(recorder) = &self.recorder {
            recorder.record(action, attributes);
        }
    }

    /// Whoever waits for the container to be there can be told that it is.
    pub fn started(&mut self) {
        self.notifier.started(&mut self.viewers);
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
            self.ring();
        }
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
                Source::Log => self.tend_log(),
                Source::Network => network = true,
                // Below, as what is due.
                Source::Health => {}
                Source::Notify => self.notifier.relay(&mut self.viewers),
                Source::Memory => self.memory.iter_mut().for_each(Memory::tell),
                Source::Viewer(index) => self.serve(index, events),
            }
        }
        if network {
            self.tend_links();
        }
        self.tend_health();
        self.drop_gone_viewers();
        Ok(progressed)
    }

    fn wait(&self, timeout: Option<Duration>, is_held_up: bool) -> io::Result<Vec<(Source, PollFlags)>> {
        let is_full = |viewer: &Viewer| viewer.role == Role::Owner && viewer.unread() > HIGH_WATER;
        let owner_full = self.viewers.iter().any(is_full);
        let log_busy = self.log.as_ref().is_some_and(|log| log.is_busy(Instant::now()));
        // What is left after the end fits in memory.
        let read_output = !(owner_full || log_busy || is_held_up) || self.exit.is_some();
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
        for outlet in self.log.iter().flat_map(Log::outlets) {
            watch(Source::Log, outlet, PollFlags::OUT);
        }
        for descriptor in self.links.iter().flat_map(Links::descriptors) {
            watch(Source::Network, descriptor, PollFlags::IN);
        }
        for descriptor in self.checks.iter().flat_map(Checks::descriptors) {
            watch(Source::Health, descriptor, PollFlags::IN);
        }
        for descriptor in self.notifier.descriptors() {
            watch(Source::Notify, descriptor, PollFlags::IN);
        }
        if let Some(memory) = &self.memory {
            watch(Source::Memory, memory.descriptor(), memory.flags());
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
    Log,
    Network,
    Health,
    Notify,
    Memory,
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
