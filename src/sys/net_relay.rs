//! Socket calls of the relay that rustix and nix lack: packet sockets with a filter, plain integer options.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use nix::libc;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

pub(super) fn check(result: libc::c_int) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Sets an integer socket option.
pub fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the kernel reads one int, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    check(result).map(drop)
}

/// Keeps every ICMPv4 message but echo requests from a raw ICMP socket.
pub fn only_echo_requests_v4(socket: BorrowedFd<'_>) -> io::Result<()> {
    const ICMP_FILTER: libc::c_int = 1;
    set_option(socket, libc::SOL_RAW, ICMP_FILTER, !(1 << 8))
}

/// The same for ICMPv6 (RFC 3542 section 3.2: a set bit blocks the type).
pub fn only_echo_requests_v6(socket: BorrowedFd<'_>) -> io::Result<()> {
    const ICMP6_FILTER: libc::c_int = 1;
    let mut blocked = [u32::MAX; 8];
    blocked[128 / 32] &= !(1 << (128 % 32));
    // SAFETY: the kernel reads eight words, which outlive the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_ICMPV6,
            ICMP6_FILTER,
            blocked.as_ptr().cast(),
            size_of::<[u32; 8]>() as libc::socklen_t,
        )
    };
    check(result).map(drop)
}

/// Has writes to closed connections answered by EPIPE, not by a signal.
pub fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN installs no handler, so no code of ours can run at a bad time.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// One instruction of a classic BPF program: code, jump if true, jump if false, operand.
pub type Instruction = (u16, u8, u8, u32);

fn link_address(interface: u32, protocol: u16) -> libc::sockaddr_ll {
    // SAFETY: sockaddr_ll is plain data for which all zeroes is valid.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = interface as libc::c_int;
    address.sll_halen = 6;
    address
}

/// A packet socket without link headers that receives what `filter` accepts of one protocol
/// (an Ethernet type) on one interface. Non-blocking.
pub fn packet_socket(protocol: u16, interface: u32, filter: &[Instruction]) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Protocol 0: nothing is received until the filter is in place and the socket is bound.
    let socket = socket_with(AddressFamily::from_raw(libc::AF_PACKET as u16), SocketType::DGRAM, flags, None)?;
    let mut program: Vec<libc::sock_filter> =
        filter.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let header = libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the header and the program it points at; both outlive the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            ptr::from_ref(&header).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    })?;
    let address = link_address(interface, protocol);
    // SAFETY: the address is a whole sockaddr_ll and outlives the call.
    check(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })?;
    Ok(socket)
}

/// Sends a network-layer packet out of an interface through a packet socket, to the null address
/// (which is that of a loopback interface).
pub fn send_packet(socket: BorrowedFd<'_>, interface: u32, protocol: u16, packet: &[u8]) -> io::Result<()> {
    let address = link_address(interface, protocol);
    // SAFETY: packet and address outlive the call and are passed with their true lengths.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            libc::MSG_DONTWAIT,
            ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A raw ICMP or ICMPv6 socket, or with `protocol` IPPROTO_RAW one that sends whole packets. Non-blocking.
pub fn raw_socket(family: AddressFamily, protocol: Protocol) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::RAW, flags, Some(protocol))?)
}
