//! `--network` and the flags that go with it: docker's names, `container:` and long form, podman's options
//! after a colon and lists between commas.
//!
//! Where docker refuses what podman allows and nothing is lost by it, it is allowed: fixed addresses and aliases
//! on the default network (whose subnet stays once it is made, and which resolves names here), fixed addresses
//! on networks whose subnet was chosen for them, the default network together with others. What means nothing
//! without a network of ours (`none`, `host`, another's) is refused in docker's words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::dns::is_domain;
use super::{Attachment, DEFAULT_NETWORK, HelperProgram, InvalidMac, NetworkMode};
use crate::spec::config::ContainerId;
use crate::spec::security::parse_bool;
use crate::spec::text::printable;

/// The longest name of an interface, IFNAMSIZ without its NUL.
const INTERFACE_MAX: usize = 15;
/// docker's driver option with an interface's name.
const INTERFACE_OPTION: &str = "com.docker.network.endpoint.ifname";

/// The flags, as typed.
#[derive(Clone, Debug, Default)]
pub struct NetworkFlags {
    /// Empty: the default network.
    pub networks: Vec<String>,
    /// These apply to the first network.
    pub aliases: Vec<String>,
    pub ip: Option<String>,
    pub ip6: Option<String>,
    pub mac: Option<String>,
}

