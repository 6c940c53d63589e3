//! Requests about addresses, routes, routing rules and neighbours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use super::error::{KernelFeature, NetError};
use super::socket::{Batch, Socket};
use crate::net::Cidr;

/// The number of `lo` in every namespace.
const LOOPBACK: u32 = 1;

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// Gives an interface an address, usable at once, and the route to its subnet.
pub fn add_address(batch: &mut Batch, index: u32, name: &str, address: Cidr) {
    let mut message = AddressMessage::default();
    message.header.family = family(address.address);
    message.header.prefix_len = address.prefix;
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(address.address), AddressAttribute::Address(address.address)];
    if let Some(broadcast) = address.broadcast() {
        message.attributes.push(AddressAttribute::Broadcast(broadcast));
    }
    if let IpAddr::V6(v6) = address.address {
        // Leases make addresses unique; detection would keep the address unusable for a second.
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        message.header.scope = if v6.is_unicast_link_local() { AddressScope::Link } else { AddressScope::Universe };
    }
    let request = RouteNetlinkMessage::NewAddress(message);
    batch.push(format!("give {name} the address {address}"), NLM_F_CREATE | NLM_F_EXCL, request);
    if address.address.is_ipv6() {
        batch.needs(KernelFeature::Ipv6);
    }
}

/// A route in the main table.
fn default_route(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message
}

/// Makes `gateway` the way to everywhere, in place of what was. The interface may be left to the kernel, which finds
/// it by the subnet that the gateway lies in.
pub fn replace_default_route(batch: &mut Batch, gateway: IpAddr, interface: Option<u32>) {
    let mut message = default_route(family(gateway));
    message.attributes = vec![RouteAttribute::Gateway(RouteAddress::from(gateway))];
    message.attributes.extend(interface.map(RouteAttribute::Oif));
    let request = RouteNetlinkMessage::NewRoute(message);
    batch.push(format!("make {gateway} the default route"), NLM_F_CREATE | NLM_F_REPLACE, request);
}

/// Removes the default route of one address family; absent is as good.
pub fn delete_default_route(batch: &mut Batch, v6: bool) {
    let mut message = default_route(if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet });
    // Whatever made it.
    message.header.protocol = RouteProtocol::Unspec;
    message.header.scope = RouteScope::NoWhere;
    message.header.kind = RouteType::Unspec;
    batch.push("remove the default route", 0, RouteNetlinkMessage::DelRoute(message));
    // No such route, no table, no such family in this kernel.
    batch.excuse(&[Errno::SRCH, Errno::NOENT, Errno::OPNOTSUPP, Errno::AFNOSUPPORT]);
}

/// A route in `table` that delivers packets to every address here.
pub fn local_default_route(batch: &mut Batch, table: u8, v6: bool) {
    let mut message = default_route(if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet });
    message.header.table = table;
    message.header.scope = RouteScope::Host;
    message.header.kind = RouteType::Local;
    message.attributes = vec![RouteAttribute::Oif(LOOPBACK)];
    batch.push("add the local default route", NLM_F_CREATE | NLM_F_REPLACE, RouteNetlinkMessage::NewRoute(message));
}

/// Has packets that carry `mark` routed by `table`.
pub fn add_mark_rule(batch: &mut Batch, mark: u32, table: u8, v6: bool) {
    let mut message = RuleMessage::default();
    message.header.family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.table = table;
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![RuleAttribute::FwMark(mark), RuleAttribute::Priority(table.into())];
    batch.push("add the routing rule", NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewRule(message));
    batch.needs(KernelFeature::PolicyRouting);
}

/// Says which hardware address has an address, so that what was known of its last owner is forgotten. The entry
/// ages like one that was learnt.
pub fn add_neighbour(batch: &mut Batch, index: u32, address: IpAddr, mac: [u8; 6]) {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index;
    message.header.state = NeighbourState::Reachable;
    message.header.kind = RouteType::Unicast;
    let destination = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes =
        vec![NeighbourAttribute::Destination(destination), NeighbourAttribute::LinkLayerAddress(mac.to_vec())];
    let request = RouteNetlinkMessage::NewNeighbour(message);
    batch.push(format!("enter the neighbour {address}"), NLM_F_CREATE | NLM_F_REPLACE, request);
}

/// Whether packets to `address` are delivered here. For an IPv6 address that was just added, the kernel sees to that,
/// and to hearing those who ask for it, some time later.
pub fn is_local(socket: &mut Socket, address: IpAddr) -> Result<bool, NetError> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(address);
    message.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
    message.attributes = vec![RouteAttribute::Destination(RouteAddress::from(address))];
    let answer = socket.ask("look up the route to an address", RouteNetlinkMessage::GetRoute(message));
    let is_local = |message: &RouteNetlinkMessage| match message {
        RouteNetlinkMessage::NewRoute(route) => route.header.kind == RouteType::Local,
        _ => false,
    };
    match answer {
        Ok(routes) => Ok(routes.iter().any(is_local)),
        Err(error) if matches!(error.errno(), Some(Errno::NETUNREACH | Errno::HOSTUNREACH)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// All addresses of the namespace with the lengths of their prefixes.
pub fn dump_addresses(socket: &mut Socket) -> Result<Vec<Cidr>, NetError> {
    let request = || RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let messages = socket.dump("list the addresses of this namespace", request)?;
    Ok(messages.into_iter().filter_map(address_of).collect())
}

fn address_of(message: RouteNetlinkMessage) -> Option<Cidr> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    // On a point-to-point interface IFA_ADDRESS is the other side, whose subnet it is.
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    })?;
    Some(Cidr { address, prefix: message.header.prefix_len })
}

/// The destinations of all routes of the namespace, in whatever table, that lead out of it.
pub fn dump_routes(socket: &mut Socket) -> Result<Vec<Cidr>, NetError> {
    let request = || RouteNetlinkMessage::GetRoute(RouteMessage::default());
    let messages = socket.dump("list the routes of this namespace", request)?;
    Ok(messages.into_iter().filter_map(destination_of).collect())
}

fn destination_of(message: RouteNetlinkMessage) -> Option<Cidr> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let leads_away = matches!(
        message.header.kind,
        RouteType::Unicast | RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit
    );
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    let unspecified = || match message.header.address_family {
        AddressFamily::Inet => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        AddressFamily::Inet6 => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        _ => None,
    };
    let address = destination.or_else(unspecified)?;
    leads_away.then_some(Cidr { address, prefix: message.header.destination_prefix_length })
}
