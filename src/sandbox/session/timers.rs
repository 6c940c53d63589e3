//! What a session does when its time has come. A timer is a field of the session, its moment an item
//! of [`Session::until_next`], and what it does a line of [`Session::ring`].

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Session;
use crate::sandbox::health::Checks;
use crate::sandbox::log::Log;
use crate::sandbox::network::Links;

impl Session {
    /// How long nothing is due; None for ever.
    pub(super) fn until_next(&self) -> Option<Duration> {
        let nudge = self.nudge.as_ref().map(|nudge| nudge.until);
        let links = self.links.as_ref().and_then(Links::deadline);
        let checks = self.checks.as_ref().and_then(Checks::deadline);
        let log = self.log.as_ref().and_then(Log::deadline);
        let next = [self.kill_at, nudge, links, checks, log].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Does what is due.
    pub(super) fn ring(&mut self) {
        if self.log.as_ref().and_then(Log::deadline).is_some_and(|at| at <= Instant::now()) {
            self.tend_log();
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
