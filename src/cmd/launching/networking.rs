//! What a container needs of networks before it starts: addresses, ports of the host, anchors.

use anyhow::{Context as _, Result, anyhow};

use crate::net::host;
use crate::sandbox::anchor::{self, Birth, Reached};
use crate::sandbox::network::{Members, Membership, NetworkPlan, ports};
use crate::spec::config::{ContainerConfig, ContainerId};
use crate::spec::network::{Lease, Network, NetworkMode};
use crate::spec::port::{HostPort, PortMapping};
use crate::store::Store;

/// Taken for a container that is about to start. Given back when dropped, unless it was handed on.
pub struct Networking<'a> {
    store: &'a Store,
    container: ContainerId,
    /// In the order of their interfaces.
    pub places: Vec<(Network, Lease)>,
    pub plan: NetworkPlan,
    pub anchors: Vec<Birth>,
    handed_on: bool,
}

impl<'a> Networking<'a> {
    /// Takes everything or nothing. The caller holds the container's `alive` lock.
    pub fn take(store: &'a Store, config: &ContainerConfig) -> Result<Self> {
        let mut all = Self {
            store,
            container: config.id.clone(),
            places: Vec::new(),
            plan: NetworkPlan::Nothing,
            anchors: Vec::new(),
            handed_on: false,
        };
        match &config.network {
            NetworkMode::Networks(_) | NetworkMode::Slirp(_) => all.join(config)?,
            NetworkMode::Path(path) => {
                let namespace = std::fs::File::open(path)
                    .with_context(|| format!("open the network namespace {}", path.display()))?;
                all.plan = NetworkPlan::Namespace(namespace.into());
            }
            NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => {}
            NetworkMode::Helper(..) => {}
        }
        Ok(all)
    }

    fn join(&mut self, config: &ContainerConfig) -> Result<()> {
        self.places = self.store.networks().join(config, &host::host_subnets)?;
        let ports = ports::bind_all(&mappings(config)?)?;
        let mut memberships = Vec::new();
        for (network, lease) in &self.places {
            let Reached { connection, birth } = anchor::reach(self.store, network)?;
            self.anchors.extend(birth);
            memberships.push(Membership { network: network.clone(), lease: lease.clone(), connection });
        }
        self.plan = NetworkPlan::Members(Members { memberships, ports });
        Ok(())
    }

    /// The supervisor has it now.
    pub fn hand_on(&mut self) -> (NetworkPlan, Vec<Birth>) {
        self.handed_on = true;
        (std::mem::take(&mut self.plan), std::mem::take(&mut self.anchors))
    }
}

impl Drop for Networking<'_> {
    fn drop(&mut self) {
        if !self.handed_on && !self.places.is_empty() {
            // What stays is nobody's as soon as the lock is free.
            let _ = self.store.networks().leave(&self.container);
        }
    }
}

/// What is published: as asked for, and with `-P` what is exposed besides.
fn mappings(config: &ContainerConfig) -> Result<Vec<PortMapping>> {
    let mut mappings = config.ports.clone();
    if config.publish_all {
        for exposed in &config.exposed_ports {
            let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
            let container_port = port.parse().map_err(|_| anyhow!("invalid exposed port {exposed:?}"))?;
            let protocol = protocol.parse()?;
            let is_there =
                |mapping: &PortMapping| mapping.container_port == container_port && mapping.protocol == protocol;
            if !mappings.iter().any(is_there) {
                mappings.push(PortMapping { host_ip: None, host_port: HostPort::Random, container_port, protocol });
            }
        }
    }
    Ok(mappings)
}
