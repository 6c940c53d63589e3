//! The files bound over /etc: hostname, hosts, resolv.conf and localtime. Rewritten at each start; a container that
//! was changed keeps nothing in them, as with docker.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::cmd::image_file;
use crate::spec::config::ContainerConfig;
use crate::spec::network::{Lease, Network, NetworkMode};
use crate::store::Store;
use crate::store::containers::Container;
use crate::sys::timezone;

const DEFAULT_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
/// In `--add-host`: the address of the gateway, which leads to the host.
const HOST_GATEWAY: &str = "host-gateway";

/// Writes them for a container with these places in networks, or with a helper's name server.
pub fn write(
    store: &Store,
    container: &Container,
    places: &[(Network, Lease)],
    name_server: Option<IpAddr>,
) -> Result<()> {
    let config = &container.config;
    if let Some(zone) = &config.environment.timezone {
        let path = container.path("localtime");
        let written = replace(&path, &timezone::read(zone)?);
        written.with_context(|| format!("write {}", path.display()))?;
    }
    let write = |name: &str, text: &str| {
        let path = container.path(name);
        replace(&path, text.as_bytes()).with_context(|| format!("write {}", path.display()))
    };
    if let NetworkMode::Container(donor) = &config.network {
        // They are about the network, which is the other's.
        let donor = store.containers().get(donor)?;
        for name in ["hostname", "hosts", "resolv.conf"] {
            write(name, &std::fs::read_to_string(donor.path(name)).unwrap_or_default())?;
        }
        return Ok(());
    }
    write("hostname", &format!("{}\n", config.hostname))?;
    write("resolv.conf", &resolv_conf(config, places, name_server))?;
    write("hosts", &hosts(store, config, places)?)
}

/// The networks that a container is on now, with its places in them.
pub fn places(store: &Store, config: &ContainerConfig) -> Result<Vec<(Network, Lease)>> {
    let mut places = Vec::new();
    for attachment in config.network.attachments() {
        let network = store.networks().find(&attachment.network)?;
        let lease = store.leases(&network).list()?.into_iter().find(|lease| lease.container == config.id);
        places.extend(lease.map(|lease| (network, lease)));
    }
    Ok(places)
}

/// Has the files of a running container follow its networks; `before` is where it was until now. What
/// the container has changed itself stays: of hosts other lines, all of resolv.conf.
pub fn follow(store: &Store, container: &Container, before: &[(Network, Lease)]) -> Result<()> {
    let config = &container.config;
    let after = places(store, config)?;
    let path = container.path("resolv.conf");
    if std::fs::read_to_string(&path).is_ok_and(|text| text == resolv_conf(config, before, None)) {
        // In place: the file is bound over the container's. It may have taken the right to it.
        let _ = std::fs::write(path, resolv_conf(config, &after, None));
    }
    let own =
        |places: &[(Network, Lease)]| -> String { places.iter().map(|(_, lease)| own_lines(config, lease)).collect() };
    let path = container.path("hosts");
    if let Ok(text) = std::fs::read_to_string(&path) {
        let (before, after) = (own(before), own(&after));
        let kept = text.lines().filter(|line| !before.lines().any(|own| own == *line));
        let text: String = kept.chain(after.lines()).map(|line| format!("{line}\n")).collect();
        let _ = std::fs::write(path, text);
    }
    Ok(())
}

