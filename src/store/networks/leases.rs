//! Who has which address: `networks/ID/endpoints/CONTAINER.json` in the runtime directory, made under the network's
//! `lock` there. A lease whose container's `alive` lock is free is nobody's.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{LeaseError, create};
use crate::spec::config::{ContainerConfig, ContainerId};
use crate::spec::network::{Attachment, Lease, MacAddress, Network, Subnet, hosts};
use crate::store::lock::{AliveLock, FileLock};
use crate::store::record::{self, RecordError};
use crate::store::{Store, fs};

/// The leases of one network.
#[derive(Clone, Copy, Debug)]
pub struct Leases<'a> {
    store: &'a Store,
    network: &'a Network,
}

impl<'a> Leases<'a> {
    pub(super) fn new(store: &'a Store, network: &'a Network) -> Self {
        Self { store, network }
    }

    /// Takes addresses for a container whose `alive` lock somebody holds. A lease that the container has on this
    /// network already is replaced.
    pub fn take(&self, config: &ContainerConfig, attachment: &Attachment) -> Result<Lease, LeaseError> {
        let gone = || LeaseError::NoNetwork(self.network.name.clone());
        let directory = self.store.networks().runtime_directory(self.network)?;
        let _lock = match FileLock::exclusive(&directory.join("lock")) {
            // It was removed while we waited, and its directory with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone()),
            lock => lock.with_context(|| format!("lock the addresses of network {}", self.network.name))?,
        };
        if !self.exists(config) {
            return Err(gone());
        }
        let mut others = self.read(true)?;
        others.retain(|lease| lease.container != config.id);
        let lease = self.choose(config, attachment, &others)?;
        write(&directory, &lease).with_context(|| format!("record an address of network {}", self.network.name))?;
        Ok(lease)
    }

    /// Whether the network is on record still, or is the container's own.
    fn exists(&self, config: &ContainerConfig) -> bool {
        let now = self.store.networks().by_name(&self.network.name);
        self.network.id == config.id.as_str() || now.is_ok_and(|now| now.is_some_and(|now| now.id == self.network.id))
    }

    /// Gives a container's lease back; none is fine. Waits for nobody.
    pub fn release(&self, id: &ContainerId) -> Result<()> {
        let Some(networks) = directory(self.store) else { return Ok(()) };
        let path = lease_path(&networks.join(&self.network.id), id);
        fs::remove_if_present(&path).map(drop).with_context(|| format!("remove {}", path.display()))
    }

    /// Gives back the lease that a container had under this endpoint id, not a later one.
    pub fn release_endpoint(&self, id: &ContainerId, endpoint_id: &str) -> Result<()> {
        let Some(networks) = directory(self.store) else { return Ok(()) };
        match record::read::<Lease>(&lease_path(&networks.join(&self.network.id), id)) {
            Ok(lease) if lease.endpoint_id == endpoint_id => self.release(id),
            _ => Ok(()),
        }
    }

    /// The leases of running containers, by address.
    pub fn list(&self) -> Result<Vec<Lease>> {
        let mut leases = self.read(false)?;
        leases.sort_by_key(|lease| (lease.v4, lease.v6));
        Ok(leases)
    }

    /// The leases of running containers; what others left is removed if the caller holds the lock.
    fn read(&self, is_locked: bool) -> Result<Vec<Lease>> {
        let Some(networks) = directory(self.store) else { return Ok(Vec::new()) };
        let directory = networks.join(&self.network.id);
        let mut leases = Vec::new();
        for id in entries(&directory.join("endpoints"))? {
            match load(self.store, &directory, &id)? {
                Some(lease) => leases.push(lease),
                None if is_locked => {
                    let path = lease_path(&directory, &id);
                    fs::remove_if_present(&path).with_context(|| format!("remove {}", path.display()))?;
                }
                None => {}
            }
        }
        Ok(leases)
    }

