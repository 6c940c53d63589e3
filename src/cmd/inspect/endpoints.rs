//! docker's JSON of a container's part in its networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::container::object;
use crate::cmd::ps::ports::by_container_port;
use crate::spec::config::ContainerConfig;
use crate::spec::network::{Attachment, DEFAULT_NETWORK, Lease, NetworkMode};
use crate::spec::port::{HostPort, PortMapping, PublishedPort};
use crate::store::Store;
use crate::store::containers::Container;

/// What the store knows of it.
#[derive(Debug, Default)]
pub struct Facts {
    /// Its addresses, while it runs.
    pub leases: Vec<Lease>,
    /// Ids of the networks it was put on, by name.
    pub networks: BTreeMap<String, String>,
    /// `/db:/web/alias`.
    pub links: Vec<String>,
}

impl Facts {
    /// Asks the store. What is gone is left out.
    pub fn of(store: &Store, container: &Container) -> Self {
        let config = &container.config;
        let name_of = |link: &crate::spec::config::Link| {
            let found = store.containers().get(&link.container).map(|container| container.config.name);
            format!("/{}:/{}/{}", found.unwrap_or_else(|_| link.container.to_string()), config.name, link.alias)
        };
        let mut facts = Self { links: config.links.iter().map(name_of).collect(), ..Self::default() };
        for name in names(&config.network) {
            if let Ok(network) = store.networks().find(&name) {
                facts.networks.insert(name, network.id);
            }
        }
        if container.is_running() {
            facts.leases = store.networks().leases_of(container.id()).unwrap_or_default();
        }
        facts
    }

    fn lease(&self, network: &str) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.network == network)
    }
}

/// The names of a container's networks, as `ps` shows them. Who shares another's namespace has none.
pub fn names(mode: &NetworkMode) -> Vec<String> {
    match mode {
        NetworkMode::Networks(attachments) => attachments.iter().map(|part| part.network.clone()).collect(),
        NetworkMode::Container(_) | NetworkMode::Path(_) => Vec::new(),
        _ => vec![mode.name().into_owned()],
    }
}

/// `HostConfig.PortBindings`: what was asked for.
pub fn port_bindings(ports: &[PortMapping]) -> Value {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for port in ports {
        let host_port = match port.host_port {
            HostPort::Random => String::new(),
            HostPort::Fixed(number) => number.to_string(),
            HostPort::FirstFree(first, last) => format!("{first}-{last}"),
        };
        let address = port.host_ip.map(|address| address.to_string()).unwrap_or_default();
        let binding = json!({"HostIp": address, "HostPort": host_port});
        all.entry(format!("{}/{}", port.container_port, port.protocol)).or_default().push(binding);
    }
    json!(all)
}

/// `NetworkSettings`.
pub fn settings(container: &Container, facts: &Facts) -> Value {
    let config = &container.config;
    // The fields of old engines are about the default network; on others, about the first.
    let first = facts.lease(DEFAULT_NETWORK).or_else(|| facts.leases.first());
    let pid = container.state.pid;
    let is_private = container.is_running() && config.network.is_private();
    let key = if is_private && pid > 0 { format!("/proc/{pid}/ns/net") } else { String::new() };
    let id = if is_private { config.id.as_str() } else { "" };
    let mut all = object([
        ("Bridge", json!("")),
        ("SandboxID", json!(id)),
        ("SandboxKey", json!(key)),
        ("Ports", published(&by_container_port(container))),
        ("HairpinMode", json!(false)),
        ("LinkLocalIPv6Address", json!("")),
        ("LinkLocalIPv6PrefixLen", json!(0)),
        ("SecondaryIPAddresses", Value::Null),
        ("SecondaryIPv6Addresses", Value::Null),
        ("EndpointID", json!(first.map_or("", |lease| lease.endpoint_id.as_str()))),
    ]);
    let addresses = addresses(first);
    for field in ["Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen", "IPv6Gateway"] {
        all.insert(field.to_owned(), addresses.get(field).cloned().unwrap_or_default());
    }
    all.insert("MacAddress".to_owned(), json!(first.map(|lease| lease.mac.to_string()).unwrap_or_default()));
    all.insert("Networks".to_owned(), Value::Object(endpoints(config, facts)));
    Value::Object(all)
}

