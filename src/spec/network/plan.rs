//! What a network is to be made as: its name, its subnets, its options.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Subnet;
use crate::spec::security::parse_bool;
use crate::spec::text::printable;

/// A name is a file name in the store, with `.json` after it.
const NAME_MAX: usize = 200;
/// Digits of a short id.
const SHORT_ID: usize = 12;
/// The least that IPv4 needs, and the most that a bridge takes.
const MTU: std::ops::RangeInclusive<u32> = 68..=65535;
/// What `--network` has for itself.
const MODES: [&str; 9] = ["default", "private", "none", "host", "container", "ns", "slirp", "pasta", "slirp4netns"];

/// What a network is to be made as.
#[derive(Clone, Debug)]
pub struct NewNetwork {
    pub name: String,
    /// Of [`plan_subnets`]; a family that is wanted and has none gets one of the store's choice.
    pub subnets: Vec<Subnet>,
    /// `--ipv4=false` unsets it.
    pub ipv4: bool,
    pub ipv6: bool,
    pub internal: bool,
    pub attachable: bool,
    pub isolate_containers: bool,
    pub mtu: Option<u32>,
    pub disable_dns: bool,
    pub dns_servers: Vec<IpAddr>,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// Why no network can be made as asked; docker's words where it has them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidNetwork {
    #[error("network name {0:?} is invalid: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*")]
    Name(String),
    #[error("network name {0:?} is invalid: it could be taken for a network id")]
    LooksLikeId(String),
    #[error("network name {0:?} is invalid: it is longer than {NAME_MAX} bytes")]
    TooLong(String),
    #[error("network name {0:?} is reserved: --network has another meaning for it")]
    Reserved(String),
    #[error("invalid CIDR address: {0}")]
    Cidr(String),
    #[error("subnet {subnet} can't be used: it holds {what} addresses")]
    Special { subnet: IpNet, what: &'static str },
    #[error("subnet {0} can't be used: it has no room for a gateway and a container")]
    Small(IpNet),
    #[error("every ip-range or gateway must have a corresponding subnet")]
    NoSubnet,
    #[error("multiple overlapping subnet configuration is not supported")]
    Overlapping,
    #[error("bridge driver doesn't support multiple subnets: give one of each family")]
    Several,
    #[error("no matching subnet for range {0}")]
    RangeUnmatched(String),
    #[error("invalid ip-range {range}: it goes beyond subnet {subnet}")]
    RangeOutside { range: String, subnet: IpNet },
    #[error("invalid ip-range {0}: give a CIDR block or FIRST-LAST")]
    Range(String),
    #[error("cannot configure multiple ranges ({first}, {second}) on the same subnet ({subnet})")]
    RangeTwice { first: String, second: String, subnet: IpNet },
    #[error("invalid gateway address: {0}")]
    Gateway(String),
    #[error("no matching subnet for gateway {0}")]
    GatewayUnmatched(IpAddr),
    #[error("gateway {gateway} can't be used: it is the first or last address of subnet {subnet}")]
    GatewayUnusable { gateway: IpAddr, subnet: IpNet },
    #[error("cannot configure multiple gateways ({first}, {second}) for the same subnet ({subnet})")]
    GatewayTwice { first: IpAddr, second: IpAddr, subnet: IpNet },
    #[error("invalid aux-address {0:?}: give NAME=ADDRESS")]
    Auxiliary(String),
    #[error("no matching subnet for aux-address {0}")]
    AuxiliaryUnmatched(IpAddr),
    #[error("aux-address {0} is the gateway: Address already in use")]
    AuxiliaryTaken(IpAddr),
    #[error("IPv4 or IPv6 must be enabled")]
    NoFamily,
    #[error("subnet {0} can't be used: IPv4 is not enabled")]
    Disabled(IpNet),
    #[error("invalid value {value:?} of option {key}: {allowed}")]
    Option { key: String, value: String, allowed: &'static str },
}

impl NewNetwork {
    /// A network with docker's defaults.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            subnets: Vec::new(),
            ipv4: true,
            ipv6: false,
            internal: false,
            attachable: false,
            isolate_containers: false,
            mtu: None,
            disable_dns: false,
            dns_servers: Vec::new(),
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            auxiliary: BTreeMap::new(),
        }
    }

