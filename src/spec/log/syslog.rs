//! Options of the syslog driver: `syslog-address`, `syslog-facility`, `syslog-format`.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use crate::spec::text::printable;

/// The port of syslog servers.
const PORT: u16 = 514;

/// The facilities by name, each at its number (RFC 5424, table 1); docker has no 12 to 15.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "", "", "",
    "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The machine's own syslog, wherever it listens.
    Local,
    /// A socket of this machine: a stream.
    Unix(PathBuf),
    /// A socket of this machine: datagrams.
    UnixDatagram(PathBuf),
    Udp(String, u16),
    Tcp(String, u16),
}

/// How a message is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As to a socket of the machine: without a host.
    #[default]
    Unix,
    Rfc3164,
    Rfc5424,
    /// The same with microseconds.
    Rfc5424Micro,
}

/// What the syslog options ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogOptions {
    pub address: Address,
    /// Its number, below 24.
    pub facility: u8,
    pub format: Format,
}

/// Why syslog options can't be used; docker's words where it has them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSyslog {
    #[error("syslog-address should be in form proto://address, got {0}")]
    Form(String),
    #[error("unsupported scheme: '{0}': syslog-address has tcp, udp, unix and unixgram")]
    Scheme(String),
    #[error(
        "syslog over TLS is not supported: send to a relay on this machine (syslog-address=tcp://127.0.0.1:PORT) that forwards with TLS"
    )]
    Tls,
    #[error("invalid syslog-address {0:?}: {1}")]
    Address(String, &'static str),
    #[error("invalid syslog facility: {0:?}")]
    Facility(String),
    #[error("invalid syslog format: {0:?}: there are rfc3164, rfc5424 and rfc5424micro")]
    Format(String),
}

impl SyslogOptions {
    pub(super) fn of(given: &BTreeMap<String, String>) -> Result<Self, InvalidSyslog> {
        let get = |name: &str| given.get(name).map(String::as_str).filter(|text| !text.is_empty());
        if given.keys().any(|key| key.starts_with("syslog-tls")) {
            return Err(InvalidSyslog::Tls);
        }
        Ok(Self {
            address: get("syslog-address").map_or(Ok(Address::Local), parse_address)?,
            facility: get("syslog-facility").map_or(Ok(3), parse_facility)?,
            format: match get("syslog-format") {
                None => Format::Unix,
                Some("rfc3164") => Format::Rfc3164,
                Some("rfc5424") => Format::Rfc5424,
                Some("rfc5424micro") => Format::Rfc5424Micro,
                Some(other) => return Err(InvalidSyslog::Format(printable(other))),
            },
        })
    }
}

fn parse_address(text: &str) -> Result<Address, InvalidSyslog> {
    let invalid = |why| InvalidSyslog::Address(printable(text), why);
    let (scheme, rest) = text.split_once("://").ok_or_else(|| InvalidSyslog::Form(printable(text)))?;
    match scheme {
        "unix" | "unixgram" => {
            if !rest.starts_with('/') || rest.contains('\0') {
                return Err(invalid("expected the absolute path of a socket"));
            }
            // sockaddr_un
            if rest.len() > 107 {
                return Err(invalid("the path of a socket has at most 107 bytes"));
            }
            Ok(if scheme == "unix" { Address::Unix(rest.into()) } else { Address::UnixDatagram(rest.into()) })
        }
        "udp" | "tcp" => {
            let (host, port) = parse_host(rest).map_err(invalid)?;
            Ok(if scheme == "udp" { Address::Udp(host, port) } else { Address::Tcp(host, port) })
        }
        "tcp+tls" => Err(InvalidSyslog::Tls),
        other => Err(InvalidSyslog::Scheme(printable(other))),
    }
}

/// `HOST[:PORT]`, an IPv6 address in brackets.
fn parse_host(text: &str) -> Result<(String, u16), &'static str> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
            host.parse::<Ipv6Addr>().map_err(|_| "there is no IPv6 address in the brackets")?;
            match after {
                "" => (host, None),
                _ => (host, Some(after.strip_prefix(':').ok_or("expected HOST[:PORT]")?)),
            }
        }
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(in_name) || (host.contains(':') && !text.starts_with('[')) {
        return Err("expected HOST[:PORT]");
    }
    let port =
        port.map_or(Ok(PORT), |port| port.parse::<u16>().map_err(|_| "the port must be a number up to 65535"))?;
    if port == 0 {
        return Err("the port must be a number up to 65535");
    }
    Ok((host.to_owned(), port))
}

fn parse_facility(text: &str) -> Result<u8, InvalidSyslog> {
    let named = FACILITIES.iter().position(|name| *name == text);
    let number = named.or_else(|| text.parse().ok()).filter(|number| *number < FACILITIES.len());
    number.and_then(|number| u8::try_from(number).ok()).ok_or_else(|| InvalidSyslog::Facility(printable(text)))
}
