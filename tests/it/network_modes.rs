//! The modes of `--network` and what a container has under each; networks that come and go.

use crate::common::world::{HOST, ONE, World};
use crate::common::{Bench, program};

#[test]
fn the_classic_tutorial() {
    let world = World::new();
    let script = "set -e
        [[ $(rbox network create --driver bridge --label project=p --attachable --scope local --subnet 10.0.42.0/24 --ip-range 10.0.42.128/25 user-network) =~ ^[0-9a-f]{64}$ ]]
        rbox network inspect -f '{{(index .IPAM.Config 0).Subnet}} {{(index .IPAM.Config 0).IPRange}}' user-network
        rbox run -d --name network-explorer --network user-network rootfs:/ sleep 1000 >/dev/null
        rbox exec network-explorer ip -4 -o address show eth0 | awk '{ print $4 }'
        rbox exec network-explorer ip -4 route show default | cut -d' ' -f1-5
        rbox network create --label project=p --subnet 10.0.43.0/24 --ip-range 10.0.43.128/25 user-network2 >/dev/null
        rbox exec network-explorer ip -o link show eth1 2>/dev/null | wc -l
        rbox network connect user-network2 network-explorer
        rbox exec network-explorer ip -4 -o address show eth1 | awk '{ print $4 }'
        rbox run -d --name lighthouse --network user-network2 rootfs:/ sleep 1000 >/dev/null
        rbox exec network-explorer ping -c 1 -W 2 lighthouse >/dev/null && echo pinged
        rbox exec network-explorer dig +short lighthouse
        rbox exec lighthouse dig +short network-explorer
        rbox network inspect -f '{{len .Containers}}' user-network2
        rbox network disconnect user-network2 network-explorer
        rbox exec network-explorer ip -o link show eth1 2>/dev/null | wc -l
        rbox exec network-explorer dig +short lighthouse";
    let expected = "10.0.42.0/24 10.0.42.128/25\n10.0.42.129/24\ndefault via 10.0.42.128 dev eth0\n0\n10.0.43.129/24\npinged\n\
                    10.0.43.130\n10.0.43.129\n2\n0";
    let output = world.user(script).run();
    assert_eq!(output.out(), expected, "{}", output.report());
    world.finish();
}

#[test]
fn networks_connected_live() {
    let world = World::new();
    world.user("for n in x y z; do rbox network create --ipv6 $n >/dev/null; serve on-$n --network $n; done; serve c --network x").ok();
    let get = |host: &str| world.user(&format!("rbox exec c curl -gsS -m 2 http://{host}:8000/name")).run().out();
    let links = || world.user("rbox exec c ls /sys/class/net 2>/dev/null || rbox exec c ip -o link").ok();
    for round in 0..4 {
        world.user("rbox network connect y c; rbox network connect --alias special z c").ok();
        assert_eq!(
            (get("on-x"), get("on-y"), get("on-z")),
            ("on-x".into(), "on-y".into(), "on-z".into()),
            "round {round}"
        );
        assert_eq!(get(ONE), "one");
        assert_eq!(world.user("rbox exec on-z curl -sS -m 2 http://special:8000/name").ok(), "c");
        // What had the default route goes; the others stay.
        world.user("rbox network disconnect x c").ok();
        assert_eq!(
            (get("on-x"), get("on-y"), get("on-z")),
            (String::new(), "on-y".into(), "on-z".into()),
            "round {round}"
        );
        assert_eq!(get(ONE), "one", "another default route: {}", world.user("rbox exec c ip route").ok());
        world.user("rbox network disconnect y c; rbox network disconnect z c").ok();
        assert_eq!((get("on-y"), get(ONE)), (String::new(), String::new()));
        world.user("rbox network connect x c").ok();
        assert_eq!((get("on-x"), get(ONE)), ("on-x".into(), "one".into()), "round {round}: {}", links());
    }
    // Published ports follow.
    world.user("serve p --network x -p 8080:8000; rbox network connect y p; rbox network disconnect x p").ok();
    assert_eq!(world.user("get http://127.0.0.1:8080/name").ok(), "p");
    // Addresses asked for.
    let script = "rbox network create --subnet 10.66.0.0/24 --subnet fd66::/64 fix >/dev/null
        rbox network connect --ip 10.66.0.77 --ip6 fd66::77 --alias fixed fix c
        rbox exec on-x true; rbox exec c ip -o address | grep -o -e 10.66.0.77/24 -e fd66::77/64";
    assert_eq!(world.user(script).ok(), "10.66.0.77/24\nfd66::77/64");
    world.user("rbox network connect fix c").run().exits_with_one_of(&[1, 125]);
    world.user("rbox network connect --ip 10.66.0.77 fix on-x").run().refused(1, "already in use");
    world.user("rbox network connect --ip 10.67.0.1 fix on-x").run().exits_with_one_of(&[1, 125]);
    // It keeps its networks over a restart.
    world.user("rbox restart -t 0 c >/dev/null").ok();
    assert!(world.user("rbox exec c ip -o address").ok().contains("10.66.0.77/24"));
    // In use: not removed.
    let output = world.user("rbox network rm fix").run().exits_with_one_of(&[1, 2]);
    assert!(output.err().contains("active endpoints") || output.err().contains("in use"), "{}", output.report());
    world.user("rbox network connect host c").run().exits_with_one_of(&[1, 125]);
    world.user("rbox run -d --name h --network host rootfs:/ sleep 100; rbox run -d --name n --network none rootfs:/ sleep 100").ok();
    for container in ["h", "n"] {
        let output = world.user(&format!("rbox network connect x {container}")).run();
        assert!(output.code != 0 && output.err().lines().count() == 1, "{}", output.report());
    }
    world.finish();
}

