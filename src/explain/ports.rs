//! Who holds a port of the host.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::spec::port::Protocol;

/// The process that holds the port of `address`, as far as this user may see it: `nginx (pid 12)`.
pub fn holder(protocol: Protocol, address: SocketAddr) -> Option<String> {
    let inodes = inodes(protocol, address);
    let processes = std::fs::read_dir("/proc").ok()?;
    let mut relay = None;
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // The processes of others are not shown.
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = |path: &Path| {
            let target = std::fs::read_link(path).ok();
            target.is_some_and(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()))
        };
        if descriptors.flatten().any(|descriptor| holds(&descriptor.path())) {
            let name = name_of(&process.path());
            let held = format!("held by {name} (pid {pid})");
            // It serves the port for a container, whose supervisor says more.
            if !name.starts_with("rbox anchor") {
                return Some(held);
            }
            relay = Some(held);
        }
    }
    relay
}

/// What `ps` shows of a process of ours, which says which container or network it is for; of others the name.
fn name_of(process: &Path) -> String {
    let read = |name: &str| std::fs::read_to_string(process.join(name)).unwrap_or_default();
    let (name, title) = (read("comm"), read("cmdline"));
    let title = title.split('\0').next().unwrap_or_default();
    let shown = if title.starts_with("rbox ") { title } else { name.trim() };
    shown.chars().filter(|c| !c.is_control()).collect()
}

/// `socket:[INODE]` of what is bound there (proc(5), /proc/net/tcp).
fn inodes(protocol: Protocol, address: SocketAddr) -> Vec<String> {
    let tables = match protocol {
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        _ => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    let texts = tables.map(|table| std::fs::read_to_string(table).unwrap_or_default());
    texts.iter().flat_map(|text| text.lines().skip(1)).filter_map(|line| entry(line, protocol, address)).collect()
}

fn entry(line: &str, protocol: Protocol, address: SocketAddr) -> Option<String> {
    const LISTENING: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, port) = fields.get(1)?.split_once(':')?;
    let is_holding = protocol == Protocol::Udp || *fields.get(3)? == LISTENING;
    let is_port = u16::from_str_radix(port, 16).ok()? == address.port();
    let wildcard = local.bytes().all(|digit| digit == b'0') || address.ip().is_unspecified();
    let is_address = wildcard || same_v4(local, address.ip());
    (is_holding && is_port && is_address).then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
}

/// The table has addresses as words of the machine's byte order; for IPv6 the port decides.
fn same_v4(text: &str, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => u32::from_str_radix(text, 16).is_ok_and(|word| word.to_ne_bytes() == address.octets()),
        IpAddr::V6(_) => text.len() == 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn our_own_listener_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = holder(Protocol::Tcp, listener.local_addr().unwrap()).unwrap();
        assert!(found.contains(&format!("pid {}", std::process::id())), "{found}");
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        assert!(holder(Protocol::Udp, socket.local_addr().unwrap()).is_some());
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        assert_eq!(holder(Protocol::Udp, SocketAddr::new([127, 0, 0, 1].into(), port)), None);
    }
}
