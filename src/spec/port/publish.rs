//! `-p`: docker's grammar, `[IP:][HOST[-HOST]:]PORT[-PORT][/PROTOCOL]` or `target=PORT,published=PORT,...`.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{HostPort, InvalidProtocol, PortMapping, Protocol};
use crate::spec::text::printable;

/// Why a port is not published; docker's words where it has them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPort {
    #[error("no port specified: {0}<empty>")]
    NoPort(String),
    #[error("invalid containerPort: {0}")]
    Container(String),
    #[error("invalid hostPort: {0}")]
    Host(String),
    #[error("invalid hostPort: {0}: for a free port of that address give {0}::{1}")]
    AddressForPort(String, String),
    #[error(transparent)]
    Protocol(#[from] InvalidProtocol),
    #[error("port {0} can't be published: tcp and udp can be, sctp can't")]
    Sctp(String),
    #[error("invalid IP address: {0}")]
    Address(String),
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges { container: String, host: String },
    #[error("invalid publish opts format (should be name=value but got '{0}')")]
    Field(String),
    #[error("invalid publish option {0}: use target, published, protocol, host_ip and mode")]
    Key(String),
    #[error("port {host}/{protocol} of the host is published for two ports of the container, {first} and {second}")]
    Twice { host: u16, protocol: Protocol, first: u16, second: u16 },
}

/// One `-p`, ranges taken apart into single ports of the container.
pub fn parse_publish(text: &str) -> Result<Vec<PortMapping>, InvalidPort> {
    if text.contains('=') { parse_long(text) } else { parse_short(text) }
}

/// All `-p` together: each mapping once. Two ports of the container can't have the same one of the host.
pub fn parse_all(texts: &[String]) -> Result<Vec<PortMapping>, InvalidPort> {
    let mut mappings = Vec::new();
    let mut seen = HashSet::new();
    let mut fixed: HashMap<(Protocol, u16), Users> = HashMap::new();
    for text in texts {
        for mapping in parse_publish(text)? {
            let PortMapping { host_ip, host_port, container_port, protocol } = mapping;
            // Two random ports for one are two ports.
            if host_port != HostPort::Random && !seen.insert(mapping.clone()) {
                continue;
            }
            if let HostPort::Fixed(host) = host_port {
                let users = fixed.entry((protocol, host)).or_default();
                let same = |(ip, port): &&(_, _)| *port != container_port && overlap(*ip, host_ip);
                if let Some(&(_, first)) = users.iter().find(same) {
                    return Err(InvalidPort::Twice { host, protocol, first, second: container_port });
                }
                users.push((host_ip, container_port));
            }
            mappings.push(mapping);
        }
    }
    Ok(mappings)
}

/// Which ports of the container have a port of the host, by address.
type Users = Vec<(Option<IpAddr>, u16)>;

/// Whether two addresses to listen on have one in common.
fn overlap(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    match (one, other) {
        (None, _) | (_, None) => true,
        (Some(one), Some(other)) if one.is_ipv4() == other.is_ipv4() => {
            one == other || one.is_unspecified() || other.is_unspecified()
        }
        _ => false,
    }
}

fn parse_short(text: &str) -> Result<Vec<PortMapping>, InvalidPort> {
    // The last two colons count: an IPv6 address may come without brackets.
    let mut parts = text.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let host = parts.next().unwrap_or_default();
    let address = parts.next().unwrap_or_default();
    let (container, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    let has_protocol = text.contains('/');
    if container.is_empty() {
        return Err(InvalidPort::NoPort(printable(text)));
    }
    if has_protocol && protocol.is_empty() {
        return Err(InvalidProtocol(String::new()).into());
    }
    if let Some(address) = address_before_port(text) {
        return Err(InvalidPort::AddressForPort(address.to_owned(), printable(container)));
    }
    mappings(address, host, container, protocol)
}

/// The address of `ADDRESS:PORT`, where docker has a host's port; one colon is missing.
fn address_before_port(text: &str) -> Option<&str> {
    let (address, port) = text.rsplit_once(':')?;
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_address = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().is_ok(),
        None => address.parse::<Ipv4Addr>().is_ok(),
    };
    (is_address && !port.is_empty()).then_some(address)
}

fn parse_long(text: &str) -> Result<Vec<PortMapping>, InvalidPort> {
    let (mut address, mut host, mut container, mut protocol) = ("", "", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("published", value)) => host = value,
            Some(("target", value)) => container = value,
            Some(("protocol", value)) => protocol = value,
            Some(("host_ip" | "ip", value)) => address = value,
            // Of swarm; here all are the host's.
            Some(("mode", _)) => {}
            Some((key, _)) if !key.is_empty() => return Err(InvalidPort::Key(printable(key))),
            _ => return Err(InvalidPort::Field(printable(field))),
        }
    }
    if container.is_empty() {
        return Err(InvalidPort::NoPort(printable(text)));
    }
    mappings(address, host, container, protocol)
}

