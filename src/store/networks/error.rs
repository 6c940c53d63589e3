//! Why something can't be done with a network. The texts are docker's where it has them.

use ipnet::IpNet;
use std::net::IpAddr;

use crate::spec::config::ContainerId;
use crate::spec::network::{InvalidNetwork, MacAddress};

/// Why a text names no network.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("network {0} not found")]
    NotFound(String),
    #[error("multiple IDs found with provided prefix: {prefix} ({})", candidates.join(", "))]
    Ambiguous {
        prefix: String,
        /// Names, sorted.
        candidates: Vec<String>,
    },
    /// It exists, and can be removed by [`super::Networks::discard`].
    #[error("network {name} cannot be used: {why}; run 'rbox system check --repair'")]
    Damaged { name: String, why: String },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Why a network was not made. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("network with name {0} already exists")]
    Exists(String),
    #[error("operation is not permitted on predefined {0} network")]
    Predefined(String),
    #[error(transparent)]
    Invalid(#[from] InvalidNetwork),
    #[error("Pool overlaps with other one on this address space: {subnet} with {other} of network {network}")]
    Overlap { subnet: IpNet, other: IpNet, network: String },
    #[error("subnet {subnet} overlaps with {other}, which this machine is on: choose another with --subnet")]
    OverlapsHost { subnet: IpNet, other: IpNet },
    #[error(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network: \
         give one with --subnet"
    )]
    Exhausted,
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Why a network was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("{0} is a pre-defined network and cannot be removed")]
    Predefined(String),
    /// Endpoints are names and ids of running containers.
    #[error("error while removing network: network {network} has active endpoints ({})", shown(endpoints))]
    InUse { network: String, endpoints: Vec<(String, ContainerId)> },
    #[error("network {0} not found")]
    NotFound(String),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Why a container got no address.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("no available {family} addresses on this network's address pools: {network} ({id})")]
    Full { family: &'static str, network: String, id: String },
    #[error("Address already in use: {address} on network {network} is taken by {holder}")]
    AddressInUse { address: IpAddr, network: String, holder: String },
    #[error("invalid address {address}: {why}")]
    InvalidAddress { address: IpAddr, why: String },
    #[error("mac address {mac} is already in use on network {network} by container {holder}")]
    MacInUse { mac: MacAddress, network: String, holder: String },
    #[error("interface name {interface} is already used by the container")]
    InterfaceInUse { interface: String },
    #[error("network {0} not found")]
    NoNetwork(String),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

fn shown(endpoints: &[(String, ContainerId)]) -> String {
    let texts: Vec<String> =
        endpoints.iter().map(|(name, id)| format!("name:{name:?} id:\"{}\"", id.short())).collect();
    texts.join(", ")
}
