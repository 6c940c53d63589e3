//! The gateway of a network: a namespace with a bridge, and rules that give what containers send to the relay.

use std::io;
use std::net::IpAddr;

use crate::net::netlink::{
    Batch, Socket, add_address, add_bridge, add_mark_rule, is_local, local_default_route, set_up,
};
use crate::net::nft::gateway_ruleset;
use crate::net::sysctl::{self, Setting};
use crate::net::{Cidr, NetError, link_local, wait_until};

/// The mark of packets that are for sockets here whatever their destination.
pub const MARK: u32 = 1;
/// The routing table that marked packets use, and the priority of the rule that says so.
pub const TABLE: u8 = 100;
const LOOPBACK: u32 = 1;

/// What a gateway is to be.
#[derive(Clone, Debug)]
pub struct GatewayPlan {
    pub bridge: String,
    pub mac: [u8; 6],
    /// The gateway's address in each subnet of the network.
    pub addresses: Vec<Cidr>,
    pub mtu: u32,
    /// Where the relay's transparent sockets listen, TCP and UDP, IPv4 and IPv6.
    pub relay_port: u16,
    /// Containers reach each other and the gateway's name server, nothing else.
    pub internal: bool,
}

/// What a new namespace may have inherited from the host's that would be in the way.
const SETTINGS: &[Setting<'static>] = &[
    // The larger of "all" and the interface's own counts, and "lo" exists already.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/lo/rp_filter", "0"),
    // With the mark in them, lookups of a packet's source would find the relay's table.
    ("ipv4/conf/all/src_valid_mark", "0"),
    ("ipv4/conf/default/src_valid_mark", "0"),
    ("ipv4/conf/lo/src_valid_mark", "0"),
    ("ipv4/ip_forward", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/log_martians", "0"),
    // The relay answers, also for the gateway itself.
    ("ipv4/icmp_echo_ignore_all", "1"),
    // Or packets between containers would pass the rules for those that leave the network.
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
    ("bridge/bridge-nf-call-arptables", "0"),
];

/// The same for IPv6. Link-local addresses are given by hand: the kernel's own take a second to become usable.
const V6_SETTINGS: &[Setting<'static>] = &[
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/forwarding", "0"),
    ("ipv6/icmp/echo_ignore_all", "1"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/addr_gen_mode", "1"),
];

/// For interfaces to come: a bridge's ports need no addresses.
const V6_OFF: &[Setting<'static>] = &[("ipv6/conf/default/disable_ipv6", "1")];

/// Makes the network namespace of the calling thread, which must be new, a gateway. Needs CAP_NET_ADMIN over it.
///
/// # Errors
/// [`NetError::Missing`] inside the error says which part of the kernel is not there.
pub fn configure(plan: &GatewayPlan) -> io::Result<()> {
    let v6 = plan.addresses.iter().any(|cidr| cidr.address.is_ipv6());
    sysctl::set(SETTINGS)?;
    sysctl::set(if v6 { V6_SETTINGS } else { V6_OFF })?;
    let mut socket = Socket::route()?;
    let mut links = Batch::new();
    set_up(&mut links, LOOPBACK, "lo");
    add_bridge(&mut links, &plan.bridge, plan.mac, plan.mtu);
    socket.run(links)?;
    let index = interface_index(&socket, &plan.bridge)?;
    let mut batch = Batch::new();
    for cidr in &plan.addresses {
        add_address(&mut batch, index, &plan.bridge, *cidr);
    }
    add_delivery(&mut batch, false);
    if v6 {
        let address = IpAddr::V6(link_local(plan.mac));
        add_address(&mut batch, index, &plan.bridge, Cidr { address, prefix: 64 });
        add_delivery(&mut batch, true);
        sysctl::set(V6_OFF)?;
    }
    socket.run(batch)?;
    gateway_ruleset(&mut Socket::netfilter()?, plan)?;
    await_addresses(&mut socket, &plan.addresses);
    Ok(())
}

/// Waits until packets to new addresses are delivered.
pub(super) fn await_addresses(socket: &mut Socket, addresses: &[Cidr]) {
    for cidr in addresses.iter().filter(|cidr| cidr.address.is_ipv6()) {
        wait_until(|| is_local(socket, cidr.address).unwrap_or(true));
    }
}

/// Has marked packets delivered here.
fn add_delivery(batch: &mut Batch, v6: bool) {
    add_mark_rule(batch, MARK, TABLE, v6);
    local_default_route(batch, TABLE, v6);
}

/// The number of an interface in the namespace of `socket`.
pub(super) fn interface_index(socket: &Socket, name: &str) -> Result<u32, NetError> {
    rustix::net::netdevice::name_to_index(socket, name)
        .map_err(|errno| NetError::call(format!("find interface {name}"), errno))
}
