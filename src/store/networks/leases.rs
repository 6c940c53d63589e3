//! Who has which address: `networks/ID/endpoints/CONTAINER.json` in the runtime directory, changed under the
//! network's `lock` there. A lease whose container's `alive` lock is free is nobody's.

use anyhow::{Result, bail};

use super::LeaseError;
use crate::spec::config::{ContainerConfig, ContainerId};
use crate::spec::network::{Attachment, Lease, Network};
use crate::store::Store;

/// The leases of one network.
#[derive(Clone, Copy, Debug)]
pub struct Leases<'a> {
    store: &'a Store,
    network: &'a Network,
}

impl<'a> Leases<'a> {
    pub(super) fn new(store: &'a Store, network: &'a Network) -> Self {
        Self { store, network }
    }

    /// Takes an address for a container whose `alive` lock somebody holds. A lease that the container has on
    /// this network already is replaced.
    pub fn take(&self, _config: &ContainerConfig, _attachment: &Attachment) -> Result<Lease, LeaseError> {
        let _ = (self.store, self.network);
        Err(LeaseError::Other(anyhow::anyhow!("not there yet")))
    }

    /// Gives a container's lease back; none is fine.
    pub fn release(&self, _id: &ContainerId) -> Result<()> {
        bail!("not there yet")
    }

    /// The leases of running containers, by address.
    pub fn list(&self) -> Result<Vec<Lease>> {
        bail!("not there yet")
    }
}
