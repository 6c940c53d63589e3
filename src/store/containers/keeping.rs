//! What a container's records say to its keeper: the process that starts it again when it has ended.
//!
//! The keeper holds the lock `keeper` in the container's directory. It decides, and lets go of that lock,
//! only under the container's lock: whoever starts the container records that under the same lock, and
//! finds afterwards either a keeper that knows or none at all.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use super::state::KILLED;
use super::{Container, Containers, ProcessIdentity, State, Status, is_alive, read_config, write_state};
use crate::spec::config::{ContainerConfig, ContainerId};
use crate::spec::event::Happening;
use crate::spec::restart::{End, RestartPolicy};
use crate::store::lock::{AliveLock, FileLock};
use crate::store::record;

/// The keeper's lock file.
pub(super) const LOCK: &str = "keeper";

/// What a keeper finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affairs {
    /// Its supervisor lives, or has not quite ended.
    Supervised(Option<ProcessIdentity>),
    /// It is to be started after this time, as the restart of this number.
    Waits { left: Duration, attempt: u32 },
    /// There is nothing to keep.
    Over,
}

impl State {
    /// Records the end of a container that ran, and what follows by its policy.
    pub fn end(&mut self, code: i32, now: Timestamp, policy: RestartPolicy) {
        let end = End { code, stopped: self.stopped_by_user, started: self.started_at, ended: now };
        self.come_to_rest(&end, policy);
    }

    /// Records that a restart failed.
    fn fail_to_start(&mut self, code: i32, error: &str, now: Timestamp, policy: RestartPolicy) {
        self.error = error.to_owned();
        let end = End { code, stopped: self.stopped_by_user, started: None, ended: now };
        self.come_to_rest(&end, policy);
    }

    fn come_to_rest(&mut self, end: &End, policy: RestartPolicy) {
        let next = self.restarts.after(policy, end);
        self.status = if next.is_some() { Status::Restarting } else { Status::Exited };
        self.restarts = next.unwrap_or(self.restarts);
        self.pid = 0;
        self.exit_code = end.code;
        self.finished_at = Some(end.ended);
        self.paused = None;
        self.ports.clear();
    }
}

impl Container {
    /// Becomes its keeper; None while there is another one.
    pub fn take_keeper(&self) -> io::Result<Option<AliveLock>> {
        AliveLock::try_acquire(&self.path(LOCK))
    }

    /// Whether it has a keeper.
    pub fn has_keeper(&self) -> io::Result<bool> {
        AliveLock::is_held(&self.path(LOCK))
    }

    /// Whether it neither runs nor waits to be started again.
    pub fn is_at_rest(&self) -> bool {
        !matches!(self.state.status, Status::Running | Status::Restarting)
    }

    /// Whether it waits to be started again.
    pub fn is_restarting(&self) -> bool {
        self.state.status == Status::Restarting
    }
}

