use super::*;

fn plan(subnets: &[&str], ranges: &[&str], gateways: &[&str], auxiliary: &[&str]) -> Result<String, String> {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let planned = plan_subnets(&texts(subnets), &texts(ranges), &texts(gateways), &texts(auxiliary));
    let (subnets, auxiliary) = planned.map_err(|error| error.to_string())?;
    let shown = subnets.iter().map(|subnet| {
        let range = subnet.range.map(|(first, last)| format!(" {first}-{last}")).unwrap_or_default();
        format!("{} {}{range}", subnet.subnet, subnet.gateway)
    });
    Ok(shown.chain(auxiliary.iter().map(|(name, address)| format!("{name}={address}"))).collect::<Vec<_>>().join(", "))
}

#[test]
fn subnets_ranges_and_gateways() {
    for (subnets, ranges, gateways, expected) in [
        (&["10.0.42.0/24"][..], &[][..], &[][..], "10.0.42.0/24 10.0.42.1"),
        (&["10.0.42.7/24"], &[], &[], "10.0.42.0/24 10.0.42.1"),
        (&["10.0.42.0/24"], &["10.0.42.128/25"], &[], "10.0.42.0/24 10.0.42.128 10.0.42.128-10.0.42.255"),
        (&["10.0.42.0/24"], &["10.0.42.0/25"], &[], "10.0.42.0/24 10.0.42.1 10.0.42.0-10.0.42.127"),
        (&["10.0.42.0/24"], &["10.0.42.128/25"], &["10.0.42.254"], "10.0.42.0/24 10.0.42.254 10.0.42.128-10.0.42.255"),
        (&["10.0.42.0/24"], &["10.0.42.50-10.0.42.60"], &[], "10.0.42.0/24 10.0.42.1 10.0.42.50-10.0.42.60"),
        (
            &["fd00:1::/64", "10.1.0.0/16"],
            &["10.1.2.0/24", "fd00:1::100/120"],
            &["fd00:1::5"],
            "fd00:1::/64 fd00:1::5 fd00:1::100-fd00:1::1ff, 10.1.0.0/16 10.1.2.0 10.1.2.0-10.1.2.255",
        ),
        (&["fd00:1::/64"], &[], &[], "fd00:1::/64 fd00:1::1"),
        (&["10.0.0.0/31"], &[], &[], "10.0.0.0/31 10.0.0.0"),
    ] {
        assert_eq!(plan(subnets, ranges, gateways, &[]).as_deref(), Ok(expected));
    }
    let auxiliary = plan(&["10.0.0.0/24"], &[], &[], &["router=10.0.0.5"]);
    assert_eq!(auxiliary.as_deref(), Ok("10.0.0.0/24 10.0.0.1, router=10.0.0.5"));
}

