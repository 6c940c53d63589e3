use std::net::Ipv4Addr;
use std::ops::Deref;

use super::*;
use crate::spec::network::{Attachment, NewNetwork, plan_subnets};
use crate::store::lock::AliveLock;
use crate::store::testing::{TestStore, config};

fn nothing() -> io::Result<Vec<IpNet>> {
    Ok(Vec::new())
}

fn new(name: &str, subnets: &[&str], ranges: &[&str]) -> NewNetwork {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let (subnets, auxiliary) = plan_subnets(&texts(subnets), &texts(ranges), &[], &[]).unwrap();
    NewNetwork { subnets, auxiliary, ..NewNetwork::named(name) }
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A container that counts as running.
struct Running {
    config: ContainerConfig,
    alive: AliveLock,
}

impl Deref for Running {
    type Target = ContainerConfig;

    fn deref(&self) -> &ContainerConfig {
        &self.config
    }
}

fn run_on(store: &Store, name: &str, prefix: &str, networks: &[&str]) -> Running {
    let attachments = networks.iter().map(|network| Attachment::to(network)).collect();
    let config = ContainerConfig { network: NetworkMode::Networks(attachments), ..config(name, prefix) };
    let container = store.containers().create(config).unwrap();
    Running { alive: container.take_alive().unwrap().unwrap(), config: container.config }
}

fn address(store: &Store, container: &ContainerConfig, network: &str) -> Result<String, String> {
    let network = store.networks().find(network).unwrap();
    let lease = store.leases(&network).take(container, &Attachment::to(&network.name));
    lease.map(|lease| lease.v4.unwrap().addr().to_string()).map_err(|error| error.to_string())
}

#[test]
fn the_predefined_are_always_there() {
    let store = TestStore::new();
    let networks = store.networks();
    let shown = || {
        let (all, damaged) = networks.list().unwrap();
        assert!(damaged.is_empty());
        all.iter()
            .map(|network| format!("{} {:?} {}", network.name, network.driver, network.subnets.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(), ["bridge Bridge 0", "host Host 0", "none Null 0"]);
    let before = networks.find("default").unwrap();
    let made = networks.bridge(&|| Ok(nets(&["172.17.5.0/24", "172.18.0.0/16", "0.0.0.0/0"][..2]))).unwrap();
    assert_eq!((made.v4().unwrap().subnet, made.v6().unwrap().subnet.prefix_len()), (nets(&["172.19.0.0/16"])[0], 64));
    assert_eq!(made.v4().unwrap().gateway, IpAddr::from([172, 19, 0, 1]));
    assert_eq!((before.id, networks.find("bridge").unwrap()), (made.id.clone(), made.clone()));
    assert_eq!(networks.find(&made.id[..12]).unwrap(), made);
    let never = || -> io::Result<Vec<IpNet>> { panic!("asked again") };
    assert_eq!(networks.usable("bridge", &never).unwrap(), made);
    assert_eq!(shown(), ["bridge Bridge 2", "host Host 0", "none Null 0"]);
    for name in ["bridge", "host", "none"] {
        let error = networks.remove(&networks.find(name).unwrap()).unwrap_err().to_string();
        assert_eq!(error, format!("{name} is a pre-defined network and cannot be removed"));
        let error = networks.create(NewNetwork::named(name), &[]).unwrap_err().to_string();
        assert_eq!(error, format!("operation is not permitted on predefined {name} network"));
    }
}

#[test]
fn a_store_without_networks_of_an_older_rbox() {
    let store = TestStore::new();
    std::fs::remove_dir(store.path("networks")).unwrap();
    std::fs::remove_file(store.path("networks.lock")).unwrap();
    assert_eq!(store.networks().list().unwrap().0.len(), 3);
    store.networks().bridge(&nothing).unwrap();
    assert_eq!(store.networks().create(new("a", &[], &[]), &[]).unwrap().subnets.len(), 1);
}

#[test]
fn made_found_and_removed() {
    let store = TestStore::new();
    let networks = store.networks();
    let a = networks.create(NewNetwork { ipv6: true, internal: true, ..new("a", &[], &[]) }, &[]).unwrap();
    assert!(a.internal && a.v6().unwrap().subnet.to_string().starts_with("fd"));
    let b = networks.create(new("lan", &["10.0.42.0/24", "fd00:1::/64"], &[]), &[]).unwrap();
    assert_eq!(b.v6().unwrap().gateway.to_string(), "fd00:1::1");
    assert_eq!(networks.create(new("a", &[], &[]), &[]).unwrap_err().to_string(), "network with name a already exists");
    for text in ["lan", &b.id, b.short_id()] {
        assert_eq!(networks.find(text).unwrap(), b);
    }
    for text in ["x", "", "../a", "a b", "ffffffffffff"] {
        assert_eq!(networks.find(text).unwrap_err().to_string(), format!("network {text} not found"));
    }
    networks.remove(&b).unwrap();
    assert!(networks.find("lan").is_err() && !store.runtime.join("networks").join(&b.id).exists());
    assert_eq!(networks.remove(&b).unwrap_err().to_string(), "network lan not found");
    let again = networks.create(new("lan", &["10.0.42.0/24"], &[]), &[]).unwrap();
    assert!(again.id != b.id);
    assert_eq!(networks.remove(&b).unwrap_err().to_string(), "network lan not found");
}

#[test]
fn names_take_the_place_of_what_was_typed() {
    let store = TestStore::new();
    let networks = store.networks();
    let a = networks.create(new("a", &["10.0.42.0/24"], &[]), &[]).unwrap();
    let resolve = |attachments: Vec<Attachment>| {
        let mut mode = NetworkMode::Networks(attachments);
        networks
            .resolve(&mut mode)
            .map(|()| mode.attachments().iter().map(|a| a.network.clone()).collect::<Vec<_>>().join(" "))
            .map_err(|error| error.to_string())
    };
    let to = Attachment::to;
    assert_eq!(resolve(vec![to(a.short_id()), to("bridge")]).as_deref(), Ok("a bridge"));
    assert_eq!(resolve(vec![to("nosuch")]), Err("network nosuch not found".into()));
    assert_eq!(resolve(vec![to("a"), to(&a.id)]), Err("network \"a\" is specified multiple times".into()));
    let host = networks.find("host").unwrap();
    assert_eq!(resolve(vec![to(&host.id)]), Err("network host can't be joined by its id: use --network host".into()));
    let outside = Attachment { ip: Some(Ipv4Addr::new(10, 0, 43, 2)), ..to("a") };
    let expected = "invalid address 10.0.43.2: it does not belong to subnet 10.0.42.0/24 of network a";
    assert_eq!(resolve(vec![outside]), Err(expected.into()));
    let six = Attachment { ip6: Some("fd00::2".parse().unwrap()), ..to("a") };
    assert_eq!(resolve(vec![six.clone()]), Err("invalid address fd00::2: network a has no IPv6 subnet".into()));
    assert!(resolve(vec![Attachment { network: "bridge".into(), ..six }]).is_ok(), "it has none yet");
    networks.resolve(&mut NetworkMode::Host).unwrap();
}

#[test]
fn subnets_do_not_overlap() {
    let store = TestStore::new();
    let networks = store.networks();
    let create = |new: NewNetwork, taken: &[&str]| {
        networks
            .create(new, &nets(taken))
            .map(|network| network.subnets[0].subnet.to_string())
            .map_err(|error| error.to_string())
    };
    assert_eq!(create(new("a", &["10.0.0.0/8"], &[]), &[]).as_deref(), Ok("10.0.0.0/8"));
    let overlap = "Pool overlaps with other one on this address space: 10.1.0.0/16 with 10.0.0.0/8 of network a";
    assert_eq!(create(new("b", &["10.1.0.0/16"], &[]), &[]), Err(overlap.into()));
    let host =
        "subnet 192.168.0.0/16 overlaps with 192.168.1.0/24, which this machine is on: choose another with --subnet";
    assert_eq!(create(new("b", &["192.168.0.0/16"], &[]), &["192.168.1.0/24"]), Err(host.into()));
    let taken: Vec<String> = (17..=31).map(|second| format!("172.{second}.0.0/16")).collect();
    let taken: Vec<&str> = taken.iter().map(String::as_str).chain(["192.168.1.0/24"]).collect();
    assert_eq!(create(new("b", &[], &[]), &taken).as_deref(), Ok("192.168.16.0/20"));
    assert_eq!(create(new("c", &[], &[]), &["172.17.0.1/32"]).as_deref(), Ok("172.18.0.0/16"));
    let full = "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network: \
                give one with --subnet";
    assert_eq!(create(new("d", &[], &[]), &["172.16.0.0/12", "192.168.0.0/16"]), Err(full.into()));
    let only6 = NewNetwork { ipv4: false, ipv6: true, ..new("six", &[], &[]) };
    assert!(create(only6, &["172.16.0.0/12", "192.168.0.0/16"]).unwrap().starts_with("fd"));
    let names: Vec<String> = networks.list().unwrap().0.into_iter().map(|network| network.name).collect();
    assert_eq!(names, ["a", "b", "bridge", "c", "host", "none", "six"]);
}

#[test]
fn a_damaged_record_is_named_and_stops_only_what_needs_it() {
    let store = TestStore::new();
    let networks = store.networks();
    let a = networks.create(new("a", &[], &[]), &[]).unwrap();
    for (text, why) in [
        ("{".to_owned(), "EOF"),
        (serde_json::to_string(&a).unwrap(), "it describes another network"),
        (
            serde_json::to_string(&Network { name: "odd".into(), id: "x".into(), ..a.clone() }).unwrap(),
            "its id is none",
        ),
        (
            serde_json::to_string(&Network { name: "odd".into(), subnets: vec![], ..a.clone() }).unwrap(),
            "it has no subnet",
        ),
    ] {
        std::fs::write(store.path("networks/odd.json"), &text).unwrap();
        let (all, damaged) = networks.list().unwrap();
        assert_eq!((all.len(), damaged.len(), damaged[0].id.as_str()), (4, 1, "odd"));
        assert!(damaged[0].why.contains(why), "{}", damaged[0].why);
        let error = networks.find("odd").unwrap_err().to_string();
        assert!(error.starts_with("network odd cannot be used: ") && error.contains(why), "{error}");
        assert_eq!(networks.find("a").unwrap(), a);
        let error = networks.create(new("b", &[], &[]), &[]).unwrap_err().to_string();
        assert!(error.starts_with("network odd cannot be used: "), "{error}");
        assert!(networks.discard("odd").unwrap() && !networks.discard("odd").unwrap());
    }
    assert!(!networks.discard("a").unwrap() && !networks.discard("../a").unwrap());
    std::fs::write(store.path("networks/bridge.json"), "").unwrap();
    assert_eq!(networks.list().unwrap().0.len(), 3);
    assert!(networks.bridge(&nothing).unwrap_err().to_string().starts_with("network bridge cannot be used"));
}

#[test]
fn the_tutorials_addresses() {
    let store = TestStore::new();
    let network = store.networks().create(new("user", &["10.0.42.0/24"], &["10.0.42.128/25"]), &[]).unwrap();
    let explorer = run_on(&store, "explorer", "a1", &["user"]);
    let lease = store.leases(&network).take(&explorer, &explorer.network.attachments()[0]).unwrap();
    assert_eq!(
        (lease.v4.unwrap().to_string(), lease.gateway4.unwrap().to_string()),
        ("10.0.42.129/24".into(), "10.0.42.128".into())
    );
    assert_eq!((lease.mac.to_string(), lease.interface.as_str()), ("02:42:0a:00:2a:81".into(), "eth0"));
    assert_eq!((lease.v6, lease.gateway6, lease.endpoint_id.len()), (None, None, 64));
    assert_eq!(store.leases(&network).list().unwrap(), [lease]);
}

#[test]
fn the_lowest_free_address_is_taken_and_comes_back() {
    let store = TestStore::new();
    let networks = store.networks();
    let small = NewNetwork {
        auxiliary: [("printer".to_owned(), "10.0.0.3".parse().unwrap())].into(),
        ..new("n", &["10.0.0.0/29"], &[])
    };
    let network = networks.create(small, &[]).unwrap();
    let [a, b, c] = [("a", "a1"), ("b", "b1"), ("c", "c1")].map(|(name, prefix)| run_on(&store, name, prefix, &["n"]));
    assert_eq!(address(&store, &a, "n").as_deref(), Ok("10.0.0.2"));
    assert_eq!(address(&store, &b, "n").as_deref(), Ok("10.0.0.4"));
    assert_eq!(address(&store, &a, "n").as_deref(), Ok("10.0.0.2"), "a second time replaces the first");
    assert_eq!(address(&store, &c, "n").as_deref(), Ok("10.0.0.5"));
    let d = run_on(&store, "d", "d1", &["n"]);
    assert_eq!(address(&store, &d, "n").as_deref(), Ok("10.0.0.6"));
    let e = run_on(&store, "e", "e1", &["n"]);
    let full = format!("no available IPv4 addresses on this network's address pools: n ({})", network.id);
    assert_eq!(address(&store, &e, "n"), Err(full));
    // Whoever dies leaves a lease that counts for nothing.
    let stale = lease_file(&store, &network, &b.config.id);
    let Running { alive, .. } = b;
    drop(alive);
    assert!(stale.exists());
    assert_eq!(store.leases(&network).list().unwrap().len(), 3);
    assert_eq!(address(&store, &e, "n").as_deref(), Ok("10.0.0.4"));
    assert!(!stale.exists());
    store.leases(&network).release(&a.id).unwrap();
    store.leases(&network).release(&a.id).unwrap();
    let in_use = |error: RemoveError| error.to_string();
    let text = in_use(networks.remove(&network).unwrap_err());
    assert!(
        text.starts_with("error while removing network: network n has active endpoints (name:\"e\" id:\"e1"),
        "{text}"
    );
    drop((c, d, e));
    networks.remove(&network).unwrap();
}

fn lease_file(store: &Store, network: &Network, id: &ContainerId) -> PathBuf {
    store.networks().runtime_directory(network).unwrap().join(format!("endpoints/{id}.json"))
}

#[test]
fn addresses_that_were_asked_for() {
    let store = TestStore::new();
    let auxiliary = [("printer".to_owned(), "10.0.0.9".parse().unwrap())].into();
    let network = NewNetwork { auxiliary, ..new("n", &["10.0.0.0/24", "fd00:1::/64"], &["10.0.0.128/25"]) };
    let network = store.networks().create(network, &[]).unwrap();
    let [a, b] = [("a", "a1"), ("b", "b1")].map(|(name, prefix)| run_on(&store, name, prefix, &["n"]));
    let take = |container: &Running, attachment: Attachment| {
        let lease = store.leases(&network).take(container, &attachment).map_err(|error| error.to_string())?;
        Ok::<_, String>(format!("{} {} {}", lease.v4.unwrap(), lease.v6.unwrap(), lease.mac))
    };
    let with = |ip: &str| Attachment { ip: Some(ip.parse().unwrap()), ..Attachment::to("n") };
    assert_eq!(take(&a, with("10.0.0.7")).as_deref(), Ok("10.0.0.7/24 fd00:1::2/64 02:42:0a:00:00:07"));
    assert_eq!(
        take(&b, with("10.0.0.7")),
        Err("Address already in use: 10.0.0.7 on network n is taken by container a".into())
    );
    assert_eq!(
        take(&b, with("10.0.0.9")),
        Err("Address already in use: 10.0.0.9 on network n is taken by aux-address printer".into())
    );
    for (ip, why) in [
        ("10.0.1.7", "it does not belong to subnet 10.0.0.0/24 of network n"),
        ("10.0.0.0", "subnet 10.0.0.0/24 has it for another purpose"),
        ("10.0.0.255", "subnet 10.0.0.0/24 has it for another purpose"),
        ("10.0.0.128", "it is the gateway of network n"),
    ] {
        assert_eq!(take(&b, with(ip)), Err(format!("invalid address {ip}: {why}")));
    }
    let mac = Attachment { mac: Some("02:42:0a:00:00:07".parse().unwrap()), ..Attachment::to("n") };
    assert_eq!(
        take(&b, mac),
        Err("mac address 02:42:0a:00:00:07 is already in use on network n by container a".into())
    );
    let six = Attachment { ip6: Some("fd00:1::77".parse().unwrap()), ..Attachment::to("n") };
    assert_eq!(take(&b, six).as_deref(), Ok("10.0.0.129/24 fd00:1::77/64 02:42:0a:00:00:81"));
}

#[test]
fn a_container_on_several_networks() {
    let store = TestStore::new();
    let networks = store.networks();
    networks.create(new("a", &["10.1.0.0/24"], &[]), &[]).unwrap();
    networks.create(NewNetwork { ipv4: false, ipv6: true, ..new("b", &["fd00:b::/64"], &[]) }, &[]).unwrap();
    let mut web = run_on(&store, "web", "a1", &["a", "bridge", "b"]);
    let attachment = |network: &str, interface: Option<&str>| Attachment {
        interface: interface.map(str::to_owned),
        aliases: vec!["www".into()],
        ..Attachment::to(network)
    };
    let attach = |web: &mut Running, list: &[(&str, Option<&str>)]| {
        web.config.network =
            NetworkMode::Networks(list.iter().map(|(network, name)| attachment(network, *name)).collect());
    };
    let shown = |leases: &[Lease]| {
        let one = |lease: &Lease| format!("{} {} {}", lease.network, lease.interface, lease.addresses()[0]);
        leases.iter().map(one).collect::<Vec<_>>()
    };
    let joined = |web: &Running| {
        let joined = networks.join(web, &nothing).map_err(|error| error.to_string())?;
        Ok::<_, String>(shown(&joined.into_iter().map(|(_, lease)| lease).collect::<Vec<_>>()))
    };
    assert_eq!(joined(&web).unwrap(), ["a eth0 10.1.0.2", "bridge eth1 172.17.0.2", "b eth2 fd00:b::2"]);
    assert_eq!(networks.leases_of(&web.id).unwrap()[2].mac.to_string(), "02:42:00:00:00:02");
    assert_eq!(shown(&networks.leases_of(&web.id).unwrap()), joined(&web).unwrap());

    attach(&mut web, &[("a", Some("eth1")), ("bridge", None), ("b", None)]);
    assert_eq!(joined(&web).unwrap(), ["a eth1 10.1.0.2", "bridge eth0 172.17.0.2", "b eth2 fd00:b::2"]);

    // Disconnected and connected while it runs: no name is given twice.
    attach(&mut web, &[("a", None), ("b", None)]);
    assert_eq!(joined(&web).unwrap(), ["a eth0 10.1.0.2", "b eth1 fd00:b::2"]);
    store.leases(&networks.find("a").unwrap()).release(&web.id).unwrap();
    attach(&mut web, &[("b", None), ("bridge", None)]);
    let bridge = networks.bridge(&nothing).unwrap();
    let lease = store.leases(&bridge).take(&web, &attachment("bridge", None)).unwrap();
    assert_eq!((lease.interface.as_str(), lease.aliases.len()), ("eth0", 1));
    let taken = store.leases(&bridge).take(&web, &attachment("bridge", Some("eth1"))).unwrap_err().to_string();
    assert_eq!(taken, "interface name eth1 is already used by the container");
    assert_eq!(networks.all_leases().unwrap().len(), 2);

    networks.rename(&web.id, "front").unwrap();
    assert!(networks.leases_of(&web.id).unwrap().iter().all(|lease| lease.name == "front"));

    attach(&mut web, &[("a", None), ("nosuch", None)]);
    assert_eq!(joined(&web).unwrap_err(), "network nosuch not found");
    assert!(networks.all_leases().unwrap().is_empty(), "all or none");
    joined(&run_on(&store, "db", "b1", &["a"])).unwrap();
    networks.leave(&web.id).unwrap();
}

#[test]
fn of_many_who_want_addresses_all_get_their_own() {
    let store = TestStore::in_memory();
    store.networks().create(new("n", &["10.0.0.0/27"], &[]), &[]).unwrap();
    let containers: Vec<Running> =
        (0..40).map(|number| run_on(&store, &format!("c{number}"), &format!("{number:02}a"), &["n"])).collect();
    let results: Vec<Result<String, String>> = std::thread::scope(|scope| {
        let takers: Vec<_> =
            containers.iter().map(|container| scope.spawn(|| address(&store, container, "n"))).collect();
        takers.into_iter().map(|taker| taker.join().unwrap()).collect()
    });
    let taken: std::collections::BTreeSet<&String> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!((taken.len(), results.iter().filter(|result| result.is_err()).count()), (29, 11));
    let one = store.networks().create(new("one", &["10.9.0.0/24"], &[]), &[]).unwrap();
    let fixed = Attachment { ip: Some([10, 9, 0, 9].into()), ..Attachment::to("one") };
    let winners: usize = std::thread::scope(|scope| {
        let takers: Vec<_> = containers
            .iter()
            .map(|container| scope.spawn(|| store.leases(&one).take(container, &fixed).is_ok()))
            .collect();
        takers.into_iter().map(|taker| usize::from(taker.join().unwrap())).sum()
    });
    assert_eq!(winners, 1);
}

#[test]
fn of_many_who_make_the_default_network_all_get_the_same() {
    let store = TestStore::in_memory();
    let made: Vec<Network> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| store.networks().bridge(&nothing).unwrap())).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert!(made.iter().all(|network| *network == made[0]));
}

#[test]
fn a_network_that_goes_gives_no_address() {
    let store = TestStore::new();
    let network = store.networks().create(new("n", &[], &[]), &[]).unwrap();
    let a = run_on(&store, "a", "a1", &["n"]);
    store.networks().remove(&network).unwrap();
    let error = store.leases(&network).take(&a, &Attachment::to("n")).unwrap_err();
    assert!(matches!(error, LeaseError::NoNetwork(name) if name == "n"));
    store.networks().create(new("n", &[], &[]), &[]).unwrap();
    assert!(store.leases(&network).take(&a, &Attachment::to("n")).is_err(), "another of the same name");
}

#[test]
fn a_running_containers_networks_are_changed_on_disk() {
    let store = TestStore::new();
    let web = run_on(&store, "web", "a1", &["bridge"]);
    let containers = store.containers();
    containers.update(&web.id, |config| Ok(config.network.connect("web", Attachment::to("a"))?)).unwrap();
    let now = || containers.get(&web.id).unwrap().config.network;
    assert_eq!(now().attachments().len(), 2);
    let again = containers.update(&web.id, |config| Ok(config.network.connect("web", Attachment::to("a"))?));
    assert_eq!(again.unwrap_err().to_string(), "endpoint with name web already exists in network a");
    let taken = containers.update(&web.id, |config| Ok(config.network.disconnect("web", "bridge")?)).unwrap();
    assert_eq!((taken.network.as_str(), now().name().as_ref()), ("bridge", "a"));
    containers.rename(&web.id, "front").unwrap();
    assert_eq!(now().name(), "a");
}
