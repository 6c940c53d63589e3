//! `stop`: end containers gracefully, `kill`: signal them, `wait`: wait for their end.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::ending::{self, Ending};
use super::selection::Chosen;
use super::{Context, Report, pause};
use crate::spec::event::Happening;
use crate::spec::signal::Signal;
use crate::store::Store;
use crate::store::containers::{Container, LookupError};
use crate::sys::process::signal_from_number;

/// Stop one or more running containers
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Don't complain about containers that do not exist
    #[arg(short, long)]
    ignore: bool,
    /// Signal to send first, by default the container's own
    #[arg(short, long)]
    signal: Option<Signal>,
    /// Seconds until SIGKILL, by default the container's own; -1 waits for ever
    #[arg(short = 't', long, alias = "time", value_name = "SECONDS")]
    timeout: Option<i64>,
}

/// One of the containers, by the place of its name in the command line.
struct Job<'a> {
    index: usize,
    name: &'a str,
    /// What to tell of its end.
    stopped: Option<Happening>,
}

/// Runs the command: all have their signal before the first is waited for.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let names = args.chosen.choice().names(context, |container| !container.is_at_rest())?;
    let store = context.store()?;
    // One that was named twice is signalled once.
    let mut begun = HashSet::new();
    let begin = |job: &mut Job<'_>| {
        let container = match store.containers().find(job.name) {
            Err(LookupError::NotFound(_)) if args.ignore => return Ok(None),
            found => found?,
        };
        if !begun.insert(container.id().clone()) {
            return Ok(None);
        }
        let (stopped, timeout) =
            (Happening::of_container(&container.config, "stop"), timeout(&container, args.timeout));
        let ending = Ending::begin(store, container, args.signal, timeout)?;
        job.stopped = ending.is_some().then_some(stopped);
        Ok(ending)
    };
    let mut report = Report::new(&names);
    let mut told = Ok(());
    let jobs = names.iter().enumerate().map(|(index, name)| Job { index, name, stopped: None });
    ending::side_by_side(store, jobs, begin, |job, outcome| {
        if let (Ok(()), Some(stopped)) = (&outcome, job.stopped) {
            store.happened(stopped);
        }
        let shown = report.add(job.index, outcome);
        told = std::mem::replace(&mut told, Ok(())).and(shown);
    })?;
    told.map(|()| report.code())
}

/// From the stop signal to SIGKILL: the asked-for seconds, by default the container's own. None
/// waits for ever.
pub fn timeout(container: &Container, asked: Option<i64>) -> Option<Duration> {
    match asked {
        None => container.config.stop_timeout.map(|seconds| Duration::from_secs(seconds.into())),
        Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
    }
}

/// Stops a container as somebody asked for, who is told of it.
pub fn stop(store: &Store, container: Container, asked: Option<Signal>, timeout: Option<Duration>) -> Result<()> {
    let stopped = Happening::of_container(&container.config, "stop");
    if let Some(ending) = Ending::begin(store, container, asked, timeout)? {
        ending.wait(store)?;
        store.happened(stopped);
    }
    Ok(())
}

/// Records that its user wants the container to end: its keeper leaves it alone from now on. False when
/// it did not run but waited to be started again.
pub fn renounce(store: &Store, container: &mut Container) -> Result<bool> {
    let restarts = container.is_restarting() || container.config.is_kept();
    let cancelled = restarts && store.containers().cancel_restart(container.id())?;
    if !cancelled {
        container.update_state(|state| state.stopped_by_user = true)?;
    }
    container.refresh()?;
    Ok(!cancelled)
}

/// How long a keeper with nothing left to keep may take to leave.
const LEAVING: Duration = Duration::from_secs(1);

/// Waits until the keeper of a container that was stopped has gone, too.
pub fn wait_unkept(container: &Container) {
    let deadline = Instant::now() + LEAVING;
    while container.has_keeper().unwrap_or_default() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The init of a running container, by a descriptor that can mean no other process.
pub fn open_init(container: &Container) -> Result<Option<OwnedFd>> {
    match container.state.init().filter(|_| container.is_running()) {
        Some(identity) => identity.open().context("find the container's init"),
        None => Ok(None),
    }
}

/// Signals a container's init, for somebody who asked for it.
pub fn signal(store: &Store, container: &Container, init: &OwnedFd, signal: Signal) -> Result<()> {
    send(init, signal)?;
    // Who stands still takes no signal, but for SIGKILL in a cgroup of version 2: with its end the cgroup goes.
    if container.state.paused.is_some()
        && let Err(error) = pause::resume(store, &mut container.clone())
        && !wait_readable(init, Some(Duration::ZERO))?
    {
        return Err(error);
    }
    store.happened(Happening::of_container(&container.config, "kill").with("signal", signal.number().to_string()));
    Ok(())
}

/// Signals a process; one that just ended is no error.
pub fn send(process: &OwnedFd, signal: Signal) -> Result<()> {
    let Some(signal) = signal_from_number(signal.number()) else { bail!("invalid signal: {signal}") };
    match rustix::process::pidfd_send_signal(process, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error).context("signal the container"),
    }
}

/// How long a supervisor that ends may take to deliver the last output before it is asked whether
/// it has recorded the end.
const PARTING: Duration = Duration::from_millis(20);

/// Waits until the supervisor has recorded the end, so that what comes next sees it. Mostly it is
/// gone right after; one whose client does not take its output stays, and is not waited for.
pub fn wait_recorded(container: &mut Container) -> Result<()> {
    if let Some(init) = open_init(container)? {
        wait_readable(&init, None)?;
    }
    if let Some(supervisor) = container.state.supervisor()
        && let Some(supervisor) = supervisor.open().context("find the supervisor")?
    {
        while !wait_readable(&supervisor, Some(PARTING))? && container.is_supervised()? {}
    }
    // A --rm container is gone by now, and with it its state.
    let _ = container.refresh();
    Ok(())
}

/// Waits for a process behind a pidfd to end; false at the timeout.
pub fn wait_readable(process: &OwnedFd, timeout: Option<Duration>) -> Result<bool> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timespec = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)], timespec.as_ref()) {
            Ok(0) if deadline.is_some() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error).context("wait for the process"),
        }
    }
}