    fn choose(&self, config: &ContainerConfig, wanted: &Attachment, others: &[Lease]) -> Result<Lease, LeaseError> {
        let (network, id) = (self.network, &config.id);
        let address = |subnet: Option<&Subnet>, fixed: Option<IpAddr>| match fixed {
            Some(address) => self.fixed(address, others).map(Some),
            None => subnet.map(|subnet| self.lowest_free(subnet, others)).transpose(),
        };
        let v4 = address(network.v4(), wanted.ip.map(IpAddr::V4))?;
        let v6 = address(network.v6(), wanted.ip6.map(IpAddr::V6))?;
        if v4.is_none() && v6.is_none() {
            return Err(anyhow!("network {} has no addresses yet", network.name).into());
        }
        let prefix = |subnet: Option<&Subnet>| subnet.map(|subnet| subnet.subnet.prefix_len()).unwrap_or_default();
        let gateway = |subnet: Option<&Subnet>| subnet.map(|subnet| subnet.gateway);
        Ok(Lease {
            container: id.clone(),
            name: config.name.clone(),
            network: network.name.clone(),
            network_id: network.id.clone(),
            endpoint_id: create::random_id()?,
            aliases: wanted.aliases.clone(),
            interface: interface(config, wanted, &self.interfaces_elsewhere(id)?)?,
            mac: self.mac(wanted.mac, v4, v6, others)?,
            v4: v4.and_then(v4_of).and_then(|address| Ipv4Net::new(address, prefix(network.v4())).ok()),
            v6: v6.and_then(v6_of).and_then(|address| Ipv6Net::new(address, prefix(network.v6())).ok()),
            gateway4: gateway(network.v4()).and_then(v4_of),
            gateway6: gateway(network.v6()).and_then(v6_of),
            dns_servers: config.dns.servers.clone(),
            gateway_priority: wanted.gateway_priority,
            host_loopback: wanted.host_loopback,
        })
    }

    /// An address that was asked for.
    fn fixed(&self, address: IpAddr, others: &[Lease]) -> Result<IpAddr, LeaseError> {
        if let Some(why) = self.network.refusal(address) {
            return Err(LeaseError::InvalidAddress { address, why });
        }
        let in_use =
            |holder: String| Err(LeaseError::AddressInUse { address, network: self.network.name.clone(), holder });
        if let Some(lease) = others.iter().find(|lease| lease.addresses().contains(&address)) {
            return in_use(format!("container {}", lease.name));
        }
        match self.network.auxiliary.iter().find(|(_, reserved)| **reserved == address) {
            Some((name, _)) => in_use(format!("aux-address {}", crate::spec::text::printable(name))),
            None => Ok(address),
        }
    }

    /// The lowest address of the range that nothing else has.
    fn lowest_free(&self, subnet: &Subnet, others: &[Lease]) -> Result<IpAddr, LeaseError> {
        let v4 = subnet.gateway.is_ipv4();
        let (mut first, mut last) = hosts(&subnet.subnet);
        if let Some((low, high)) = subnet.range {
            (first, last) = (first.max(low), last.min(high));
        }
        let reserved = self.network.auxiliary.values().copied().chain([subnet.gateway]);
        let leased = others.iter().flat_map(Lease::addresses);
        let used: BTreeSet<u128> = reserved.chain(leased).filter(|ip| ip.is_ipv4() == v4).map(number).collect();
        let (first, last) = (number(first), number(last));
        let mut candidate = first;
        for taken in used.range(first..=last.max(first)) {
            if *taken != candidate {
                break;
            }
            candidate += 1;
        }
        if candidate > last {
            return Err(LeaseError::Full {
                family: if v4 { "IPv4" } else { "IPv6" },
                network: self.network.name.clone(),
                id: self.network.id.clone(),
            });
        }
        Ok(match subnet.subnet {
            IpNet::V4(_) => Ipv4Addr::from(u32::try_from(candidate).unwrap_or_default()).into(),
            IpNet::V6(_) => Ipv6Addr::from(candidate).into(),
        })
    }

    fn mac(
        &self,
        wanted: Option<MacAddress>,
        v4: Option<IpAddr>,
        v6: Option<IpAddr>,
        others: &[Lease],
    ) -> Result<MacAddress, LeaseError> {
        let Some(mac) = wanted else {
            // Where there is no IPv4 address the end of the other tells containers apart as well.
            let low = v6.map(|address| number(address).to_be_bytes()).unwrap_or_default();
            let low = Ipv4Addr::new(low[12], low[13], low[14], low[15]);
            return Ok(MacAddress::of_v4(v4.and_then(v4_of).unwrap_or(low)));
        };
        match others.iter().find(|lease| lease.mac == mac) {
            Some(lease) => {
                Err(LeaseError::MacInUse { mac, network: self.network.name.clone(), holder: lease.name.clone() })
            }
            None => Ok(mac),
        }
    }

    /// The names of the interfaces that a container has on other networks.
    fn interfaces_elsewhere(&self, id: &ContainerId) -> Result<Vec<String>> {
        let mut leases = all_of(self.store, id)?;
        leases.retain(|lease| lease.network_id != self.network.id);
        Ok(leases.into_iter().map(|lease| lease.interface).collect())
    }
}

