//! The relay's own sockets in the network's namespace, opened once at the start.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use nix::libc;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, ipproto, listen, sendto, socket_with};

use super::{RelayPlan, packet::Syn};
use crate::net::inner::{Kind, open};
use crate::sys::net_relay::{
    Instruction, only_echo_requests_v4, only_echo_requests_v6, packet_socket, raw_socket, send_packet, set_option,
};

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

/// Places of the sockets; those for IPv6 follow those for IPv4.
pub(crate) const REQUESTS: u32 = 0;
pub(crate) const LISTENER: u32 = 2;
pub(crate) const DATAGRAMS: u32 = 4;
pub(crate) const ECHOES: u32 = 6;
pub(crate) const PLACES: usize = 8;

/// Accepts IPv4 TCP segments to this host with SYN and without ACK, RST or FIN, unfragmented.
const REQUESTS_V4: &[Instruction] = &[
    (0x28, 0, 0, 0xffff_f004), // ldh type of packet (SKF_AD_PKTTYPE)
    (0x15, 0, 8, 0),           // to this host
    (0x30, 0, 0, 9),           // ldb protocol
    (0x15, 0, 6, 6),           // TCP
    (0x28, 0, 0, 6),           // ldh fragment
    (0x45, 4, 0, 0x3fff),      // none
    (0xb1, 0, 0, 0),           // ldx header length
    (0x50, 0, 0, 13),          // ldb flags
    (0x54, 0, 0, 0x17),        // and FIN, SYN, RST, ACK
    (0x15, 1, 0, 0x02),        // SYN
    (0x06, 0, 0, 0),           // ret nothing
    (0x06, 0, 0, 0xffff),      // ret the packet
];

/// The same for IPv6 without extension headers.
const REQUESTS_V6: &[Instruction] = &[
    (0x28, 0, 0, 0xffff_f004),
    (0x15, 0, 5, 0),
    (0x30, 0, 0, 6), // ldb next header
    (0x15, 0, 3, 6),
    (0x30, 0, 0, 53), // ldb flags
    (0x54, 0, 0, 0x17),
    (0x15, 1, 0, 0x02),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xffff),
];

/// The sockets that [`open_inner`] opens.
pub struct InnerSockets {
    /// By place; a family that the kernel lacks has none.
    pub(crate) sockets: [Option<OwnedFd>; PLACES],
    /// For whole packets to containers: IPv4, IPv6.
    raw: [Option<OwnedFd>; 2],
    loopback: u32,
}

/// Opens the relay's sockets. Called by the thread that is in the network's namespace, once its
/// interfaces are there, with CAP_NET_RAW and CAP_NET_ADMIN over it.
///
/// # Errors
/// When the bridge is missing or the kernel refuses a socket.
pub fn open_inner(plan: &RelayPlan) -> io::Result<InnerSockets> {
    // Answers of outside servers leave from their own ports, which may be low ones. The namespace
    // is the relay's alone, so nobody else gains by this.
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
    let bridge = index(&plan.bridge)?;
    let mut sockets = [const { None }; PLACES];
    sockets[0] = Some(packet_socket(ETH_P_IP, bridge, REQUESTS_V4)?);
    sockets[2] = Some(listener(Ipv4Addr::UNSPECIFIED.into(), plan.port)?);
    sockets[4] = Some(datagrams(Ipv4Addr::UNSPECIFIED.into(), plan.port)?);
    let echoes = raw_socket(AddressFamily::INET, ipproto::ICMP)?;
    only_echo_requests_v4(echoes.as_fd())?;
    sockets[6] = Some(echoes);
    let mut raw = [Some(raw_socket(AddressFamily::INET, ipproto::RAW)?), None];
    if let Some(raw_v6) = available(raw_socket(AddressFamily::INET6, ipproto::RAW))? {
        raw[1] = Some(raw_v6);
        sockets[1] = Some(packet_socket(ETH_P_IPV6, bridge, REQUESTS_V6)?);
        sockets[3] = Some(listener(Ipv6Addr::UNSPECIFIED.into(), plan.port)?);
        sockets[5] = Some(datagrams(Ipv6Addr::UNSPECIFIED.into(), plan.port)?);
        let echoes = raw_socket(AddressFamily::INET6, ipproto::ICMPV6)?;
        only_echo_requests_v6(echoes.as_fd())?;
        set_option(echoes.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        sockets[7] = Some(echoes);
    }
    Ok(InnerSockets { sockets, raw, loopback: index("lo")? })
}

fn index(interface: &str) -> io::Result<u32> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    name_to_index(&socket, interface)
        .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("interface {interface}: {error}")))
}

/// None when the kernel knows no such family.
fn available(socket: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match socket {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => Ok(None),
        other => other.map(Some),
    }
}

/// The socket to which connections for any address are handed.
fn listener(address: IpAddr, port: u16) -> io::Result<OwnedFd> {
    let socket = open(Kind::tcp(address.is_ipv6()))?;
    bind(&socket, &SocketAddr::new(address, port))?;
    listen(&socket, 4096)?;
    Ok(socket)
}

/// The socket to which datagrams for any address are handed.
fn datagrams(address: IpAddr, port: u16) -> io::Result<OwnedFd> {
    let socket = open(Kind::udp(address.is_ipv6()))?;
    if address.is_ipv6() {
        set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVORIGDSTADDR, 1)?;
    } else {
        set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR, 1)?;
    }
    bind(&socket, &SocketAddr::new(address, port))?;
    Ok(socket)
}

impl InnerSockets {
    /// The socket at a place, if the kernel knows its family.
    pub(crate) fn get(&self, place: u32) -> Option<&OwnedFd> {
        self.sockets.get(place as usize)?.as_ref()
    }

    /// Lets a held-back connection request go on to the listener.
    pub(crate) fn inject(&self, syn: &Syn) -> io::Result<()> {
        let v6 = syn.source.is_ipv6();
        let socket =
            self.get(REQUESTS + u32::from(v6)).ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
        send_packet(socket.as_fd(), self.loopback, if v6 { ETH_P_IPV6 } else { ETH_P_IP }, &syn.packet)
    }

    /// Sends a whole packet to a container. One that is lost was lost on the way.
    pub(crate) fn send(&self, packet: &[u8], to: IpAddr) {
        if let Some(socket) = self.raw[usize::from(to.is_ipv6())].as_ref() {
            let _ = sendto(socket, packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &SocketAddr::new(to, 0));
        }
    }
}
