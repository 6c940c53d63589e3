//! Entering and leaving networks while the container runs. The command takes or gives back the lease
//! and keeps the anchor up meanwhile; the supervisor has a child do the work in the namespaces.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::links::{member, welcome};
use super::{default_gateways, endpoint};
use crate::net::{endpoint as veth, host};
use crate::sandbox::anchor::{self, Reached, Request};
use crate::sandbox::channel::Channel;
use crate::sandbox::client::Client;
use crate::sandbox::userns;
use crate::spec::network::{Attachment, Lease, Network};
use crate::store::Store;
use crate::store::containers::Container;

/// A supervisor's answer when it is to leave where it is not.
pub(super) const NOT_CONNECTED: &str = "the container is not connected to the network";

/// What a supervisor is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub enum Change {
    Enter(Box<(Network, Lease)>),
    Leave {
        /// The network's id.
        network: String,
    },
}

/// Where the default routes lead after a change, and by whose interface.
#[derive(Debug)]
pub struct Routes(Vec<IpAddr>);

impl Routes {
    /// Those of a container on all of these networks.
    pub fn by(all: &[(&Network, &Lease)]) -> Self {
        Self(default_gateways(all).into_iter().map(|(_, gateway)| gateway).collect())
    }
}

/// Connects a running container to a network.
pub fn connect(store: &Store, container: &Container, attachment: &Attachment) -> Result<Lease> {
    let mut network = store.networks().usable(&attachment.network, &host::host_subnets)?;
    let mut lease = store.leases(&network).take(&container.config, attachment)?;
    if !host::has_ipv6() {
        network.forgo_ipv6();
        lease.forgo_ipv6();
    }
    let entered = || -> Result<()> {
        // Held until the supervisor is a member itself, so that the anchor stays.
        let _connection = keep_up(store, &network)?;
        ask(container, &Change::Enter(Box::new((network.clone(), lease.clone()))))
    };
    match entered() {
        Ok(()) => Ok(lease),
        Err(error) => {
            let _ = store.leases(&network).release_endpoint(&lease.container, &lease.endpoint_id);
            Err(error)
        }
    }
}

/// Takes a running container off a network.
pub fn disconnect(store: &Store, container: &Container, network: &Network) -> Result<()> {
    // A command that was killed may have left the lease alone: that much is to be given back.
    let left = ask(container, &Change::Leave { network: network.id.clone() });
    left.or_else(|error| if error.to_string() == NOT_CONNECTED { Ok(()) } else { Err(error) })?;
    store.leases(network).release(container.id())
}

/// Makes a running container's ends in its networks anew, with the addresses it has.
pub fn reload(store: &Store, container: &Container) -> Result<()> {
    for attachment in container.config.network.attachments() {
        let network = store.networks().find(&attachment.network)?;
        let leases = store.leases(&network);
        let Some(lease) = leases.list()?.into_iter().find(|lease| lease.container == *container.id()) else { continue };
        let _connection = keep_up(store, &network)?;
        ask(container, &Change::Leave { network: network.id.clone() })?;
        ask(container, &Change::Enter(Box::new((network, lease))))?;
    }
    Ok(())
}

/// A connection to the network's anchor, which is started if there is none.
fn keep_up(store: &Store, network: &Network) -> Result<Channel> {
    let Reached { connection, birth } = anchor::reach(store, network)?;
    if let Some(birth) = birth {
        userns::start_inside(store, || birth.run(None))?;
    }
    Ok(connection)
}

/// Has the container's supervisor do something and waits until it is done.
fn ask(container: &Container, change: &Change) -> Result<()> {
    let context = || format!("reach the supervisor of container {}", container.config.name);
    let Some(client) = Client::manage(container).with_context(context)? else {
        bail!("container {} is not running", container.config.name);
    };
    client.change(&serde_json::to_vec(change)?).with_context(context)?.map_err(|text| anyhow!(text))
}

/// In a child of the supervisor: makes the container's end in `network`. A connection to its anchor
/// that is a member already, and the network's namespace.
pub(super) fn enter(
    store: &Store,
    init: Pid,
    network: &Network,
    lease: &Lease,
    routes: &Routes,
) -> Result<(Channel, OwnedFd)> {
    let Reached { connection, birth: None } = anchor::reach(store, network)? else {
        bail!("the anchor of network {} is gone: try again", network.name);
    };
    connection.send(&Request::Join(member(lease)), &[])?;
    let gateway = welcome(&connection, &network.name)?;
    let container = namespace_of(init)?;
    veth::attach(gateway.as_fd(), container.as_fd(), &endpoint(network, lease, &[]))
        .with_context(|| format!("connect to network {}", network.name))?;
    veth::set_default_routes(container.as_fd(), &routes.0).context("set the default routes")?;
    Ok((connection, gateway))
}

/// In a child of the supervisor: takes the container's end in a network away.
pub(super) fn leave(init: Pid, gateway: BorrowedFd<'_>, port: &str, routes: &Routes) -> Result<()> {
    let container = namespace_of(init)?;
    veth::detach(gateway, port).context("take the interface away")?;
    veth::set_default_routes(container.as_fd(), &routes.0).context("set the default routes")?;
    Ok(())
}

fn namespace_of(init: Pid) -> Result<OwnedFd> {
    let path = format!("/proc/{}/ns/net", init.as_raw_nonzero());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context("open the container's network namespace")
}