/// The name asked for, or `ethN` with N counting the attachments, or the next one that is free.
fn interface(config: &ContainerConfig, wanted: &Attachment, elsewhere: &[String]) -> Result<String, LeaseError> {
    if let Some(name) = &wanted.interface {
        let in_use = || LeaseError::InterfaceInUse { interface: name.clone() };
        return if elsewhere.contains(name) { Err(in_use()) } else { Ok(name.clone()) };
    }
    let attachments = config.network.attachments();
    let is_given = |name: &String| attachments.iter().any(|other| other.interface.as_ref() == Some(name));
    let names = || (0u32..).map(|number| format!("eth{number}")).filter(|name| !is_given(name));
    let is_free = |name: &String| !elsewhere.contains(name);
    let mut unnamed = attachments.iter().filter(|other| other.interface.is_none());
    let own = unnamed.position(|other| other.network == wanted.network).and_then(|place| names().nth(place));
    // The name of its place may be another's: networks come and go while the container runs.
    let name = own.filter(is_free).or_else(|| names().find(is_free));
    name.ok_or_else(|| anyhow!("no interface name is free").into())
}

/// The leases of a running container, in the order of its interfaces' names: `eth2` before `eth10`.
pub(super) fn all_of(store: &Store, id: &ContainerId) -> Result<Vec<Lease>> {
    let mut leases = Vec::new();
    for network in network_directories(store)? {
        if fs::exists(&lease_path(&network, id)) {
            leases.extend(load(store, &network, id)?);
        }
    }
    leases.sort_by(|a, b| (a.interface.len(), &a.interface).cmp(&(b.interface.len(), &b.interface)));
    Ok(leases)
}

/// All leases of running containers, by network and address.
pub(super) fn all(store: &Store) -> Result<Vec<Lease>> {
    let mut leases = Vec::new();
    for network in network_directories(store)? {
        for id in entries(&network.join("endpoints"))? {
            leases.extend(load(store, &network, &id)?);
        }
    }
    leases.sort_by(|a: &Lease, b| (&a.network, a.v4, a.v6).cmp(&(&b.network, b.v4, b.v6)));
    Ok(leases)
}

/// Gives back all that a container has.
pub(super) fn remove_all_of(store: &Store, id: &ContainerId) -> Result<()> {
    for network in network_directories(store)? {
        let path = lease_path(&network, id);
        fs::remove_if_present(&path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

/// Changes the name in all leases of a container.
pub(super) fn rename(store: &Store, id: &ContainerId, name: &str) -> Result<()> {
    for network in network_directories(store)? {
        if fs::exists(&lease_path(&network, id)) {
            let _lock = FileLock::exclusive(&network.join("lock"))?;
            if let Some(lease) = load(store, &network, id)? {
                write(&network, &Lease { name: name.to_owned(), ..lease })?;
            }
        }
    }
    Ok(())
}

/// A lease, unless nobody has it.
fn load(store: &Store, network: &Path, id: &ContainerId) -> Result<Option<Lease>> {
    let alive = store.containers().directory(id).join("alive");
    if !AliveLock::is_held(&alive).with_context(|| format!("ask for the lock of container {id}"))? {
        return Ok(None);
    }
    match record::read(&lease_path(network, id)) {
        Ok(lease) => Ok(Some(lease)),
        // Given back while we looked.
        Err(RecordError::Missing { .. }) => Ok(None),
        Err(error) => Err(anyhow!(error).context(format!("the addresses of container {id}: restart it"))),
    }
}

/// Replaces a lease. The caller holds the network's lock; a reboot takes it all anyway, so nothing is synced.
fn write(network: &Path, lease: &Lease) -> io::Result<()> {
    let temporary = network.join("endpoints/.new");
    std::fs::write(&temporary, serde_json::to_vec(lease)?)?;
    std::fs::rename(&temporary, lease_path(network, &lease.container))
}

fn lease_path(network: &Path, id: &ContainerId) -> PathBuf {
    network.join("endpoints").join(format!("{id}.json"))
}

/// None for a store that was opened to be looked at only.
fn directory(store: &Store) -> Option<PathBuf> {
    (!store.runtime.as_os_str().is_empty()).then(|| store.runtime.join("networks"))
}

fn network_directories(store: &Store) -> Result<Vec<PathBuf>> {
    let Some(networks) = directory(store) else { return Ok(Vec::new()) };
    let is_id = |name: &str| name.parse::<ContainerId>().is_ok();
    Ok(names(&networks)?.into_iter().filter(|name| is_id(name)).map(|name| networks.join(name)).collect())
}

/// The containers that have a lease, or had one.
fn entries(endpoints: &Path) -> Result<Vec<ContainerId>> {
    let ids = names(endpoints)?;
    Ok(ids.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect())
}

/// The names in a directory; none when it is not there.
fn names(directory: &Path) -> Result<Vec<String>> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    };
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.with_context(|| format!("list {}", directory.display())),
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn v4_of(address: IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(address) = address { Some(address) } else { None }
}

fn v6_of(address: IpAddr) -> Option<Ipv6Addr> {
    if let IpAddr::V6(address) = address { Some(address) } else { None }
}
