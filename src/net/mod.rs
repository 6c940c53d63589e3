//! Networking: namespaces wired by netlink, the relay that joins them to the host, and name service.

use std::net::IpAddr;

pub mod inner;
pub mod relay;

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The address itself, host bits included.
    pub address: IpAddr,
    /// Bits of the network part.
    pub prefix: u8,
}
