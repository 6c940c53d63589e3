//! Removing a network.

use anyhow::Context;

use super::{LookupError, Networks, RemoveError};
use crate::spec::event::Happening;
use crate::spec::network::{DEFAULT_NETWORK, Network, check_network_name};
use crate::store::lock::FileLock;
use crate::store::record::RecordError;
use crate::store::{fs, remove};

impl Networks<'_> {
    /// Removes a network that no running container is on. Stopped ones that name it cannot start any more.
    pub fn remove(&self, network: &Network) -> Result<(), RemoveError> {
        let name = &network.name;
        if matches!(name.as_str(), DEFAULT_NETWORK | "host" | "none") {
            return Err(RemoveError::Predefined(name.clone()));
        }
        let context = || format!("remove network {name}");
        let _networks = self.lock()?;
        match self.by_name(name) {
            Ok(Some(now)) if now.id == network.id => {}
            Err(LookupError::Other(error)) => return Err(RemoveError::Other(error)),
            _ => return Err(RemoveError::NotFound(name.clone())),
        }
        let directory = self.runtime_directory(network)?;
        // Whoever waits for this lock finds no network after it.
        let _endpoints = FileLock::exclusive(&directory.join("lock")).with_context(context)?;
        let leases = self.store.leases(network).list()?;
        if !leases.is_empty() {
            let endpoints = leases.into_iter().map(|lease| (lease.name, lease.container)).collect();
            return Err(RemoveError::InUse { network: name.clone(), endpoints });
        }
        self.remove_record(name).with_context(context)?;
        self.store.happened(Happening::of_network(network, "destroy"));
        // What stays of it is in nobody's way.
        let _ = remove::remove_tree(&directory);
        Ok(())
    }

    /// Removes a record that cannot be read; false when there is none or it is fine.
    pub fn discard(&self, name: &str) -> anyhow::Result<bool> {
        let context = || format!("remove the record of network {}", crate::spec::text::printable(name));
        if check_network_name(name).is_err() {
            return Ok(false);
        }
        let _networks = self.lock()?;
        match self.read(name) {
            Err(RecordError::Damaged { .. }) => {
                self.remove_record(name).with_context(context)?;
                Ok(true)
            }
            Err(error @ RecordError::Read { .. }) => Err(error).with_context(context),
            Ok(_) | Err(RecordError::Missing { .. }) => Ok(false),
        }
    }

    fn remove_record(&self, name: &str) -> std::io::Result<()> {
        let path = self.record_path(name);
        fs::remove_if_present(&path)?;
        fs::sync_parent(&path)
    }
}
