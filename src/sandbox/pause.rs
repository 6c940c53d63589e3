//! Containers whose processes stand still: by the freezer of their cgroup, or where there is none by a
//! signal to each of them, which they can notice.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::{Group, late};
use super::leftover::Mark;
use super::userns;
use crate::spec::limits::Limits;
use crate::store::Store;
use crate::store::containers::{Container, Paused, ProcessIdentity};

/// How often the list of processes is read again for those that were made meanwhile.
const ROUNDS: usize = 100;
/// How long the last of them may take to stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// A way to have all processes of a container stand still.
#[derive(Debug)]
pub struct Pause {
    /// With a freezer.
    group: Option<Group>,
}

impl Pause {
    /// Finds it; makes a cgroup for one that runs without, where that can be done.
    pub fn prepare(store: &Store, container: &Container, init: ProcessIdentity) -> Result<Self> {
        let own = Group::of(store, container.id())?.or_else(|| {
            let running = late::Running {
                id: container.id(),
                directory: container.directory(),
                init,
                own_user_namespace: !container.config.userns_host,
            };
            late::make(store, running, &Limits::default()).ok().map(|(group, _)| group)
        });
        Ok(Self { group: own.filter(Group::can_freeze) })
    }

    /// Which it is.
    pub fn how(&self) -> Paused {
        if self.group.is_some() { Paused::Frozen } else { Paused::Stopped }
    }

    /// Does it.
    pub fn stand_still(&self, store: &Store, container: &Container, init: ProcessIdentity) -> Result<()> {
        match &self.group {
            Some(group) => group.freeze(true).context("freeze the container"),
            None => signal_all(store, container, init, Signal::STOP),
        }
    }
}

/// Lets them go on.
pub fn resume(store: &Store, container: &Container, init: ProcessIdentity, how: Paused) -> Result<()> {
    match how {
        Paused::Stopped => signal_all(store, container, init, Signal::CONT),
        Paused::Frozen => match Group::of(store, container.id())? {
            Some(group) => group.freeze(false).context("let the container go on"),
            None => bail!("its cgroup is gone"),
        },
    }
}

/// Signals every process of the container: the older first to stop, the younger first to go on, so that
/// nobody sees his child stopped.
fn signal_all(store: &Store, container: &Container, init: ProcessIdentity, signal: Signal) -> Result<()> {
    let own_user_namespace = !container.config.userns_host;
    userns::run_inside(store, move || {
        let mark = Mark::of(init.pid, own_user_namespace).context("find the container's namespaces")?;
        let deadline = Instant::now() + PATIENCE;
        for _ in 0..ROUNDS {
            let mut members = mark.members();
            members.sort_by_key(|pid| crate::sys::process::start_time(*pid).unwrap_or_default());
            if signal == Signal::CONT {
                members.reverse();
            }
            let stopped = |pid: &rustix::process::Pid| is_stopped(pid.as_raw_nonzero().get());
            let left: Vec<_> = members.iter().filter(|pid| stopped(pid) != Some(signal == Signal::STOP)).collect();
            if left.is_empty() || Instant::now() > deadline {
                break;
            }
            for pid in left {
                if let Ok(process) = pidfd_open(*pid, PidfdFlags::empty()) {
                    let _ = pidfd_send_signal(&process, signal);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    })
}

fn is_stopped(pid: i32) -> Option<bool> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    Some(matches!(stat.rsplit_once(") ")?.1.chars().next()?, 'T' | 't'))
}
