//! `network connect`: put a container on a further network.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::attach;
use crate::cmd::Context;
use crate::cmd::format::quote::quote;
use crate::cmd::launching::etc;
use crate::net::host::host_subnets;
use crate::sandbox::network as live;
use crate::spec::network::{Attachment, MacAddress, NetworkFlags, parse_networks};

/// Connect a container to a network
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A further name of the container on this network
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Accepted as docker does, but no option is known
    #[arg(long, value_name = "KEY=VALUE")]
    driver_opt: Vec<String>,
    /// The network with the highest has the default route
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    gw_priority: i32,
    /// IPv4 address, as in 172.30.100.104
    #[arg(long, value_name = "IP")]
    ip: Option<Ipv4Addr>,
    /// IPv6 address, as in 2001:db8::33
    #[arg(long, value_name = "IP")]
    ip6: Option<Ipv6Addr>,
    /// Link layer address, as in 92:d0:c6:0a:29:32
    #[arg(long, value_name = "MAC")]
    mac_address: Option<MacAddress>,
    /// Network by name, id or unique prefix
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Container by name, id or unique prefix
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    if let Some(option) = args.driver_opt.first() {
        bail!("unknown endpoint option {}: there are none", quote(option));
    }
    let store = context.store()?;
    let containers = store.containers();
    let network = store.networks().find(&args.network)?;
    let container = containers.find(&args.container)?;
    let part = args.attachment(&network.name)?;
    let name = &container.config.name;
    attach::check(name, &container.config.network, &network, &part)?;
    // As long as we hold it the container does not start.
    let alive = container.take_alive().context("lock the container")?;
    let before = etc::places(store, &container.config)?;
    if alive.is_none() {
        // What a connect that was killed has left.
        if store.leases(&network).list()?.iter().any(|lease| lease.container == *container.id()) {
            live::disconnect(store, &containers.get(container.id())?, &network)?;
        }
        // The default network may be without addresses as yet.
        store.networks().usable(&network.name, &host_subnets)?;
        // It may have started since.
        live::connect(store, &containers.get(container.id())?, &part)?;
    }
    containers.update(container.id(), |config| {
        attach::check(name, &config.network, &network, &part)?;
        attach::add(name, &mut config.network, &network, part)
    })?;
    if alive.is_none() {
        etc::follow(store, &containers.get(container.id())?, &before)?;
    }
    drop(alive);
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn attachment(&self, network: &str) -> Result<Attachment> {
        // The same rules as for --network-alias.
        let flags = NetworkFlags { aliases: self.alias.clone(), ..NetworkFlags::default() };
        let aliases = parse_networks(&flags, &mut |name| Err(name.to_owned()))?;
        Ok(Attachment {
            network: network.to_owned(),
            ip: self.ip,
            ip6: self.ip6,
            mac: self.mac_address,
            gateway_priority: self.gw_priority,
            ..aliases.attachments().first().cloned().unwrap_or_default()
        })
    }
}
