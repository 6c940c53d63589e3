//! Networks, and how containers are attached to them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::config::ContainerId;

/// The name of the network that containers are on unless something else is asked for.
pub const DEFAULT_NETWORK: &str = "bridge";

/// Which network a container has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// The loopback device only.
    None,
    /// The host's own.
    Host,
    /// Another container's network namespace.
    Container(ContainerId),
    /// A network namespace by path.
    Path(PathBuf),
    /// Networks of the store, the first being the one of `--ip` and its like. Never empty.
    Networks(Vec<Attachment>),
    /// A network of its own, made and gone with the container.
    Slirp(Attachment),
    /// A program installed beside rbox does the networking.
    Helper(HelperProgram, Vec<String>),
}

impl Default for NetworkMode {
    fn default() -> Self {
        Self::Networks(vec![Attachment::to(DEFAULT_NETWORK)])
    }
}

impl NetworkMode {
    /// Whether the container gets a network namespace of its own.
    pub fn is_private(&self) -> bool {
        !matches!(self, Self::Host | Self::Container(_) | Self::Path(_))
    }

    /// docker's and podman's name of it, the first network's where there are several.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::None => "none".into(),
            Self::Host => "host".into(),
            Self::Container(id) => format!("container:{id}").into(),
            Self::Path(path) => format!("ns:{}", path.display()).into(),
            Self::Networks(attachments) => attachments.first().map_or("none", |first| first.network.as_str()).into(),
            Self::Slirp(_) => "slirp".into(),
            Self::Helper(HelperProgram::Pasta, _) => "pasta".into(),
            Self::Helper(HelperProgram::Slirp4netns, _) => "slirp4netns".into(),
        }
    }

    /// The networks of ours that the container is attached to.
    pub fn attachments(&self) -> &[Attachment] {
        match self {
            Self::Networks(attachments) => attachments,
            Self::Slirp(attachment) => std::slice::from_ref(attachment),
            _ => &[],
        }
    }
}

/// User-mode network programs that rbox can hand a namespace to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HelperProgram {
    Pasta,
    Slirp4netns,
}

/// A container's part in one network, as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network's name.
    pub network: String,
    /// Further names, besides the container's name and short id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip6: Option<Ipv6Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// The interface's name inside; else the next `ethN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The highest has the default route; among equals the first name.
    #[serde(default)]
    pub gateway_priority: i32,
    /// The gateway's address leads to the host's loopback services.
    #[serde(default)]
    pub host_loopback: bool,
}

impl Attachment {
    /// An attachment with nothing special about it.
    pub fn to(network: &str) -> Self {
        Self { network: network.to_owned(), ..Self::default() }
    }
}

/// A link layer address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

/// A network as the store has it: `networks/NAME.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// 64 lower-case hex digits.
    pub id: String,
    pub name: String,
    /// RFC 3339 in UTC with nanoseconds.
    pub created: String,
    pub driver: Driver,
    /// In the order given; for `bridge` at least one, at most one of each family is used.
    pub subnets: Vec<Subnet>,
    /// No way out of it.
    #[serde(default)]
    pub internal: bool,
    #[serde(default)]
    pub attachable: bool,
    /// Containers do not reach each other (`com.docker.network.bridge.enable_icc=false`).
    #[serde(default)]
    pub isolate_containers: bool,
    /// Bytes; None for the largest.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Names are not resolved on it.
    #[serde(default)]
    pub disable_dns: bool,
    /// Servers asked for other names instead of the host's.
    #[serde(default)]
    pub dns_servers: Vec<IpAddr>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `--opt` as given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// `--aux-address`: addresses kept free.
    #[serde(default)]
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// What makes a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    Bridge,
    Host,
    Null,
}

/// One address range of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub subnet: IpNet,
    pub gateway: IpAddr,
    /// Where containers' addresses are taken from, first and last; None: all of the subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(IpAddr, IpAddr)>,
    /// `--ip-range` as given, for inspect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_text: Option<String>,
}

impl Network {
    /// The IPv4 subnet in use, if any.
    pub fn v4(&self) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| matches!(subnet.subnet, IpNet::V4(_)))
    }

    /// The IPv6 subnet in use, if any.
    pub fn v6(&self) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| matches!(subnet.subnet, IpNet::V6(_)))
    }

    /// The first 12 digits of the id.
    pub fn short_id(&self) -> &str {
        &self.id[..12.min(self.id.len())]
    }
}

/// A running container's place in a network: `networks/ID/endpoints/CONTAINER.json` in the runtime
/// directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub container: ContainerId,
    /// The container's name.
    pub name: String,
    pub network: String,
    pub network_id: String,
    /// 64 hex digits, new at each start.
    pub endpoint_id: String,
    /// Names it is found by, besides its own and its short id.
    pub aliases: Vec<String>,
    pub interface: String,
    pub mac: MacAddress,
    /// With the subnet's prefix length.
    pub v4: Option<Ipv4Net>,
    pub v6: Option<Ipv6Net>,
    pub gateway4: Option<Ipv4Addr>,
    pub gateway6: Option<Ipv6Addr>,
    /// Servers its queries for other names go to (`--dns`); empty: the network's or the host's.
    #[serde(default)]
    pub dns_servers: Vec<IpAddr>,
    #[serde(default)]
    pub gateway_priority: i32,
    #[serde(default)]
    pub host_loopback: bool,
}

impl Lease {
    /// Its addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let v4 = self.v4.map(|net| IpAddr::V4(net.addr()));
        v4.into_iter().chain(self.v6.map(|net| IpAddr::V6(net.addr()))).collect()
    }
}

impl std::fmt::Display for MacAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> Self {
        address.to_string()
    }
}

/// Why a text is not a link layer address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} is not a valid mac address")]
pub struct InvalidMac(String);

impl std::str::FromStr for MacAddress {
    type Err = InvalidMac;

    /// Six pairs of hex digits between colons or dashes; a unicast address.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidMac(super::text::printable(text));
        let mut address = [0; 6];
        let mut pairs = text.split([':', '-']);
        for byte in &mut address {
            let pair = pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(pair.ok_or_else(invalid)?, 16).map_err(|_| invalid())?;
        }
        if pairs.next().is_some() || address[0] & 1 == 1 {
            return Err(invalid());
        }
        Ok(Self(address))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = InvalidMac;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// What a network is to be made as.
#[derive(Clone, Debug, Default)]
pub struct NewNetwork {
    pub name: String,
    /// Checked and normalised by [`plan_subnets`]; a family that is wanted and has none gets a pool.
    pub subnets: Vec<NewSubnet>,
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

/// One address range that a network is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSubnet {
    pub subnet: IpNet,
    pub gateway: Option<IpAddr>,
    pub range: Option<(IpAddr, IpAddr)>,
    pub range_text: Option<String>,
}

/// Why no network can be made as asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidNetwork {
    #[error("invalid CIDR address: {0}")]
    Cidr(String),
}

/// `--subnet`, `--ip-range`, `--gateway` and `--aux-address` of `network create` put together, as docker does.
pub fn plan_subnets(
    _subnets: &[String],
    _ranges: &[String],
    _gateways: &[String],
    _auxiliary: &[String],
) -> Result<(Vec<NewSubnet>, BTreeMap<String, IpAddr>), InvalidNetwork> {
    Ok((Vec::new(), BTreeMap::new()))
}
