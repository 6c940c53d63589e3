//! `health.json`: what health checks have shown, written by the supervisor. Made anew at each start, so it
//! is not durable.

use std::io;
use std::path::PathBuf;

use super::{Container, State};
use crate::spec::health::{Destination, Health, HealthCheck, Status};
use crate::store::{fs, record};

/// A longer record is not ours: it is checks without limits that wrote it.
const RECORD_MAX: usize = 16 << 20;

impl Container {
    /// Its health; None where it has no check or never ran. Without a process nothing is healthy (docker).
    pub fn health(&self) -> Option<Health> {
        let mut health = self.last_health()?;
        if !self.is_running() {
            health.status = Status::Unhealthy;
        }
        Some(health)
    }

    /// Its status while it runs; None where it has no check.
    pub fn health_status(&self) -> Option<Status> {
        self.config.health.as_ref().filter(|check| check.is_set())?;
        self.is_running().then(|| self.last_health().map(|health| health.status).unwrap_or_default())
    }

    /// What was recorded last, in this life or one before.
    pub fn last_health(&self) -> Option<Health> {
        let check = self.config.health.as_ref().filter(|check| check.is_set())?;
        serde_json::from_slice(&fs::read_limited(&self.health_path(check), RECORD_MAX).ok()?).ok()
    }

    /// Records its health.
    pub fn write_health(&self, health: &Health) -> io::Result<()> {
        let Some(check) = &self.config.health else { return Ok(()) };
        fs::write_volatile(&self.health_path(check), &serde_json::to_vec(health)?)
    }

    fn health_path(&self, check: &HealthCheck) -> PathBuf {
        match &check.results.destination {
            Destination::Local | Destination::Events => self.path("health.json"),
            Destination::Directory(directory) => directory.join(format!("{}-healthcheck.log", self.id())),
        }
    }

    /// Whether its processes are stopped now, as the state on disk says.
    pub fn is_paused_now(&self) -> bool {
        record::read::<State>(&self.path("state.json")).is_ok_and(|state| state.paused.is_some())
    }
}
