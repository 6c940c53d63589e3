//! What supervisors and an anchor say to each other: JSON packets with descriptors.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::spec::config::ContainerId;
use crate::spec::port::Protocol;

/// From a supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// The first packet: whose connection this is.
    Join(Member),
    /// Ports of the member to publish: one bound socket of the host for each comes along, at most
    /// [`DESCRIPTORS_MAX`](crate::sandbox::channel::DESCRIPTORS_MAX).
    Publish(Vec<Service>),
}

/// A container on the network, for as long as its supervisor is connected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Member {
    pub container: ContainerId,
    /// Tells this stay from an earlier or later one of the same container.
    pub endpoint_id: String,
    pub addresses: Vec<IpAddr>,
    /// May reach the host's loopback services.
    pub host_loopback: bool,
}

/// A port of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub protocol: Protocol,
    pub port: u16,
}

/// From the anchor, once, after it was joined.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The network is up; its namespace comes along.
    Welcome,
    /// It cannot be made.
    Failed {
        text: String,
        /// What this kernel lacks, if that is why.
        missing: Option<String>,
    },
}