    /// Takes the driver's options: the MTU and docker's `enable_icc` mean something, the others are kept
    /// for inspect.
    pub fn set_options(&mut self, options: BTreeMap<String, String>) -> Result<(), InvalidNetwork> {
        for (key, value) in &options {
            let refuse = |allowed| {
                let (key, value) = (printable(key), printable(value));
                InvalidNetwork::Option { key, value, allowed }
            };
            match key.as_str() {
                "mtu" | "com.docker.network.driver.mtu" => {
                    let mtu = value.parse().ok().filter(|mtu| MTU.contains(mtu) || *mtu == 0);
                    let mtu = mtu.ok_or_else(|| refuse("a number of bytes from 68 to 65535"))?;
                    self.mtu = Some(mtu).filter(|mtu| *mtu > 0);
                }
                "com.docker.network.bridge.enable_icc" => {
                    self.isolate_containers = !parse_bool(value).ok_or_else(|| refuse("true or false"))?;
                }
                _ => {}
            }
        }
        self.options = options;
        Ok(())
    }

    /// Checks the name and that the families fit the subnets.
    pub fn check(&self) -> Result<(), InvalidNetwork> {
        check_network_name(&self.name)?;
        let of = |v4: bool| self.subnets.iter().filter(move |subnet| subnet.subnet.addr().is_ipv4() == v4);
        if of(true).count() > 1 || of(false).count() > 1 {
            return Err(InvalidNetwork::Several);
        }
        match of(true).next() {
            Some(subnet) if !self.ipv4 => Err(InvalidNetwork::Disabled(subnet.subnet)),
            None if !self.ipv4 && !self.ipv6 && of(false).next().is_none() => Err(InvalidNetwork::NoFamily),
            _ => Ok(()),
        }
    }
}

impl Subnet {
    /// A whole subnet, whose first usable address is the gateway's.
    pub fn of(subnet: IpNet) -> Self {
        let subnet = subnet.trunc();
        Self { subnet, gateway: hosts(&subnet).0, range: None, range_text: None }
    }
}

/// Checks what a network is to be called.
pub fn check_network_name(name: &str) -> Result<(), InvalidNetwork> {
    let word = |byte: u8| byte.is_ascii_alphanumeric();
    let allowed = |byte: u8| word(byte) || b"_.-".contains(&byte);
    if !name.bytes().next().is_some_and(word) || !name.bytes().all(allowed) {
        return Err(InvalidNetwork::Name(printable(name)));
    }
    if name.len() > NAME_MAX {
        return Err(InvalidNetwork::TooLong(name.to_owned()));
    }
    if MODES.contains(&name) {
        return Err(InvalidNetwork::Reserved(name.to_owned()));
    }
    // As with containers: it could stand before another network's id.
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if name.len() >= SHORT_ID && name.bytes().all(hex) {
        return Err(InvalidNetwork::LooksLikeId(name.to_owned()));
    }
    Ok(())
}

/// The lowest and the highest address that a host may have.
pub fn hosts(subnet: &IpNet) -> (IpAddr, IpAddr) {
    match subnet {
        IpNet::V4(net) if net.prefix_len() < 31 => {
            let last = u32::from(net.broadcast()) - 1;
            (Ipv4Addr::from(u32::from(net.network()) + 1).into(), Ipv4Addr::from(last).into())
        }
        IpNet::V4(net) => (net.network().into(), net.broadcast().into()),
        // The first is every router's; there is no broadcast.
        IpNet::V6(net) if net.prefix_len() < 127 => {
            (Ipv6Addr::from(u128::from(net.network()) + 1).into(), net.broadcast().into())
        }
        IpNet::V6(net) => (net.network().into(), net.broadcast().into()),
    }
}

/// `--subnet`, `--ip-range`, `--gateway` and `--aux-address` put together as docker does: each of the latter goes
/// to the subnet it lies in. Without a gateway it is the first address of a range in CIDR form, else of the subnet.
pub fn plan_subnets(
    subnets: &[String],
    ranges: &[String],
    gateways: &[String],
    auxiliary: &[String],
) -> Result<(Vec<Subnet>, BTreeMap<String, IpAddr>), InvalidNetwork> {
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err(InvalidNetwork::NoSubnet);
    }
    let mut planned: Vec<Subnet> = Vec::new();
    for text in subnets {
        let subnet = parse_subnet(text)?;
        if planned.iter().any(|other| overlap(&other.subnet, &subnet)) {
            return Err(InvalidNetwork::Overlapping);
        }
        planned.push(Subnet::of(subnet));
    }
    for text in ranges {
        add_range(&mut planned, text)?;
    }
    let mut given: Vec<(IpNet, IpAddr)> = Vec::new();
    for text in gateways {
        let gateway = text.parse().map_err(|_| InvalidNetwork::Gateway(printable(text)))?;
        add_gateway(&mut planned, &mut given, gateway)?;
    }
    let auxiliary = auxiliary.iter().map(|text| parse_auxiliary(&planned, text)).collect::<Result<_, _>>()?;
    Ok((planned, auxiliary))
}

