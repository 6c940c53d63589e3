//! Names: of containers as docker's rules have them, and of the world as the host's resolvers say.

use std::time::Duration;

use crate::common::world::{HOST, ONE, World};

/// Two networks; `web` on a, `db` on b, `both` on both, `lone` on the default one.
const TWO_NETWORKS: &str = "rbox network create --ipv6 a >/dev/null; rbox network create b >/dev/null
    serve web --network a --network-alias www; serve db --network b --network-alias data
    serve both --network a --network b; serve lone";

#[test]
fn names_across_two_networks() {
    let world = World::new();
    world.user(TWO_NETWORKS).ok();
    let web = world.user("rbox inspect -f '{{.NetworkSettings.Networks.a.IPAddress}}' web").ok();
    let db = world.user("rbox inspect -f '{{.NetworkSettings.Networks.b.IPAddress}}' db").ok();
    let both_a = world.user("rbox inspect -f '{{.NetworkSettings.Networks.a.IPAddress}}' both").ok();
    let both_b = world.user("rbox inspect -f '{{.NetworkSettings.Networks.b.IPAddress}}' both").ok();
    let web6 = world.user("rbox inspect -f '{{.NetworkSettings.Networks.a.GlobalIPv6Address}}' web").ok();
    let web_id = world.user("rbox inspect -f '{{.Id}}' web").ok();
    let dig = |from: &str, what: &str| world.user(&format!("rbox exec {from} dig +short +tries=1 {what}")).ok();
    for name in ["web", "WEB", "www", "web.a", "www.a", &web_id[..12]] {
        assert_eq!(dig("both", name), web, "{name}");
        assert_eq!(dig("both", &format!("{name} AAAA")), web6, "{name}");
    }
    assert_eq!(dig("both", "db"), db);
    assert_eq!(dig("both", "data.b"), db);
    assert_eq!(dig("web", "both"), both_a);
    assert_eq!(dig("db", "both"), both_b);
    assert_eq!(dig("web", "web"), web, "itself");
    // Not attached: neither the name nor the address.
    for (from, name) in [
        ("web", "db"),
        ("web", "data"),
        ("web", "db.b"),
        ("db", "web"),
        ("db", "www"),
        ("lone", "web"),
        ("lone", "db"),
        ("web", "lone"),
        ("both", "lone"),
    ] {
        assert_eq!(dig(from, name), "", "{name} from {from}");
        let status = world.user(&format!("rbox exec {from} dig +tries=1 {name} | grep -c 'status: NXDOMAIN'")).run();
        assert_eq!(status.out(), "1", "{name} from {from}: {}", status.report());
        world.user(&format!("rbox exec {from} getent hosts {name}")).run().exits(2);
    }
    let reach =
        |from: &str, host: &str| world.user(&format!("rbox exec {from} curl -gsS -m 2 http://{host}:8000/name")).run();
    assert_eq!(reach("both", "web").ok().out(), "web");
    assert_eq!(reach("both", "db").ok().out(), "db");
    assert_eq!(reach("web", "both").ok().out(), "both");
    assert_eq!(reach("both", &format!("[{web6}]")).ok().out(), "web");
    for (from, address) in
        [("web", &db), ("db", &web), ("lone", &web), ("lone", &db), ("web", &both_b), ("db", &both_a)]
    {
        assert_ne!(reach(from, address).code, 0, "{address} from {from}");
        world.user(&format!("rbox exec {from} ping -n -c 1 -W 1 {address}")).run().exits_with_one_of(&[1, 2]);
    }
    for (from, name) in [("both", "web"), ("both", "db"), ("web", "both"), ("db", "both"), ("both", "www")] {
        world.user(&format!("rbox exec {from} ping -c 1 -W 2 {name}")).ok();
    }
    // The other way round.
    assert_eq!(dig("both", &format!("-x {web}")), "web.a.");
    assert_eq!(dig("both", &format!("-x {db}")), "db.b.");
    assert_eq!(dig("both", &format!("-x {web6}")), "web.a.");
    assert!(world.user(&format!("rbox exec both getent hosts {db}")).ok().contains("db.b"));
    // A known name without an address of the kind asked for is no unknown name.
    let out = world.user("rbox exec db dig +tries=1 both AAAA").ok();
    assert!(out.contains("status: NOERROR") && out.contains("ANSWER: 0"), "{out}");
    // By libc.
    assert!(world.user("rbox exec both getent ahostsv4 web").ok().starts_with(&web));
    // The default network resolves too.
    world.user("serve other").ok();
    assert_eq!(reach("lone", "other").ok().out(), "other");
    world.finish();
}

