//! Networks: a record `networks/NAME.json` each, and who has which address on it, see [`Leases`].
//!
//! `bridge`, `host` and `none` are always there. The record of `bridge` is made when it is first used, for its
//! subnets must not be the host's; until then it has none. Subnets are given out under `networks.lock`.

mod create;
mod error;
mod leases;
mod pools;
mod remove;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;

pub use error::{CreateError, LeaseError, LookupError, RemoveError};
pub use leases::Leases;

use super::Store;
use super::record::{self, Quarantined, RecordError};
use crate::spec::config::{ContainerConfig, ContainerId};
use crate::spec::digest::Digest;
use crate::spec::network::{
    Attachment, DEFAULT_NETWORK, Driver, InvalidNetworkFlag, Lease, Network, NetworkMode, check_network_name,
};
use crate::spec::text::printable;

/// The networks of a store.
#[derive(Clone, Copy, Debug)]
pub struct Networks<'a> {
    store: &'a Store,
}

/// Asks for the host's subnets, which a new network must not overlap. Called only when one is made.
pub type Taken<'a> = &'a dyn Fn() -> io::Result<Vec<IpNet>>;

impl Store {
    /// The store's networks.
    pub fn networks(&self) -> Networks<'_> {
        Networks { store: self }
    }

    /// Who has which address on a network.
    pub fn leases<'a>(&'a self, network: &'a Network) -> Leases<'a> {
        Leases::new(self, network)
    }
}