impl Containers<'_> {
    /// For the keeper: how things stand, after an end that nobody recorded was recorded. `told`: the session
    /// ends, nothing is to be started any more. When all is over it calls `leave`, which lets go of the
    /// keeper's lock, before anybody can start the container.
    pub fn look_after(&self, id: &ContainerId, told: bool, leave: &mut dyn FnMut()) -> io::Result<Affairs> {
        let _lock = match self.lock(id) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                leave();
                return Ok(Affairs::Over);
            }
            lock => lock?,
        };
        let directory = self.directory(id);
        let records = (read_config(&directory, id), record::read::<State>(&directory.join("state.json")));
        let (Ok(config), Ok(mut state)) = records else {
            leave();
            return Ok(Affairs::Over);
        };
        let alive = is_alive(&directory)?;
        let mut killed = false;
        if state.status == Status::Running && !(alive && state.is_of_this_boot()) {
            state.end(KILLED, Timestamp::now(), config.restart);
            killed = true;
        }
        // The policy may have been changed while it waited.
        let released = state.status == Status::Restarting && !alive && (told || !config.is_kept());
        if released {
            state.status = Status::Exited;
        }
        if killed || released {
            self.record(&config, &state)?;
        }
        if killed {
            self.part(&config, &state);
        }
        let now = Timestamp::now();
        Ok(match state.status {
            Status::Running => Affairs::Supervised(state.supervisor()),
            Status::Restarting if alive => Affairs::Supervised(state.supervisor()),
            Status::Restarting => {
                let left = state.restarts.left(state.finished_at.unwrap_or(now), now);
                Affairs::Waits { left, attempt: state.restarts.count }
            }
            Status::Created | Status::Exited => {
                leave();
                Affairs::Over
            }
        })
    }

    /// For the keeper: a restart failed. Nothing is recorded if somebody stopped or started it meanwhile.
    pub fn record_failed_restart(&self, id: &ContainerId, attempt: u32, code: i32, error: &str) -> io::Result<()> {
        let _lock = self.lock(id)?;
        let directory = self.directory(id);
        let config = read_config(&directory, id).map_err(io::Error::other)?;
        let mut state: State = record::read(&directory.join("state.json")).map_err(io::Error::other)?;
        if state.status != Status::Restarting || state.restarts.count != attempt {
            return Ok(());
        }
        state.fail_to_start(code, error, Timestamp::now(), config.restart);
        self.record(&config, &state)
    }

    /// Keeps a container that waits to be started again from it; false when it does not wait.
    pub fn cancel_restart(&self, id: &ContainerId) -> anyhow::Result<bool> {
        let context = || format!("record the state of container {id}");
        let _lock = self.lock(id).with_context(context)?;
        let directory = self.directory(id);
        let config = read_config(&directory, id).with_context(context)?;
        let mut state: State = record::read(&directory.join("state.json")).with_context(context)?;
        if state.status != Status::Restarting {
            return Ok(false);
        }
        state.status = Status::Exited;
        state.stopped_by_user = true;
        self.record(&config, &state).with_context(context)?;
        Ok(true)
    }

    /// Records that the supervisor of a container without a keeper was killed. Who comes first says it.
    pub(super) fn tell_death(&self, config: &ContainerConfig) -> io::Result<()> {
        let directory = self.directory(&config.id);
        // Who holds it will read the state again, or we do the next time; it may be the reader itself.
        let Some(_lock) = FileLock::try_exclusive(&directory.join("lock"))? else { return Ok(()) };
        let state: State = record::read(&directory.join("state.json")).map_err(io::Error::other)?;
        if state.status != Status::Running || is_alive(&directory)? && state.is_of_this_boot() {
            return Ok(());
        }
        // When is not known, but this is told of now.
        let crashed = State { finished_at: Some(Timestamp::now()), ..state.crashed() };
        self.record(config, &crashed)?;
        self.part(config, &crashed);
        Ok(())
    }

    /// What a supervisor does last of all, for one that was killed: tells of the end, gives back the addresses.
    fn part(&self, config: &ContainerConfig, state: &State) {
        self.tell_end(config, state);
        let networks = self.store.networks();
        for network in networks.attached(config) {
            let left = Happening::of_network(&network, "disconnect");
            self.store.happened(left.with("container", config.id.as_str()));
        }
        // Leases of a container that nobody supervises are nobody's, too.
        let _ = networks.leave(&config.id);
        self.tell_unmounted(config);
    }

    /// docker's events of volumes that a container had.
    pub fn tell_unmounted(&self, config: &ContainerConfig) {
        for name in config.volume_uses().filter_map(|(_, volume)| volume.name.as_ref()) {
            let unmounted = Happening::of_volume(name, "unmount");
            self.store.happened(unmounted.with("container", config.id.as_str()));
        }
    }

    /// docker's event of an end.
    pub fn tell_end(&self, config: &ContainerConfig, state: &State) {
        let ended = state.finished_at.unwrap_or_else(Timestamp::now);
        let ran = state.started_at.map_or(0, |started| ended.duration_since(started).as_secs());
        let died = Happening::of_container(config, "die").with("exitCode", state.exit_code.to_string());
        self.store.happened(died.with("execDuration", ran.to_string()));
    }

    fn record(&self, config: &ContainerConfig, state: &State) -> io::Result<()> {
        write_state(&self.directory(&config.id), state, super::create::durability(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::containers::boot_id;
    use crate::store::testing::{TestStore, config};

    fn container(store: &TestStore, policy: &str) -> Container {
        let restart = policy.parse().unwrap();
        store.containers().create(ContainerConfig { restart, ..config("c", "a") }).unwrap()
    }

    fn run(container: &mut Container) -> AliveLock {
        let alive = container.take_alive().unwrap().unwrap();
        let start = |state: &mut State| {
            state.status = Status::Running;
            state.boot_id = boot_id().to_owned();
            state.started_at = Some(Timestamp::now());
            state.finished_at = None;
            state.stopped_by_user = false;
        };
        container.update_state(start).unwrap();
        alive
    }

    /// What the keeper finds, and whether it left.
    fn look(store: &TestStore, container: &Container, told: bool) -> (Affairs, bool) {
        let mut left = false;
        let affairs = store.containers().look_after(container.id(), told, &mut || left = true).unwrap();
        (affairs, left)
    }

    fn waits(affairs: Affairs) -> Option<u32> {
        match affairs {
            Affairs::Waits { left, attempt } if left <= Duration::from_secs(60) => Some(attempt),
            _ => None,
        }
    }

    fn status(container: &mut Container) -> Status {
        container.refresh().unwrap();
        container.status()
    }

    #[test]
    fn an_end_that_nobody_recorded_is_one_by_sigkill() {
        let store = TestStore::new();
        let mut kept = container(&store, "on-failure:1");
        let keeper = kept.take_keeper().unwrap().unwrap();
        assert!(kept.take_keeper().unwrap().is_none() && kept.has_keeper().unwrap());
        let alive = run(&mut kept);
        assert_eq!(look(&store, &kept, false), (Affairs::Supervised(None), false));
        drop(alive);
        assert_eq!(status(&mut kept), Status::Restarting, "the keeper is about to say so");
        assert_eq!(waits(look(&store, &kept, false).0), Some(1));
        assert_eq!((status(&mut kept), kept.state.exit_code), (Status::Restarting, 137));
        // The second time is one too many.
        drop(run(&mut kept));
        assert_eq!(look(&store, &kept, false), (Affairs::Over, true));
        assert_eq!((status(&mut kept), kept.state.exit_code), (Status::Exited, 137));
        keeper.release().unwrap();
        assert!(!kept.has_keeper().unwrap());
    }

    #[test]
    fn without_a_keeper_nothing_is_restarted() {
        let store = TestStore::new();
        let mut kept = container(&store, "always");
        let alive = run(&mut kept);
        kept.update_state(|state| state.end(3, Timestamp::now(), RestartPolicy::Always)).unwrap();
        drop(alive);
        assert_eq!((status(&mut kept), kept.state.restarts.count), (Status::Exited, 1));
        let keeper = kept.take_keeper().unwrap().unwrap();
        assert_eq!(status(&mut kept), Status::Restarting);
        assert!(matches!(store.containers().remove(kept.id()), Err(super::super::RemoveError::Restarting { .. })));
        drop(keeper);
        let _ = store.containers().remove(kept.id()).unwrap();
        assert_eq!(look(&store, &kept, false), (Affairs::Over, true), "it is gone");
    }

    #[test]
    fn what_ends_the_waiting() {
        let store = TestStore::new();
        let mut kept = container(&store, "always");
        let _keeper = kept.take_keeper().unwrap().unwrap();
        let end = |kept: &mut Container| {
            let alive = run(kept);
            kept.update_state(|state| state.end(0, Timestamp::now(), RestartPolicy::Always)).unwrap();
            assert_eq!(look(&store, kept, true), (Affairs::Supervised(None), false), "not before the lock is free");
            drop(alive);
        };
        end(&mut kept);
        assert!(store.containers().cancel_restart(kept.id()).unwrap());
        assert!(!store.containers().cancel_restart(kept.id()).unwrap());
        assert_eq!(look(&store, &kept, false), (Affairs::Over, true));
        assert!(status(&mut kept) == Status::Exited && kept.state.stopped_by_user);
        end(&mut kept);
        assert_eq!(look(&store, &kept, true), (Affairs::Over, true), "the session ends");
        assert!(status(&mut kept) == Status::Exited && !kept.state.stopped_by_user);
        end(&mut kept);
        let never = |config: &mut ContainerConfig| {
            config.restart = RestartPolicy::No;
            Ok(())
        };
        store.containers().update(kept.id(), never).unwrap();
        assert_eq!(look(&store, &kept, false), (Affairs::Over, true), "another policy");
        assert_eq!(store.containers().get(kept.id()).unwrap().config.restart, RestartPolicy::No);
    }

    #[test]
    fn starts_that_fail() {
        let store = TestStore::new();
        let mut kept = container(&store, "on-failure:3");
        let _keeper = kept.take_keeper().unwrap().unwrap();
        drop(run(&mut kept));
        let first = waits(look(&store, &kept, false).0).unwrap();
        let failed = |attempt, code| {
            store.containers().record_failed_restart(kept.id(), attempt, code, "no room").unwrap();
            waits(look(&store, &kept, false).0)
        };
        assert_eq!(failed(first, 125), Some(2));
        assert_eq!(failed(first, 125), Some(2), "an older attempt");
        assert_eq!(failed(2, 126), Some(3));
        assert_eq!(failed(3, 126), None);
        assert_eq!(status(&mut kept), Status::Exited);
        assert_eq!((kept.state.exit_code, kept.state.error.as_str()), (126, "no room"));
    }
}
