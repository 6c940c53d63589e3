//! A container's networks: what was found and taken for it before the start, its ends in them, and
//! how they change while it runs.

mod change;
mod helper;
mod links;
pub mod ports;

use std::net::IpAddr;
use std::os::fd::OwnedFd;

pub use self::change::{Change, connect, disconnect, reload};
pub use self::helper::Helper;
pub use self::links::{Finished, JoinError, Links};
use self::ports::Bound;
use super::anchor;
use super::channel::Channel;
use crate::net::Cidr;
use crate::net::endpoint::EndpointPlan;
use crate::spec::network::{Lease, Network};

/// What a container's network namespace gets besides a loopback device.
#[derive(Debug, Default)]
pub enum NetworkPlan {
    /// Nothing: it has none of its own, or is alone in it.
    #[default]
    Nothing,
    /// It lives in this namespace, not in one of its own.
    Namespace(OwnedFd),
    /// It is a member of networks.
    Members(Members),
    /// Another program does it.
    Helper(Helper),
}

/// Places in networks, taken for a container that is about to start.
#[derive(Debug)]
pub struct Members {
    /// In the order of their interfaces.
    pub memberships: Vec<Membership>,
    pub ports: Vec<Bound>,
}

/// A place in a network, and a connection to its anchor.
#[derive(Debug)]
pub struct Membership {
    pub network: Network,
    pub lease: Lease,
    pub connection: Channel,
}

impl NetworkPlan {
    /// Closes this process's copies of the published ports' sockets: the supervisor's are the ones that
    /// count, and any other would hold a port after them.
    pub fn close_ports(&mut self) {
        match self {
            Self::Members(members) => members.ports.clear(),
            Self::Helper(helper) => helper.close_ports(),
            Self::Nothing | Self::Namespace(_) => {}
        }
    }

    /// The ends to make in the container's namespace, in the order of their networks' namespaces.
    pub fn endpoints(&self) -> Vec<EndpointPlan> {
        let Self::Members(members) = self else { return Vec::new() };
        let all: Vec<(&Network, &Lease)> =
            members.memberships.iter().map(|membership| (&membership.network, &membership.lease)).collect();
        all.iter().map(|(network, lease)| endpoint(network, lease, &default_routes_by(lease, &all))).collect()
    }
}

/// The end of a veth that `lease` stands for.
fn endpoint(network: &Network, lease: &Lease, default_routes: &[IpAddr]) -> EndpointPlan {
    let v4 = lease.v4.map(|net| Cidr { address: net.addr().into(), prefix: net.prefix_len() });
    let v6 = lease.v6.map(|net| Cidr { address: net.addr().into(), prefix: net.prefix_len() });
    EndpointPlan {
        interface: lease.interface.clone(),
        port: port_name(lease),
        bridge: anchor::bridge(network),
        mac: lease.mac.0,
        addresses: v4.into_iter().chain(v6).collect(),
        default_routes: default_routes.to_vec(),
        mtu: anchor::mtu(network),
        isolated: network.isolate_containers,
    }
}

/// The name in G of a container's veth: of this stay there, for a container that starts again may be
/// there before what it was has cleared up.
fn port_name(lease: &Lease) -> String {
    format!("v{:.12}", lease.endpoint_id)
}

/// The gateways that the default routes of a container on these networks lead to, at most one of
/// each family: docker's choice is the highest priority, then the first name, internal ones never.
fn default_gateways<'a>(all: &[(&'a Network, &'a Lease)]) -> Vec<(&'a Lease, IpAddr)> {
    let mut outward: Vec<&(&Network, &Lease)> = all.iter().filter(|(network, _)| !network.internal).collect();
    outward.sort_by_key(|(network, lease)| (-lease.gateway_priority, network.name.clone()));
    let v4 = outward.iter().find_map(|(_, lease)| Some((*lease, IpAddr::V4(lease.gateway4?))));
    let v6 = outward.iter().find_map(|(_, lease)| Some((*lease, IpAddr::V6(lease.gateway6?))));
    v4.into_iter().chain(v6).collect()
}

fn default_routes_by(lease: &Lease, all: &[(&Network, &Lease)]) -> Vec<IpAddr> {
    let gateways = default_gateways(all).into_iter();
    gateways.filter(|(other, _)| other.network_id == lease.network_id).map(|(_, gateway)| gateway).collect()
}
