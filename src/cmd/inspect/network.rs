//! docker's JSON of a network.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::container::object;
use crate::spec::network::{DEFAULT_NETWORK, Driver, Lease, Network, Subnet};

/// The JSON of `docker network inspect`, keys in docker's order. `leases` are those of containers
/// that run.
pub fn describe(network: &Network, leases: &[Lease]) -> Value {
    Value::Object(object([
        ("Name", json!(network.name)),
        ("Id", json!(network.id)),
        ("Created", json!(network.created)),
        ("Scope", json!("local")),
        ("Driver", json!(driver(network.driver))),
        ("EnableIPv4", json!(has_v4(network))),
        ("EnableIPv6", json!(network.v6().is_some())),
        ("IPAM", ipam(network)),
        ("Internal", json!(network.internal)),
        ("Attachable", json!(network.attachable)),
        ("Ingress", json!(false)),
        ("ConfigFrom", json!({"Network": ""})),
        ("ConfigOnly", json!(false)),
        ("Containers", leases.iter().map(|lease| (lease.container.to_string(), endpoint(lease))).collect()),
        ("Options", options(network)),
        ("Labels", json!(network.labels)),
    ]))
}

/// docker's name of a driver.
pub fn driver(driver: Driver) -> &'static str {
    match driver {
        Driver::Bridge => "bridge",
        Driver::Host => "host",
        Driver::Null => "null",
    }
}

/// docker says so of host and none too.
pub fn has_v4(network: &Network) -> bool {
    network.driver != Driver::Bridge || network.v4().is_some()
}

fn ipam(network: &Network) -> Value {
    let subnets: Vec<Value> = network.subnets.iter().map(|subnet| config(network, subnet)).collect();
    let subnets = if subnets.is_empty() { Value::Null } else { json!(subnets) };
    let is_predefined = network.driver != Driver::Bridge || network.name == DEFAULT_NETWORK;
    let options = if is_predefined { Value::Null } else { json!({}) };
    json!({"Driver": "default", "Options": options, "Config": subnets})
}

fn config(network: &Network, subnet: &Subnet) -> Value {
    let mut all = object([("Subnet", json!(subnet.subnet))]);
    all.extend(subnet.range_text.as_ref().map(|range| ("IPRange".to_owned(), json!(range))));
    all.insert("Gateway".to_owned(), json!(subnet.gateway));
    let auxiliary: Map<String, Value> = network
        .auxiliary
        .iter()
        .filter(|(_, address)| subnet.subnet.contains(*address))
        .map(|(name, address): (_, &IpAddr)| (name.clone(), json!(address)))
        .collect();
    if !auxiliary.is_empty() {
        all.insert("AuxiliaryAddresses".to_owned(), Value::Object(auxiliary));
    }
    Value::Object(all)
}

/// What was asked for; of the default network what docker says of its own.
fn options(network: &Network) -> Value {
    if network.name != DEFAULT_NETWORK || !network.options.is_empty() {
        return json!(network.options);
    }
    let icc = if network.isolate_containers { "false" } else { "true" };
    json!({
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_icc": icc,
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
        "com.docker.network.bridge.name": format!("br-{}", network.short_id()),
    })
}

fn endpoint(lease: &Lease) -> Value {
    json!({
        "Name": lease.name,
        "EndpointID": lease.endpoint_id,
        "MacAddress": lease.mac,
        "IPv4Address": lease.v4.map(|net| net.to_string()).unwrap_or_default(),
        "IPv6Address": lease.v6.map(|net| net.to_string()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        Network {
            id: "ab".repeat(32),
            name: "user-network".to_owned(),
            created: "2026-01-02T03:04:05.000000006Z".to_owned(),
            driver: Driver::Bridge,
            subnets: vec![Subnet {
                subnet: "10.0.42.0/24".parse().unwrap(),
                gateway: "10.0.42.128".parse().unwrap(),
                range: Some(("10.0.42.128".parse().unwrap(), "10.0.42.255".parse().unwrap())),
                range_text: Some("10.0.42.128/25".to_owned()),
            }],
            internal: false,
            attachable: true,
            isolate_containers: false,
            mtu: None,
            disable_dns: false,
            dns_servers: Vec::new(),
            labels: [("project".to_owned(), "p".to_owned()), ("chapter".to_owned(), "5".to_owned())].into(),
            options: Default::default(),
            auxiliary: [
                ("printer".to_owned(), "10.0.42.9".parse().unwrap()),
                ("elsewhere".to_owned(), "10.9.9.9".parse().unwrap()),
            ]
            .into(),
        }
    }

    #[test]
    fn a_network_has_dockers_shape() {
        let container: crate::spec::config::ContainerId = "cd".repeat(32).parse().unwrap();
        let lease = Lease {
            container: container.clone(),
            name: "web".to_owned(),
            network: "user-network".to_owned(),
            network_id: "ab".repeat(32),
            endpoint_id: "ef".repeat(32),
            aliases: Vec::new(),
            interface: "eth0".to_owned(),
            mac: "02:42:0a:00:2a:81".parse().unwrap(),
            v4: Some("10.0.42.129/24".parse().unwrap()),
            v6: None,
            gateway4: Some("10.0.42.128".parse().unwrap()),
            gateway6: None,
            dns_servers: Vec::new(),
            gateway_priority: 0,
            host_loopback: false,
        };
        let shown = describe(&network(), &[lease]);
        let keys: Vec<&String> = shown.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "Name",
                "Id",
                "Created",
                "Scope",
                "Driver",
                "EnableIPv4",
                "EnableIPv6",
                "IPAM",
                "Internal",
                "Attachable",
                "Ingress",
                "ConfigFrom",
                "ConfigOnly",
                "Containers",
                "Options",
                "Labels"
            ]
        );
        assert_eq!(
            shown["IPAM"].to_string(),
            r#"{"Driver":"default","Options":{},"Config":[{"Subnet":"10.0.42.0/24","IPRange":"10.0.42.128/25","Gateway":"10.0.42.128","AuxiliaryAddresses":{"printer":"10.0.42.9"}}]}"#
        );
        assert_eq!(
            shown["Containers"][container.as_str()],
            json!({
                "Name": "web",
                "EndpointID": "ef".repeat(32),
                "MacAddress": "02:42:0a:00:2a:81",
                "IPv4Address": "10.0.42.129/24",
                "IPv6Address": "",
            })
        );
        assert_eq!(shown["Labels"], json!({"chapter": "5", "project": "p"}));
        assert_eq!((&shown["EnableIPv4"], &shown["EnableIPv6"]), (&json!(true), &json!(false)));
    }

    #[test]
    fn predefined_networks() {
        let none = Network { name: "none".to_owned(), driver: Driver::Null, subnets: Vec::new(), ..network() };
        let shown = describe(&none, &[]);
        assert_eq!(shown["IPAM"], json!({"Driver": "default", "Options": null, "Config": null}));
        assert_eq!((&shown["Driver"], &shown["Containers"]), (&json!("null"), &json!({})));
        let bridge = Network { name: DEFAULT_NETWORK.to_owned(), ..network() };
        let name = &describe(&bridge, &[])["Options"]["com.docker.network.bridge.name"];
        assert_eq!(*name, json!(format!("br-{}", "ab".repeat(6))));
    }
}