#[test]
fn refusals() {
    for (subnets, ranges, gateways, auxiliary, error) in [
        (&["1.2.3.4/33"][..], &[][..], &[][..], &[][..], "invalid CIDR address: 1.2.3.4/33"),
        (&["10.0.0.1"], &[], &[], &[], "invalid CIDR address: 10.0.0.1"),
        (&["x\n"], &[], &[], &[], "invalid CIDR address: x\\n"),
        (&["127.0.0.0/16"], &[], &[], &[], "subnet 127.0.0.0/16 can't be used: it holds loopback addresses"),
        (&["0.0.0.0/0"], &[], &[], &[], "subnet 0.0.0.0/0 can't be used: it holds unspecified addresses"),
        (&["240.0.0.0/8"], &[], &[], &[], "subnet 240.0.0.0/8 can't be used: it holds multicast or reserved addresses"),
        (&["fe80::/64"], &[], &[], &[], "subnet fe80::/64 can't be used: it holds link-local addresses"),
        (&["::/0"], &[], &[], &[], "subnet ::/0 can't be used: it holds loopback or IPv4 addresses"),
        (
            &["10.0.0.1/32"],
            &[],
            &[],
            &[],
            "subnet 10.0.0.1/32 can't be used: it has no room for a gateway and a container",
        ),
        (&["10.0.0.0/8", "10.1.0.0/16"], &[], &[], &[], "multiple overlapping subnet configuration is not supported"),
        (&[], &["10.0.0.0/24"], &[], &[], "every ip-range or gateway must have a corresponding subnet"),
        (&[], &[], &["10.0.0.1"], &[], "every ip-range or gateway must have a corresponding subnet"),
        (&["10.0.0.0/24"], &["10.0.1.0/25"], &[], &[], "no matching subnet for range 10.0.1.0/25"),
        (
            &["10.0.0.0/24"],
            &["10.0.0.0/16"],
            &[],
            &[],
            "invalid ip-range 10.0.0.0/16: it goes beyond subnet 10.0.0.0/24",
        ),
        (
            &["10.0.0.0/24"],
            &["10.0.0.9-10.0.0.5"],
            &[],
            &[],
            "invalid ip-range 10.0.0.9-10.0.0.5: give a CIDR block or FIRST-LAST",
        ),
        (
            &["10.0.0.0/24"],
            &["10.0.0.9-10.0.1.5"],
            &[],
            &[],
            "invalid ip-range 10.0.0.9-10.0.1.5: it goes beyond subnet 10.0.0.0/24",
        ),
        (&["10.0.0.0/24"], &["x"], &[], &[], "invalid CIDR address: x"),
        (
            &["10.0.0.0/24", "fd00::/64"],
            &["10.0.0.0/25", "10.0.0.128/25"],
            &[],
            &[],
            "cannot configure multiple ranges (10.0.0.0/25, 10.0.0.128/25) on the same subnet (10.0.0.0/24)",
        ),
        (&["10.0.0.0/24"], &[], &["10.0.1.1"], &[], "no matching subnet for gateway 10.0.1.1"),
        (&["10.0.0.0/24"], &[], &["x"], &[], "invalid gateway address: x"),
        (
            &["10.0.0.0/24"],
            &[],
            &["10.0.0.255"],
            &[],
            "gateway 10.0.0.255 can't be used: it is the first or last address of subnet 10.0.0.0/24",
        ),
        (
            &["10.0.0.0/24", "fd00::/64"],
            &[],
            &["10.0.0.1", "10.0.0.2"],
            &[],
            "cannot configure multiple gateways (10.0.0.1, 10.0.0.2) for the same subnet (10.0.0.0/24)",
        ),
        (&["10.0.0.0/24"], &[], &[], &["a=10.0.1.1"], "no matching subnet for aux-address 10.0.1.1"),
        (&["10.0.0.0/24"], &[], &[], &["a=10.0.0.1"], "aux-address 10.0.0.1 is the gateway: Address already in use"),
        (&["10.0.0.0/24"], &[], &[], &["=10.0.0.7"], "invalid aux-address \"=10.0.0.7\": give NAME=ADDRESS"),
    ] {
        assert_eq!(plan(subnets, ranges, gateways, auxiliary), Err(error.to_owned()));
    }
}

#[test]
fn names() {
    for name in ["user-network", "a", "A_1.x", "bridge", "deadbeef"] {
        assert_eq!(check_network_name(name), Ok(()));
    }
    for name in ["", "-a", "a b", "../x", "a/b", "a\n", "ä", "a:b", "a,b", "a=b"] {
        assert_eq!(check_network_name(name), Err(InvalidNetwork::Name(printable(name))));
    }
    for name in MODES {
        assert_eq!(check_network_name(name), Err(InvalidNetwork::Reserved(name.into())));
    }
    assert!(check_network_name("0123456789ab").is_err() && check_network_name(&"x".repeat(201)).is_err());
}

#[test]
fn options_and_families() {
    let with = |key: &str, value: &str| {
        let mut new = NewNetwork::named("n");
        new.set_options(BTreeMap::from([(key.to_owned(), value.to_owned())])).map(|()| new).map_err(|e| e.to_string())
    };
    for key in ["mtu", "com.docker.network.driver.mtu"] {
        assert_eq!(with(key, "1400").unwrap().mtu, Some(1400));
        assert_eq!(with(key, "0").unwrap().mtu, None);
        for bad in ["x", "-1", "67", "65536"] {
            let expected = format!("invalid value {bad:?} of option {key}: a number of bytes from 68 to 65535");
            assert_eq!(with(key, bad).unwrap_err(), expected);
        }
    }
    assert!(with("com.docker.network.bridge.enable_icc", "false").unwrap().isolate_containers);
    assert!(with("com.docker.network.bridge.enable_icc", "x").is_err());
    assert_eq!(with("foo", "bar").unwrap().options.len(), 1);

    let subnet = |text: &str| Subnet::of(text.parse().unwrap());
    let check = |ipv4, ipv6, subnets: Vec<Subnet>| {
        NewNetwork { ipv4, ipv6, subnets, ..NewNetwork::named("n") }.check().map_err(|error| error.to_string())
    };
    assert_eq!(check(true, false, vec![subnet("10.0.0.0/24"), subnet("fd00::/64")]), Ok(()));
    assert_eq!(check(false, false, vec![subnet("fd00::/64")]), Ok(()));
    assert_eq!(check(false, true, vec![]), Ok(()));
    assert_eq!(check(false, false, vec![]), Err("IPv4 or IPv6 must be enabled".into()));
    assert!(check(false, true, vec![subnet("10.0.0.0/24")]).is_err());
    let several = "bridge driver doesn't support multiple subnets: give one of each family";
    assert_eq!(check(true, false, vec![subnet("10.0.0.0/24"), subnet("10.0.1.0/24")]), Err(several.into()));
}