/// `{"80/tcp": [{"HostIp", "HostPort"}], "81/tcp": null}`.
fn published(ports: &BTreeMap<String, Vec<PublishedPort>>) -> Value {
    let binding = |port: &PublishedPort| json!({"HostIp": port.host_ip, "HostPort": port.host_port.to_string()});
    let entry = |(port, bindings): (&String, &Vec<PublishedPort>)| {
        let bindings: Vec<Value> = bindings.iter().map(binding).collect();
        (port.clone(), if bindings.is_empty() { Value::Null } else { json!(bindings) })
    };
    Value::Object(ports.iter().map(entry).collect())
}

fn endpoints(config: &ContainerConfig, facts: &Facts) -> Map<String, Value> {
    match &config.network {
        NetworkMode::Networks(attachments) => {
            attachments.iter().map(|part| (part.network.clone(), endpoint(config, part, facts))).collect()
        }
        NetworkMode::Slirp(part) => {
            [(config.network.name().into_owned(), endpoint(config, part, facts))].into_iter().collect()
        }
        mode => names(mode)
            .into_iter()
            .map(|name| (name.clone(), endpoint(config, &Attachment::to(&name), facts)))
            .collect(),
    }
}

/// One entry of `Networks`.
fn endpoint(config: &ContainerConfig, part: &Attachment, facts: &Facts) -> Value {
    let lease = facts.lease(&part.network);
    let ipam = part.ip.is_some() || part.ip6.is_some();
    let mut asked = Map::new();
    asked.extend(part.ip.map(|address| ("IPv4Address".to_owned(), json!(address))));
    asked.extend(part.ip6.map(|address| ("IPv6Address".to_owned(), json!(address))));
    let mac = lease.map(|lease| lease.mac).or(part.mac);
    let mut all = object([
        ("IPAMConfig", if ipam { Value::Object(asked) } else { Value::Null }),
        ("Links", Value::Null),
        ("Aliases", if part.aliases.is_empty() { Value::Null } else { json!(part.aliases) }),
        ("MacAddress", json!(mac.map(|mac| mac.to_string()).unwrap_or_default())),
        ("DriverOpts", Value::Null),
        ("GwPriority", json!(part.gateway_priority)),
        ("NetworkID", json!(facts.networks.get(&part.network).map_or("", String::as_str))),
        ("EndpointID", json!(lease.map_or("", |lease| lease.endpoint_id.as_str()))),
    ]);
    all.extend(addresses(lease));
    all.insert("DNSNames".to_owned(), lease.map_or(Value::Null, |lease| json!(dns_names(config, lease))));
    Value::Object(all)
}

/// The fields about addresses, empty without a lease.
fn addresses(lease: Option<&Lease>) -> Map<String, Value> {
    let v4 = lease.and_then(|lease| lease.v4);
    let v6 = lease.and_then(|lease| lease.v6);
    let text = |address: Option<IpAddr>| json!(address.map(|address| address.to_string()).unwrap_or_default());
    object([
        ("Gateway", text(lease.and_then(|lease| lease.gateway4).map(IpAddr::V4))),
        ("IPAddress", text(v4.map(|net| IpAddr::V4(net.addr())))),
        ("IPPrefixLen", json!(v4.map_or(0, |net| net.prefix_len()))),
        ("IPv6Gateway", text(lease.and_then(|lease| lease.gateway6).map(IpAddr::V6))),
        ("GlobalIPv6Address", text(v6.map(|net| IpAddr::V6(net.addr())))),
        ("GlobalIPv6PrefixLen", json!(v6.map_or(0, |net| net.prefix_len()))),
    ])
}

