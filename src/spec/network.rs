//! Networks, and how containers are attached to them.

mod connect;
mod dns;
mod flags;
mod link;
mod mac;
mod plan;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::config::ContainerId;

pub use connect::ConnectError;
pub use dns::{InvalidDns, parse_dns};
pub use flags::{InvalidNetworkFlag, NetworkFlags, check_setting, parse_networks, parse_v4, parse_v6};
pub use link::{InvalidLink, parse_link};
pub use mac::{InvalidMac, MacAddress};
pub use plan::{InvalidNetwork, NewNetwork, check_network_name, hosts, overlap, plan_subnets};

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
    /// Networks of the store, the first being the one of `--ip` and its like. Empty only when the container was
    /// disconnected from all of them.
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

    /// Why a container cannot have this address here, if it cannot.
    pub fn refusal(&self, address: IpAddr) -> Option<String> {
        let of_family = |subnet: &&Subnet| subnet.subnet.addr().is_ipv4() == address.is_ipv4();
        let Some(Subnet { subnet, gateway, .. }) = self.subnets.iter().find(of_family) else {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            return Some(format!("network {} has no {family} subnet", self.name));
        };
        if !subnet.contains(&address) {
            return Some(format!("it does not belong to subnet {subnet} of network {}", self.name));
        }
        let (lowest, highest) = plan::hosts(subnet);
        if address < lowest || address > highest {
            return Some(format!("subnet {subnet} has it for another purpose"));
        }
        (address == *gateway).then(|| format!("it is the gateway of network {}", self.name))
    }

    /// The network that a container has to itself (`--network slirp`), with slirp's usual addresses. It
    /// has the container's id, and no record.
    pub fn own_of(container: &ContainerId) -> Self {
        let v4 = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 2, last));
        let v6 = |last| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
        let subnet = |first: IpAddr, prefix, gateway, range| Subnet {
            subnet: IpNet::new_assert(first, prefix),
            gateway,
            range: Some(range),
            range_text: None,
        };
        let subnets =
            vec![subnet(v4(0), 24, v4(2), (v4(100), v4(254))), subnet(v6(0), 64, v6(2), (v6(0x100), v6(0xffff)))];
        Self { subnets, ..Self::plain(container.to_string(), "slirp", String::new(), Driver::Bridge) }
    }

    /// A network with nothing special about it, and no subnets.
    pub fn plain(id: String, name: &str, created: String, driver: Driver) -> Self {
        Self {
            id,
            name: name.to_owned(),
            created,
            driver,
            subnets: Vec::new(),
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

    /// Whether it is one container's own.
    pub fn is_own(&self) -> bool {
        self.created.is_empty()
    }

    /// On a machine without IPv6 a network of both families has the other one only.
    pub fn forgo_ipv6(&mut self) {
        self.subnets.retain(|subnet| subnet.gateway.is_ipv4());
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
    /// On a machine without IPv6.
    pub fn forgo_ipv6(&mut self) {
        (self.v6, self.gateway6) = (None, None);
    }

    /// Its addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let v4 = self.v4.map(|net| IpAddr::V4(net.addr()));
        v4.into_iter().chain(self.v6.map(|net| IpAddr::V6(net.addr()))).collect()
    }
}
