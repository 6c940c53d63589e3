//! The networks, and those in use with who is on them.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};

use crate::spec::network::Network;
use crate::store::Store;

/// What networks are made by, in docker's words.
pub const DRIVERS: [&str; 3] = ["bridge", "host", "null"];

/// What is shown of them.
#[derive(Debug, Default)]
pub struct Networks {
    all: usize,
    /// With how many running containers are on each.
    used: Vec<(Network, usize)>,
}

impl Networks {
    /// Reads the store.
    pub fn read(store: &Store) -> Result<Self> {
        let (networks, _) = store.networks().list()?;
        let leases = store.networks().all_leases()?;
        let all = networks.len();
        let count = |network: &Network| leases.iter().filter(|lease| lease.network_id == network.id).count();
        let used = networks.into_iter().map(|network| (count(&network), network)).filter(|(count, _)| *count > 0);
        Ok(Self { all, used: used.map(|(count, network)| (network, count)).collect() })
    }

    /// The lines of the section.
    pub fn text(&self) -> String {
        let mut text = format!(" Networks: {}\n  In Use: {}\n", self.all, self.used.len());
        for (network, count) in &self.used {
            let noun = if *count == 1 { "container" } else { "containers" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "   {} ({}): {count} {noun}", network.name, subnets(network).join(", "));
        }
        text
    }

    /// `{"Total": 4, "InUse": [{"Name", "Subnets", "Containers"}]}`.
    pub fn json(&self) -> Value {
        let entry = |(network, count): &(Network, usize)| json!({"Name": network.name, "Subnets": subnets(network), "Containers": count});
        json!({"Total": self.all, "InUse": self.used.iter().map(entry).collect::<Vec<_>>()})
    }
}

fn subnets(network: &Network) -> Vec<String> {
    network.subnets.iter().map(|subnet| subnet.subnet.to_string()).collect()
}
