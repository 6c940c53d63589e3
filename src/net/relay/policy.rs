//! Where a container may connect: the one place that decides it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Cidr, RelayPlan};

/// What becomes of a flow to some destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The relay connects to this address in the host's namespace.
    Connect(SocketAddr),
    /// There is no way there: answered as an unreachable network.
    Unreachable,
    /// The gateway's own name service, which the kernel hands to its sockets.
    Local,
    /// Nobody answers: broadcast and multicast.
    Ignore,
}

/// Decides on a flow to `destination`, as the container wrote it. `host_loopback` tells whether
/// this container may reach the host's loopback by the gateway address; `primary` finds the host's
/// own main address of a family (true: IPv6) at this moment.
pub(crate) fn decide(
    plan: &RelayPlan,
    destination: SocketAddr,
    host_loopback: bool,
    primary: impl FnOnce(bool) -> Option<IpAddr>,
) -> Verdict {
    let (address, port) = (destination.ip(), destination.port());
    if is_group(address) {
        return Verdict::Ignore;
    }
    if plan.gateways.contains(&address) {
        return match port {
            53 => Verdict::Local,
            _ if plan.internal => Verdict::Unreachable,
            _ => host(address.is_ipv6(), port, host_loopback, primary),
        };
    }
    let own = plan.subnets.iter().any(|subnet| contains(subnet, address));
    if plan.internal || port == 0 || own || is_refused(address) {
        return Verdict::Unreachable;
    }
    Verdict::Connect(destination)
}

/// The gateway address stands for the host.
fn host(v6: bool, port: u16, loopback: bool, primary: impl FnOnce(bool) -> Option<IpAddr>) -> Verdict {
    let address = match (loopback, v6) {
        (true, true) => Some(Ipv6Addr::LOCALHOST.into()),
        (true, false) => Some(Ipv4Addr::LOCALHOST.into()),
        (false, _) => primary(v6).filter(|address| !is_refused(*address) && !is_group(*address)),
    };
    address.map_or(Verdict::Unreachable, |address| Verdict::Connect(SocketAddr::new(address, port)))
}

/// Broadcast and multicast.
fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_broadcast() || address.is_multicast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// Addresses that mean the host itself or only make sense on one link: the host's loopback under
/// every spelling, `this network`, and IPv6 link-local addresses.
fn is_refused(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 127 || address.octets()[0] == 0,
        IpAddr::V6(address) => {
            let segments = address.segments();
            // ::/96 holds ::, ::1 and the v4-compatible addresses, ::ffff:0:0/96 the v4-mapped ones.
            let embedded = segments[..5] == [0; 5] && (segments[5] == 0 || segments[5] == 0xffff);
            embedded || segments[0] & 0xffc0 == 0xfe80
        }
    }
}

/// Whether an address lies in a subnet.
pub(crate) fn contains(subnet: &Cidr, address: IpAddr) -> bool {
    match (subnet.address, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let shift = 32u32.saturating_sub(subnet.prefix.into());
            shift >= 32 || u32::from(network) >> shift == u32::from(address) >> shift
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let shift = 128u32.saturating_sub(subnet.prefix.into());
            shift >= 128 || u128::from(network) >> shift == u128::from(address) >> shift
        }
        _ => false,
    }
}

