//! The keeper: a process that starts a container again when it has ended and its policy says so.
//!
//! An invocation that has started such a container leaves one behind, in the host's namespaces and a
//! session of its own. The supervisor is not its child: it waits for that by a descriptor, then does what
//! the container's records say. It holds no lock while it waits but its own, which says that there is a
//! keeper. Beside it lives a spare that only waits for its end and then takes its place, so that a kill of
//! any one process leaves nothing undone; the lock goes over with it. Each start is made by a process of
//! its own, which has neither.
//!
//! SIGTERM tells both that the machine or the session ends: they stay to see the container end, and then
//! do not start it again.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::inotify::AddWatchFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions, pidfd_open, waitid, waitpid};

use super::changes::Changes;
use super::error::code_of;
use super::launching::InUse;
use super::{Context, launching};
use crate::spec::config::ContainerId;
use crate::store::Store;
use crate::store::containers::{Affairs, Container, ProcessIdentity};
use crate::store::lock::AliveLock;
use crate::sys::process::{self, Fork};

/// How long after a SIGTERM an end is taken for part of what it announced.
const FAREWELL: Duration = Duration::from_secs(90);
/// Before something that failed for want of memory, descriptors or room on the disk is tried again.
const RECOVERY: Duration = Duration::from_secs(1);
/// Before the records are read again where nothing tells of changes.
const GLANCE: Duration = Duration::from_millis(200);
/// Between looks at a supervisor that has not said yet who it is.
const MOMENT: Duration = Duration::from_millis(5);
/// The exit code of a start that failed before anything was started.
const FAILED: i32 = 125;
/// The exit code of a starter that found another command at work on the container.
const BUSY: i32 = 3;

/// Sees to it that a container that was just started has a keeper if it is to be started again.
pub fn ensure(context: &Context, container: &Container) {
    if container.config.is_kept()
        && let Err(error) = make(context, container)
    {
        super::warn(&format!("container {} will not be restarted: {error:#}", container.config.name));
    }
}

fn make(context: &Context, container: &Container) -> Result<()> {
    let store = context.store()?;
    let Some(lock) = container.take_keeper().context("lock it for its keeper")? else { return Ok(()) };
    match process::fork().context("start its keeper")? {
        Fork::Parent(_) => Ok(()),
        Fork::Child => {
            if let Ok(keeper) = Keeper::settle(context, store, container, lock) {
                keeper.keep();
            }
            process::exit_now(0)
        }
    }
}

/// The process itself.
struct Keeper<'a> {
    context: &'a Context,
    store: &'a Store,
    container: &'a Container,
    lock: AliveLock,
    signals: SignalFd,
    spare: Option<Pid>,
    /// When it was told that the session ends.
    told: Option<Instant>,
}

impl<'a> Keeper<'a> {
    /// Leaves everything of the invocation behind.
    fn settle(context: &'a Context, store: &'a Store, container: &'a Container, lock: AliveLock) -> io::Result<Self> {
        let signals = block_signals()?;
        process::expect_children();
        rustix::process::setsid()?;
        process::close_all_but(&[lock.as_fd().as_raw_fd(), signals.as_fd().as_raw_fd()])?;
        rustix::process::chdir("/")?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        let keeper = Self { context, store, container, lock, signals, spare: None, told: None };
        keeper.entitle("keeper");
        Ok(keeper)
    }

    fn id(&self) -> &ContainerId {
        self.container.id()
    }

    fn entitle(&self, role: &str) {
        // A title is a nicety.
        let _ = process::set_title(&format!("rbox {role} {}", self.id().short()));
    }

    /// Keeps the container until there is nothing more to keep.
    fn keep(mut self) {
        let mut watch = None;
        loop {
            // Who has become the keeper needs a spare of its own.
            while self.spare.is_none() && self.breed() {
                watch = None;
            }
            let told = self.told.is_some_and(|at| at.elapsed() < FAREWELL);
            let (mut spare, lock) = (self.spare.take(), &self.lock);
            let affairs = self.store.containers().look_after(self.id(), told, &mut || {
                // Gone before the lock is free, so that it never takes the place of one who left.
                dismiss(spare.take());
                let _ = lock.release();
            });
            self.spare = spare;
            match affairs {
                Ok(Affairs::Over) => return,
                Ok(Affairs::Supervised(supervisor)) => self.watch(supervisor),
                Ok(Affairs::Waits { left, attempt }) if left.is_zero() => {
                    watch = None;
                    self.start(attempt);
                }
                // Changes are watched before the records are read.
                Ok(Affairs::Waits { .. }) if watch.is_none() => watch = Some(changes_in(self.container)),
                Ok(Affairs::Waits { left, .. }) => self.pause(left, watch.as_ref()),
                Err(_) => self.wait(None, Some(RECOVERY)),
            }
        }
    }

