//! Networking: namespaces, links and packet rules made by netlink messages, the relay that joins a network to the
//! host, and the name server.
//!
//! A network in use is a network namespace, the gateway, with a bridge that holds the network's gateway addresses
//! ([`gateway`]); containers join it by a veth pair ([`endpoint`]). What leaves the network goes through the
//! [`relay`], which has sockets in both namespaces ([`inner`]). Nothing needs more than capabilities over the gateway.

pub mod dns;
pub mod endpoint;
pub mod gateway;
pub mod helper;
pub mod host;
pub mod inner;
pub mod netlink;
pub mod nft;
pub mod relay;
pub mod sysctl;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

pub use netlink::{KernelFeature, NetError};

/// An address together with the length of the prefix of the subnet it lives in (`10.89.0.2/24`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cidr {
    pub address: IpAddr,
    pub prefix: u8,
}

impl Cidr {
    /// The broadcast address of an IPv4 subnet that has one.
    fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) if self.prefix < 31 => {
                let hosts = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                Some(Ipv4Addr::from(u32::from(address) | hosts))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl From<ipnet::IpNet> for Cidr {
    fn from(net: ipnet::IpNet) -> Self {
        Cidr { address: net.addr(), prefix: net.prefix_len() }
    }
}

/// Waits for what the kernel does of its own accord a little later, but not for ever.
fn wait_until(mut done: impl FnMut() -> bool) {
    const PATIENCE: Duration = Duration::from_millis(500);
    const LONGEST_PAUSE: Duration = Duration::from_millis(2);
    let start = Instant::now();
    let mut pause = Duration::from_micros(20);
    while !done() && start.elapsed() < PATIENCE {
        std::thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// The link-local address that belongs to a hardware address (RFC 4291 appendix A, modified EUI-64).
pub fn link_local(mac: [u8; 6]) -> std::net::Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f].into()
}