fn mappings(address: &str, host: &str, container: &str, protocol: &str) -> Result<Vec<PortMapping>, InvalidPort> {
    let protocol: Protocol = protocol.to_ascii_lowercase().parse()?;
    if protocol == Protocol::Sctp {
        return Err(InvalidPort::Sctp(printable(container)));
    }
    let host_ip = host_address(address)?;
    let (first, last) =
        range(container).filter(|(first, _)| *first > 0).ok_or_else(|| InvalidPort::Container(printable(container)))?;
    let of_host = match host {
        "" | "0" => None,
        host => {
            let range = range(host).filter(|(first, _)| *first > 0);
            Some(range.ok_or_else(|| InvalidPort::Host(printable(host)))?)
        }
    };
    let host_port = |container: u16| match of_host {
        None => Some(HostPort::Random),
        Some((low, high)) if low == high && first == last => Some(HostPort::Fixed(low)),
        Some((low, high)) if first == last => Some(HostPort::FirstFree(low, high)),
        Some((low, high)) if high - low == last - first => Some(HostPort::Fixed(low + (container - first))),
        Some(_) => None,
    };
    let mapping = |container_port: u16| {
        Some(PortMapping { host_ip, host_port: host_port(container_port)?, container_port, protocol })
    };
    let all: Option<Vec<PortMapping>> = (first..=last).map(mapping).collect();
    all.ok_or_else(|| InvalidPort::Ranges { container: printable(container), host: printable(host) })
}

/// An address as it is, an IPv6 one also in brackets.
fn host_address(text: &str) -> Result<Option<IpAddr>, InvalidPort> {
    let invalid = || InvalidPort::Address(printable(text));
    match text {
        "" => Ok(None),
        text => match text.strip_prefix('[') {
            // Brackets are for IPv6.
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or_else(invalid)?;
                let address: Ipv6Addr = inner.parse().map_err(|_| invalid())?;
                Ok(Some(address.into()))
            }
            None => Ok(Some(text.parse().map_err(|_| invalid())?)),
        },
    }
}

