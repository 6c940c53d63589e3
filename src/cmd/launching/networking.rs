//! What a container needs of networks before it starts: addresses, ports of the host, anchors.

use std::net::IpAddr;

use anyhow::{Context as _, Result};

use crate::net::host;
use crate::sandbox::anchor::{self, Birth, Reached};
use crate::sandbox::network::{Helper, Members, Membership, NetworkPlan, ports};
use crate::spec::config::{ContainerConfig, ContainerId};
use crate::spec::network::{Lease, Network, NetworkMode};
use crate::store::Store;

/// Taken for a container that is about to start. Given back when dropped, unless it was handed on.
pub struct Networking<'a> {
    store: &'a Store,
    container: ContainerId,
    /// In the order of their interfaces.
    pub places: Vec<(Network, Lease)>,
    pub plan: NetworkPlan,
    pub anchors: Vec<Birth>,
    /// Where a helper answers names, if one does.
    pub name_server: Option<IpAddr>,
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
            name_server: None,
            handed_on: false,
        };
        match &config.network {
            NetworkMode::Networks(_) | NetworkMode::Slirp(_) => all.join(config)?,
            NetworkMode::Path(path) => {
                let namespace = std::fs::File::open(path)
                    .with_context(|| format!("open the network namespace {}", path.display()))?;
                all.plan = NetworkPlan::Namespace(namespace.into());
            }
            NetworkMode::Helper(program, options) => {
                let ports = ports::bind_all(&config.published())?;
                let helper = Helper::new(*program, options, ports)?;
                all.name_server = helper.name_server()?;
                all.plan = NetworkPlan::Helper(helper);
            }
            NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => {}
        }
        Ok(all)
    }

    fn join(&mut self, config: &ContainerConfig) -> Result<()> {
        self.places = self.store.networks().join(config, &host::host_subnets)?;
        if !host::has_ipv6() {
            for (network, lease) in &mut self.places {
                network.forgo_ipv6();
                lease.forgo_ipv6();
            }
        }
        let ports = ports::bind_all(&config.published())?;
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
