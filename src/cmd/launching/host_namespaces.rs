//! Namespaces of the host that a container has by way of another one: they are not joined, which only root
//! could, but left as they are.

use anyhow::{Result, bail};

use crate::spec::config::{ContainerConfig, ContainerId, NamespaceMode, NetworkMode};
use crate::store::Store;

/// Longer chains of containers are taken for a mistake in the records.
const CHAIN_MAX: usize = 64;

/// The configuration with `host` in place of every container that has the host's namespace.
pub fn seen_through(store: &Store, config: &ContainerConfig) -> Result<ContainerConfig> {
    let mut seen = config.clone();
    for (mode, of) in [
        (&mut seen.pid, (|config| config.pid.clone()) as fn(&ContainerConfig) -> NamespaceMode),
        (&mut seen.ipc, |config| config.ipc.clone()),
        (&mut seen.uts, |config| config.uts.clone()),
    ] {
        if let NamespaceMode::Container(donor) = mode
            && leads_to_host(store, donor, of)?
        {
            *mode = NamespaceMode::Host;
        }
    }
    if let NetworkMode::Container(donor) = &seen.network
        && leads_to_host(store, donor, |config| match &config.network {
            NetworkMode::Host => NamespaceMode::Host,
            NetworkMode::Container(next) => NamespaceMode::Container(next.clone()),
            _ => NamespaceMode::Private,
        })?
    {
        seen.network = NetworkMode::Host;
    }
    Ok(seen)
}

fn leads_to_host(store: &Store, donor: &ContainerId, of: fn(&ContainerConfig) -> NamespaceMode) -> Result<bool> {
    let mut next = donor.clone();
    for _ in 0..CHAIN_MAX {
        let donor = store.containers().get(&next)?;
        match of(&donor.config) {
            NamespaceMode::Host if donor.is_running() => return Ok(true),
            NamespaceMode::Host => bail!("cannot join container {}: it is not running", donor.config.name),
            NamespaceMode::Container(further) => next = further,
            _ => return Ok(false),
        }
    }
    Ok(false)
}
