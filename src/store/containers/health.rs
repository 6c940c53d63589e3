//! `health.json`: what health checks have shown, written by the supervisor. Made anew at each start, so it
//! is not durable.

use std::io;
use std::path::PathBuf;

use super::{Container, State};
use crate::spec::config::ContainerConfig;
use crate::spec::health::{Destination, Health, HealthCheck, Status};
use crate::store::{fs, record};

/// A longer record is not ours: it is checks without limits that wrote it.
const RECORD_MAX: usize = 16 << 20;

/// The file outside the store that has a copy, by podman's name for it.
fn health_copy(config: &ContainerConfig, check: &HealthCheck) -> Option<PathBuf> {
    match &check.results.destination {
        Destination::Local | Destination::Events => None,
        Destination::Directory(directory) => Some(directory.join(format!("{}-healthcheck.log", config.id))),
    }
}

/// Removes the copy of a container that goes. It is somebody else's directory: what fails there stops nobody.
pub(super) fn remove_copy(config: &ContainerConfig) {
    if let Some(copy) = config.health.as_ref().and_then(|check| health_copy(config, check)) {
        let _ = std::fs::remove_file(copy);
    }
}

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
        self.config.health.as_ref().filter(|check| check.is_set())?;
        serde_json::from_slice(&fs::read_limited(&self.path("health.json"), RECORD_MAX).ok()?).ok()
    }

    /// Records its health, and a copy of it where that was asked for.
    pub fn write_health(&self, health: &Health) -> io::Result<()> {
        let Some(check) = &self.config.health else { return Ok(()) };
        let record = serde_json::to_vec(health)?;
        fs::write_volatile(&self.path("health.json"), &record)?;
        match health_copy(&self.config, check) {
            Some(copy) => fs::write_volatile(&copy, &record),
            None => Ok(()),
        }
    }

    /// Whether its processes are stopped now, as the state on disk says.
    pub fn is_paused_now(&self) -> bool {
        record::read::<State>(&self.path("state.json")).is_ok_and(|state| state.paused.is_some())
    }
}
