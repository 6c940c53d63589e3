//! Making a network.

use anyhow::Context;
use ipnet::IpNet;
use jiff::Timestamp;

use super::{CreateError, LookupError, Networks, Taken, pools};
use crate::spec::event::Happening;
use crate::spec::network::{DEFAULT_NETWORK, Driver, Network, NewNetwork, Subnet, overlap};
use crate::store::fs;
use crate::store::lock::FileLock;
use crate::store::record::RecordError;

/// Subnets that are not to be had, with whose they are; None is the host.
type Used = Vec<(IpNet, Option<String>)>;

impl Networks<'_> {
    /// Makes a network. `taken` are the host's subnets.
    pub fn create(&self, new: NewNetwork, taken: &[IpNet]) -> Result<Network, CreateError> {
        if matches!(new.name.as_str(), DEFAULT_NETWORK | "host" | "none" | "default") {
            return Err(CreateError::Predefined(new.name));
        }
        new.check()?;
        let _lock = self.lock()?;
        if fs::exists(&self.record_path(&new.name)) {
            return Err(CreateError::Exists(new.name));
        }
        let id = new_id()?;
        self.make(new, id, taken)
    }

    /// The default network, made on first use.
    pub fn bridge(&self, taken: Taken<'_>) -> anyhow::Result<Network> {
        let recorded = || match self.read(DEFAULT_NETWORK) {
            Ok(network) => Ok(Some(network)),
            Err(RecordError::Missing { .. }) => Ok(None),
            Err(RecordError::Damaged { why, .. }) => {
                Err(anyhow::Error::new(LookupError::Damaged { name: DEFAULT_NETWORK.to_owned(), why }))
            }
            Err(error) => Err(anyhow::Error::new(error).context("read network bridge")),
        };
        if let Some(network) = recorded()? {
            return Ok(network);
        }
        let _lock = self.lock()?;
        // Another may have made it while we waited.
        if let Some(network) = recorded()? {
            return Ok(network);
        }
        let taken = taken().context("find out which subnets this machine is on")?;
        let id = self.predefined(DEFAULT_NETWORK).id;
        let new = NewNetwork { ipv6: true, ..NewNetwork::named(DEFAULT_NETWORK) };
        self.make(new, id, &taken).context("make the default network")
    }

    pub(super) fn lock(&self) -> anyhow::Result<FileLock> {
        FileLock::exclusive(&self.store.path("networks.lock")).context("lock the networks")
    }

    /// The caller holds the lock.
    fn make(&self, new: NewNetwork, id: String, taken: &[IpNet]) -> Result<Network, CreateError> {
        let used = self.used(taken)?;
        for subnet in &new.subnets {
            check_free(&subnet.subnet, &used)?;
        }
        let mut subnets = new.subnets;
        let has = |subnets: &[Subnet], v4: bool| subnets.iter().any(|subnet| subnet.subnet.addr().is_ipv4() == v4);
        if new.ipv4 && !has(&subnets, true) {
            let pool = pools::v4().find(|pool| !used.iter().any(|(other, _)| overlap(other, pool)));
            subnets.insert(0, Subnet::of(pool.ok_or(CreateError::Exhausted)?));
        }
        if new.ipv6 && !has(&subnets, false) {
            let pool = pools::v6(|pool| !used.iter().any(|(other, _)| overlap(other, pool)));
            subnets.push(Subnet::of(pool.context("choose an IPv6 subnet")?));
        }
        let network = Network {
            id,
            name: new.name,
            created: format!("{:.9}", Timestamp::now()),
            driver: Driver::Bridge,
            subnets,
            internal: new.internal,
            attachable: new.attachable,
            isolate_containers: new.isolate_containers,
            mtu: new.mtu,
            disable_dns: new.disable_dns,
            dns_servers: new.dns_servers,
            labels: new.labels,
            options: new.options,
            auxiliary: new.auxiliary,
        };
        self.write(&network).with_context(|| format!("record network {}", network.name))?;
        self.store.happened(Happening::of_network(&network, "create"));
        Ok(network)
    }

    /// A damaged record may stand for any subnet, so nothing is given out beside one.
    fn used(&self, taken: &[IpNet]) -> Result<Used, CreateError> {
        let (networks, damaged) = self.list()?;
        if let Some(record) = damaged.into_iter().next() {
            let error = LookupError::Damaged { name: record.id, why: record.why };
            return Err(CreateError::Other(error.into()));
        }
        let of = |network: Network| {
            let name = network.name;
            network.subnets.into_iter().map(move |subnet| (subnet.subnet, Some(name.clone())))
        };
        Ok(networks.into_iter().flat_map(of).chain(taken.iter().map(|subnet| (subnet.trunc(), None))).collect())
    }

    fn write(&self, network: &Network) -> anyhow::Result<()> {
        fs::create_private_dir(&self.store.path("networks"))?;
        Ok(fs::write_atomic(&self.record_path(&network.name), &serde_json::to_vec(network)?)?)
    }
}

fn check_free(subnet: &IpNet, used: &Used) -> Result<(), CreateError> {
    match used.iter().find(|(other, _)| overlap(other, subnet)) {
        None => Ok(()),
        Some((other, None)) => Err(CreateError::OverlapsHost { subnet: *subnet, other: *other }),
        Some((other, Some(network))) => {
            Err(CreateError::Overlap { subnet: *subnet, other: *other, network: network.clone() })
        }
    }
}

/// 64 random digits, the first twelve of which no script takes for a number.
fn new_id() -> anyhow::Result<String> {
    loop {
        let id = random_id()?;
        if !id[..12].bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

/// 64 random hex digits.
pub(super) fn random_id() -> anyhow::Result<String> {
    let bytes: [u8; 32] = fs::random_bytes().context("get random bytes")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
