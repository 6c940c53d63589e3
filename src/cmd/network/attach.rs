//! Which containers can be put on which network, and how the record of one says so.

use std::net::IpAddr;

use anyhow::{Result, bail};

use super::is_predefined;
use crate::spec::network::{Attachment, Driver, Network, NetworkMode};

/// Refuses what cannot be connected, in docker's words.
/// `mode` is what the container called `name` has now.
pub fn check(name: &str, mode: &NetworkMode, network: &Network, part: &Attachment) -> Result<()> {
    if network.driver == Driver::Host {
        bail!("cannot connect container to host network - container must be created in host network mode");
    }
    match mode {
        NetworkMode::Host | NetworkMode::Container(_) | NetworkMode::Path(_) => bail!(
            "container sharing network namespace with another container or host cannot be connected to any other \
             network"
        ),
        NetworkMode::None => return no_network(),
        NetworkMode::Slirp(_) | NetworkMode::Helper(..) => bail!(
            "container {name} has a network of its own and cannot be connected to any other: create it with --network \
             NAME"
        ),
        NetworkMode::Networks(parts) if parts.iter().any(|part| part.network == network.name) => {
            bail!("endpoint with name {name} already exists in network {}", network.name)
        }
        NetworkMode::Networks(parts) if network.driver == Driver::Null && !parts.is_empty() => return no_network(),
        NetworkMode::Networks(_) => {}
    }
    if is_predefined(network) && (part.ip.is_some() || part.ip6.is_some()) {
        bail!("user specified IP address is supported on user defined networks only");
    }
    if is_predefined(network) && !part.aliases.is_empty() {
        bail!("network-scoped aliases are only supported for user-defined networks");
    }
    check_addresses(network, part)
}

fn no_network() -> Result<()> {
    bail!("container cannot be connected to multiple networks with one of the networks in private (none) mode")
}

/// The addresses must be of the network's subnets, and not its own.
fn check_addresses(network: &Network, part: &Attachment) -> Result<()> {
    for address in part.ip.map(IpAddr::V4).into_iter().chain(part.ip6.map(IpAddr::V6)) {
        let subnet = network.subnets.iter().find(|subnet| subnet.subnet.contains(&address));
        let Some(subnet) = subnet else {
            bail!("invalid config for network {}: no configured subnet contains IP address {address}", network.name);
        };
        if address == subnet.gateway || address == subnet.subnet.network() {
            bail!(
                "invalid config for network {}: Address already in use: {address} is the network's own",
                network.name
            );
        }
    }
    Ok(())
}

/// Puts the container on the network, last.
pub fn add(mode: &mut NetworkMode, network: &Network, part: Attachment) {
    match mode {
        _ if network.driver == Driver::Null => *mode = NetworkMode::None,
        NetworkMode::Networks(parts) => parts.push(part),
        _ => {}
    }
}

/// Takes the container off the network; false if it is not on it. One that is taken off its last network
/// has none, and can be connected to others.
pub fn take_off(mode: &mut NetworkMode, network: &Network) -> bool {
    match mode {
        NetworkMode::Networks(parts) => {
            let before = parts.len();
            parts.retain(|part| part.network != network.name);
            parts.len() < before
        }
        NetworkMode::None if network.driver == Driver::Null => {
            *mode = NetworkMode::Networks(Vec::new());
            true
        }
        _ => false,
    }
}