/// Why the flags make no sense; docker's words where it has them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidNetworkFlag {
    #[error("invalid network mode: invalid container format container:<name|id>")]
    ContainerFormat,
    /// The container of `container:NAME` was not found; the text says why.
    #[error("{0}")]
    Container(String),
    #[error("invalid network mode: ns: needs the absolute path of a network namespace")]
    Path,
    #[error("network name/id is not specified")]
    NoName,
    #[error("invalid field {0}")]
    Field(String),
    #[error("invalid field key {0}")]
    Key(String),
    #[error("unknown bridge network option: {0}")]
    Option(String),
    #[error("invalid {kind} address: {text}")]
    Address { kind: &'static str, text: String },
    #[error(transparent)]
    Mac(#[from] InvalidMac),
    #[error("invalid network alias {0:?}")]
    Alias(String),
    #[error("invalid interface name {0:?}: 1 to {INTERFACE_MAX} letters, digits, '.', '-' or '_'")]
    Interface(String),
    #[error("interface name {0} is given to several networks")]
    InterfaceTwice(String),
    #[error("invalid gw-priority ({0})")]
    Priority(String),
    #[error("invalid value {value:?} of network option {key}: true or false")]
    Bool { key: &'static str, value: String },
    #[error("network driver option {0} is not known: only {INTERFACE_OPTION}=NAME is")]
    DriverOption(String),
    #[error("link-local addresses can't be chosen: leave link-local-ip out")]
    LinkLocal,
    #[error("host_interface_name can't be chosen: the other end is in a namespace of the network's own")]
    HostInterface,
    #[error("network {0:?} is specified multiple times")]
    Twice(String),
    #[error("conflicting options: cannot attach both user-defined and non-user-defined network-modes")]
    Combined,
    #[error("network mode {0} takes no options")]
    NoOptions(String),
    #[error("conflicting options: cannot specify both {flag} and per-network {what}")]
    Both { flag: &'static str, what: &'static str },
    #[error("user specified IP address is supported on user defined networks only")]
    NoAddress,
    #[error("network-scoped aliases are only supported for user-defined networks")]
    NoAliases,
    #[error("conflicting options: mac-address and the network mode")]
    NoMac,
}

use InvalidNetworkFlag as Invalid;

/// Finds the container that `container:NAME` names, or says why it can't.
pub type Find<'a> = &'a mut dyn FnMut(&str) -> Result<ContainerId, String>;

/// What the flags ask for. Networks are named as typed; the store knows which they are.
pub fn parse_networks(flags: &NetworkFlags, find: Find<'_>) -> Result<NetworkMode, Invalid> {
    let mut modes = Vec::new();
    for text in &flags.networks {
        modes.extend(parse_one(text, find)?);
    }
    let mut mode = combine(modes)?;
    let first = match &mut mode {
        NetworkMode::Networks(attachments) => attachments.first_mut(),
        NetworkMode::Slirp(attachment) => Some(attachment),
        _ => None,
    };
    match first {
        Some(first) => apply(flags, first)?,
        None if flags.ip.is_some() || flags.ip6.is_some() => return Err(Invalid::NoAddress),
        None if !flags.aliases.is_empty() => return Err(Invalid::NoAliases),
        None if flags.mac.is_some() => return Err(Invalid::NoMac),
        None => {}
    }
    check_distinct(mode.attachments())?;
    Ok(mode)
}

/// Checks the grammar of one value, as in a configuration file.
pub fn check_setting(text: &str) -> Result<(), Invalid> {
    parse_one(text, &mut |_| Ok(ContainerId::from_bytes([0; 32]))).and_then(combine).map(drop)
}

/// One value of `--network`.
fn parse_one(text: &str, find: Find<'_>) -> Result<Vec<NetworkMode>, Invalid> {
    let (name, options) = match text.split_once(':') {
        Some((name, options)) if !name.contains('=') => (name, Some(options)),
        _ => (text, None),
    };
    let helper = |program| {
        let options = options.unwrap_or_default().split(',').filter(|option| !option.is_empty());
        NetworkMode::Helper(program, options.map(str::to_owned).collect())
    };
    let mode = match (name, options) {
        ("none", None) => NetworkMode::None,
        ("host", None) => NetworkMode::Host,
        ("container", None | Some("")) => return Err(Invalid::ContainerFormat),
        ("container", Some(donor)) => NetworkMode::Container(find(donor).map_err(Invalid::Container)?),
        ("ns", Some(path)) if path.starts_with('/') && !path.contains('\0') => NetworkMode::Path(PathBuf::from(path)),
        ("ns", _) => return Err(Invalid::Path),
        ("pasta", _) => helper(HelperProgram::Pasta),
        ("slirp4netns", _) => helper(HelperProgram::Slirp4netns),
        ("none" | "host", Some(_)) => return Err(Invalid::NoOptions(name.to_owned())),
        ("slirp", _) => NetworkMode::Slirp(with_options(name, options)?),
        (_, Some(_)) => NetworkMode::Networks(vec![with_options(name, options)?]),
        (_, None) if text.contains('=') => return long_form(text).map(|mode| vec![mode]),
        (_, None) if text.contains(',') => return list(text, find),
        (_, None) => NetworkMode::Networks(vec![Attachment::to(canonical(name))]),
    };
    Ok(vec![mode])
}

fn list(text: &str, find: Find<'_>) -> Result<Vec<NetworkMode>, Invalid> {
    let mut modes = Vec::new();
    for name in text.split(',') {
        if name.is_empty() {
            return Err(Invalid::NoName);
        }
        modes.extend(parse_one(name, find)?);
    }
    Ok(modes)
}

/// docker's and podman's words for the network that is there without being made.
fn canonical(name: &str) -> &str {
    if matches!(name, "" | "default" | "private") { DEFAULT_NETWORK } else { name }
}

/// podman's `NAME:OPTION=VALUE,...`.
fn with_options(name: &str, options: Option<&str>) -> Result<Attachment, Invalid> {
    if name.is_empty() {
        return Err(Invalid::NoName);
    }
    let mut attachment = Attachment::to(canonical(name));
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match key {
            "ip" | "ip6" => match parse_ip(value)? {
                IpAddr::V4(address) => attachment.ip = Some(address),
                IpAddr::V6(address) => attachment.ip6 = Some(address),
            },
            "mac" => attachment.mac = Some(value.parse()?),
            "alias" => attachment.aliases.push(alias(value)?),
            "interface_name" => attachment.interface = Some(interface(value)?),
            "host_interface_name" => return Err(Invalid::HostInterface),
            "host-loopback" => attachment.host_loopback = boolean("host-loopback", option, value)?,
            _ => return Err(Invalid::Option(printable(option))),
        }
    }
    Ok(attachment)
}

fn boolean(key: &'static str, option: &str, value: &str) -> Result<bool, Invalid> {
    if option == key {
        return Ok(true);
    }
    parse_bool(value).ok_or_else(|| Invalid::Bool { key, value: printable(value) })
}

/// docker's `name=NAME,alias=...`.
fn long_form(text: &str) -> Result<NetworkMode, Invalid> {
    let (mut name, mut attachment) = ("", Attachment::default());
    for field in text.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| Invalid::Field(printable(field)))?;
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => name = value,
            "alias" => attachment.aliases.push(alias(value)?),
            "ip" => attachment.ip = Some(parse_v4(value)?),
            "ip6" => attachment.ip6 = Some(parse_v6(value)?),
            "mac-address" => attachment.mac = Some(value.parse()?),
            "link-local-ip" => return Err(Invalid::LinkLocal),
            "driver-opt" => match value.split_once('=') {
                Some((INTERFACE_OPTION, name)) => attachment.interface = Some(interface(name)?),
                _ => return Err(Invalid::DriverOption(printable(value))),
            },
            "gw-priority" => {
                attachment.gateway_priority = value.parse().map_err(|_| Invalid::Priority(printable(value)))?;
            }
            "" => return Err(Invalid::Field(printable(field))),
            key => return Err(Invalid::Key(printable(key))),
        }
    }
    let plain = attachment == Attachment::default();
    attachment.network = canonical(name).to_owned();
    match name {
        "" => Err(Invalid::NoName),
        "none" if plain => Ok(NetworkMode::None),
        "host" if plain => Ok(NetworkMode::Host),
        "slirp" => Ok(NetworkMode::Slirp(attachment)),
        "none" | "host" => Err(Invalid::NoOptions(name.to_owned())),
        _ => Ok(NetworkMode::Networks(vec![attachment])),
    }
}

