//! Who uses which volume: what the configurations of containers say.

use std::collections::BTreeMap;

use super::RemoveError;
use crate::spec::config::{ContainerConfig, ContainerId};
use crate::store::containers::Container;
use crate::store::record::Quarantined;

/// The containers that name volumes, running or not.
#[derive(Clone, Debug, Default)]
pub struct Users {
    by_volume: BTreeMap<String, Vec<ContainerId>>,
    /// Containers that cannot be read.
    unknown: Vec<String>,
}

impl Users {
    /// Of all containers, and those that cannot be read.
    pub fn of(containers: &[Container], damaged: &[Quarantined]) -> Self {
        let mut users = Self { unknown: damaged.iter().map(|record| record.id.clone()).collect(), ..Self::default() };
        for container in containers {
            for name in names(&container.config) {
                let ids = users.by_volume.entry(name.to_owned()).or_default();
                if ids.last() != Some(container.id()) {
                    ids.push(container.id().clone());
                }
            }
        }
        users
    }

    /// The containers that use a volume.
    pub fn of_volume(&self, name: &str) -> &[ContainerId] {
        self.by_volume.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether nobody uses a volume; a container that cannot be read may use any.
    pub fn is_free(&self, name: &str) -> bool {
        self.check(name).is_ok()
    }

    /// The same, with the reason.
    pub fn check(&self, name: &str) -> Result<(), RemoveError> {
        let volume = name.to_owned();
        match (self.of_volume(name), self.unknown.first()) {
            ([], None) => Ok(()),
            ([], Some(container)) => Err(RemoveError::Unknown { volume, container: container.clone() }),
            (users, _) => Err(RemoveError::InUse { volume, users: users.to_vec() }),
        }
    }
}

/// The volumes that a container names.
fn names(config: &ContainerConfig) -> impl Iterator<Item = &str> {
    config.volume_uses().filter_map(|(_, volume)| volume.name.as_deref())
}