fn hosts(store: &Store, config: &ContainerConfig, places: &[(Network, Lease)]) -> Result<String> {
    let shares_host = config.network == NetworkMode::Host;
    let mut text = match config.identity.hosts_file.as_deref() {
        None if shares_host => host_file("/etc/hosts"),
        None => DEFAULT_HOSTS.to_owned(),
        Some("none") => String::new(),
        Some("image") => image_file::text(store, &config.root, "etc/hosts"),
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("read the hosts file {path}"))?,
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for (name, address) in &config.extra_hosts {
        if address != HOST_GATEWAY {
            let _ = writeln!(text, "{address}\t{name}");
            continue;
        }
        let gateways: Vec<IpAddr> = if shares_host { vec![[127, 0, 0, 1].into()] } else { gateways(places) };
        if gateways.is_empty() {
            bail!("host-gateway can't be used in add-host: the container's network has no gateway");
        }
        for gateway in gateways {
            let _ = writeln!(text, "{gateway}\t{name}");
        }
    }
    text += &super::links::hosts_lines(store, config)?;
    if places.is_empty() && !shares_host {
        let _ = writeln!(text, "127.0.1.1\t{}", config.hostname);
    }
    for (_, lease) in places {
        text += &own_lines(config, lease);
    }
    Ok(text)
}

/// The lines of /etc/hosts for a container's own addresses on a network.
pub fn own_lines(config: &ContainerConfig, lease: &Lease) -> String {
    let own = lease.addresses().into_iter();
    own.map(|address| format!("{address}\t{} {}\n", config.hostname, config.name)).collect()
}

fn gateways(places: &[(Network, Lease)]) -> Vec<IpAddr> {
    let Some((_, lease)) = places.first() else { return Vec::new() };
    let v4 = lease.gateway4.map(IpAddr::V4);
    v4.into_iter().chain(lease.gateway6.map(IpAddr::V6)).collect()
}

/// On networks of ours the gateway answers names; it knows where to ask for others, `--dns` included.
fn resolv_conf(config: &ContainerConfig, places: &[(Network, Lease)], name_server: Option<IpAddr>) -> String {
    let host = host_file("/etc/resolv.conf");
    let is_ours = |place: &&(Network, Lease)| !place.0.disable_dns;
    let servers: Vec<String> = match places.iter().find(is_ours) {
        Some(place) => gateways(std::slice::from_ref(place)).iter().take(1).map(IpAddr::to_string).collect(),
        None if !config.dns.servers.is_empty() => config.dns.servers.iter().map(IpAddr::to_string).collect(),
        None if name_server.is_some() => name_server.iter().map(IpAddr::to_string).collect(),
        None => {
            words(&host, "nameserver").into_iter().filter(|server| places.is_empty() || !is_loopback(server)).collect()
        }
    };
    let search = match config.dns.search.as_slice() {
        [] => words(&host, "search"),
        [dot] if dot == "." => Vec::new(),
        given => given.to_vec(),
    };
    let mut options = if config.dns.options.is_empty() { words(&host, "options") } else { config.dns.options.clone() };
    if !places.is_empty() && !options.iter().any(|option| option.starts_with("ndots:")) {
        // As docker has it: a container's name alone is looked up first.
        options.push("ndots:0".to_owned());
    }
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    for (key, words) in [("search", search), ("options", options)] {
        if !words.is_empty() {
            let _ = writeln!(text, "{key} {}", words.join(" "));
        }
    }
    text
}

fn is_loopback(server: &str) -> bool {
    server.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The values of a keyword of resolv.conf(5): all of `nameserver`, the last line of the others.
fn words(text: &str, keyword: &str) -> Vec<String> {
    let mut lines = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(keyword)).then(|| words.map(str::to_owned).collect::<Vec<_>>())
    });
    if keyword == "nameserver" { lines.flatten().collect() } else { lines.next_back().unwrap_or_default() }
}

fn host_file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Writes a file of a container's /etc anew: the last run may have taken every right to the old one.
/// No fsync, as each start does this; 0644, as every program inside reads them.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::File::create_new(path)?;
    file.write_all(bytes)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_resolv_conf_are_found() {
        let text = "# nameserver 1.1.1.1\nnameserver 9.9.9.9\nsearch a b\nnameserver ::1\nsearch c\noptions\n";
        assert_eq!(words(text, "nameserver"), ["9.9.9.9", "::1"]);
        assert_eq!(words(text, "search"), ["c"]);
        assert!(words(text, "options").is_empty());
    }
}