#[test]
fn changes_are_visible_at_once() {
    let world = World::new();
    world.user("rbox network create a >/dev/null; rbox network create b >/dev/null; rbox run -d --name eye --network a rootfs:/ sleep 1000").ok();
    let dig = |name: &str| world.user(&format!("rbox exec eye dig +short +tries=1 {name}")).ok();
    for _ in 0..3 {
        assert_eq!(dig("thing"), "");
        world.user("rbox run -d --name thing --network a rootfs:/ sleep 1000").ok();
        assert_eq!(dig("thing"), world.user("address thing").ok());
        world.user("rbox network disconnect a thing").ok();
        assert_eq!(dig("thing"), "");
        world.user("rbox network connect --alias again a thing").ok();
        assert_ne!(dig("again"), "");
        world.user("rbox rename thing renamed").ok();
        assert_ne!(dig("renamed"), "");
        world.user("rbox rm -f renamed").ok();
        assert_eq!((dig("renamed"), dig("again")), (String::new(), String::new()));
    }
    // Several under one alias take turns.
    world
        .user("for n in 1 2 3; do rbox run -d --name p$n --network a --network-alias pool rootfs:/ sleep 1000; done")
        .ok();
    let answers: Vec<String> = (0..20).map(|_| dig("pool")).collect();
    assert!(answers.iter().all(|answer| answer.lines().count() == 3), "{answers:?}");
    let first: std::collections::BTreeSet<&str> = answers.iter().filter_map(|answer| answer.lines().next()).collect();
    assert_eq!(first.len(), 3, "rotation: {answers:?}");
    world.user("rbox stop -t 0 p2").ok();
    assert_eq!(dig("pool").lines().count(), 2);
    world.finish();
}

#[test]
fn the_hosts_resolvers_as_they_are_now() {
    let world = World::new();
    world.user("rbox run -d --name c rootfs:/ sleep 1000").ok();
    let dig = |what: &str| world.user(&format!("rbox exec c dig +short +tries=1 +time=4 {what}")).run().out();
    assert_eq!(dig("foo.world"), "192.0.2.77");
    assert_eq!(dig("foo.world AAAA"), "fd00::77");
    assert_eq!(dig("foo.world MX"), "10 foo.world.");
    assert_eq!(dig("text.world TXT").lines().count(), 20, "truncated, so by TCP");
    assert_eq!(dig("+tcp foo.world"), "192.0.2.77");
    let out = world.user("rbox exec c dig +ignore +bufsize=4096 text.world TXT").ok();
    assert!(out.contains(" tc") || out.contains("ANSWER: 20"), "{out}");
    let out = world.user("rbox exec c dig nosuch.example").ok();
    assert!(out.contains("NXDOMAIN"), "{out}");
    // The file is followed.
    assert_eq!(dig("whoami.world TXT"), "\"one\"");
    world.resolv_conf("nameserver 203.0.113.10\n");
    crate::common::wait_until("the new resolver", || dig("whoami.world TXT") == "\"two\"");
    world.resolv_conf("nameserver 2001:db8:1::10\n");
    crate::common::wait_until("a resolver by IPv6", || dig("whoami.world TXT") == "\"one\"");
    // One on the host's loopback interface, as systemd-resolved.
    let dnsmasq = "echo >/run/dnsmasq.conf; dnsmasq -C /run/dnsmasq.conf -x /run/dnsmasq.pid -u root -a 127.0.0.53 -z -R -h \
                   -S 203.0.113.10 -A /stub.example/192.0.2.53 -c 0";
    world.at("host", dnsmasq).ok();
    world.resolv_conf("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n");
    crate::common::wait_until("the stub", || dig("stub.example") == "192.0.2.53");
    assert_eq!(dig("bar.world"), "192.0.2.77");
    assert_eq!(dig("text.world TXT").lines().count(), 20);
    // The first does not answer, the second does.
    world.resolv_conf("nameserver 198.51.100.67\nnameserver 198.51.100.10\noptions timeout:1\n");
    let began = std::time::Instant::now();
    crate::common::wait_until("the second", || dig("+time=8 second.world") == "192.0.2.77");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    // None answers: own names are as quick as ever.
    world.resolv_conf("nameserver 198.51.100.67\n");
    world.user("rbox run -d --name d rootfs:/ sleep 1000").ok();
    let script =
        "rbox exec c bash -c 'for n in {1..200}; do dig +tries=1 +time=5 x$n.world >/dev/null & done; sleep 0.5
        start=${EPOCHREALTIME/./}; dig +short +tries=1 +time=5 d; echo $((${EPOCHREALTIME/./} - start)); wait'";
    let out = world.user(script).ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], world.user("address d").ok());
    assert!(lines[1].parse::<u64>().unwrap() < 1_500_000, "{out}");
    let output = world.user("rbox exec c dig +tries=1 +time=12 slow.world").run();
    assert!(output.out().contains("SERVFAIL") || output.code == 9, "{}", output.report());
    // No resolver at all.
    world.resolv_conf("");
    let output = world.user("rbox exec c dig +tries=1 +time=3 nobody.world").run();
    assert!(output.took < Duration::from_secs(8), "{}", output.report());
    assert_eq!(dig("d").lines().count(), 1);
    world.finish();
}

