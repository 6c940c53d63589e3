//! slirp4netns(1): a network of its own inside, ports through a socket, readiness through a pipe.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::{HelperError, HelperKind, HelperPlan, HelperPort, HelperProtocol, Inside, MTU};

/// The socket through which ports are published, in the plan's directory.
pub const SOCKET: &str = "slirp4netns.sock";
/// The interface inside.
const INTERFACE: &str = "tap0";
/// Where things are in its network (slirp4netns(1)).
const GATEWAY: u32 = 2;
const NAMESERVER: u32 = 3;
const CONTAINER: u32 = 100;
/// The longest prefix whose network holds them.
const LONGEST_PREFIX: u8 = 25;
/// The largest MTU it takes.
const LARGEST_MTU: u32 = 65521;
/// The most bytes of a reply.
const REPLY: u64 = 64 << 10;

/// podman's options of `slirp4netns:`.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    allow_host_loopback: bool,
    enable_ipv6: bool,
    cidr: Ipv4Net,
    mtu: Option<u32>,
    outbound: Option<String>,
    outbound6: Option<String>,
}

impl Options {
    pub fn read(options: &[String]) -> Result<Self, HelperError> {
        let cidr = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 2, 0), 24);
        let mut read =
            Self { allow_host_loopback: false, enable_ipv6: true, cidr, mtu: None, outbound: None, outbound6: None };
        for option in options.iter().filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            read.set(name, value).map_err(|reason| HelperKind::Slirp4netns.option_error(option, reason))?;
        }
        Ok(read)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        match name {
            "allow_host_loopback" => self.allow_host_loopback = boolean(value)?,
            "enable_ipv6" => self.enable_ipv6 = boolean(value)?,
            "cidr" => self.cidr = cidr(value)?,
            "mtu" => self.mtu = Some(mtu(value)?),
            "outbound_addr" => self.outbound = Some(outbound(value, value.parse::<Ipv4Addr>().is_ok())?),
            "outbound_addr6" => self.outbound6 = Some(outbound(value, value.parse::<Ipv6Addr>().is_ok())?),
            // podman's two ways to the same end; here the ports always go through slirp4netns itself.
            "port_handler" if matches!(value, "slirp4netns" | "rootlesskit") => {}
            "port_handler" => return Err("expected slirp4netns or rootlesskit"),
            _ => return Err("unknown"),
        }
        Ok(())
    }

    pub fn arguments(&self, plan: &HelperPlan) -> Result<Vec<OsString>, HelperError> {
        for port in &plan.ports {
            check(port)?;
        }
        let mtu = self.mtu.or(plan.mtu).unwrap_or(MTU).min(LARGEST_MTU);
        let mut arguments: Vec<OsString> = vec!["--configure".into(), format!("--mtu={mtu}").into()];
        arguments.extend(["--enable-sandbox", "--enable-seccomp", "--netns-type=path"].map(OsString::from));
        arguments.push(format!("--cidr={}", self.cidr).into());
        if !self.allow_host_loopback {
            arguments.push("--disable-host-loopback".into());
        }
        if self.enable_ipv6 {
            arguments.push("--enable-ipv6".into());
        }
        arguments.extend(self.outbound.iter().map(|outbound| format!("--outbound-addr={outbound}").into()));
        arguments.extend(self.outbound6.iter().map(|outbound| format!("--outbound-addr6={outbound}").into()));
        arguments.push(prefixed("--api-socket=", &plan.directory.join(SOCKET)));
        arguments.extend(plan.user_namespace.iter().map(|path| prefixed("--userns-path=", path)));
        arguments.extend(["--".into(), plan.namespace.clone().into(), INTERFACE.into()]);
        Ok(arguments)
    }

    pub fn inside(&self) -> Inside {
        let at = |offset| IpAddr::from(Ipv4Addr::from(u32::from(self.cidr.network()).wrapping_add(offset)));
        Inside {
            interface: Some(INTERFACE.to_owned()),
            address: Some((at(CONTAINER), self.cidr.prefix_len())),
            gateway: Some(at(GATEWAY)),
            dns: Some(at(NAMESERVER)),
            host: self.allow_host_loopback.then(|| at(GATEWAY)),
        }
    }
}

fn boolean(value: &str) -> Result<bool, &'static str> {
    value.parse().map_err(|_| "expected true or false")
}

fn cidr(value: &str) -> Result<Ipv4Net, &'static str> {
    let cidr: Ipv4Net = value.parse().map_err(|_| "expected an IPv4 subnet")?;
    if cidr.addr() != cidr.network() {
        return Err("the address has bits beyond its prefix");
    }
    if !(1..=LONGEST_PREFIX).contains(&cidr.prefix_len()) {
        return Err("the prefix must be between 1 and 25");
    }
    Ok(cidr)
}

fn mtu(value: &str) -> Result<u32, &'static str> {
    value.parse().ok().filter(|mtu| (68..=LARGEST_MTU).contains(mtu)).ok_or("expected a number from 68 to 65521")
}

fn outbound(value: &str, address: bool) -> Result<String, &'static str> {
    let name = (1..16).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if address || name { Ok(value.to_owned()) } else { Err("expected an address or an interface") }
}

fn prefixed(option: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(path);
    argument
}

fn check(port: &HelperPort) -> Result<(), HelperError> {
    match port.host_ip {
        Some(IpAddr::V6(_)) => Err(refused(port, "it listens on IPv4 addresses only")),
        _ => Ok(()),
    }
}

fn refused(port: &HelperPort, reason: impl Into<String>) -> HelperError {
    HelperKind::Slirp4netns.port_error(port, reason)
}

/// Publishes ports through the socket of one that is ready.
pub fn publish(
    socket: &Path,
    guest: Option<IpAddr>,
    ports: &[HelperPort],
    deadline: Instant,
) -> Result<(), HelperError> {
    for port in ports {
        let request = json!({"execute": "add_hostfwd", "arguments": {
            "proto": match port.protocol { HelperProtocol::Tcp => "tcp", HelperProtocol::Udp => "udp" },
            "host_addr": port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()).to_string(),
            "host_port": port.host_port,
            "guest_addr": guest.map(|guest| guest.to_string()),
            "guest_port": port.container_port,
        }});
        let reply = ask(socket, &request, deadline).map_err(|error| refused(port, error.to_string()))?;
        if reply.get("error").is_some() {
            // It never says why.
            return Err(refused(port, "it refused without a reason"));
        }
    }
    Ok(())
}

/// One request, one reply, one connection.
fn ask(socket: &Path, request: &Value, deadline: Instant) -> io::Result<Value> {
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))?;
    stream.write_all(request.to_string().as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut reply = Vec::new();
    stream.take(REPLY).read_to_end(&mut reply)?;
    Ok(serde_json::from_slice(&reply)?)
}