    /// Makes the spare, which returns true when it has become the keeper.
    fn breed(&mut self) -> bool {
        // Without one it goes on.
        let Ok(own) = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()) else { return false };
        match process::clone(0) {
            Ok(Some(child)) => self.spare = Some(child.pid),
            Ok(None) => {
                self.entitle("keeper's spare");
                while !is_ready(&own) {
                    process::release_free_memory();
                    process::release_code();
                    self.wait(Some(own.as_fd()), None);
                }
                self.entitle("keeper");
                return true;
            }
            Err(_) => {}
        }
        false
    }

    /// Waits for the supervisor's end.
    fn watch(&mut self, supervisor: Option<ProcessIdentity>) {
        match supervisor.map(|identity| identity.open()) {
            Some(Ok(Some(supervisor))) => {
                // Perhaps for months.
                process::release_free_memory();
                process::release_code();
                self.wait(Some(supervisor.as_fd()), None);
            }
            Some(Err(_)) => self.wait(None, Some(RECOVERY)),
            // Gone this moment, or another command has the container.
            Some(Ok(None)) | None => self.wait(None, Some(MOMENT)),
        }
    }

    /// Waits until it is time, or something has changed.
    fn pause(&mut self, left: Duration, watch: Option<&Option<Changes>>) {
        match watch {
            Some(Some(changes)) => {
                self.wait(Some(changes.as_fd()), Some(left));
                changes.forget();
            }
            _ => self.wait(None, Some(left.min(GLANCE))),
        }
    }

    /// Starts the container as `start` does.
    fn start(&mut self, attempt: u32) {
        let starter = match process::clone(0) {
            Ok(Some(starter)) => starter,
            Ok(None) => self.be_starter(attempt),
            Err(_) => return self.wait(None, Some(RECOVERY)),
        };
        let ended = loop {
            match waitid(WaitId::PidFd(starter.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
                Ok(Some(status)) => break status.exit_status(),
                Ok(None) => self.wait(Some(starter.pidfd.as_fd()), None),
                Err(_) => break None,
            }
        };
        if ended == Some(BUSY) {
            return self.wait(None, Some(MOMENT));
        }
        if ended.is_none() {
            let why = "the process that started it was killed";
            let _ = self.store.containers().record_failed_restart(self.id(), attempt, FAILED, why);
        }
    }

    /// In the process that makes one start.
    fn be_starter(&self, attempt: u32) -> ! {
        let _ = process::close_all_but(&[]);
        // What is started is to take them as from any other command.
        let _ = SigSet::empty().thread_set_mask();
        self.entitle("starter");
        let containers = self.store.containers();
        let started = containers
            .get(self.id())
            .map_err(Into::into)
            .and_then(|container| launching::launch_again(self.context, &container));
        if let Err(error) = started {
            if error.is::<InUse>() {
                process::exit_now(BUSY);
            }
            let code = code_of(&error).map_or(FAILED, i32::from);
            let _ = containers.record_failed_restart(self.id(), attempt, code, &format!("{error:#}"));
        }
        process::exit_now(0)
    }

    /// Waits for the descriptor, a signal, or the time. Another spare is made in the next round if it is
    /// the spare that has ended.
    fn wait(&mut self, descriptor: Option<BorrowedFd<'_>>, timeout: Option<Duration>) {
        let mut descriptors = vec![PollFd::new(&self.signals, PollFlags::IN)];
        descriptors.extend(descriptor.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN)));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let _ = poll(&mut descriptors, timeout.as_ref());
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == Signal::SIGTERM as u32 {
                self.told = Some(Instant::now());
            }
        }
        if let Some(spare) = self.spare
            && !matches!(waitpid(Some(spare), WaitOptions::NOHANG), Ok(None))
        {
            self.spare = None;
        }
    }
}

/// From here on they are read from the descriptor. A hang-up means nothing to a session without terminal.
fn block_signals() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD] {
        mask.add(signal);
    }
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// Ends the spare.
fn dismiss(spare: Option<Pid>) {
    if let Some(spare) = spare {
        let _ = rustix::process::kill_process(spare, rustix::process::Signal::KILL);
        let _ = rustix::io::retry_on_intr(|| waitpid(Some(spare), WaitOptions::empty()));
    }
}

/// Whether a process has ended.
fn is_ready(process: &OwnedFd) -> bool {
    matches!(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&Timespec::default())), Ok(1..))
}

/// Tells when the container's records change or it goes; None where the kernel has no watch to spare.
fn changes_in(container: &Container) -> Option<Changes> {
    let changes = Changes::new().ok()?;
    let flags = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF;
    changes.watch(container.directory(), flags).ok()?;
    Some(changes)
}