/// Whether two subnets share addresses.
pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// A block of addresses that containers may have; bits beyond the prefix are masked as docker does.
fn parse_subnet(text: &str) -> Result<IpNet, InvalidNetwork> {
    let subnet: IpNet = text.parse().map_err(|_| InvalidNetwork::Cidr(printable(text)))?;
    let subnet = subnet.trunc();
    let special: [(IpNet, &str); 8] = [
        (Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8).into(), "unspecified"),
        (Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8).into(), "loopback"),
        (Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16).into(), "link-local"),
        (Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3).into(), "multicast or reserved"),
        (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 8).into(), "loopback or IPv4"),
        (Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10).into(), "link-local"),
        (Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8).into(), "multicast"),
        // Translated to IPv4 by networks without it (RFC 6052).
        (Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96).into(), "NAT64"),
    ];
    if let Some((_, what)) = special.iter().find(|(block, _)| overlap(&block.trunc(), &subnet)) {
        return Err(InvalidNetwork::Special { subnet, what });
    }
    if subnet.prefix_len() == subnet.max_prefix_len() {
        return Err(InvalidNetwork::Small(subnet));
    }
    Ok(subnet)
}

fn add_range(planned: &mut [Subnet], text: &str) -> Result<(), InvalidNetwork> {
    let (range, block) = parse_range(text)?;
    let home = planned.iter_mut().find(|subnet| subnet.subnet.contains(&range.0));
    let home = home.ok_or_else(|| InvalidNetwork::RangeUnmatched(printable(text)))?;
    let subnet = home.subnet;
    if !subnet.contains(&range.1) {
        return Err(InvalidNetwork::RangeOutside { range: printable(text), subnet });
    }
    if let Some(first) = home.range_text.take() {
        return Err(InvalidNetwork::RangeTwice { first, second: text.to_owned(), subnet });
    }
    if block {
        // The first of the range that a host may have; podman's form leaves the gateway alone.
        home.gateway = range.0.max(hosts(&subnet).0);
    }
    home.range = Some(range);
    home.range_text = Some(text.to_owned());
    Ok(())
}

/// The first and the last address, and whether they were given as a block.
fn parse_range(text: &str) -> Result<((IpAddr, IpAddr), bool), InvalidNetwork> {
    if let Some((first, last)) = text.split_once('-') {
        let invalid = || InvalidNetwork::Range(printable(text));
        let (first, last): (IpAddr, IpAddr) = match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) => (first, last),
            _ => return Err(invalid()),
        };
        let ordered = first.is_ipv4() == last.is_ipv4() && first <= last;
        return if ordered { Ok(((first, last), false)) } else { Err(invalid()) };
    }
    let block: IpNet = text.parse().map_err(|_| InvalidNetwork::Cidr(printable(text)))?;
    Ok(((block.network(), block.broadcast()), true))
}

fn add_gateway(
    planned: &mut [Subnet],
    given: &mut Vec<(IpNet, IpAddr)>,
    gateway: IpAddr,
) -> Result<(), InvalidNetwork> {
    let home = planned.iter_mut().find(|subnet| subnet.subnet.contains(&gateway));
    let home = home.ok_or(InvalidNetwork::GatewayUnmatched(gateway))?;
    let subnet = home.subnet;
    if let Some((_, first)) = given.iter().find(|(other, _)| *other == subnet) {
        return Err(InvalidNetwork::GatewayTwice { first: *first, second: gateway, subnet });
    }
    let (lowest, highest) = hosts(&subnet);
    if gateway < lowest || gateway > highest {
        return Err(InvalidNetwork::GatewayUnusable { gateway, subnet });
    }
    home.gateway = gateway;
    given.push((subnet, gateway));
    Ok(())
}

fn parse_auxiliary(planned: &[Subnet], text: &str) -> Result<(String, IpAddr), InvalidNetwork> {
    let invalid = || InvalidNetwork::Auxiliary(printable(text));
    let (name, address) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(invalid)?;
    let address: IpAddr = address.parse().map_err(|_| invalid())?;
    let home = planned.iter().find(|subnet| subnet.subnet.contains(&address));
    match home {
        None => Err(InvalidNetwork::AuxiliaryUnmatched(address)),
        Some(subnet) if subnet.gateway == address => Err(InvalidNetwork::AuxiliaryTaken(address)),
        Some(_) => Ok((name.to_owned(), address)),
    }
}

#[cfg(test)]
mod tests;
