//! `--link`: docker's way to tell a container of another on the same network, by a line of /etc/hosts
//! and by environment variables.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Result, bail};

use crate::spec::config::{ContainerConfig, Link};
use crate::spec::network::Lease;
use crate::store::Store;
use crate::store::containers::Container;

/// The linked container and its address on a network that both are on.
fn target(store: &Store, config: &ContainerConfig, link: &Link) -> Result<(Container, Lease)> {
    let target = store.containers().get(&link.container)?;
    if !target.is_running() {
        bail!("Cannot link to a non running container: /{} AS /{}/{}", target.config.name, config.name, link.alias);
    }
    let shared = |lease: &Lease| config.network.attachments().iter().any(|own| own.network == lease.network);
    match store.networks().leases_of(target.id())?.into_iter().find(shared) {
        Some(lease) => Ok((target, lease)),
        None => bail!(
            "Cannot link to /{}, as it does not belong to the default network: {} is on no network of it",
            target.config.name,
            config.name
        ),
    }
}

/// `ADDRESS ALIAS SHORT-ID NAME` for each link.
pub fn hosts_lines(store: &Store, config: &ContainerConfig) -> Result<String> {
    let mut text = String::new();
    for link in &config.links {
        let (target, lease) = target(store, config, link)?;
        for address in lease.addresses() {
            text += &format!("{address}\t{} {} {}\n", link.alias, target.id().short(), target.config.name);
        }
    }
    Ok(text)
}

/// The variables of all links, `KEY=VALUE`.
pub fn environment(store: &Store, config: &ContainerConfig) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for link in &config.links {
        let (target, lease) = target(store, config, link)?;
        let Some(address) = lease.addresses().first().copied() else { continue };
        variables.extend(of_link(&config.name, &link.alias, &target.config, address));
    }
    Ok(variables)
}

fn of_link(own_name: &str, alias: &str, target: &ContainerConfig, address: IpAddr) -> Vec<String> {
    let prefix = alias.to_ascii_uppercase().replace('-', "_");
    let mut variables = vec![format!("{prefix}_NAME=/{own_name}/{alias}")];
    let ports: BTreeMap<(&str, u16), ()> = target
        .exposed_ports
        .iter()
        .filter_map(|text| {
            let (port, protocol) = text.split_once('/')?;
            Some(((protocol, port.parse().ok()?), ()))
        })
        .collect();
    if let Some((protocol, port)) = ports.keys().next() {
        variables.push(format!("{prefix}_PORT={protocol}://{address}:{port}"));
    }
    for (protocol, port) in ports.keys() {
        let own = format!("{prefix}_PORT_{port}_{}", protocol.to_ascii_uppercase());
        variables.push(format!("{own}={protocol}://{address}:{port}"));
        variables.push(format!("{own}_ADDR={address}"));
        variables.push(format!("{own}_PORT={port}"));
        variables.push(format!("{own}_PROTO={protocol}"));
    }
    for variable in &target.env {
        let name = variable.split('=').next().unwrap_or_default();
        if name != "HOME" && name != "PATH" {
            variables.push(format!("{prefix}_ENV_{variable}"));
        }
    }
    variables
}
