//! The way out of a container, in a fake world: through the router, to the host, over a VPN that
//! comes and goes; with the errors the kernel would give.

use crate::common::world::{HOST, HOST6, NEAR, ONE, ONE6, TWO, VPN, World};

#[test]
fn http_outside_and_on_the_host() {
    let world = World::new();
    let script = format!(
        "in_container -- '{GET}
            for server in {ONE} [{ONE6}] {TWO} {NEAR} {HOST} [{HOST6}] host.docker.internal host.containers.internal; do
                echo $(get http://$server:8000/name) $(get http://$server:8000/who | sed s/:[0-9]*$//)
            done
            gateway=$(ip -4 route show default | cut -d\" \" -f3); get http://$gateway:8000/name; echo
            busybox wget -q -O - http://{ONE}:8000/name'"
    );
    let out = world.user(&script).ok();
    let expected = "one 10.77.0.2\none [fd77::2]\ntwo 10.77.0.2\nnear 10.77.0.2\nhost 10.77.0.2\nhost [fd77::2]";
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..6].join("\n"), expected);
    // Of either family.
    assert!(lines[6].starts_with("host ") && lines[7].starts_with("host "), "{out}");
    assert_eq!(lines[8..], ["host", "one"]);
    world.finish();
}

const GET: &str = "get() { curl -gsS -m ${LIMIT:-5} \"$@\"; };";

#[test]
fn big_transfers_are_byte_exact() {
    let world = World::new();
    let transfer = format!(
        "head -c 104857601 /dev/urandom >/tmp/up; sha256sum </tmp/up | cut -c -64
         curl -sS http://{ONE}:8000/noise/7/104857601 | sha256sum | cut -c -64 &
         curl -sS -H Expect: --data-binary @/tmp/up http://{TWO}:8000/ & wait"
    );
    let direct = world.user(&format!("curl -sS http://{ONE}:8000/noise/7/104857601 | sha256sum | cut -c -64")).ok();
    let out = world.user(&format!("in_container -- '{transfer}'")).limit(120).ok();
    let mut lines = out.lines();
    let sent = lines.next().unwrap();
    let rest: Vec<&str> = lines.collect();
    assert!(out.contains(&format!("104857601 {sent}")), "upload: {out}");
    assert!(rest.iter().any(|line| line.contains(&direct)), "download, {direct}: {out}");
    world.finish();
}

/// Connects and sends datagrams to places that fail, and says how: run on the host and in a container.
const FAILURES: &str = r#"
import errno, socket, sys, time
def name(error):
    return errno.errorcode.get(error.errno, repr(error)) if error.errno else type(error).__name__