/// All values together: one mode, or networks of the store.
fn combine(modes: Vec<NetworkMode>) -> Result<NetworkMode, Invalid> {
    let mut modes = modes.into_iter();
    let Some(mut whole) = modes.next() else { return Ok(NetworkMode::default()) };
    for mode in modes {
        match (&mut whole, mode) {
            (NetworkMode::Networks(all), NetworkMode::Networks(more)) => all.extend(more),
            _ => return Err(Invalid::Combined),
        }
    }
    Ok(whole)
}

/// `--ip` and its like belong to the first network, unless its own options say the same thing.
fn apply(flags: &NetworkFlags, first: &mut Attachment) -> Result<(), Invalid> {
    let conflict = |set: bool, flag, what| if set { Err(Invalid::Both { flag, what }) } else { Ok(()) };
    if !flags.aliases.is_empty() {
        conflict(!first.aliases.is_empty(), "--network-alias", "alias")?;
        first.aliases = flags.aliases.iter().map(|text| alias(text)).collect::<Result<_, _>>()?;
    }
    if let Some(text) = &flags.ip {
        conflict(first.ip.is_some(), "--ip", "IPv4 address")?;
        first.ip = Some(parse_v4(text)?);
    }
    if let Some(text) = &flags.ip6 {
        conflict(first.ip6.is_some(), "--ip6", "IPv6 address")?;
        first.ip6 = Some(parse_v6(text)?);
    }
    if let Some(text) = &flags.mac {
        conflict(first.mac.is_some(), "--mac-address", "MAC address")?;
        first.mac = Some(text.parse()?);
    }
    Ok(())
}

fn check_distinct(attachments: &[Attachment]) -> Result<(), Invalid> {
    for (count, attachment) in attachments.iter().enumerate() {
        let earlier = &attachments[..count];
        if earlier.iter().any(|other| other.network == attachment.network) {
            return Err(Invalid::Twice(printable(&attachment.network)));
        }
        if let Some(interface) = &attachment.interface
            && earlier.iter().any(|other| other.interface.as_ref() == Some(interface))
        {
            return Err(Invalid::InterfaceTwice(interface.clone()));
        }
    }
    Ok(())
}

/// An IPv4 address for a container.
pub fn parse_v4(text: &str) -> Result<Ipv4Addr, Invalid> {
    text.parse().map_err(|_| Invalid::Address { kind: "IPv4", text: printable(text) })
}

/// An IPv6 address for a container.
pub fn parse_v6(text: &str) -> Result<Ipv6Addr, Invalid> {
    text.parse().map_err(|_| Invalid::Address { kind: "IPv6", text: printable(text) })
}

fn parse_ip(text: &str) -> Result<IpAddr, Invalid> {
    text.parse().map_err(|_| Invalid::Address { kind: "IP", text: printable(text) })
}

/// A name that the DNS can carry.
fn alias(text: &str) -> Result<String, Invalid> {
    if is_domain(text) { Ok(text.to_owned()) } else { Err(Invalid::Alias(printable(text))) }
}

/// A name that the kernel takes, and no program stumbles over.
fn interface(text: &str) -> Result<String, Invalid> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = (1..=INTERFACE_MAX).contains(&text.len()) && text.bytes().all(allowed);
    if !fits || matches!(text, "lo" | "." | "..") || text.starts_with('-') {
        return Err(Invalid::Interface(printable(text)));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