#[test]
fn none_host_and_anothers() {
    let world = World::new();
    let show = "ls -1 /proc/self/ns >/dev/null; readlink /proc/self/ns/net; ip -o link | grep -v -c \": lo:\"; curl -gsS -m 3 http://198.51.100.10:8000/name 2>&1";
    let out = world.user(&format!("in_container --network none -- '{show}'; true")).run().out();
    assert_eq!(out.lines().nth(1), Some("0"), "{out}");
    assert!(!out.ends_with("one"), "{out}");
    let host = world.user("readlink /proc/self/ns/net").ok();
    let out = world.user(&format!("in_container --network host -- '{show}'")).ok();
    assert!(out.starts_with(&host) && out.ends_with("one"), "{out}");
    world.user("serve first -p 8080:9999").ok();
    let out = world.user(&format!("in_container --network container:first -- '{show}; curl -sS http://127.0.0.1:8000/name; hostname; cat /etc/hosts'")).ok();
    let theirs = world
        .user("rbox exec first readlink /proc/self/ns/net; rbox exec first hostname; rbox exec first cat /etc/hosts")
        .ok();
    assert_eq!(out.lines().next(), theirs.lines().next());
    assert!(out.contains("onefirst"), "{out}");
    let mine: Vec<&str> = out.lines().skip(3).collect();
    let first: Vec<&str> = theirs.lines().skip(2).collect();
    assert_eq!(mine, first, "its hosts file");
    // A namespace by path.
    let out = world
        .user(&format!(
            "pid=$(rbox inspect -f '{{{{.State.Pid}}}}' first); in_container --network ns:/proc/$pid/ns/net -- '{show}'"
        ))
        .run();
    assert_eq!(out.out().lines().next(), theirs.lines().next(), "{}", out.report());
    // Conflicts and errors.
    for (flags, text) in [
        ("--network container:nosuch", "nosuch"),
        ("--network nosuch", "network nosuch not found"),
        ("--network ns:/nowhere", "/nowhere"),
        ("--network container:first -p 80:80", "conflicting options"),
        ("--network container:first --hostname x", "conflicting options"),
        ("--network bogus:mode", "option: mode"),
    ] {
        let output = world.user(&format!("rbox run --rm {flags} rootfs:/ true")).run().exits(125);
        assert!(output.err().contains(text) && output.err().lines().count() == 1, "{flags}: {}", output.report());
    }
    // Whose namespace it is may stop: the other says so when started.
    world.user("rbox create --name guest --network container:first rootfs:/ true; rbox stop -t 0 first").ok();
    let output = world.user("rbox start guest").run();
    assert!(output.code != 0 && output.err().contains("first"), "{}", output.report());
    world.finish();
}

