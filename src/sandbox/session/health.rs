//! The health of a container that is watched.

use super::Session;
use crate::sandbox::health::{Checks, Finished};
use crate::sandbox::message::Kind;
use crate::spec::health::OnFailure;
use rustix::process::Signal;

impl Session {
    /// Looks after the container's health.
    pub fn check(&mut self, checks: Checks) {
        self.checks = Some(checks);
    }

    /// Runs a check for a viewer, who hears nothing but an empty answer where there is none.
    pub(super) fn check_for(&mut self, index: usize) {
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        match &mut self.checks {
            Some(checks) if checks.is_any() => checks.ask(viewer.id),
            _ => viewer.tell(Kind::Checked, &[]),
        }
    }

    /// Goes by the container's record from now on.
    pub(super) fn renew_check(&mut self, index: usize) {
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        let result = self.checks.as_mut().map_or(Ok(()), Checks::renew);
        viewer.tell(Kind::Updated, result.err().map(|error| format!("{error:#}")).unwrap_or_default().as_bytes());
    }

    /// Does what is due for the container's health, and what follows from it.
    pub(super) fn tend_health(&mut self) {
        // The end of the container is that of its checks.
        if self.exit.is_some() {
            return;
        }
        let Some(finished) = self.checks.as_mut().and_then(|checks| checks.tend(&self.pidfd)) else { return };
        self.tell_checked(&finished);
        if self.checks.as_ref().is_some_and(Checks::is_healthy) {
            self.notifier.healthy(&mut self.viewers);
        }
        match finished.action() {
            OnFailure::None => {}
            // As if its user did it: no policy starts it again (podman).
            OnFailure::Kill => {
                self.end_wanted = true;
                self.send_signal(Signal::KILL);
            }
            OnFailure::Stop => {
                self.end_wanted = true;
                self.stop();
            }
            OnFailure::Restart => {
                self.restart_wanted = true;
                self.stop();
            }
        }
    }

    fn tell_checked(&mut self, finished: &Finished) {
        let Ok(report) = serde_json::to_vec(&finished.report) else { return };
        for viewer in self.viewers.iter_mut().filter(|viewer| finished.viewers.contains(&viewer.id)) {
            viewer.tell(Kind::Checked, &report);
        }
    }

    /// Whether the container was stopped to be started again.
    pub fn wants_restart(&self) -> bool {
        self.restart_wanted
    }
}