def stream(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(6 if host.endswith("99") else 2)
    start = time.monotonic()
    try:
        s.connect((host, port))
        s.sendall(b"x")
        s.settimeout(2)
        return "received %d" % len(s.recv(10))
    except OSError as error:
        return name(error)
def datagram(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(6 if host.endswith("99") else 1.5)
    try:
        s.connect((host, port))
        s.send(b"x")
        return "received %d" % len(s.recv(1000))
    except OSError as error:
        return name(error)
for host, port in [("198.51.100.10", 9), ("192.0.2.1", 80), ("198.51.100.66", 80), ("198.51.100.67", 80),
        ("198.51.100.99", 80), ("198.51.100.10", 81), ("2001:db8:1::10", 9), ("2001:db8:ffff::1", 80),
        ("2001:db8:1::66", 80), ("2001:db8:1::10", 81)]:
    print("tcp", host, port, stream(host, port))
for host, port in [("198.51.100.10", 9), ("192.0.2.1", 80), ("198.51.100.66", 80), ("198.51.100.67", 80),
        ("2001:db8:1::10", 9), ("2001:db8:ffff::1", 80), ("2001:db8:1::66", 80)]:
    print("udp", host, port, datagram(host, port))
"#;

#[test]
fn failures_are_those_of_the_host() {
    let world = World::new();
    std::fs::write(world.bench().path("failures.py"), FAILURES).unwrap();
    let file = world.bench().text("failures.py");
    let here = world.user(&format!("python3 {file}")).ok();
    let inside = world.user(&format!("in_container -v {file}:/failures.py -- 'python3 /failures.py'")).ok();
    for wanted in ["198.51.100.10 9 ECONNREFUSED", "192.0.2.1 80 ENETUNREACH", "198.51.100.66 80 EHOSTUNREACH"] {
        assert!(here.contains(wanted), "the world is as it should be: {here}");
    }
    assert_eq!(inside, here);
    world.finish();
}

#[test]
fn a_closed_half_leaves_the_other_open() {
    let world = World::new();
    let script = format!(
        "in_container -- 'head -c 3000000 /dev/zero | socat -t 10 - tcp:{ONE}:7 | tail -c 40 | tr -d \"\\0\"
            head -c 3000000 /dev/zero | socat -t 10 - tcp:[{ONE6}]:7 | tail -c 40 | tr -d \"\\0\"'"
    );
    let out = world.user(&script).ok();
    assert!(out.starts_with("3000000 bytes from 10.77.0.2:"), "{out}");
    assert!(out.contains("\n3000000 bytes from [fd77::2]:"), "{out}");
    world.finish();
}

const DATAGRAMS: &str = r#"
import socket
for family, one, two in [(socket.AF_INET, "198.51.100.10", "203.0.113.10"), (socket.AF_INET6, "2001:db8:1::10", "2001:db8:2::10")]:
    # Many flows, each with a source of its own outside.
    socks = []
    sources = set()
    for number in range(300):
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.settimeout(5)
        s.connect((one, 7))
        s.send(b"flow %d" % number)
        socks.append(s)
        # As many at once as the server's queue holds.
        if number % 50 == 49:
            for number, s in list(enumerate(socks))[-50:]:
                source, data = s.recv(1000).split(b" ", 1)
                assert data == b"flow %d" % number, data
                sources.add(source)
    assert len(sources) == 300, len(sources)
    # One socket, two servers: the answers come from whom was asked.
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(5)
    for server in (one, two, one):
        s.sendto(b"hello " + server.encode(), (server, 7))
        data, source = s.recvfrom(1000)
        assert source[:2] == (server, 7) and data.endswith(b"hello " + server.encode()), (data, source)
    # Sizes.
    for size in (0, 1, 1472, 1473, 9000, 40000, 65000):
        s.sendto(b"x" * size, (one, 7))
        data = s.recv(70000)
        assert len(data.split(b" ", 1)[1]) == size, (size, len(data))
    # Order within a flow.
    for number in range(200):
        socks[0].send(b"%d" % number)
        assert socks[0].recv(100).split(b" ")[1] == b"%d" % number
print("fine")
"#;

#[test]
fn datagrams_of_all_sizes_and_many_flows() {
    let world = World::new();
    std::fs::write(world.bench().path("datagrams.py"), DATAGRAMS).unwrap();
    let file = world.bench().text("datagrams.py");
    assert_eq!(world.user(&format!("python3 {file}")).ok(), "fine", "without a container");
    let out = world.user(&format!("in_container -v {file}:/datagrams.py -- 'python3 /datagrams.py'")).ok();
    assert_eq!(out, "fine");
    world.finish();
}

#[test]
fn ping_goes_out() {
    let world = World::new();
    let script = format!(
        "in_container -- 'for host in {ONE} {ONE6} {TWO} {HOST}; do
                ping -n -c 2 -i 0.2 -W 2 $host >/tmp/out || {{ echo $host; cat /tmp/out; }}
            done
            ping -n -c 1 -W 2 -s 8000 {ONE} >/dev/null || echo large
            ping -n -c 1 -W 2 $(ip route show default | cut -d\" \" -f3) >/dev/null || echo gateway
            ping -n -c 1 -W 1 192.0.2.1 >/dev/null && echo nobody answered; true'"
    );
    assert_eq!(world.user(&script).ok(), "");
    // Without the right to ping, the rest works.
    world.at("host", "sysctl -qw net.ipv4.ping_group_range='1 0'").ok();
    let script = format!(
        "in_container -- '{GET} ping -n -c 1 -W 1 {ONE} >/dev/null && echo pinged; get http://{ONE}:8000/name'"
    );
    assert_eq!(world.user(&script).ok(), "one");
    world.finish();
}

#[test]
fn a_running_container_follows_the_vpn() {
    let world = World::new();
    world.user("rbox run -d --name c rootfs:/ sleep 1000").ok();
    let get = |server: &str| {
        let output = world.user(&format!("rbox exec c curl -gsS -m 2 http://{server}:8000/name")).run();
        if output.code == 0 { output.out() } else { format!("curl {}", output.code) }
    };
    assert_ne!(get(VPN), "vpn");
    for _ in 0..2 {
        world.at("host", "ip link set vpn0 up; ip -6 address replace fd99::2/64 dev vpn0 nodad").ok();
        assert_eq!((get(VPN), get("[fd99::1]")), ("vpn".to_owned(), "vpn".to_owned()));
        assert_eq!(get(ONE), "one");
        world.at("host", "ip link set vpn0 down").ok();
        assert_ne!(get(VPN), "vpn");
        assert_eq!(get(ONE), "one");
    }
    // The VPN takes a route over.
    world.at("host", &format!("ip link set vpn0 up; ip route add {TWO} via {VPN}")).ok();
    world.at("vpn", &format!("ip address add {TWO}/32 dev lo")).ok();
    assert_eq!(get(TWO), "vpn");
    world.at("host", &format!("ip route del {TWO}")).ok();
    assert_eq!(get(TWO), "two");
    world.finish();
}

#[test]
fn booted_without_a_network() {
    let world = World::new();
    world.at("host", "ip link set lan0 down").ok();
    world.user("serve c -p 8080:8000").ok();
    let get = |what: &str| world.user(&format!("rbox exec c curl -gsS -m 3 http://{what}")).run();
    let output = get(&format!("{ONE}:8000/name"));
    assert!(output.code != 0 && output.took.as_secs() < 3, "at once: {}", output.report());
    // The published port is there on loopback.
    assert_eq!(world.user("get http://127.0.0.1:8080/name").ok(), "c");
    world
        .at(
            "host",
            "ip link set lan0 up; ip -6 address replace fd77::2/64 dev lan0 nodad
             ip route replace default via 10.77.0.1; ip -6 route replace default via fd77::1",
        )
        .ok();
    assert_eq!(get(&format!("{ONE}:8000/name")).ok().out(), "one");
    assert_eq!(get(&format!("[{ONE6}]:8000/name")).ok().out(), "one");
    // Another address from the next DHCP server.
    world
        .at(
            "host",
            "ip address flush dev lan0 scope global; ip address add 10.77.0.222/24 dev lan0
                      ip route replace default via 10.77.0.1",
        )
        .ok();
    assert_eq!(get(&format!("{ONE}:8000/who")).ok().out().split(':').next(), Some("10.77.0.222"));
    assert_eq!(world.at("near", "get http://10.77.0.222:8080/name").ok(), "c");
    world.finish();
}

#[test]
fn the_hosts_loopback_is_closed_unless_asked_for() {
    let world = World::new();
    let probe = format!(
        "{GET} gateway=$(ip -4 route show default | cut -d\" \" -f3); gateway6=$(ip -6 route show default | cut -d\" \" -f3)
         for place in $gateway [$gateway6] 127.0.0.1 [::1] 0.0.0.0 127.0.0.2 [::ffff:127.0.0.1] host.docker.internal; do
            get http://$place:8000/name 2>/dev/null || echo -n no; echo -n \" \"
         done"
    );
    let closed = world.user(&format!("in_container -- '{probe}'")).ok();
    assert_eq!(closed.trim_end(), "host host no no no no no host");
    let open = world.user(&format!("in_container --network bridge:host-loopback -- '{probe}'")).ok();
    assert_eq!(open.trim_end(), "loopback loopback no no no no no loopback");
    // What listens on loopback only is not there.
    world
        .at(
            "host",
            "nohup python3 -m http.server --bind 127.0.0.1 9100 >/dev/null 2>&1 &
                      until curl -s -o /dev/null http://127.0.0.1:9100; do sleep 0.1; done",
        )
        .ok();
    let script = "in_container -- 'curl -s -m 3 -o /dev/null http://host.docker.internal:9100; echo $?'";
    assert_eq!(world.user(script).ok(), "7");
    world.finish();
}

#[test]
fn a_thousand_flows_at_once() {
    let world = World::new();
    let flows = r#"
import socket
socks = []
for number in range(1000):
    s = socket.create_connection(("198.51.100.10", 7), 10)
    socks.append(s)
for number, s in enumerate(socks):
    s.sendall(b"flow %06d" % number)
for number, s in enumerate(socks):
    assert s.recv(100) == b"flow %06d" % number
    s.shutdown(socket.SHUT_WR)
for s in socks:
    assert s.recv(100).startswith(b"11 bytes from 10.77.0.2:")
    assert s.recv(100) == b""
print("fine")
"#;
    std::fs::write(world.bench().path("flows.py"), flows).unwrap();
    let file = world.bench().text("flows.py");
    assert_eq!(world.user(&format!("in_container -v {file}:/f.py -- 'python3 /f.py'")).limit(120).ok(), "fine");
    world.finish();
}
