//! A network of the store as its namespace G is laid out.

use std::net::IpAddr;

use crate::net::Cidr;
use crate::net::gateway::GatewayPlan;
use crate::net::relay::RelayPlan;
use crate::spec::network::{Network, Subnet};

/// Where transparent sockets listen in G; nothing else is there.
const RELAY_PORT: u16 = 1;

/// What to make in G.
pub fn gateway_plan(network: &Network) -> GatewayPlan {
    let addresses = gateways(network);
    GatewayPlan {
        bridge: bridge(network),
        mac: bridge_mac(network),
        addresses,
        mtu: mtu(network),
        relay_port: RELAY_PORT,
        internal: network.internal,
    }
}

/// What its relay is to know.
pub fn relay_plan(network: &Network) -> RelayPlan {
    let subnets = network.subnets.iter();
    RelayPlan {
        bridge: bridge(network),
        gateways: network.subnets.iter().map(|subnet| subnet.gateway).collect(),
        subnets: subnets
            .map(|subnet| Cidr { address: subnet.subnet.network(), prefix: subnet.subnet.prefix_len() })
            .collect(),
        port: RELAY_PORT,
        internal: network.internal,
    }
}

fn gateways(network: &Network) -> Vec<Cidr> {
    let cidr = |subnet: &Subnet| Cidr { address: subnet.gateway, prefix: subnet.subnet.prefix_len() };
    network.subnets.iter().map(cidr).collect()
}

/// The bridge's name in G.
pub fn bridge(network: &Network) -> String {
    format!("br-{}", network.short_id())
}

/// Bytes a packet of the network may have: as many as fit one, unless less was asked for.
pub fn mtu(network: &Network) -> u32 {
    const LARGEST: u32 = 65_520;
    network.mtu.unwrap_or(LARGEST)
}

/// As docker makes containers' from their addresses.
fn bridge_mac(network: &Network) -> [u8; 6] {
    match network.v4().map(|subnet| subnet.gateway) {
        Some(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            [0x02, 0x42, a, b, c, d]
        }
        _ => [0x02, 0x42, 0, 0, 0, 1],
    }
}
