//! Values of `--pid`, `--ipc`, `--uts`, `--pull`, `--add-host`, `--expose`
//! and `--sysctl`.

use std::net::IpAddr;
use std::str::FromStr;

use crate::spec::config::{ContainerId, NamespaceMode};
use crate::spec::port::parse_range;
use crate::spec::text::printable;

/// Why a mode can't be used; docker's words where it has them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidMode {
    #[error("--pid: invalid PID mode")]
    Pid,
    #[error("--uts: invalid UTS mode")]
    Uts,
    #[error("Invalid IPC mode: {0}")]
    Ipc(String),
    #[error("invalid pull option: '{0}': must be one of \"always\", \"missing\" or \"never\"")]
    Pull(String),
    #[error("bad format for add-host: {0:?}")]
    ExtraHost(String),
    #[error("invalid IP address in add-host: {0:?}")]
    Address(String),
    #[error("invalid range format for --expose: {0}")]
    Expose(String),
    #[error("sysctl '{0}' is not allowed: expected KEY=VALUE")]
    Sysctl(String),
    /// The container of `container:NAME` was not found; the text says why.
    #[error("{0}")]
    Container(String),
}

/// Finds the container a mode names, or says why it can't.
pub type Find<'a> = &'a mut dyn FnMut(&str) -> Result<ContainerId, String>;

/// `--pid`: empty or `private`, `host`, `container:NAME`.
pub fn parse_pid(text: &str, find: Find<'_>) -> Result<NamespaceMode, InvalidMode> {
    common(text, find)?.ok_or(InvalidMode::Pid)
}

/// `--uts`: empty or `private`, `host`, `container:NAME`.
pub fn parse_uts(text: &str, find: Find<'_>) -> Result<NamespaceMode, InvalidMode> {
    common(text, find)?.ok_or(InvalidMode::Uts)
}

/// `--ipc`: as `--pid`, and `none`, `shareable`.
pub fn parse_ipc(text: &str, find: Find<'_>) -> Result<NamespaceMode, InvalidMode> {
    match text {
        "none" => Ok(NamespaceMode::None),
        "shareable" => Ok(NamespaceMode::Shareable),
        text => common(text, find)?.ok_or_else(|| InvalidMode::Ipc(printable(text))),
    }
}

fn common(text: &str, find: Find<'_>) -> Result<Option<NamespaceMode>, InvalidMode> {
    match text {
        "" | "private" => Ok(Some(NamespaceMode::Private)),
        "host" => Ok(Some(NamespaceMode::Host)),
        text => match text.strip_prefix("container:").filter(|name| !name.is_empty()) {
            Some(name) => Ok(Some(NamespaceMode::Container(find(name).map_err(InvalidMode::Container)?))),
            None => Ok(None),
        },
    }
}

/// When `run` and `create` fetch the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    #[default]
    Missing,
    /// Ask the registry always, and make do with what is here when it does not answer.
    Newer,
    Never,
}

impl FromStr for PullPolicy {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "always" => Ok(Self::Always),
            "missing" => Ok(Self::Missing),
            "newer" => Ok(Self::Newer),
            "never" => Ok(Self::Never),
            other => Err(InvalidMode::Pull(printable(other))),
        }
    }
}

/// The address of `--add-host` that is the host's as the container sees it, known when it starts.
pub const HOST_GATEWAY: &str = "host-gateway";

/// `--add-host`: `NAME:ADDRESS` or `NAME=ADDRESS`, an IPv6 address plain or in brackets, several names with `;`
/// between them as podman has it.
pub fn parse_extra_hosts(text: &str) -> Result<Vec<(String, String)>, InvalidMode> {
    let separator = if text.contains('=') { '=' } else { ':' };
    let bad = || InvalidMode::ExtraHost(printable(text));
    let (names, address) = text.split_once(separator).ok_or_else(bad)?;
    let fits = |c: char| !c.is_control() && !c.is_whitespace() && c != '#';
    if names.split(';').any(|name| name.is_empty() || !name.chars().all(fits)) {
        return Err(bad());
    }
    let address = match address {
        HOST_GATEWAY => HOST_GATEWAY.to_owned(),
        address => {
            let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
            let parsed: IpAddr = bare.parse().map_err(|_| InvalidMode::Address(printable(address)))?;
            parsed.to_string()
        }
    };
    Ok(names.split(';').map(|name| (name.to_owned(), address.clone())).collect())
}

