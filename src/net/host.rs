//! What the host's network namespace uses already.

use std::collections::BTreeSet;
use std::io;

use ipnet::IpNet;

use crate::net::netlink::{Socket, dump_addresses, dump_routes};

/// Routes with a prefix shorter than this many bits lead to "everywhere": the default route, the halves that VPN
/// clients put before it, 2000::/3.
const EVERYWHERE: u8 = 4;

/// The subnets of all addresses and routes of the current network namespace but those that lead everywhere: what a
/// new subnet must not overlap. Sorted, each once; without loopback, link-local and multicast.
pub fn host_subnets() -> io::Result<Vec<IpNet>> {
    let mut socket = Socket::route()?;
    let addresses = dump_addresses(&mut socket)?;
    let routes = dump_routes(&mut socket)?;
    let subnets: BTreeSet<IpNet> = addresses
        .into_iter()
        .chain(routes)
        .filter_map(|cidr| IpNet::new(cidr.address, cidr.prefix).ok())
        .map(|net| net.trunc())
        .filter(is_taken)
        .collect();
    Ok(subnets.into_iter().collect())
}

/// Whether the kernel has IPv6 and it was not switched off at boot. Without it, IPv6 addresses of a plan are an error.
pub fn has_ipv6() -> bool {
    std::path::Path::new("/proc/sys/net/ipv6").exists()
}

fn is_taken(net: &IpNet) -> bool {
    let special = match net {
        IpNet::V4(net) => net.addr().is_loopback() || net.addr().is_link_local() || net.addr().is_multicast(),
        IpNet::V6(net) => net.addr().is_loopback() || net.addr().is_unicast_link_local() || net.addr().is_multicast(),
    };
    net.prefix_len() >= EVERYWHERE && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_subnets_count() {
        for (net, taken) in [
            ("10.0.0.0/8", true),
            ("0.0.0.0/0", false),
            ("128.0.0.0/1", false),
            ("2000::/3", false),
            ("127.0.0.0/8", false),
            ("fe80::/64", false),
            ("ff00::/8", false),
            ("169.254.0.0/16", false),
            ("192.168.1.5/32", true),
            ("fd00:1::/64", true),
        ] {
            assert_eq!(is_taken(&net.parse().unwrap()), taken, "{net}");
        }
    }

    #[test]
    fn the_namespace_of_the_test_can_be_listed() {
        let subnets = host_subnets().unwrap();
        assert!(subnets.iter().all(|net| net.addr() == net.network()), "{subnets:?}");
    }
}
