//! Published ports, in a fake world: what clients get, whom the server sees, and what `-p` can say.

use crate::common::wait_until;
use crate::common::world::{HOST, HOST6, World};

/// A script that asks the published port 8080 who called, by the ways a client may have.
fn who(world: &World, namespace: &str, host: &str) -> String {
    let out = world.at(namespace, &format!("get http://{host}:8080/who")).ok();
    out.rsplit_once(':').map_or(out.clone(), |(address, _)| address.to_owned())
}

#[test]
fn servers_see_the_true_client() {
    let world = World::new();
    world
        .user("rbox network create --ipv6 users >/dev/null; rbox network create --subnet 10.88.1.0/24 four >/dev/null")
        .ok();
    for (network, v6) in [("bridge", true), ("users", true), ("four", false)] {
        world.user(&format!("serve web --network {network} -p 8080:8000 -p 8080:7/udp")).ok();
        let gateway = world.user("gateway web").ok();
        let gateway6 = if v6 { format!("[{}]", world.user("gateway6 web").ok()) } else { gateway.clone() };
        for (namespace, host, seen) in [
            ("near", HOST.to_owned(), "10.77.0.3"),
            ("one", HOST.to_owned(), "198.51.100.10"),
            ("near", format!("[{HOST6}]"), if v6 { "[fd77::3]" } else { &gateway }),
            ("one", format!("[{HOST6}]"), if v6 { "[2001:db8:1::10]" } else { &gateway }),
            ("host", "127.0.0.1".to_owned(), gateway.as_str()),
            ("host", "127.9.9.9".to_owned(), &gateway),
            ("host", "[::1]".to_owned(), &gateway6),
            ("host", HOST.to_owned(), HOST),
        ] {
            assert_eq!(who(&world, namespace, &host), seen, "{network}: from {namespace} to {host}");
            // Datagrams, over one port and again: the answer comes from where the question went.
            let family = if host.starts_with('[') { "AF_INET6" } else { "AF_INET" };
            let place = host.trim_matches(['[', ']']);
            let script = format!(
                "import socket; s = socket.socket(socket.{family}, socket.SOCK_DGRAM); s.settimeout(3); s.bind((\"\", 5555))
for _ in range(3):
    s.sendto(b\"hi\", (\"{place}\", 8080)); data, source = s.recvfrom(100)
    assert source[:2] == (\"{place}\", 8080), source
print(data.decode())"
            );
            let out = world.at(namespace, &format!("python3 -c '{script}'")).ok();
            let (caller, rest) = out.rsplit_once(':').unwrap();
            assert_eq!(caller, seen, "{network}: datagram from {namespace} to {host}");
            assert!(rest.ends_with(" hi"), "{out}");
            if seen.starts_with("10.77.0.3") || seen.starts_with("198.51") {
                assert_eq!(rest, "5555 hi", "the source port is the client's");
            }
        }
        world.user("rbox rm -f web").ok();
    }
    world.finish();
}

#[test]
fn the_source_port_is_the_clients() {
    let world = World::new();
    world.user("serve web -p 8080:8000").ok();
    for port in [40000, 40001] {
        let out = world.at("near", &format!("get --local-port {port} http://{HOST}:8080/who")).ok();
        assert_eq!(out, format!("10.77.0.3:{port}"));
    }
    // The same port again, straight away, while the old connection may be in TIME_WAIT somewhere.
    let script = "import socket
for _ in range(20):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b\"\\1\\0\\0\\0\\0\\0\\0\\0\")
    s.bind((\"\", 41000)); s.settimeout(3); s.connect((\"10.77.0.2\", 8080))
    s.sendall(b\"GET /who HTTP/1.0\\r\\n\\r\\n\"); d = b\"\"
    while x := s.recv(1000): d += x
    assert b\"10.77.0.3:\" in d, d
    s.close()";
    world.at("near", &format!("python3 -c '{script}'")).ok();
    world.finish();
}

#[test]
fn nginx_logs_true_addresses_and_wrk_finds_no_error() {
    let world = World::new();
    let conf = "daemon off; worker_processes 1; user root; pid /tmp/p; error_log /tmp/e;
        events { worker_connections 1000; }
        http { access_log /tmp/access.log; server { listen 80; listen [::]:80; location / { return 200 \"hello\\n\"; } } }";
    std::fs::write(world.bench().path("nginx.conf"), conf).unwrap();
    let file = world.bench().text("nginx.conf");
    world.user("rbox network create --ipv6 users >/dev/null").ok();
    for network in ["bridge", "users"] {
        let start = format!(
            "rbox run -d --name web --network {network} -p 8080:80 -v {file}:/n.conf:ro rootfs:/ nginx -c /n.conf >/dev/null
             for _ in {{1..100}}; do get http://127.0.0.1:8080 2>/dev/null && exit; sleep 0.1; done; rbox logs web; exit 1"
        );
        world.user(&start).ok();
        for client in ["near", "one", "two"] {
            assert_eq!(world.at(client, &format!("get http://{HOST}:8080/{client}")).ok(), "hello");
            assert_eq!(world.at(client, &format!("get http://[{HOST6}]:8080/six-{client}")).ok(), "hello");
        }
        let log = world.user("rbox exec web cat /tmp/access.log").ok();
        for (client, path) in [
            ("10.77.0.3 ", "/near"),
            ("198.51.100.10 ", "/one"),
            ("203.0.113.10 ", "/two"),
            ("fd77::3 ", "/six-near"),
            ("2001:db8:1::10 ", "/six-one"),
        ] {
            let found = log.lines().any(|line| line.starts_with(client) && line.contains(&format!("GET {path} ")));
            assert!(found, "{client} at {path} on {network}:\n{log}");
        }
        assert!(!log.contains("127.0.0.1") && !log.contains("::1 "), "{log}");
        let out = world.at("near", &format!("wrk -t1 -c50 -d3 http://{HOST}:8080/")).ok();
        assert!(!out.contains("Socket errors") && !out.contains("Non-2xx"), "{out}");
        // A connection for each request.
        let out = world.at("near", &format!("wrk -t1 -c20 -d3 -H 'Connection: close' http://{HOST}:8080/")).ok();
        assert!(!out.contains("Non-2xx") && !out.contains("connect "), "{out}");
        let requests =
            out.split("Requests/sec:").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        assert!(requests.is_some_and(|rate| rate > 50.0), "{out}");
        world.user("rbox rm -f web").ok();
    }
    world.finish();
}

#[test]
fn redis_benchmark_without_an_error() {
    let world = World::new();
    let start = "rbox run -d --name r -p 6379:6379 rootfs:/ \
                 bash -c 'exec -a redis-server redis-check-rdb --save \"\" --protected-mode no --bind \"* -::*\"' >/dev/null
                 for _ in {1..100}; do redis-cli ping 2>/dev/null | grep -q PONG && exit; sleep 0.1; done; rbox logs r; exit 1";
    world.user(start).ok();
    for (namespace, host) in [("near", HOST), ("near", HOST6), ("host", "127.0.0.1")] {
        let script = format!("redis-benchmark -h {host} -n 5000 -c 50 -t ping,set,get,lrange_100 -q -d 1000 2>&1");
        let out = world.at(namespace, &script).limit(120).ok();
        assert!(!out.to_lowercase().contains("error"), "{out}");
        assert!(out.contains("LRANGE_100"), "{out}");
        // No keep-alive: a connection each.
        let out = world.at(namespace, &format!("redis-benchmark -h {host} -n 2000 -c 20 -k 0 -t get -q 2>&1")).ok();
        assert!(!out.to_lowercase().contains("error"), "{out}");
    }
    let clients = world.at("near", "redis-cli -h 10.77.0.2 client list").ok();
    assert!(clients.contains("addr=10.77.0.3:"), "{clients}");
    world.finish();
}

#[test]
fn uploads_and_downloads_through_a_port_are_exact() {
    let world = World::new();
    world.user("serve web -p 8080:8000 -p 7007:7").ok();
    let script = "head -c 104857601 /dev/urandom >/run/up; sha256sum </run/up | cut -c -64
        curl -sS -H Expect: --data-binary @/run/up http://10.77.0.2:8080/; echo
        curl -sS http://10.77.0.2:8080/noise/9/104857601 | sha256sum | cut -c -64
        head -c 3000000 /dev/zero | socat -t 10 - tcp:10.77.0.2:7007 | tail -c 40 | tr -d '\\0'; rm /run/up";
    let out = world.at("near", script).limit(120).ok();
    let lines: Vec<&str> = out.lines().collect();
    let direct = world.at("one", "curl -sS http://198.51.100.10:8000/noise/9/104857601 | sha256sum | cut -c -64").ok();
    assert_eq!(lines[1], format!("104857601 {}", lines[0]));
    assert_eq!(lines[2], direct);
    assert!(lines[3].starts_with("3000000 bytes from 10.77.0.3:"), "half-close: {out}");
    world.finish();
}

#[test]
fn a_container_reaches_its_own_port_and_anothers() {
    let world = World::new();
    world
        .user("rbox network create two >/dev/null; serve web -p 8080:8000 -p 8080:7/udp; serve far --network two")
        .ok();
    let gateway = world.user("gateway web").ok();
    for (client, host) in [
        ("web", HOST),
        ("web", &gateway),
        ("far", HOST),
        ("web", "host.docker.internal"),
        ("far", "host.docker.internal"),
    ] {
        let out = world.user(&format!("rbox exec {client} curl -gsS -m 5 http://{host}:8080/name")).ok();
        assert_eq!(out, "web", "{client} to {host}");
        let script = format!("rbox exec {client} bash -c 'echo hi | socat -t 2 -T 2 - udp:{host}:8080'");
        assert!(world.user(&script).ok().ends_with(" hi"), "{client} to {host}");
    }
    let out = world.user(&format!("rbox exec web curl -gsS -m 5 http://[{HOST6}]:8080/name")).ok();
    assert_eq!(out, "web");
    world.finish();
}

#[test]
fn what_p_can_say() {
    let world = World::new();
    let lines = |script: &str| -> Vec<String> {
        let mut lines: Vec<String> = world.user(script).ok().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    world.user("serve a -p 7000-7002:8000-8002 -p 127.0.0.1:9000:8000 -p [::1]:9001:8000 -p 10.77.0.2:9002:7/udp").ok();
    assert_eq!(
        lines("rbox port a"),
        [
            "7/udp -> 10.77.0.2:9002",
            "8000/tcp -> 0.0.0.0:7000",
            "8000/tcp -> 127.0.0.1:9000",
            "8000/tcp -> [::1]:9001",
            "8000/tcp -> [::]:7000",
            "8001/tcp -> 0.0.0.0:7001",
            "8001/tcp -> [::]:7001",
            "8002/tcp -> 0.0.0.0:7002",
            "8002/tcp -> [::]:7002",
        ]
    );
    assert_eq!(lines("rbox port a 8001"), ["0.0.0.0:7001", "[::]:7001"]);
    assert_eq!(lines("rbox port a 7/udp"), ["10.77.0.2:9002"]);
    let ps = world.user("rbox ps --format '{{.Ports}}'").ok();
    for part in [
        "0.0.0.0:7001->8001/tcp",
        "0.0.0.0:7002->8002/tcp",
        "127.0.0.1:9000->8000/tcp",
        "[::1]:9001->8000/tcp",
        "10.77.0.2:9002->7/udp",
    ] {
        assert!(ps.contains(part), "{part}: {ps}");
    }
    assert_eq!(
        world.user("get http://127.0.0.1:9000/name; get http://[::1]:9001/name; get http://localhost:7000/name").ok(),
        "aaa"
    );
    world.at("near", &format!("get http://{HOST}:9000/name")).run().exits(7);
    assert!(world.at("near", &format!("echo hi | socat -t 2 - udp:{HOST}:9002")).ok().ends_with(" hi"));

    // Random ports, and -P.
    world.user("serve b -p 8000 -p 127.0.0.1::7 -p 7/udp --expose 81 --expose 53/udp -P").ok();
    let ports = lines("rbox port b");
    let port = |prefix: &str| -> u16 {
        let line = ports.iter().find(|line| line.starts_with(prefix)).unwrap_or_else(|| panic!("{prefix}: {ports:?}"));
        line.rsplit(':').next().unwrap().parse().unwrap()
    };
    assert_eq!(world.user(&format!("get http://127.0.0.1:{}/name", port("8000/tcp -> 0.0.0.0:"))).ok(), "b");
    assert_eq!(port("8000/tcp -> 0.0.0.0:"), port("8000/tcp -> [::]:"), "one number for both families");
    assert!(port("7/tcp -> 127.0.0.1:") >= 1024 && port("81/tcp -> 0.0.0.0:") >= 1024);
    let answer =
        world.user(&format!("dig +short +tries=1 -p {} @127.0.0.1 foo.world", port("53/udp -> 0.0.0.0:"))).ok();
    assert_eq!(answer, "192.0.2.77");

    // First free of a range.
    world.user("serve c -p 7001-7005:8000").ok();
    assert_eq!(lines("rbox port c 8000"), ["0.0.0.0:7003", "[::]:7003"]);
    // A stopped container has none, and a started one its fixed ones again.
    world.user("rbox stop -t 0 a").ok();
    assert_eq!(world.user("rbox port a").run().out(), "");
    world.user("get http://127.0.0.1:9000/name").run().exits(7);
    world.user("rbox start a").ok();
    world.until("it serves again", "[[ $(get http://127.0.0.1:9000/name) == a ]]");
    world.finish();
}

#[test]
fn ports_that_cannot_be_had() {
    let world = World::new();
    // By a process of the user's.
    let holder = "(exec -a holding python3 -m http.server 8500 >/dev/null 2>&1) & until get -o /dev/null http://127.0.0.1:8500; do sleep 0.1; done 2>/dev/null
        rbox run --rm --name x -p 8500:80 rootfs:/ true; echo code $?; kill %1; rbox ps -aq";
    let output = world.user(holder).run();
    assert!(output.out().contains("code 125") && output.out().lines().count() == 1, "{}", output.report());
    let err = output.err();
    assert!(err.contains("8500") && (err.contains("python3") || err.contains("holding")), "names the holder: {err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    // By somebody else's.
    let output = world.user("rbox run --rm -p 10.77.0.2:8000:80 rootfs:/ true").run().exits(125);
    assert!(output.err().contains("8000"), "{}", output.report());
    // By another container.
    world.user("serve first -p 8600:8000").ok();
    let output = world.user("rbox run -d --name second -p 8600:8000 rootfs:/ sleep 100").run().exits(125);
    let id = world.user("rbox inspect -f '{{.Id}}' first").ok();
    assert!(output.err().contains(&id[..12]), "names the container: {}", output.report());
    assert_eq!(world.user("get http://127.0.0.1:8600/name").ok(), "first");
    world.user("rbox rm -f first; rbox start second && rbox port second").ok();
    // Privileged.
    let output = world.user("rbox run --rm -p 80:80 rootfs:/ true").run().exits(125);
    assert!(output.err().contains("ip_unprivileged_port_start"), "{}", output.report());
    assert_eq!(output.err().lines().count(), 1, "{}", output.report());
    world.at("host", "sysctl -qw net.ipv4.ip_unprivileged_port_start=80").ok();
    world.user("serve low -p 80:8000").ok();
    assert_eq!(world.at("near", &format!("get http://{HOST}/name")).ok(), "low");
    // An address the host has not.
    let output = world.user("rbox run --rm -p 192.0.2.9:8700:80 rootfs:/ true").run().exits(125);
    assert!(output.err().contains("192.0.2.9"), "{}", output.report());
    let output = world.user("rbox run --rm -p 80-81:8000-8002 rootfs:/ true").run().exits(125);
    assert!(output.err().contains("invalid ranges specified"), "{}", output.report());
    world.finish();
}

#[test]
fn a_server_that_is_down_refuses() {
    let world = World::new();
    world.user("rbox run -d --name c -p 8080:8000 rootfs:/ sleep 1000 >/dev/null").ok();
    for (namespace, host) in [("near", HOST), ("host", "127.0.0.1")] {
        let output = world.at(namespace, &format!("curl -sS -m 5 http://{host}:8080/")).run();
        // Connected and reset, or refused: never a hang.
        assert!([7, 52, 56].contains(&output.code), "{}", output.report());
        assert!(output.took.as_secs() < 3, "{}", output.report());
    }
    world.finish();
}

#[test]
fn two_users_do_not_disturb_each_other() {
    let world = World::new();
    let start =
        |port: u16| format!("rbox network create mine >/dev/null; serve web -p {port}:8000; serve side --network mine");
    world.user(&start(8080)).ok();
    world.other(&start(8081)).ok();
    let probe = |port: u16| {
        format!(
            "get http://127.0.0.1:{port}/name; rbox exec web curl -gsS -m 5 http://198.51.100.10:8000/name
             rbox exec web getent hosts web >/dev/null && echo -n own; rbox ps -q | wc -l"
        )
    };
    assert_eq!(world.user(&probe(8080)).ok(), "weboneown2");
    assert_eq!(world.other(&probe(8081)).ok(), "weboneown2");
    // The one's killing spree leaves the other alone.
    world.at("host", "pkill -9 -u 1001 rbox; true").ok();
    wait_until("the other's are gone", || world.at("host", "pgrep -u 1001 rbox").run().code != 0);
    assert_eq!(world.user(&probe(8080)).ok(), "weboneown2");
    world.other("rbox start web >/dev/null").ok();
    // The relay of this network was killed too: the next one sweeps up after it.
    world.other("rbox run --rm --network mine rootfs:/ true").ok();
    world.user("rbox rm -f web side").ok();
    assert_eq!(world.other("rbox exec web curl -gsS -m 5 http://198.51.100.10:8000/name").ok(), "one");
    world.finish();
}

#[test]
fn the_relay_has_nothing_it_does_not_need() {
    let world = World::new();
    world.user("serve web -p 8080:8000").ok();
    let script = "for p in $(pgrep -f '^rbox anchor'); do for t in /proc/$p/task/*; do
        awk '/^(CapEff|CapPrm|CapInh|CapBnd|CapAmb|Seccomp|NoNewPrivs):/ { printf \"%s%s \", $1, $2 } END { print \"\" }' $t/status; done; done";
    let out = world.at("host", script).ok();
    assert!(out.lines().count() >= 2, "two threads: {out}");
    for line in out.lines() {
        assert!(line.contains("Seccomp:2") && line.contains("NoNewPrivs:1"), "{line}");
        let effective = line.split("CapEff:").nth(1).unwrap().split(' ').next().unwrap();
        let bits = u64::from_str_radix(effective, 16).unwrap();
        // CAP_NET_BIND_SERVICE and CAP_NET_RAW at most.
        assert_eq!(bits & !((1 << 10) | (1 << 13)), 0, "{line}");
    }
    world.finish();
}
