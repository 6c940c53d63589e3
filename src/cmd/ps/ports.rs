//! docker's PORTS column.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::spec::network::NetworkMode;
use crate::spec::port::{Protocol, PublishedPort};
use crate::store::containers::Container;

/// A port of a container; without a host address it is only exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Port {
    container: u16,
    protocol: Protocol,
    host: Option<(IpAddr, u16)>,
}

/// The column of a container; empty unless it runs and can be reached.
pub fn column(container: &Container) -> String {
    if container.is_running() && can_be_reached(&container.config.network) {
        text(&container.config.exposed_ports, container.published_ports())
    } else {
        String::new()
    }
}

/// Whether a network leads to the container, and it has it for itself.
fn can_be_reached(mode: &NetworkMode) -> bool {
    !mode.attachments().is_empty() || matches!(mode, NetworkMode::Helper(..))
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`.
fn text(exposed: &[String], published: &[PublishedPort]) -> String {
    let mut ports: Vec<Port> = published
        .iter()
        .map(|port| Port {
            container: port.container_port,
            protocol: port.protocol,
            host: Some((port.host_ip, port.host_port)),
        })
        .collect();
    let is_published = |container, protocol| {
        published.iter().any(|port| port.container_port == container && port.protocol == protocol)
    };
    for (container, protocol) in exposed.iter().filter_map(|text| exposed_port(text)) {
        if !is_published(container, protocol) {
            ports.push(Port { container, protocol, host: None });
        }
    }
    // docker orders addresses as texts.
    ports.sort_by_cached_key(|port| {
        let (address, host_port) = port.host.unzip();
        let address = address.map(|address| address.to_string());
        (port.container, address, host_port, port.protocol.to_string())
    });
    folded(&ports)
}

/// Ports that follow each other become a range if the host has the same numbers, or if they are only
/// exposed. First come ranges that a gap ended, then those that went on to the end in the order in
/// which they began, last what has another number on the host.
fn folded(ports: &[Port]) -> String {
    let (mut ended, mut renumbered) = (Vec::new(), Vec::new());
    let mut open: Vec<Range> = Vec::new();
    for port in ports {
        let address = match port.host {
            Some((address, number)) if number != port.container => {
                let host = SocketAddr::new(address, number);
                renumbered.push(format!("{host}->{}/{}", port.container, port.protocol));
                continue;
            }
            host => host.map(|(address, _)| address),
        };
        let new = Range { address, protocol: port.protocol, first: port.container, last: port.container };
        match open.iter_mut().find(|range| range.address == address && range.protocol == port.protocol) {
            None => open.push(new),
            Some(range) if range.last.checked_add(1) == Some(port.container) => range.last = port.container,
            Some(range) => ended.push(std::mem::replace(range, new).text()),
        }
    }
    ended.extend(open.iter().map(Range::text));
    ended.extend(renumbered);
    ended.join(", ")
}

struct Range {
    address: Option<IpAddr>,
    protocol: Protocol,
    first: u16,
    last: u16,
}

impl Range {
    fn text(&self) -> String {
        let numbers = match self.first == self.last {
            true => self.first.to_string(),
            false => format!("{}-{}", self.first, self.last),
        };
        match self.address {
            None => format!("{numbers}/{}", self.protocol),
            Some(IpAddr::V4(address)) => format!("{address}:{numbers}->{numbers}/{}", self.protocol),
            Some(IpAddr::V6(address)) => format!("[{address}]:{numbers}->{numbers}/{}", self.protocol),
        }
    }
}

/// `80/tcp` as a record has it.
pub fn exposed_port(text: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some((port.parse().ok()?, protocol.parse().ok()?))
}

/// What is exposed and what is published, by `80/tcp`, in the order of docker's JSON.
pub fn by_container_port(container: &Container) -> BTreeMap<String, Vec<PublishedPort>> {
    let mut ports: BTreeMap<String, Vec<PublishedPort>> = BTreeMap::new();
    if !container.is_running() || !can_be_reached(&container.config.network) {
        return ports;
    }
    for exposed in &container.config.exposed_ports {
        ports.entry(exposed.clone()).or_default();
    }
    for port in container.published_ports() {
        ports.entry(format!("{}/{}", port.container_port, port.protocol)).or_default().push(*port);
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(texts: &[(&str, u16, &str)]) -> Vec<PublishedPort> {
        let port = |(host, container_port, protocol): &(&str, u16, &str)| {
            let host: SocketAddr = host.parse().unwrap();
            let protocol = protocol.parse().unwrap();
            PublishedPort { container_port: *container_port, protocol, host_ip: host.ip(), host_port: host.port() }
        };
        texts.iter().map(port).collect()
    }

    #[track_caller]
    fn check(exposed: &[&str], ports: &[(&str, u16, &str)], expected: &str) {
        let exposed: Vec<String> = exposed.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(text(&exposed, &published(ports)), expected);
    }

    #[test]
    fn single_ports() {
        check(&[], &[], "");
        check(&["3306/tcp"], &[], "3306/tcp");
        check(
            &["80/tcp", "443/tcp"],
            &[("[::]:8080", 80, "tcp"), ("0.0.0.0:8080", 80, "tcp")],
            "443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
        );
        check(&[], &[("127.0.0.1:90", 90, "udp")], "127.0.0.1:90->90/udp");
        check(
            &["55/tcp"],
            &[("0.0.0.0:8080", 80, "tcp"), ("[::]:8080", 80, "tcp"), ("127.0.0.1:9000", 90, "udp")],
            "55/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 127.0.0.1:9000->90/udp",
        );
    }

    #[test]
    fn ranges_are_folded() {
        check(&["80/tcp", "81/tcp", "83/tcp"], &[], "80-81/tcp, 83/tcp");
        check(&["80/tcp", "81/udp"], &[], "80/tcp, 81/udp");
        check(
            &[],
            &[("0.0.0.0:8000", 8000, "tcp"), ("0.0.0.0:8001", 8001, "tcp"), ("0.0.0.0:8002", 8002, "tcp")],
            "0.0.0.0:8000-8002->8000-8002/tcp",
        );
        check(
            &["9/tcp"],
            &[
                ("0.0.0.0:8000", 8000, "tcp"),
                ("[::]:8000", 8000, "tcp"),
                ("0.0.0.0:8001", 8001, "tcp"),
                ("[::]:8001", 8001, "tcp"),
                ("0.0.0.0:9000", 8002, "tcp"),
            ],
            "9/tcp, 0.0.0.0:8000-8001->8000-8001/tcp, [::]:8000-8001->8000-8001/tcp, 0.0.0.0:9000->8002/tcp",
        );
        check(&["65535/tcp", "1/tcp"], &[], "1/tcp, 65535/tcp");
    }
}