/// The address under which a client of a published port appears inside: its own and true one, or
/// the gateway's for clients that could not be answered there (loopback, the network's own
/// addresses, the other family). None when the network has no address of the container's family.
pub(crate) fn appearance(plan: &RelayPlan, client: SocketAddr, v6: bool) -> Option<SocketAddr> {
    let address = client.ip();
    let own = plan.subnets.iter().any(|subnet| contains(subnet, address));
    if address.is_ipv6() == v6 && !own && !is_refused(address) && !is_group(address) && client.port() != 0 {
        return Some(client);
    }
    let gateway = plan.gateways.iter().find(|gateway| gateway.is_ipv6() == v6)?;
    Some(SocketAddr::new(*gateway, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(internal: bool) -> RelayPlan {
        RelayPlan {
            bridge: "br-0".into(),
            gateways: vec!["10.0.42.1".parse().unwrap(), "fd42::1".parse().unwrap()],
            subnets: vec![
                Cidr { address: "10.0.42.0".parse().unwrap(), prefix: 24 },
                Cidr { address: "fd42::".parse().unwrap(), prefix: 64 },
            ],
            port: 1,
            internal,
        }
    }

    fn verdict(destination: &str, loopback: bool) -> Verdict {
        let primary = |v6| Some(if v6 { "2001:db8::7".parse().unwrap() } else { "192.0.2.7".parse().unwrap() });
        decide(&plan(false), destination.parse().unwrap(), loopback, primary)
    }

    #[test]
    fn every_spelling_of_the_hosts_loopback_is_refused() {
        for destination in [
            "127.0.0.1:80",
            "127.255.1.2:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "[::1]:80",
            "[::]:80",
            "[::127.0.0.1]:80",
            "[::ffff:127.0.0.1]:80",
            "[::ffff:10.1.1.1]:80",
            "[fe80::1]:80",
            "[febf::1]:80",
            "192.0.2.1:0",
        ] {
            assert_eq!(verdict(destination, true), Verdict::Unreachable, "{destination}");
            assert_eq!(verdict(destination, false), Verdict::Unreachable, "{destination}");
        }
    }

    #[test]
    fn the_gateway_is_the_host() {
        let connect = |address: &str| Verdict::Connect(address.parse().unwrap());
        assert_eq!(verdict("10.0.42.1:80", true), connect("127.0.0.1:80"));
        assert_eq!(verdict("[fd42::1]:80", true), connect("[::1]:80"));
        assert_eq!(verdict("10.0.42.1:80", false), connect("192.0.2.7:80"));
        assert_eq!(verdict("[fd42::1]:80", false), connect("[2001:db8::7]:80"));
        assert_eq!(verdict("10.0.42.1:53", true), Verdict::Local);
        let destination = "10.0.42.1:80".parse().unwrap();
        assert_eq!(decide(&plan(false), destination, false, |_| None), Verdict::Unreachable);
        let loopback = |_| Some(Ipv4Addr::LOCALHOST.into());
        assert_eq!(decide(&plan(false), destination, false, loopback), Verdict::Unreachable);
    }

    #[test]
    fn groups_and_neighbours_are_not_relayed() {
        assert_eq!(verdict("224.0.0.251:5353", true), Verdict::Ignore);
        assert_eq!(verdict("255.255.255.255:67", true), Verdict::Ignore);
        assert_eq!(verdict("[ff02::fb]:5353", true), Verdict::Ignore);
        assert_eq!(verdict("10.0.42.77:80", true), Verdict::Unreachable);
        assert_eq!(verdict("[fd42::77]:80", true), Verdict::Unreachable);
        assert_eq!(verdict("198.51.100.1:80", false), Verdict::Connect("198.51.100.1:80".parse().unwrap()));
    }

    #[test]
    fn internal_networks_reach_only_the_name_service() {
        let decide = |destination: &str| decide(&plan(true), destination.parse().unwrap(), true, |_| None);
        assert_eq!(decide("10.0.42.1:53"), Verdict::Local);
        assert_eq!(decide("10.0.42.1:80"), Verdict::Unreachable);
        assert_eq!(decide("198.51.100.1:80"), Verdict::Unreachable);
    }

    #[test]
    fn clients_appear_as_themselves_unless_that_cannot_be_answered() {
        let seen = |client: &str, v6| appearance(&plan(false), client.parse().unwrap(), v6).unwrap().to_string();
        assert_eq!(seen("198.51.100.9:4000", false), "198.51.100.9:4000");
        assert_eq!(seen("[2001:db8::9]:4000", true), "[2001:db8::9]:4000");
        for client in ["127.0.0.1:4000", "10.0.42.9:4000", "[::1]:4000", "[2001:db8::9]:4000", "198.51.100.9:0"] {
            assert_eq!(seen(client, false), "10.0.42.1:0", "{client}");
        }
        assert_eq!(seen("[::1]:4000", true), "[fd42::1]:0");
        assert_eq!(seen("198.51.100.9:4000", true), "[fd42::1]:0");
    }

    #[test]
    fn prefixes_of_every_length_are_safe() {
        for prefix in 0..=255 {
            let subnet = Cidr { address: "10.0.0.0".parse().unwrap(), prefix };
            assert_eq!(contains(&subnet, "11.0.0.0".parse().unwrap()), prefix < 8);
            assert!(contains(&subnet, "10.0.0.0".parse().unwrap()));
        }
    }
}
