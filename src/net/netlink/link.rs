//! Requests about network interfaces.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoBridgePort, InfoData, InfoKind,
    InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rustix::io::Errno;

use super::error::KernelFeature;
use super::socket::Batch;

/// A request about the interface with number `index`, or 0: named by its attributes.
fn message(index: u32, up: bool, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    if up {
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
    }
    message.attributes = attributes;
    message
}

/// Brings an interface up.
pub fn set_up(batch: &mut Batch, index: u32, name: &str) {
    let request = RouteNetlinkMessage::SetLink(message(index, true, Vec::new()));
    batch.push(format!("bring {name} up"), 0, request);
}

/// Creates a bridge that forwards at once and treats multicast like broadcast, and brings it up.
pub fn add_bridge(batch: &mut Batch, name: &str, mac: [u8; 6], mtu: u32) {
    // Spanning trees would delay each port; snooping would want a querier on every network.
    let options = vec![
        InfoBridge::StpState(BridgeStpState::Disabled),
        InfoBridge::ForwardDelay(0),
        InfoBridge::MulticastSnooping(false),
    ];
    let attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.to_vec()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(InfoData::Bridge(options))]),
    ];
    let request = RouteNetlinkMessage::NewLink(message(0, true, attributes));
    batch.push(format!("create bridge {name}"), NLM_F_CREATE | NLM_F_EXCL, request).needs(KernelFeature::Bridge);
}

/// A pair of interfaces: one is a port of a bridge here, the other is made in another namespace.
pub struct Veth<'a> {
    /// The name of the port, and the number of the bridge.
    pub port: &'a str,
    pub bridge: u32,
    /// The other end.
    pub interface: &'a str,
    pub namespace: BorrowedFd<'a>,
    pub mac: [u8; 6],
    pub mtu: u32,
}

/// Creates the pair; the port is up, the other end is not yet.
pub fn add_veth(batch: &mut Batch, veth: &Veth<'_>) {
    // One queue: the default is one a processor, each of which costs a directory in sysfs.
    let end = |name: &str| {
        vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Mtu(veth.mtu),
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
        ]
    };
    let mut peer = end(veth.interface);
    peer.push(LinkAttribute::Address(veth.mac.to_vec()));
    peer.push(LinkAttribute::NetNsFd(veth.namespace.as_raw_fd()));
    let peer = InfoVeth::Peer(message(0, false, peer));
    let mut attributes = end(veth.port);
    attributes.push(LinkAttribute::Controller(veth.bridge));
    attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(peer))]));
    let name = format!("create the veth pair {} and {}", veth.port, veth.interface);
    let request = RouteNetlinkMessage::NewLink(message(0, true, attributes));
    batch.push(name, NLM_F_CREATE | NLM_F_EXCL, request).needs(KernelFeature::Veth);
}

/// Keeps a port from talking to the other isolated ports of its bridge.
pub fn isolate_port(batch: &mut Batch, port: &str) {
    let attributes = vec![
        LinkAttribute::IfName(port.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(true)])),
        ]),
    ];
    let request = RouteNetlinkMessage::NewLink(message(0, false, attributes));
    batch.push(format!("isolate bridge port {port}"), 0, request);
}

/// Keeps the kernel from giving an interface a link-local address, which would not be usable before it is known to
/// be unique. To be sent before the interface is up.
pub fn without_link_local(batch: &mut Batch, index: u32, name: &str) {
    let mode = vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)])];
    let request = message(index, false, vec![LinkAttribute::AfSpecUnspec(mode)]);
    batch.push(format!("configure IPv6 on {name}"), 0, RouteNetlinkMessage::SetLink(request));
    // A kernel without IPv6 gives no such address either.
    batch.excuse(&[Errno::AFNOSUPPORT]);
}

/// Removes an interface (with its other end); absent is as good.
pub fn delete_link(batch: &mut Batch, name: &str) {
    let request = message(0, false, vec![LinkAttribute::IfName(name.to_owned())]);
    batch.push(format!("remove interface {name}"), 0, RouteNetlinkMessage::DelLink(request)).excuse(&[Errno::NODEV]);
}