/// What it is found by: its name, its aliases, its short id.
fn dns_names<'a>(config: &'a ContainerConfig, lease: &'a Lease) -> Vec<&'a str> {
    let mut names = vec![config.name.as_str()];
    for name in lease.aliases.iter().map(String::as_str).chain([config.id.short()]) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::network::HelperProgram;
    use crate::store::testing::{TestStore, config};

    fn lease(container: &ContainerConfig, network: &str) -> Lease {
        Lease {
            container: container.id.clone(),
            name: container.name.clone(),
            network: network.to_owned(),
            network_id: "n".repeat(64),
            endpoint_id: "e".repeat(64),
            aliases: vec!["www".to_owned(), "web".to_owned()],
            interface: "eth0".to_owned(),
            mac: "02:42:0a:00:2a:81".parse().unwrap(),
            v4: Some("10.0.42.129/24".parse().unwrap()),
            v6: Some("fd00::2/64".parse().unwrap()),
            gateway4: Some("10.0.42.128".parse().unwrap()),
            gateway6: Some("fd00::1".parse().unwrap()),
            dns_servers: Vec::new(),
            gateway_priority: 0,
            host_loopback: false,
        }
    }

    #[test]
    fn a_running_container_shows_its_leases() {
        let store = TestStore::new();
        let asked = Attachment { ip: Some("10.0.42.129".parse().unwrap()), ..Attachment::to("front") };
        let networks = NetworkMode::Networks(vec![asked, Attachment::to("back")]);
        let container =
            store.containers().create(ContainerConfig { network: networks, ..config("web", "aa") }).unwrap();
        let facts = Facts {
            leases: vec![lease(&container.config, "front")],
            networks: [("front".to_owned(), "n".repeat(64))].into(),
            ..Facts::default()
        };
        let shown = settings(&container, &facts);
        for (pointer, expected) in [
            ("/IPAddress", json!("10.0.42.129")),
            ("/IPPrefixLen", json!(24)),
            ("/Gateway", json!("10.0.42.128")),
            ("/GlobalIPv6Address", json!("fd00::2")),
            ("/MacAddress", json!("02:42:0a:00:2a:81")),
            ("/Networks/front/IPAMConfig", json!({"IPv4Address": "10.0.42.129"})),
            ("/Networks/front/IPv6Gateway", json!("fd00::1")),
            ("/Networks/front/EndpointID", json!("e".repeat(64))),
            ("/Networks/front/NetworkID", json!("n".repeat(64))),
            ("/Networks/front/DNSNames", json!(["web", "www", container.id().short()])),
            ("/Networks/back/IPAddress", json!("")),
            ("/Networks/back/IPAMConfig", Value::Null),
            ("/Networks/back/NetworkID", json!("")),
            ("/Ports", json!({})),
        ] {
            assert_eq!(shown.pointer(pointer), Some(&expected), "{pointer}");
        }
        let keys: Vec<&String> = shown["Networks"]["back"].as_object().unwrap().keys().collect();
        assert_eq!(keys[..3], ["IPAMConfig", "Links", "Aliases"]);
        assert_eq!(keys[14], "DNSNames");
    }

    #[test]
    fn modes_as_typed() {
        let id = config("web", "aa").id;
        for (mode, text, networks) in [
            (NetworkMode::None, "none".to_owned(), vec!["none"]),
            (NetworkMode::Host, "host".to_owned(), vec!["host"]),
            (NetworkMode::default(), "bridge".to_owned(), vec!["bridge"]),
            (NetworkMode::Container(id.clone()), format!("container:{id}"), vec![]),
            (NetworkMode::Path("/run/n".into()), "ns:/run/n".to_owned(), vec![]),
            (NetworkMode::Networks(vec![Attachment::to("b"), Attachment::to("a")]), "b".to_owned(), vec!["b", "a"]),
            (NetworkMode::Slirp(Attachment::default()), "slirp".to_owned(), vec!["slirp"]),
            (NetworkMode::Helper(HelperProgram::Pasta, vec!["-4".to_owned()]), "pasta".to_owned(), vec!["pasta"]),
        ] {
            assert_eq!(mode.name(), text);
            assert_eq!(names(&mode), networks);
        }
    }

    #[test]
    fn bindings_as_asked_for() {
        let port = |host_ip: Option<&str>, host_port, container_port| PortMapping {
            host_ip: host_ip.map(|address| address.parse().unwrap()),
            host_port,
            container_port,
            protocol: Default::default(),
        };
        let ports = [
            port(None, HostPort::Fixed(8080), 80),
            port(Some("::1"), HostPort::Random, 80),
            port(None, HostPort::FirstFree(90, 99), 81),
        ];
        assert_eq!(
            port_bindings(&ports),
            json!({
                "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": ""}],
                "81/tcp": [{"HostIp": "", "HostPort": "90-99"}],
            })
        );
    }
}