#[test]
fn slirp_and_programs_beside_rbox() {
    let world = World::new();
    let get = |network: &str| {
        world.user(&format!("in_container --network {network} -- 'curl -gsS -m 5 http://{ONE}:8000/name; curl -gsS -m 5 http://foo.world.nosuch 2>&1 | grep -c resolve'")).run()
    };
    for network in ["slirp", "pasta", "slirp4netns", "slirp4netns:mtu=1500", "pasta:--mtu,1500"] {
        let output = get(network);
        assert_eq!(output.out(), "one1", "{network}: {}", output.report());
    }
    // Two slirp containers do not meet.
    world.user("serve a --network slirp; serve b --network slirp -p 8080:8000").ok();
    let b = world.user("rbox exec b hostname -I | cut -d' ' -f1").ok();
    assert_ne!(world.user(&format!("rbox exec a curl -sS -m 2 http://{b}:8000/name")).run().out(), "b");
    assert_eq!(world.user("get http://127.0.0.1:8080/name").ok(), "b");
    assert_eq!(world.at("near", &format!("get http://{HOST}:8080/who | cut -d: -f1")).ok(), "10.77.0.3");
    // A published port under the programs.
    for network in ["pasta", "slirp4netns"] {
        world.user(&format!("serve h --network {network} -p 8090:8000")).ok();
        assert_eq!(world.user("get http://127.0.0.1:8090/name").ok(), "h", "{network}");
        world.user("rbox rm -f h").ok();
    }
    assert_eq!(world.at("host", "pgrep -a -e slirp4netns -e pasta || true").ok(), "");
    world.finish();
}

#[test]
fn addresses_and_names_by_flag() {
    let world = World::new();
    let script = "set -e
        rbox network create --subnet 10.55.0.0/24 --gateway 10.55.0.254 --subnet fd55::/64 net >/dev/null
        in_container --network net --ip 10.55.0.9 --ip6 fd55::9 --mac-address 02:aa:bb:cc:dd:ee -- \
            'ip -o address show eth0 | grep -o -e 10.55.0.9/24 -e fd55::9/64; cat /sys/class/net/eth0/address 2>/dev/null || ip -o link show eth0 | grep -o 02:aa:bb:cc:dd:ee; ip route show default | cut -d\" \" -f3'
        in_container --network net:ip=10.55.0.10,mac=02:aa:bb:cc:dd:ef,alias=nick,interface_name=lan0 -- \
            'ip -o -4 address show lan0 | grep -o 10.55.0.10/24; getent ahostsv4 nick | cut -d\" \" -f1 | head -1'
        rbox network create -o com.docker.network.driver.mtu=1400 small >/dev/null
        in_container --network small -- 'ip -o link show eth0 | grep -o \"mtu [0-9]*\"'
        in_container --network net --network small -- 'ip -o -4 address show | grep -c eth'";
    let output = world.user(script).run();
    assert_eq!(
        output.out(),
        "10.55.0.9/24\nfd55::9/64\n02:aa:bb:cc:dd:ee\n10.55.0.254\n10.55.0.10/24\n10.55.0.10\nmtu 1400\n2",
        "{}",
        output.report()
    );
    world.user("rbox run -d --name holder --network net --ip 10.55.0.20 rootfs:/ sleep 100").ok();
    for (flags, text) in [
        ("--network net --ip 10.55.0.20", "already in use"),
        ("--network net --ip 10.56.0.1", "10.56.0.1"),
        ("--network net --ip 10.55.0.254", "gateway"),
        ("--network net --mac-address zz", "zz"),
        ("--ip 10.55.0.3", "10.55.0.3"),
        ("--network net --network host", "conflicting"),
    ] {
        let output = world.user(&format!("rbox run --rm {flags} rootfs:/ true")).run().exits(125);
        assert!(output.err().contains(text) && output.err().lines().count() == 1, "{flags}: {}", output.report());
    }
    // Lowest free first, and reused.
    let next = "rbox run -d --name n$n --network net rootfs:/ sleep 100 >/dev/null; rbox inspect -f '{{.NetworkSettings.Networks.net.IPAddress}}' n$n";
    let first = world.user(&format!("n=1; {next}")).ok();
    let second = world.user(&format!("n=2; {next}")).ok();
    assert_ne!(first, second);
    world.user("rbox rm -f n1").ok();
    assert_eq!(world.user(&format!("n=3; {next}")).ok(), first);
    // The link of old.
    let script = "rbox run -d --name base --expose 5432 -e SECRET=x rootfs:/ sleep 1000 >/dev/null
        in_container --link base:db -- 'getent ahostsv4 db | cut -d\" \" -f1; env | grep ^DB_ | sort'";
    let out = world.user(script).ok();
    let base = world.user("address base").ok();
    for line in [
        base.as_str(),
        &format!("DB_PORT=tcp://{base}:5432"),
        "DB_ENV_SECRET=x",
        &format!("DB_PORT_5432_TCP_ADDR={base}"),
    ] {
        assert!(out.lines().any(|found| found == line), "{line}: {out}");
    }
    world.finish();
}

