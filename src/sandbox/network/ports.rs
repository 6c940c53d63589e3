//! Ports of the host that lead into a container: bound by the invocation, so that a port in use is
//! told before anything runs, and held by the supervisor, so that nobody else gets one while the
//! anchor is replaced.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use anyhow::{Result, anyhow, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};

use crate::explain;
use crate::spec::port::{HostPort, PortMapping, Protocol, PublishedPort};

/// A port of the host, and the socket that holds it: for TCP it listens.
#[derive(Debug)]
pub struct Bound {
    pub port: PublishedPort,
    pub socket: OwnedFd,
}

/// How many may wait to be accepted; the kernel's own limit may be lower.
const BACKLOG: i32 = 4096;
/// How many random ports are tried until one is free in both families.
const ATTEMPTS: usize = 64;

/// Binds the host's side of all `mappings`, or none of them.
pub fn bind_all(mappings: &[PortMapping]) -> Result<Vec<Bound>> {
    let mut bound = Vec::new();
    for mapping in mappings {
        bound.extend(bind_mapping(mapping)?);
    }
    Ok(bound)
}

fn bind_mapping(mapping: &PortMapping) -> Result<Vec<Bound>> {
    let bind_at = |host_port: u16| bind_port(mapping, host_port);
    match mapping.host_port {
        HostPort::Fixed(port) => bind_at(port).map_err(|refusal| refused(mapping, refusal)),
        HostPort::Random => bind_random(mapping),
        HostPort::FirstFree(first, last) => {
            for port in first..=last {
                match bind_at(port) {
                    Ok(bound) => return Ok(bound),
                    Err(refusal) if refusal.error == Errno::ADDRINUSE => {}
                    Err(refusal) => return Err(refused(mapping, refusal)),
                }
            }
            bail!("Bind for ports {first}-{last} failed: all ports are allocated")
        }
    }
}

/// The kernel's choice for the first address, if it is free for the others.
fn bind_random(mapping: &PortMapping) -> Result<Vec<Bound>> {
    for _ in 0..ATTEMPTS {
        match bind_port(mapping, 0) {
            Ok(bound) => return Ok(bound),
            Err(refusal) if refusal.error == Errno::ADDRINUSE => {}
            Err(refusal) => return Err(refused(mapping, refusal)),
        }
    }
    bail!("no free port was found to publish port {}", mapping.container_port)
}

/// What could not be bound, and why.
struct Refusal {
    address: SocketAddr,
    error: Errno,
}

/// Binds one port of all addresses asked for; 0 lets the kernel choose.
fn bind_port(mapping: &PortMapping, host_port: u16) -> Result<Vec<Bound>, Refusal> {
    let every = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let addresses = mapping.host_ip.as_ref().map_or(&every[..], std::slice::from_ref);
    let mut bound: Vec<Bound> = Vec::new();
    for &host_ip in addresses {
        let wanted = bound.first().map_or(host_port, |first| first.port.host_port);
        let address = SocketAddr::new(host_ip, wanted);
        match bind_address(mapping.protocol, address) {
            Ok((socket, host_port)) => {
                let PortMapping { container_port, protocol, .. } = *mapping;
                bound.push(Bound { port: PublishedPort { container_port, protocol, host_ip, host_port }, socket });
            }
            // A host without IPv6 publishes by IPv4.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if mapping.host_ip.is_none() && !bound.is_empty() => {}
            Err(error) => return Err(Refusal { address, error }),
        }
    }
    Ok(bound)
}

fn bind_address(protocol: Protocol, address: SocketAddr) -> Result<(OwnedFd, u16), Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if protocol == Protocol::Udp { SocketType::DGRAM } else { SocketType::STREAM };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // What is left of earlier connections must not keep the port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    if protocol == Protocol::Tcp {
        listen(&socket, BACKLOG)?;
    }
    let port = SocketAddr::try_from(getsockname(&socket)?)?.port();
    Ok((socket, port))
}

fn refused(mapping: &PortMapping, refusal: Refusal) -> anyhow::Error {
    let Refusal { address, error } = refusal;
    let text = format!("Bind for {address} failed");
    match error {
        Errno::ADDRINUSE => {
            let holder = explain::ports::holder(mapping.protocol, address);
            anyhow!("{text}: port is already allocated{}", holder.map_or_else(String::new, |who| format!(": {who}")))
        }
        Errno::ACCESS => {
            let first = unprivileged_start();
            anyhow!(
                "{text}: ports below {first} need a right that you don't have: publish another port, or have an \
                 administrator run 'sysctl net.ipv4.ip_unprivileged_port_start={}'",
                address.port()
            )
        }
        Errno::ADDRNOTAVAIL => anyhow!("{text}: this machine has no address {}", address.ip()),
        error => anyhow!("{text}: {}", io::Error::from(error)),
    }
}

/// The lowest port that everybody may bind (ip(7), ip_unprivileged_port_start).
fn unprivileged_start() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    text.trim().parse().unwrap_or(1024)
}