#[test]
fn answers_are_kept_for_their_time() {
    let world = World::new();
    world.user("rbox run -d --name c rootfs:/ sleep 1000").ok();
    let dig = |what: &str| world.user(&format!("rbox exec c dig +short +tries=1 {what}")).ok();
    let count = |name: &str| {
        world.at("one", &format!("dig +short @{ONE} count.{name} TXT")).ok().trim_matches('"').parse::<u32>().unwrap()
    };
    for _ in 0..6 {
        assert_eq!(dig("kept.world"), "192.0.2.77");
    }
    assert!(count("kept.world") <= 2, "asked {} times", count("kept.world"));
    let before = count("short.world");
    dig("short.world");
    std::thread::sleep(Duration::from_millis(2200));
    dig("short.world");
    assert_eq!(count("short.world"), before + 2, "its second is over");
    // The time left is told.
    std::thread::sleep(Duration::from_millis(1500));
    let out = world.user("rbox exec c dig +noall +answer kept.world").ok();
    let ttl: u32 = out.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(ttl < 300, "{out}");
    world.finish();
}

#[test]
fn search_domains_options_and_dns_flags() {
    let world = World::new();
    world.resolv_conf("nameserver 198.51.100.10\nsearch search.world corp.example\noptions ndots:2 attempts:1\n");
    let out = world.user("in_container -- 'cat /etc/resolv.conf; getent ahostsv4 foo | head -n 1'").ok();
    assert!(out.contains("search search.world corp.example"), "{out}");
    assert!(out.contains("ndots:2") && out.contains("attempts:1"), "{out}");
    assert!(out.lines().last().unwrap().starts_with("192.0.2.78"), "{out}");
    assert!(!out.contains("198.51.100.10"), "the gateway answers: {out}");
    // Flags.
    for network in ["bridge", "users"] {
        world.user("rbox network create users >/dev/null 2>&1; true").ok();
        let flags = "--dns 203.0.113.10 --dns-search flag.example --dns-option ndots:3 --dns-opt timeout:2";
        let script =
            format!("in_container --network {network} {flags} -- 'cat /etc/resolv.conf; dig +short whoami.world TXT'");
        let out = world.user(&script).ok();
        assert!(out.contains("search flag.example") && !out.contains("corp"), "{out}");
        assert!(out.contains("ndots:3") && out.contains("timeout:2") && !out.contains("attempts"), "{out}");
        assert!(out.ends_with("\"two\""), "--dns is asked: {out}");
    }
    let out = world.user("in_container --dns-search . -- 'cat /etc/resolv.conf'").ok();
    assert!(!out.contains("corp.example"), "{out}");
    // Hosts.
    let script = "in_container --add-host a.example:192.0.2.5 --add-host me:host-gateway --hostname here -- \
        'getent ahostsv4 a.example | head -n 1; curl -sS -m 3 http://me:8000/name; echo; getent hosts here | wc -l; hostname; grep -c near-by-file /etc/hosts'";
    let out = world.user(script).run().out();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("192.0.2.5"), "{out}");
    assert_eq!(&lines[1..4], ["host", "1", "here"], "{out}");
    world.finish();
}

#[test]
fn an_internal_network_has_no_way_out() {
    let world = World::new();
    world.user("rbox network create --internal --ipv6 in >/dev/null; serve a --network in; serve b --network in").ok();
    let exec = |script: &str| world.user(&format!("rbox exec a bash -c '{script}'")).run();
    assert_eq!(exec("curl -sS -m 3 http://b:8000/name").ok().out(), "b");
    for place in [ONE, HOST, "[2001:db8:1::10]", "10.77.0.1"] {
        let output = exec(&format!("curl -gsS -m 2 http://{place}:8000/name"));
        assert_ne!(output.code, 0, "{place}: {}", output.report());
    }
    let output = exec(
        "gateway=$(dig b | sed -n \"s/.*SERVER: \\([0-9.]*\\)#.*/\\1/p\"); curl -gsS -m 2 http://$gateway:8000/name",
    );
    assert_ne!(output.code, 0, "{}", output.report());
    assert_ne!(exec(&format!("ping -n -c 1 -W 1 {ONE}")).code, 0);
    assert_eq!(exec("echo hi | socat -t 1 -T 1 - udp:198.51.100.10:7").out(), "");
    assert_eq!(
        exec("dig +short +tries=1 +time=2 foo.world")
            .out()
            .replace(";; connection timed out; no servers could be reached", ""),
        ""
    );
    // With a second network it has.
    world.user("rbox network connect bridge a").ok();
    assert_eq!(exec(&format!("curl -sS -m 3 http://{ONE}:8000/name")).ok().out(), "one");
    assert_eq!(exec("curl -sS -m 3 http://b:8000/name").ok().out(), "b");
    world.finish();
}

#[test]
fn isolated_containers_reach_only_the_outside() {
    let world = World::new();
    world
        .user(
            "rbox network create -o com.docker.network.bridge.enable_icc=false apart >/dev/null
                serve a --network apart; serve b --network apart",
        )
        .ok();
    let b = world.user("address b").ok();
    let output = world.user(&format!("rbox exec a curl -sS -m 2 http://{b}:8000/name")).run();
    assert_ne!(output.code, 0, "{}", output.report());
    world.user(&format!("rbox exec a ping -n -c 1 -W 1 {b}")).run().exits_with_one_of(&[1, 2]);
    assert_eq!(world.user(&format!("rbox exec a curl -sS -m 3 http://{ONE}:8000/name")).ok(), "one");
    world.finish();
}