/// `FIRST` or `FIRST-LAST`, digits only.
pub(crate) fn range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| -> Option<u16> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let one = |mapping: &PortMapping| {
            let PortMapping { host_ip, host_port, container_port, protocol } = mapping;
            let ip = host_ip.map_or_else(|| "*".to_owned(), |ip| ip.to_string());
            let host = match host_port {
                HostPort::Random => "?".to_owned(),
                HostPort::Fixed(port) => port.to_string(),
                HostPort::FirstFree(first, last) => format!("{first}..{last}"),
            };
            format!("{ip} {host}>{container_port}/{protocol}")
        };
        let mappings = parse_publish(text).map_err(|error| error.to_string())?;
        Ok(mappings.iter().map(one).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn grammar() {
        for (text, expected) in [
            ("80", "* ?>80/tcp"),
            ("8080:80", "* 8080>80/tcp"),
            ("0:80", "* ?>80/tcp"),
            (":80", "* ?>80/tcp"),
            ("53:53/UDP", "* 53>53/udp"),
            ("127.0.0.1:8080:80/tcp", "127.0.0.1 8080>80/tcp"),
            ("0.0.0.0:8080:80", "0.0.0.0 8080>80/tcp"),
            ("127.0.0.1::80", "127.0.0.1 ?>80/tcp"),
            ("[::1]:8200:81", "::1 8200>81/tcp"),
            ("[::]::81", ":: ?>81/tcp"),
            ("::1:6000:6001", "::1 6000>6001/tcp"),
            ("8000-8002:80-82", "* 8000>80/tcp, * 8001>81/tcp, * 8002>82/tcp"),
            ("8100-8110:80", "* 8100..8110>80/tcp"),
            ("80-81", "* ?>80/tcp, * ?>81/tcp"),
            ("127.0.0.1::80-81/udp", "127.0.0.1 ?>80/udp, 127.0.0.1 ?>81/udp"),
            ("65535:65535", "* 65535>65535/tcp"),
            ("published=8080,target=80,protocol=udp,mode=ingress", "* 8080>80/udp"),
            ("target=80", "* ?>80/tcp"),
            ("target=80-81,published=90-91,host_ip=::1", "::1 90>80/tcp, ::1 91>81/tcp"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refusals() {
        for (text, error) in [
            ("", "no port specified: <empty>"),
            ("8080:", "no port specified: 8080:<empty>"),
            ("/tcp", "no port specified: /tcp<empty>"),
            ("80-81:8000-8002", "invalid ranges specified for container and host Ports: 8000-8002 and 80-81"),
            ("8080:80-81", "invalid ranges specified for container and host Ports: 80-81 and 8080"),
            ("abc", "invalid containerPort: abc"),
            ("0", "invalid containerPort: 0"),
            ("+80", "invalid containerPort: +80"),
            ("82-80", "invalid containerPort: 82-80"),
            ("65536", "invalid containerPort: 65536"),
            ("99999:80", "invalid hostPort: 99999"),
            ("0-5:80", "invalid hostPort: 0-5"),
            ("127.0.0.1:80", "invalid hostPort: 127.0.0.1: for a free port of that address give 127.0.0.1::80"),
            ("[::1]:80/udp", "invalid hostPort: [::1]: for a free port of that address give [::1]::80"),
            ("80/foo", "invalid proto: foo"),
            ("80/", "invalid proto: "),
            ("80/tcp/udp", "invalid proto: tcp/udp"),
            ("80:80/sctp", "port 80 can't be published: tcp and udp can be, sctp can't"),
            ("300.1.1.1:80:80", "invalid IP address: 300.1.1.1"),
            ("[127.0.0.1]:80:80", "invalid IP address: [127.0.0.1]"),
            ("[::1:80:80", "invalid IP address: [::1"),
            ("localhost:80:80", "invalid IP address: localhost"),
            ("target=80,x", "invalid publish opts format (should be name=value but got 'x')"),
            ("published=80", "no port specified: published=80<empty>"),
            ("target=80,foo=1", "invalid publish option foo: use target, published, protocol, host_ip and mode"),
        ] {
            assert_eq!(shown(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn all_together() {
        let all = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            parse_all(&texts).map(|mappings| mappings.len()).map_err(|error| error.to_string())
        };
        assert_eq!(all(&["80:80", "80:80", "81:80", "80:80/udp", "80", "80"]), Ok(5));
        assert_eq!(all(&["127.0.0.1:80:80", "127.0.0.2:80:81", "[::]:80:82"]), Ok(3));
        let twice = "port 80/tcp of the host is published for two ports of the container, 80 and 81";
        for bad in [&["80:80", "80:81"], &["80:80", "127.0.0.1:80:81"], &["0.0.0.0:80:80", "127.0.0.1:80:81"]] {
            assert_eq!(all(bad), Err(twice.to_owned()), "{bad:?}");
        }
        assert_eq!(all(&["1-65535:1-65535"]), Ok(65535));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_on_one_line(text in "\\PC{0,30}|[0-9.:/\\[\\]a-f-]{0,30}|(target=|published=|,|80|=|\n){0,6}") {
            if let Err(error) = shown(&text) {
                prop_assert!(!error.contains(char::is_control), "{:?}", error);
            }
        }

        #[test]
        fn what_is_printed_is_read_back(
            ip in proptest::option::of(any::<std::net::IpAddr>()),
            host in proptest::option::of((1u16..=65535, 0u16..20)),
            container in 1u16..=65515,
            length in 0u16..20,
            protocol in prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)],
            suffix in any::<bool>(),
            long in any::<bool>(),
        ) {
            let host = host.map(|(first, more)| (first, first.saturating_add(more)));
            let range = |first: u16, last: u16| if first == last { first.to_string() } else { format!("{first}-{last}") };
            let address = ip.map(|ip| if ip.is_ipv6() && !long { format!("[{ip}]") } else { ip.to_string() });
            let ports = range(container, container + length);
            let hosts = host.map(|(first, last)| range(first, last));
            let text = if long {
                let mut text = format!("target={ports},protocol={protocol}");
                text.extend(address.map(|ip| format!(",host_ip={ip}")));
                text.extend(hosts.map(|hosts| format!(",published={hosts}")));
                text
            } else {
                let end = if suffix || protocol != Protocol::Tcp { format!("/{protocol}") } else { String::new() };
                let hosts = match (&address, hosts) {
                    (None, None) => String::new(),
                    (_, hosts) => format!("{}:", hosts.unwrap_or_default()),
                };
                format!("{}{hosts}{ports}{end}", address.map(|ip| format!("{ip}:")).unwrap_or_default())
            };
            let result = parse_publish(&text);
            if let Some((first, last)) = host && length > 0 && last - first != length {
                let refused = matches!(result, Err(InvalidPort::Ranges { .. }));
                prop_assert!(refused);
                return Ok(());
            }
            let expected: Vec<PortMapping> = (0..=length).map(|n| PortMapping {
                host_ip: ip,
                host_port: match host {
                    None => HostPort::Random,
                    Some((first, last)) if length == 0 && first != last => HostPort::FirstFree(first, last),
                    Some((first, _)) => HostPort::Fixed(first + n),
                },
                container_port: container + n,
                protocol,
            }).collect();
            prop_assert_eq!(result, Ok(expected), "{}", text);
        }
    }
}
