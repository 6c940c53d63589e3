//! The ruleset of a gateway: what containers send goes to the relay's sockets or nowhere.
//!
//! Connections are held back: the packet that opens one is dropped here, the relay sees a copy of it on a packet
//! socket and puts it back, on the loopback interface, when the outer connection stands.

use std::net::IpAddr;

use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{HookNumber, InetHookNumber};

use super::TABLE;
use super::message::{Entry, Transaction};
use super::rule::{ICMP, ICMPV6, Rule, TCP, UDP};
use crate::net::gateway::{GatewayPlan, MARK};
use crate::net::netlink::{NetError, Socket};

const CHAIN: &str = "prerouting";
/// NF_IP_PRI_MANGLE: after defragmentation, before anything else.
const PRIORITY: i32 = -150;
const DNS: u16 = 53;

/// ICMP: echo requests, which the relay's raw sockets take, and the errors about connections whose other end is a
/// transparent socket: destination unreachable, time exceeded, parameter problem.
const ICMP_TYPES: [u8; 4] = [8, 3, 11, 12];
/// The same for ICMPv6, with packet too big.
const ICMPV6_TYPES: [u8; 5] = [128, 1, 2, 3, 4];
/// Neighbour solicitation and advertisement.
const NEIGHBOUR_DISCOVERY: [u8; 2] = [135, 136];

/// Installs the rules for a bridge in a namespace that has none yet.
pub fn gateway_ruleset(socket: &mut Socket, plan: &GatewayPlan) -> Result<(), NetError> {
    let mut transaction = Transaction::new(NetfilterProtoFamily::Inet, TABLE);
    transaction.add_table();
    let hook = HookNumber::Inet(InetHookNumber::PreRouting);
    transaction.add_chain(CHAIN, &Entry { hook, priority: PRIORITY, device: None, drop: false });
    for rule in rules(plan) {
        transaction.add_rule(CHAIN, rule);
    }
    transaction.commit(socket)
}

fn rules(plan: &GatewayPlan) -> Vec<Rule> {
    let gateways: Vec<IpAddr> = plan.addresses.iter().map(|cidr| cidr.address).collect();
    let mut rules = Vec::new();
    if !plan.internal {
        let held_back = Rule::new().via_loopback().protocol(TCP).tcp_syn();
        rules.push(relayed(held_back, plan.relay_port));
    }
    rules.push(Rule::new().not_via(&plan.bridge).accept());
    // The port first: few packets go on to the rest of the rule.
    rules.extend(
        gateways
            .iter()
            .map(|gateway| Rule::new().destination_port(DNS).family_of(*gateway).destination(*gateway).accept()),
    );
    rules.push(Rule::new().protocol(TCP).tcp_syn().drop());
    if plan.internal {
        rules.push(Rule::new().protocol(UDP).destination_port(plan.relay_port).drop());
        rules.extend(gateways.iter().map(|gateway| Rule::new().family_of(*gateway).destination(*gateway).accept()));
    } else {
        rules.push(relayed(Rule::new().protocol(TCP), plan.relay_port));
        let datagram = || Rule::new().protocol(UDP);
        rules.push(datagram().not_unicast().drop());
        rules.extend([false, true].map(|v6| datagram().multicast(v6).drop()));
        rules.push(relayed(datagram(), plan.relay_port));
        rules.extend(ICMP_TYPES.map(|kind| Rule::new().protocol(ICMP).icmp_type(kind).mark_with(MARK).accept()));
        rules.extend(ICMPV6_TYPES.map(|kind| Rule::new().protocol(ICMPV6).icmp_type(kind).mark_with(MARK).accept()));
    }
    rules.extend(NEIGHBOUR_DISCOVERY.map(|kind| Rule::new().protocol(ICMPV6).icmp_type(kind).accept()));
    rules.push(Rule::new().drop());
    rules
}

/// Gives what matches to the relay's sockets and has it routed to them.
fn relayed(rule: Rule, port: u16) -> Rule {
    rule.tproxy(port).mark_with(MARK).accept()
}