impl Networks<'_> {
    /// All networks by name, `bridge`, `host` and `none` among them, and those whose records cannot be read.
    /// Takes no lock.
    pub fn list(&self) -> Result<(Vec<Network>, Vec<Quarantined>)> {
        let (mut networks, mut damaged) = (vec![self.predefined("host"), self.predefined("none")], Vec::new());
        for name in self.recorded_names()? {
            match self.read(&name) {
                Ok(network) => networks.push(network),
                // Removed while we looked.
                Err(RecordError::Missing { .. }) => {}
                Err(RecordError::Read { file, error }) => return Err(error).with_context(|| format!("read {file}")),
                Err(error) => damaged.push(Quarantined { id: name, why: error.to_string() }),
            }
        }
        let is_there = |network: &Network| network.name == DEFAULT_NETWORK;
        if !networks.iter().any(is_there) && !damaged.iter().any(|record| record.id == DEFAULT_NETWORK) {
            networks.push(self.predefined(DEFAULT_NETWORK));
        }
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((networks, damaged))
    }

    /// Finds a network: name, full id, unique id prefix, in this order; no name looks like a full id. `default` is
    /// `bridge`, which has no subnets as long as it was not used.
    pub fn find(&self, text: &str) -> Result<Network, LookupError> {
        let text = if text == "default" { DEFAULT_NETWORK } else { text };
        if let Some(network) = self.by_name(text)? {
            return Ok(network);
        }
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let (mut networks, _) = self.list()?;
        networks.retain(|network| !text.is_empty() && text.bytes().all(hex) && network.id.starts_with(text));
        match networks.len() {
            0 => Err(LookupError::NotFound(printable(text))),
            1 => Ok(networks.remove(0)),
            _ => {
                let candidates = networks.into_iter().map(|network| network.name).collect();
                Err(LookupError::Ambiguous { prefix: text.to_owned(), candidates })
            }
        }
    }

    /// Puts names in the place of what was typed for networks, and refuses what they cannot give.
    pub fn resolve(&self, mode: &mut NetworkMode) -> Result<()> {
        let NetworkMode::Networks(attachments) = mode else { return Ok(()) };
        for attachment in attachments.iter_mut() {
            let network = self.find(&attachment.network)?;
            if network.driver != Driver::Bridge {
                bail!("network {0} can't be joined by its id: use --network {0}", network.name);
            }
            let fixed = attachment.ip.map(IpAddr::V4).into_iter().chain(attachment.ip6.map(IpAddr::V6));
            // The default network has no subnets before its first use.
            for address in fixed.filter(|_| !network.subnets.is_empty()) {
                if let Some(why) = network.refusal(address) {
                    bail!(LeaseError::InvalidAddress { address, why });
                }
            }
            attachment.network = network.name;
        }
        for (count, attachment) in attachments.iter().enumerate() {
            if attachments[..count].iter().any(|other| other.network == attachment.network) {
                bail!(InvalidNetworkFlag::Twice(attachment.network.clone()));
            }
        }
        Ok(())
    }

    /// The network that a container is to be attached to, by its name; `bridge` is made if need be.
    pub fn usable(&self, name: &str, taken: Taken<'_>) -> Result<Network> {
        if name == DEFAULT_NETWORK {
            return self.bridge(taken);
        }
        match self.by_name(name)? {
            Some(network) if network.driver == Driver::Bridge => Ok(network),
            _ => bail!(LookupError::NotFound(printable(name))),
        }
    }

    /// Takes the addresses of a container that is starting, whose `alive` lock the caller holds: one lease for each
    /// of its attachments, in their order, all or none. What an earlier run of it left is given back.
    pub fn join(&self, config: &ContainerConfig, taken: Taken<'_>) -> Result<Vec<(Network, Lease)>> {
        if let NetworkMode::Slirp(attachment) = &config.network {
            let network = Network::own_of(&config.id);
            let lease = self.store.leases(&network).take(config, attachment)?;
            return Ok(vec![(network, lease)]);
        }
        let NetworkMode::Networks(attachments) = &config.network else { return Ok(Vec::new()) };
        self.leave(&config.id)?;
        let mut joined = Vec::with_capacity(attachments.len());
        for attachment in attachments {
            let lease = self.usable(&attachment.network, taken).and_then(|network| {
                let lease = self.store.leases(&network).take(config, attachment)?;
                Ok((network, lease))
            });
            match lease {
                Ok(lease) => joined.push(lease),
                Err(error) => {
                    // The first failure is the one to tell.
                    let _ = self.leave(&config.id);
                    return Err(error);
                }
            }
        }
        Ok(joined)
    }

    /// The networks of those that are there which a container is attached to whenever it runs.
    pub fn attached(&self, config: &ContainerConfig) -> Vec<Network> {
        match &config.network {
            NetworkMode::Slirp(_) => vec![Network::own_of(&config.id)],
            NetworkMode::Networks(attachments) => {
                let find = |attachment: &Attachment| self.by_name(&attachment.network).ok().flatten();
                attachments.iter().filter_map(find).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Gives back all of a container's leases. Waits for nobody.
    pub fn leave(&self, id: &ContainerId) -> Result<()> {
        leases::remove_all_of(self.store, id).with_context(|| format!("release the addresses of container {id}"))
    }

    /// The leases of a running container, in the order of its interfaces' names.
    pub fn leases_of(&self, id: &ContainerId) -> Result<Vec<Lease>> {
        leases::all_of(self.store, id)
    }

    /// All leases of running containers, by network and address.
    pub fn all_leases(&self) -> Result<Vec<Lease>> {
        leases::all(self.store)
    }

    /// Tells the networks a running container's new name.
    pub fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        leases::rename(self.store, id, name).with_context(|| format!("rename container {id} on its networks"))
    }

    /// Where a network's `lock`, `anchor` and `endpoints/` are, in the runtime directory; made if absent.
    pub fn runtime_directory(&self, network: &Network) -> Result<PathBuf> {
        let directory = self.store.runtime_path("networks")?.join(&network.id);
        let endpoints = directory.join("endpoints");
        super::fs::create_private_dir(&endpoints).with_context(|| format!("create {}", endpoints.display()))?;
        Ok(directory)
    }

    /// The network of this name, if there is one.
    fn by_name(&self, name: &str) -> Result<Option<Network>, LookupError> {
        if matches!(name, "host" | "none") {
            return Ok(Some(self.predefined(name)));
        }
        if check_network_name(name).is_err() {
            return Ok(None);
        }
        match self.read(name) {
            Ok(network) => Ok(Some(network)),
            Err(RecordError::Missing { .. }) if name == DEFAULT_NETWORK => Ok(Some(self.predefined(name))),
            Err(RecordError::Missing { .. }) => Ok(None),
            Err(RecordError::Damaged { why, .. }) => Err(LookupError::Damaged { name: name.to_owned(), why }),
            Err(error) => Err(LookupError::Other(anyhow::Error::new(error).context(format!("network {name}")))),
        }
    }

    /// A network that needs no record, with the same id always.
    fn predefined(&self, name: &str) -> Network {
        let driver = match name {
            "host" => Driver::Host,
            "none" => Driver::Null,
            _ => Driver::Bridge,
        };
        // As old as the store.
        let created = std::fs::metadata(self.store.path("version")).and_then(|metadata| metadata.modified());
        let created = created.ok().and_then(|time| jiff::Timestamp::try_from(time).ok()).unwrap_or_default();
        let id = Digest::of(format!("network {name} of {}", self.store.root().display()).as_bytes()).hex();
        Network::plain(id, name, format!("{created:.9}"), driver)
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.store.path("networks").join(format!("{name}.json"))
    }

    fn recorded_names(&self) -> Result<Vec<String>> {
        let path = self.store.path("networks");
        let entries = match std::fs::read_dir(&path) {
            // A store of an rbox that had no networks.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries,
        };
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in entries? {
                let name = entry?.file_name().into_string().unwrap_or_default();
                let name = name.strip_suffix(".json").filter(|name| check_network_name(name).is_ok());
                names.extend(name.map(str::to_owned));
            }
            Ok(names)
        };
        list().with_context(|| format!("list {}", path.display()))
    }

    fn read(&self, name: &str) -> Result<Network, RecordError> {
        let network: Network = record::read(&self.record_path(name))?;
        match flaw(&network, name) {
            None => Ok(network),
            Some(why) => Err(RecordError::Damaged { file: format!("{name}.json"), why: why.to_owned() }),
        }
    }
}

/// What is wrong with a record that parses, if anything: others rely on it.
fn flaw(network: &Network, name: &str) -> Option<&'static str> {
    if network.name != name {
        Some("it describes another network")
    } else if network.id.parse::<ContainerId>().is_err() {
        // The same form as a container's.
        Some("its id is none")
    } else if network.driver != Driver::Bridge || network.subnets.is_empty() {
        Some("it has no subnet")
    } else if !network.subnets.iter().all(|subnet| subnet.subnet.contains(&subnet.gateway)) {
        Some("a gateway is outside of its subnet")
    } else {
        None
    }
}
