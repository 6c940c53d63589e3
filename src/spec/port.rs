//! Published ports.

mod publish;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub(crate) use publish::range as parse_range;
pub use publish::{InvalidPort, parse_all as parse_ports, parse_publish};

use super::config::{ContainerConfig, NetworkMode};

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// One container port to publish, as asked for; ranges are taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// None: every address of both families.
    pub host_ip: Option<IpAddr>,
    pub host_port: HostPort,
    pub container_port: u16,
    pub protocol: Protocol,
}

/// Which port of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostPort {
    /// A free one of the kernel's range for local ports.
    Random,
    Fixed(u16),
    /// The first free one, from the first to the last.
    FirstFree(u16, u16),
}

/// A port that is published now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    pub container_port: u16,
    pub protocol: Protocol,
    pub host_ip: IpAddr,
    pub host_port: u16,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Why a text is not a protocol.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid proto: {0}")]
pub struct InvalidProtocol(String);

impl std::str::FromStr for Protocol {
    type Err = InvalidProtocol;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(InvalidProtocol(super::text::printable(text))),
        }
    }
}

impl ContainerConfig {
    /// What is to be published when the container runs: `-p`, and for `-P` a random port for each exposed one
    /// that has none. Nothing where the container has no network that ports could lead to.
    pub fn published(&self) -> Vec<PortMapping> {
        if !matches!(self.network, NetworkMode::Networks(_) | NetworkMode::Slirp(_) | NetworkMode::Helper(..)) {
            return Vec::new();
        }
        let mut mappings = self.ports.clone();
        if self.publish_all {
            let given: std::collections::HashSet<_> =
                mappings.iter().map(|mapping| (mapping.container_port, mapping.protocol)).collect();
            let missing = self.exposed().filter(|port| !given.contains(port) && port.1 != Protocol::Sctp);
            let random = |(container_port, protocol)| PortMapping {
                host_ip: None,
                host_port: HostPort::Random,
                container_port,
                protocol,
            };
            mappings.extend(missing.map(random));
        }
        mappings
    }

    /// The exposed ports, which include those published by `-p`. What an image says wrong is left out.
    pub fn exposed(&self) -> impl Iterator<Item = (u16, Protocol)> {
        self.exposed_ports.iter().filter_map(|text| {
            let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            Some((port.parse().ok().filter(|port| *port > 0)?, protocol.parse().ok()?))
        })
    }
}
