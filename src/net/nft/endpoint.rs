//! The chain of an endpoint: a container sends from its own addresses only, and neither routes nor leases.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{DevHookNumber, HookNumber};
use rustix::io::Errno;

use super::TABLE;
use super::message::{Entry, Transaction};
use super::rule::{ETHER_ARP, ETHER_IPV4, ETHER_IPV6, ICMPV6, Rule, TCP, UDP};
use crate::net::link_local;
use crate::net::netlink::{NetError, Socket};

/// NF_IP_PRI_FILTER; there is no other chain on the port.
const PRIORITY: i32 = 0;
/// Ports that DHCP servers send from, for IPv4 and IPv6.
const DHCP_SERVER: u16 = 67;
const DHCPV6_SERVER: u16 = 547;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

/// Puts a chain that is named like the port on it: only frames from `mac` and `addresses` pass. One that an earlier
/// port of that name left behind is replaced.
pub fn add_chain(socket: &mut Socket, port: &str, mac: [u8; 6], addresses: &[IpAddr]) -> Result<(), NetError> {
    match chain(port, mac, addresses).commit(socket) {
        // Since Linux 6.16 chains outlive their interface and take its successor.
        Err(error) if error.errno() == Some(Errno::EXIST) => {
            delete_chain(socket, port)?;
            chain(port, mac, addresses).commit(socket)
        }
        result => result,
    }
}

/// Removes the chain; absent is as good.
pub fn delete_chain(socket: &mut Socket, port: &str) -> Result<(), NetError> {
    let mut transaction = Transaction::new(NetfilterProtoFamily::NetDev, TABLE);
    transaction.delete_chain(port);
    transaction.commit(socket)
}

fn chain(port: &str, mac: [u8; 6], addresses: &[IpAddr]) -> Transaction {
    let mut transaction = Transaction::new(NetfilterProtoFamily::NetDev, TABLE);
    transaction.add_table();
    let hook = HookNumber::Dev(DevHookNumber::Ingress);
    transaction.add_chain(port, &Entry { hook, priority: PRIORITY, device: Some(port), drop: true });
    for rule in rules(mac, addresses) {
        transaction.add_rule(port, rule);
    }
    transaction
}

fn rules(mac: [u8; 6], addresses: &[IpAddr]) -> Vec<Rule> {
    let v4: Vec<Ipv4Addr> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
        .collect();
    let v6: Vec<Ipv6Addr> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(*address),
        })
        .collect();
    let mut rules = vec![Rule::new().not_from_mac(mac).drop()];
    rules.extend(v4_rules(mac, &v4));
    if !v6.is_empty() {
        rules.extend(v6_rules(mac, &v6));
    }
    rules
}

fn v4_rules(mac: [u8; 6], addresses: &[Ipv4Addr]) -> Vec<Rule> {
    if addresses.is_empty() {
        return Vec::new();
    }
    let packet = || Rule::new().ether_type(ETHER_IPV4);
    let message = || Rule::new().ether_type(ETHER_ARP);
    let mut rules = vec![packet().protocol(UDP).source_port(DHCP_SERVER).drop()];
    rules.extend(addresses.iter().map(|address| packet().source((*address).into()).accept()));
    // A probe for duplicates names no sender (RFC 5227).
    let senders = addresses.iter().copied().chain([Ipv4Addr::UNSPECIFIED]);
    rules.extend(senders.map(|sender| message().arp_sender(mac, sender).accept()));
    rules
}

fn v6_rules(mac: [u8; 6], addresses: &[Ipv6Addr]) -> Vec<Rule> {
    let own = || addresses.iter().copied().chain([link_local(mac)]);
    let packet = || Rule::new().ether_type(ETHER_IPV6);
    let message = |kind| packet().protocol(ICMPV6).icmp_type(kind);
    // What most packets are, first.
    let mut rules: Vec<Rule> = own().map(|sender| packet().protocol(TCP).source(sender.into()).accept()).collect();
    rules.push(packet().protocol(UDP).source_port(DHCPV6_SERVER).drop());
    rules.push(message(ROUTER_ADVERTISEMENT).drop());
    rules.push(message(REDIRECT).drop());
    // Only about its own addresses.
    rules.push(own().fold(message(NEIGHBOUR_ADVERTISEMENT), Rule::not_about).drop());
    rules.extend(own().map(|sender| packet().source(sender.into()).accept()));
    // Whoever asks whether an address is free does not use it yet.
    rules.push(message(NEIGHBOUR_SOLICITATION).source(Ipv6Addr::UNSPECIFIED.into()).accept());
    rules
}
