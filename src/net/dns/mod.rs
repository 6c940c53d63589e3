//! DNS for the containers of a network: their names are answered here, all others by the host's
//! resolvers. One thread, no call that blocks; it hangs on an epoll descriptor of its own.
//!
//! Messages come from containers and from the world, so nothing in them is trusted: [`wire`] walks them
//! within their bounds, [`query`] and [`answer`] keep what is well-formed, everything is limited in
//! number, bytes and time.

mod answer;
mod attempt;
mod cache;
mod client;
mod exchange;
mod forward;
#[cfg(test)]
mod fuzz;
mod local;
mod poll;
mod query;
mod resolv;
mod server;
mod wire;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

pub use server::Server;

/// Where DNS is served and asked.
const PORT: u16 = 53;
/// Connections that wait to be taken.
const BACKLOG: i32 = 128;
/// Bytes of queries that may wait to be read.
const RECEIVE_BUFFER: usize = 1 << 20;

/// What the network knows.
pub trait Names {
    /// Addresses of a container's name, alias or short id (`name` in lower case, no trailing dot) as
    /// `asker` may see them; None: not ours. The server rotates them.
    fn forward(&mut self, asker: IpAddr, name: &str) -> Option<Vec<IpAddr>>;
    /// The full name of what has this address, as `asker` may see it.
    fn reverse(&mut self, asker: IpAddr, address: IpAddr) -> Option<String>;
    /// Whether the address lies in the network's subnets: if nothing has it, nobody else is asked.
    fn is_own_subnet(&mut self, address: IpAddr) -> bool;
    /// The servers that `asker` wants to be asked; None: the host's.
    fn upstreams(&mut self, asker: IpAddr) -> Option<Vec<IpAddr>>;
}

/// Sockets on port 53 of the gateway's addresses.
pub struct Listeners {
    pub udp: Vec<OwnedFd>,
    pub tcp: Vec<OwnedFd>,
}

/// Opens them in the network namespace of the calling thread, which needs CAP_NET_BIND_SERVICE over it.
pub fn listeners(gateways: &[IpAddr]) -> io::Result<Listeners> {
    let mut listeners = Listeners { udp: Vec::new(), tcp: Vec::new() };
    for gateway in gateways {
        listeners.udp.push(socket((*gateway, PORT).into(), SocketType::DGRAM)?);
        let socket = socket((*gateway, PORT).into(), SocketType::STREAM)?;
        listen(&socket, BACKLOG)?;
        listeners.tcp.push(socket);
    }
    Ok(listeners)
}

fn socket(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if kind == SocketType::DGRAM {
        // As much as the kernel lets: one container's burst should not drop another's query.
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    } else {
        // A restarted server must not wait for connections of the last one to fade.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    // The bridge may have no port yet, and IPv6 addresses are tentative at first.
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
        SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
    }
    bind(&socket, &address)?;
    Ok(socket)
}
