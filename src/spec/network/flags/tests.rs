use proptest::prelude::*;

use super::*;

fn flags(networks: &[&str]) -> NetworkFlags {
    NetworkFlags { networks: networks.iter().map(|text| (*text).to_owned()).collect(), ..NetworkFlags::default() }
}

fn id() -> ContainerId {
    ContainerId::from_bytes([7; 32])
}

fn parse_all(flags: &NetworkFlags) -> Result<NetworkMode, String> {
    let mut find = |name: &str| if name == "db" { Ok(id()) } else { Err(format!("No such container: {name}")) };
    parse_networks(flags, &mut find).map_err(|error| error.to_string())
}

fn parse(networks: &[&str]) -> Result<NetworkMode, String> {
    parse_all(&flags(networks))
}

fn one(text: &str) -> Attachment {
    match parse(&[text]).unwrap() {
        NetworkMode::Networks(mut all) if all.len() == 1 => all.remove(0),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn modes() {
    assert_eq!(parse(&[]), Ok(NetworkMode::default()));
    for text in ["", "bridge", "default", "private", "name=default"] {
        assert_eq!(parse(&[text]), Ok(NetworkMode::default()), "{text:?}");
    }
    assert_eq!(parse(&["none"]), Ok(NetworkMode::None));
    assert_eq!(parse(&["name=host"]), Ok(NetworkMode::Host));
    assert_eq!(parse(&["container:db"]), Ok(NetworkMode::Container(id())));
    assert_eq!(parse(&["ns:/run/netns/x:y"]), Ok(NetworkMode::Path("/run/netns/x:y".into())));
    assert_eq!(parse(&["slirp"]), Ok(NetworkMode::Slirp(Attachment::to("slirp"))));
    let helper =
        |program, options: &[&str]| NetworkMode::Helper(program, options.iter().map(|o| (*o).to_owned()).collect());
    assert_eq!(parse(&["pasta:-t,auto,--mtu=1500"]), Ok(helper(HelperProgram::Pasta, &["-t", "auto", "--mtu=1500"])));
    let slirp = helper(HelperProgram::Slirp4netns, &["port_handler=slirp4netns"]);
    assert_eq!(parse(&["slirp4netns:port_handler=slirp4netns"]), Ok(slirp));
    for (text, error) in [
        ("container:x", "No such container: x"),
        ("container:", "invalid network mode: invalid container format container:<name|id>"),
        ("container", "invalid network mode: invalid container format container:<name|id>"),
        ("ns:x", "invalid network mode: ns: needs the absolute path of a network namespace"),
        ("host:ip=1.2.3.4", "network mode host takes no options"),
        ("name=none,alias=x", "network mode none takes no options"),
    ] {
        assert_eq!(parse(&[text]), Err(error.to_owned()));
    }
}

#[test]
fn several_networks() {
    let names = |networks: &[&str]| {
        parse(networks).map(|mode| mode.attachments().iter().map(|a| a.network.clone()).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(names(&["a", "b"]).as_deref(), Ok("a b"));
    assert_eq!(names(&["a,b", "bridge"]).as_deref(), Ok("a b bridge"));
    assert_eq!(names(&["a:ip=10.0.0.2", "name=b,ip=10.1.0.2"]).as_deref(), Ok("a b"));
    let combined = "conflicting options: cannot attach both user-defined and non-user-defined network-modes";
    for bad in
        [&["a", "host"][..], &["none", "a"], &["a,none"], &["host", "none"], &["container:db", "a"], &["slirp", "a"]]
    {
        assert_eq!(names(bad), Err(combined.to_owned()), "{bad:?}");
    }
    assert_eq!(names(&["a", "b", "a"]), Err("network \"a\" is specified multiple times".into()));
    assert_eq!(names(&["default", "bridge"]), Err("network \"bridge\" is specified multiple times".into()));
    assert_eq!(names(&["a,,b"]), Err("network name/id is not specified".into()));
    let same = ["a:interface_name=lan", "b:interface_name=lan"];
    assert_eq!(names(&same), Err("interface name lan is given to several networks".into()));
}

#[test]
fn options_of_podman_and_docker() {
    let expected = Attachment {
        aliases: vec!["x".into(), "y.z".into()],
        ip: Some([10, 0, 0, 2].into()),
        ip6: Some("fd00::2".parse().unwrap()),
        mac: Some("02:00:00:00:00:01".parse().unwrap()),
        interface: Some("lan0".into()),
        ..Attachment::to("net")
    };
    let podman = "net:ip=10.0.0.2,ip6=fd00::2,mac=02:00:00:00:00:01,alias=x,alias=y.z,interface_name=lan0";
    assert_eq!(one(podman), expected);
    let docker = "name=net,IP=10.0.0.2,ip6=fd00::2,mac-address=02:00:00:00:00:01,alias=x,alias=y.z,gw-priority=-3,\
                  driver-opt=com.docker.network.endpoint.ifname=lan0";
    assert_eq!(one(docker), Attachment { gateway_priority: -3, ..expected });
    assert_eq!(one("net:ip=fd00::3").ip6, Some("fd00::3".parse().unwrap()));
    assert!(one("bridge:host-loopback").host_loopback && one("bridge:host-loopback=true").host_loopback);
    assert!(!one("bridge:host-loopback=false").host_loopback);
    for (text, error) in [
        ("net:foo=1", "unknown bridge network option: foo=1"),
        ("net:", "unknown bridge network option: "),
        (":ip=1.2.3.4", "network name/id is not specified"),
        ("net:ip=300.1.1.1", "invalid IP address: 300.1.1.1"),
        ("net:mac=x", "x is not a valid mac address"),
        ("net:alias=", "invalid network alias \"\""),
        ("net:alias=a b", "invalid network alias \"a b\""),
        ("net:interface_name=lo", "invalid interface name \"lo\": 1 to 15 letters, digits, '.', '-' or '_'"),
        (
            "net:interface_name=aaaaaaaaaaaaaaaa",
            "invalid interface name \"aaaaaaaaaaaaaaaa\": 1 to 15 letters, digits, '.', '-' or '_'",
        ),
        ("net:host-loopback=maybe", "invalid value \"maybe\" of network option host-loopback: true or false"),
        ("name=net,foo=1", "invalid field key foo"),
        ("name=net,foo", "invalid field foo"),
        ("alias=x", "network name/id is not specified"),
        ("name=net,ip=fd00::1", "invalid IPv4 address: fd00::1"),
        ("name=net,gw-priority=x", "invalid gw-priority (x)"),
        ("name=net,link-local-ip=169.254.1.1", "link-local addresses can't be chosen: leave link-local-ip out"),
    ] {
        assert_eq!(parse(&[text]), Err(error.to_owned()));
    }
}

#[test]
fn flags_belong_to_the_first_network() {
    let all = NetworkFlags {
        aliases: vec!["x".into()],
        ip: Some("10.0.0.2".into()),
        ip6: Some("fd00::2".into()),
        mac: Some("02:00:00:00:00:01".into()),
        ..flags(&["a", "b"])
    };
    let mode = parse_all(&all).unwrap();
    assert_eq!(mode.attachments()[0].ip, Some([10, 0, 0, 2].into()));
    assert_eq!((mode.attachments()[0].aliases.len(), mode.attachments()[1].clone()), (1, Attachment::to("b")));
    // On the default network as podman has it.
    assert!(parse_all(&NetworkFlags { networks: Vec::new(), ..all.clone() }).is_ok());

    let on = |network: &str, given: &NetworkFlags| {
        parse_all(&NetworkFlags { networks: vec![network.into()], ..given.clone() })
    };
    let both = "conflicting options: cannot specify both --ip and per-network IPv4 address";
    let ip = NetworkFlags { ip: Some("10.0.0.2".into()), ..flags(&[]) };
    assert_eq!(on("a:ip=10.0.0.3", &ip), Err(both.to_owned()));
    let alias = NetworkFlags { aliases: vec!["x".into()], ..flags(&[]) };
    let mac = NetworkFlags { mac: Some("02:00:00:00:00:01".into()), ..flags(&[]) };
    for mode in ["none", "host", "container:db", "ns:/x", "pasta"] {
        assert_eq!(on(mode, &ip), Err("user specified IP address is supported on user defined networks only".into()));
        assert_eq!(on(mode, &alias), Err("network-scoped aliases are only supported for user-defined networks".into()));
        assert_eq!(on(mode, &mac), Err("conflicting options: mac-address and the network mode".into()));
    }
    let bad = NetworkFlags { ip: Some("10.0.0".into()), ..flags(&[]) };
    assert_eq!(on("a", &bad), Err("invalid IPv4 address: 10.0.0".into()));
}

#[test]
fn settings_need_no_container() {
    for text in ["bridge", "container:any", "pasta:-4", "a,b"] {
        assert_eq!(check_setting(text), Ok(()));
    }
    assert!(check_setting("net:foo").is_err() && check_setting("a,host").is_err());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_on_one_line(text in "\\PC{0,40}|[a-z0-9:=,.]{0,60}|(name=|ip=|alias=|net:|container:|,|=|:|\n|10.0.0.1){0,9}") {
        if let Err(error) = parse(&[&text]) {
            prop_assert!(!error.contains(char::is_control) || text.starts_with("container:"), "{:?}", error);
        }
    }

    #[test]
    fn what_is_printed_in_either_form_is_read_back(
        networks in proptest::collection::btree_map(
            "[a-z][a-z0-9_.-]{3,8}",
            (proptest::option::of(any::<u32>()), proptest::option::of(any::<u128>()), proptest::option::of(any::<[u8; 6]>()),
             proptest::collection::vec("[a-z][a-z0-9]{0,5}", 0..3), any::<bool>()),
            1..4,
        ),
    ) {
        let reserved = ["none", "host", "slirp", "pasta", "default", "private", "container"];
        prop_assume!(networks.keys().all(|name| !reserved.contains(&name.as_str()) && !name.starts_with("slirp")));
        let mut texts = Vec::new();
        let mut expected = Vec::new();
        for (name, (ip, ip6, mac, aliases, docker)) in networks {
            let attachment = Attachment {
                aliases,
                ip: ip.map(Ipv4Addr::from),
                ip6: ip6.map(Ipv6Addr::from),
                mac: mac.map(|[first, rest @ ..]| super::super::MacAddress([first & 0xfe, rest[0], rest[1], rest[2], rest[3], rest[4]])),
                ..Attachment::to(&name)
            };
            let mut options = Vec::new();
            options.extend(attachment.ip.map(|ip| format!("ip={ip}")));
            options.extend(attachment.ip6.map(|ip| format!("ip6={ip}")));
            options.extend(attachment.mac.map(|mac| format!("{}={mac}", if docker { "mac-address" } else { "mac" })));
            options.extend(attachment.aliases.iter().map(|alias| format!("alias={alias}")));
            let text = match (docker, options.is_empty()) {
                (true, _) => [vec![format!("name={name}")], options].concat().join(","),
                (false, true) => name,
                (false, false) => format!("{name}:{}", options.join(",")),
            };
            texts.push(text);
            expected.push(attachment);
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        prop_assert_eq!(parse(&texts), Ok(NetworkMode::Networks(expected)));
    }
}
