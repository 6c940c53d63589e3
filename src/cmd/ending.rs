//! Containers on their way to their end, side by side: each has been sent its stop signal and has its own
//! patience until SIGKILL.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::stop;
use crate::spec::signal::Signal;
use crate::store::containers::Container;
use crate::store::{Store, fs};

/// How many end at a time, as docker's: each takes a descriptor.
const AT_ONCE: usize = 50;

/// A container that was told to end.
#[derive(Debug)]
pub struct Ending {
    container: Container,
    /// None: no process of it was left.
    init: Option<OwnedFd>,
    /// When it is killed; None: never, or it was.
    deadline: Option<Instant>,
}

impl Ending {
    /// Sends the stop signal, after which it has `patience`; without, for ever. None: it is stopped already.
    /// One that waits to be started again is not.
    pub fn begin(
        store: &Store,
        mut container: Container,
        asked: Option<Signal>,
        patience: Option<Duration>,
    ) -> Result<Option<Self>> {
        if container.is_at_rest() {
            return Ok(None);
        }
        let runs = match stop::renounce(store, &mut container) {
            // A --rm container that ended just now.
            Err(_) if !fs::exists(container.directory()) => return Ok(None),
            runs => runs?,
        };
        let init = if runs { stop::open_init(&container)? } else { None };
        if let Some(init) = &init {
            stop::signal(store, &container, init, asked.unwrap_or(container.config.stop_signal))?;
        }
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        Ok(Some(Self { container, init, deadline }))
    }

    /// Waits for its end, and kills it when its patience is over.
    pub fn wait(mut self, store: &Store) -> Result<()> {
        while !self.go_on(store)? {
            wait_for_any([&self])?;
        }
        self.conclude()
    }

    /// Whether its processes are gone. Kills them at the deadline.
    fn go_on(&mut self, store: &Store) -> Result<bool> {
        let Some(init) = &self.init else { return Ok(true) };
        if stop::wait_readable(init, Some(Duration::ZERO))? {
            return Ok(true);
        }
        if self.deadline.take_if(|deadline| *deadline <= Instant::now()).is_some() {
            stop::signal(store, &self.container, init, Signal::KILL)?;
        }
        Ok(false)
    }

    /// Waits until the end is on record.
    fn conclude(mut self) -> Result<()> {
        stop::wait_recorded(&mut self.container)?;
        stop::wait_unkept(&self.container);
        Ok(())
    }
}

/// Ends containers side by side. `begin` is called for one after the other, and `ended` for each when its end is
/// on record, or was not to be had.
pub fn side_by_side<T>(
    store: &Store,
    mut waiting: impl Iterator<Item = T>,
    mut begin: impl FnMut(&mut T) -> Result<Option<Ending>>,
    mut ended: impl FnMut(T, Result<()>),
) -> Result<()> {
    let mut under_way: Vec<(T, Ending)> = Vec::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some(mut next) = waiting.next()
        {
            match begin(&mut next) {
                Ok(Some(ending)) => under_way.push((next, ending)),
                Ok(None) => ended(next, Ok(())),
                Err(error) => ended(next, Err(error)),
            }
        }
        if under_way.is_empty() {
            return Ok(());
        }
        wait_for_any(under_way.iter().map(|(_, ending)| ending))?;
        for (what, mut ending) in std::mem::take(&mut under_way) {
            match ending.go_on(store) {
                Ok(false) => under_way.push((what, ending)),
                Ok(true) => ended(what, ending.conclude()),
                Err(error) => ended(what, Err(error)),
            }
        }
    }
}

/// Waits until one of them may have ended, or is to be killed.
fn wait_for_any<'a>(endings: impl IntoIterator<Item = &'a Ending>) -> Result<()> {
    let (mut inits, mut deadline) = (Vec::new(), None);
    for ending in endings {
        let Some(init) = &ending.init else { return Ok(()) };
        inits.push(PollFd::from_borrowed_fd(init.as_fd(), PollFlags::IN));
        deadline = [deadline, ending.deadline].into_iter().flatten().min();
    }
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    match poll(&mut inits, left.and_then(|left| Timespec::try_from(left).ok()).as_ref()) {
        Err(error) if error != Errno::INTR => Err(error).context("wait for the containers"),
        _ => Ok(()),
    }
}