#[test]
fn a_network_does_not_collide_with_what_the_host_has() {
    let world = World::new();
    let subnets = "rbox network inspect -f '{{range .IPAM.Config}}{{.Subnet}} {{end}}'";
    // The host has routes into docker's usual pools.
    world.at("host", "ip route add 172.16.0.0/13 via 10.77.0.1; ip route add 10.80.0.0/12 via 10.77.0.1").ok();
    let out = world.user(&format!("for n in a b c; do rbox network create $n >/dev/null; {subnets} $n; done; rbox run --rm rootfs:/ true; {subnets} bridge")).ok();
    assert!(
        !out.contains("172.1") && !out.contains("10.8") && !out.contains("10.77.") && !out.contains("10.9"),
        "{out}"
    );
    let mut all: Vec<&str> = out.split_whitespace().filter(|subnet| subnet.contains('.')).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 4, "{out}");
    for flags in [
        "--subnet 10.0.0.0/33",
        "--subnet 10.1.0.1",
        "--subnet nonsense",
        "--subnet 10.1.0.0/24 --gateway 10.2.0.1",
        "--subnet 10.1.0.0/24 --ip-range 10.2.0.0/25",
        "--ip-range 10.2.0.0/25",
        "--driver overlay",
    ] {
        let output = world.user(&format!("rbox network create {flags} bad")).run();
        assert!(output.code != 0 && output.err().lines().count() == 1, "{flags}: {}", output.report());
    }
    world.user("rbox network create --subnet 10.44.0.0/16 wide").ok();
    let output = world.user("rbox network create --subnet 10.44.7.0/24 narrow").run();
    assert!(output.code != 0 && output.err().contains("overlap"), "{}", output.report());
    world.finish();
}

#[test]
fn many_containers_meet_on_one_network() {
    let world = World::new();
    let script = "rbox network create many >/dev/null; seq 20 | xargs -P4 -I{} rbox run -d --name m{} --network many rootfs:/ sleep 1000 >/dev/null
        rbox exec m7 bash -c 'for n in {1..20}; do ping -c 1 -W 2 m$n >/dev/null && echo ok; done' | wc -l
        for n in {1..20}; do rbox inspect -f '{{.NetworkSettings.Networks.many.IPAddress}}' m$n; done | sort -u | wc -l
        rbox ps -aq | xargs rbox rm -f >/dev/null; rbox network rm many";
    assert_eq!(world.user(script).limit(120).ok(), "20\n20\nmany");
    world.finish();
}

/// On the real machine, for what a world's single users cannot have: images.
#[test]
fn the_default_network_on_the_real_machine() {
    let (bench, image) = Bench::with_image();
    let out = bench.run_rm(&[], &image, &["sh", "-c", "ip -o link; cat /etc/resolv.conf"]).ok().out();
    assert!(out.contains("eth0") && out.contains("nameserver"), "{out}");
    let mut server = program("python3")
        .args(["-u", "-m", "http.server", "0", "--bind", "0.0.0.0"])
        .current_dir(bench.mkdir("www"))
        .spawn();
    server.expect("port ");
    let text = server.out_so_far();
    let port = text.split("port ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let url = format!("http://host.docker.internal:{port}/");
    bench.run_rm(&[], &image, &["wget", "-q", "-O", "/dev/null", &url]).ok();
}