/// `--expose`: `PORT[-PORT][/tcp|udp|sctp]`, taken apart into single ports.
pub fn parse_expose(text: &str) -> Result<Vec<String>, InvalidMode> {
    let bad = || InvalidMode::Expose(printable(text));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(bad());
    }
    let (first, last) = parse_range(range).filter(|(first, _)| *first > 0).ok_or_else(bad)?;
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// `--sysctl`: `KEY=VALUE`. Which keys a container may set is decided when all modes are known.
pub fn parse_sysctl(text: &str) -> Result<(String, String), InvalidMode> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(InvalidMode::Sysctl(printable(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_settings() {
        let ports = |text: &str| parse_expose(text).map(|ports| ports.join(" "));
        assert_eq!(ports("80").as_deref(), Ok("80/tcp"));
        assert_eq!(ports("7000-7002/UDP").as_deref(), Ok("7000/udp 7001/udp 7002/udp"));
        for bad in ["", "0", "80:80", "5-3", "80/icmp", "65536", "-1", "a", "80/", "1-2-3"] {
            assert_eq!(parse_expose(bad), Err(InvalidMode::Expose(bad.to_owned())), "{bad}");
        }
        assert_eq!(parse_sysctl("net.a = 1 2"), Ok(("net.a".to_owned(), "1 2".to_owned())));
        assert!(parse_sysctl("net.a").is_err() && parse_sysctl("=1").is_err());
    }

    #[test]
    fn namespaces() {
        let id = ContainerId::from_bytes([7; 32]);
        let mut find =
            |name: &str| if name == "db" { Ok(id.clone()) } else { Err(format!("No such container: {name}")) };
        assert_eq!(parse_pid("", &mut find), Ok(NamespaceMode::Private));
        assert_eq!(parse_pid("host", &mut find), Ok(NamespaceMode::Host));
        assert_eq!(parse_uts("container:db", &mut find), Ok(NamespaceMode::Container(id.clone())));
        assert_eq!(parse_ipc("none", &mut find), Ok(NamespaceMode::None));
        assert_eq!(parse_ipc("shareable", &mut find), Ok(NamespaceMode::Shareable));
        assert_eq!(parse_pid("none", &mut find), Err(InvalidMode::Pid));
        assert_eq!(parse_uts("container:", &mut find), Err(InvalidMode::Uts));
        assert_eq!(parse_ipc("foo", &mut find).unwrap_err().to_string(), "Invalid IPC mode: foo");
        assert_eq!(parse_pid("container:x", &mut find).unwrap_err().to_string(), "No such container: x");
    }

    #[test]
    fn other_modes() {
        assert_eq!("always".parse(), Ok(PullPolicy::Always));
        let message = "foo".parse::<PullPolicy>().unwrap_err().to_string();
        assert_eq!(message, "invalid pull option: 'foo': must be one of \"always\", \"missing\" or \"never\"");
    }

    #[test]
    fn extra_hosts() {
        for (text, name, address) in [
            ("test:10.10.10.255", "test", "10.10.10.255"),
            ("test=10.0.0.1", "test", "10.0.0.1"),
            ("six:::1", "six", "::1"),
            ("six=[fe80::1]", "six", "fe80::1"),
            ("host.docker.internal:host-gateway", "host.docker.internal", "host-gateway"),
        ] {
            assert_eq!(parse_extra_hosts(text), Ok(vec![(name.to_owned(), address.to_owned())]));
        }
        assert_eq!(parse_extra_hosts("x").unwrap_err().to_string(), "bad format for add-host: \"x\"");
        assert_eq!(parse_extra_hosts("x:y").unwrap_err().to_string(), "invalid IP address in add-host: \"y\"");
        let several = parse_extra_hosts("a;b:10.0.0.1").unwrap();
        assert_eq!(several, [("a".to_owned(), "10.0.0.1".to_owned()), ("b".to_owned(), "10.0.0.1".to_owned())]);
        for bad in ["", ":1.1.1.1", "a b:1.1.1.1", "a\n:1.1.1.1", "a#:1.1.1.1", "a;:1.1.1.1"] {
            assert!(parse_extra_hosts(bad).is_err(), "{bad:?}");
        }
    }
}
