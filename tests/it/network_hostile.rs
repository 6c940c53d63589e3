//! Containers that mean harm: malformed names, raw frames, floods. The relay must live, and the
//! neighbours must not be reached in another's name.

use crate::common::world::{ONE, World};

/// The anchor's process; the same afterwards means that it did not crash.
fn anchor(world: &World) -> String {
    let out = world.at("host", "pgrep -f '^rbox anchor'").ok();
    assert_eq!(out.lines().count(), 1, "{out}");
    out
}

/// Runs a python program in a container with the arguments `flags`.
fn attack(world: &World, flags: &str, program: &str) -> String {
    let file = world.bench().text("attack.py");
    std::fs::write(&file, program).unwrap();
    world.user(&format!("in_container {flags} -v {file}:/attack.py:ro -- 'python3 /attack.py'")).limit(120).ok()
}

const BAD_DNS: &str = r#"
import os, random, socket, struct, time
gateway = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")][0]
family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
rnd = random.Random(7)
udp = socket.socket(family, socket.SOCK_DGRAM)
def query(name, kind=1, flags=0x0100, count=1):
    return struct.pack("!HHHHHH", rnd.randrange(65536), flags, count, 0, 0, 0) + name + struct.pack("!HH", kind, 1)
def labels(*parts):
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
bad = [b"", b"\0", b"\0" * 11, b"\0" * 12, b"\xff" * 12, b"\xff" * 512,
    query(b"\xc0\x0c"), query(b"\xc0\x0d\xc0\x0c"), query(b"\x3fabc"), query(b"\x40" + b"a" * 64 + b"\0"),
    query(labels(*[b"a" * 63] * 5)), query(labels(*[b"a"] * 130)), query(labels(*[b"\0\xff\x2e."] * 10)),
    query(labels(b"web"), count=65535), query(labels(b"web"), count=0), query(labels(b"web"), flags=0x8180),
    query(labels(b"web"), flags=0x2800), query(labels(b"web"), kind=65535), query(labels(b"web"), kind=252),
    query(b"\0"), query(labels(b"web"))[:-1], query(labels(b"web")) + b"\0" * 60000,
    query(labels(b"web"))[:10] + struct.pack("!H", 3) + query(labels(b"web"))[12:] + b"\0\0\x29" + b"\xff" * 9]
for packet in bad:
    udp.sendto(packet, (gateway, 53))
good = query(labels(b"foo", b"world"))
for number in range(3000):
    packet = bytearray(good if number % 2 else query(labels(b"me")))
    for _ in range(rnd.randrange(1, 5)):
        packet[rnd.randrange(len(packet))] = rnd.randrange(256)
    udp.sendto(bytes(packet[: rnd.randrange(1, len(packet) + 1)]), (gateway, 53))
    if number % 3 == 0:
        udp.sendto(rnd.randbytes(rnd.randrange(600)), (gateway, 53))
    if number % 100 == 0:
        time.sleep(0.01)
# Streams that say half of it, nothing, or rubbish; more than anybody needs.
streams = []
for number in range(300):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(2)
    try:
        s.connect((gateway, 53))
        s.send([b"", b"\0", b"\xff\xff", b"\0\x20" + good[:5], b"\xff\xff" + b"x" * 1000, b"\0\0" * 100][number % 6])
    except OSError:
        pass
    streams.append(s)
# It still answers.
udp.close()
udp = socket.socket(family, socket.SOCK_DGRAM)
udp.settimeout(1)
for _ in range(5):
    udp.sendto(good, (gateway, 53))
    try:
        assert udp.recv(1000)[-4:] == bytes([192, 0, 2, 77])
        break
    except TimeoutError:
        pass
else:
    raise SystemExit("no answer any more")
print("alive")
"#;

#[test]
fn malformed_queries_are_dropped() {
    let world = World::new();
    world.user("rbox run -d --name by rootfs:/ sleep 1000").ok();
    let before = anchor(&world);
    assert_eq!(attack(&world, "--name me", BAD_DNS), "alive");
    assert_eq!(anchor(&world), before, "the anchor has not crashed");
    assert_eq!(world.user("rbox exec by dig +short +tries=1 foo.world").ok(), "192.0.2.77");
    assert_eq!(world.user("rbox exec by dig +tcp +short +tries=1 foo.world").ok(), "192.0.2.77");
    let memory = world.at("host", &format!("awk '/^VmRSS/ {{ print $2 }}' /proc/{before}/status")).ok();
    assert!(memory.parse::<u64>().unwrap() < 64 * 1024, "{memory} kB");
    world.finish();
}

/// Raw frames as another: what the neighbour and the host's services must never see.
const SPOOF: &str = r#"
import os, random, socket, struct, sys
victim, gateway = os.environ["VICTIM"], os.environ["GATEWAY"]
own_mac = bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", "")) if os.path.exists("/sys/class/net/eth0/address") else None
import fcntl
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
info = fcntl.ioctl(s.fileno(), 0x8927, struct.pack("256s", b"eth0"))
own_mac = info[18:24]
own = socket.inet_ntoa(fcntl.ioctl(s.fileno(), 0x8915, struct.pack("256s", b"eth0"))[20:24])
def mac_of(address):
    s.sendto(b"x", (address, 9))
    import time
    for _ in range(50):
        for line in open("/proc/net/arp"):
            fields = line.split()
            if fields[0] == address and fields[3] != "00:00:00:00:00:00":
                return bytes.fromhex(fields[3].replace(":", ""))
        time.sleep(0.02)
    raise SystemExit("no link address of " + address)
gateway_mac, victim_mac = mac_of(gateway), mac_of(victim)
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(("eth0", 0))
def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
def ip(source, target, protocol, payload, **keys):
    a, b = socket.inet_aton(source), socket.inet_aton(target)
    if protocol in (6, 17):
        pseudo = a + b + struct.pack("!BBH", 0, protocol, len(payload))
        at = 16 if protocol == 6 else 6
        payload = payload[:at] + struct.pack("!H", checksum(pseudo + payload)) + payload[at + 2:]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, a, b)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload
def tcp(port, to, flags):
    return struct.pack("!HHIIBBHHH", port, to, 1, 0, 0x50, flags, 1000, 0, 0)
def udp(port, to, data):
    return struct.pack("!HHHH", port, to, 8 + len(data), 0) + data
def send(target_mac, source_mac, kind, packet):
    try:
        raw.send(target_mac + source_mac + struct.pack("!H", kind) + packet)
    except OSError as error:
        if error.errno != 90:
            raise
for _ in range(3):
    # As the neighbour, as the gateway, as nobody, with its own link address and others'.
    for source in (victim, gateway, "203.0.113.10", "127.0.0.1", "0.0.0.0", "255.255.255.255"):
        for mac in (own_mac, victim_mac, gateway_mac, b"\x02\0\0\0\0\x09"):
            send(victim_mac, mac, 0x0800, ip(source, victim, 17, udp(7777, 7, b"SPOOFED")))
            send(gateway_mac, mac, 0x0800, ip(source, "198.51.100.10", 17, udp(7777, 7, b"SPOOFED")))
            send(gateway_mac, mac, 0x0800, ip(source, "198.51.100.10", 6, tcp(7777, 8000, 2)))
    # Its own address, but places it must not reach.
    for target in ("127.0.0.1", "127.0.0.53", "0.0.0.0", "255.255.255.255", "169.254.169.254", "224.0.0.1"):
        for port in (8000, 9100, 53):
            send(gateway_mac, own_mac, 0x0800, ip(own, target, 6, tcp(7778, port, 2)))
            send(gateway_mac, own_mac, 0x0800, ip(own, target, 17, udp(7778, port, b"SPOOFED")))
    # ARP: "the neighbour's (the gateway's) address is mine"
    for claimed in (victim, gateway):
        for operation in (1, 2):
            for target in (b"\xff" * 6, victim_mac, gateway_mac):
                send(target, own_mac, 0x0806, struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + own_mac + socket.inet_aton(claimed)
                    + b"\0" * 6 + socket.inet_aton(victim if claimed != victim else gateway))
    # Router advertisement, DHCP offer.
    send(b"\x33\x33\0\0\0\x01", own_mac, 0x86DD, struct.pack("!IHBB", 6 << 28, 16, 58, 255) + socket.inet_pton(socket.AF_INET6, "fe80::bad")
        + socket.inet_pton(socket.AF_INET6, "ff02::1") + b"\x86\0\0\0\x40\0\x07\x08" + b"\0" * 8)
    send(b"\xff" * 6, own_mac, 0x0800, ip(own, "255.255.255.255", 17, udp(67, 68, b"\2" * 300)))
rnd = random.Random(3)
for number in range(4000):
    # Rubbish of all lengths, and headers with lies in them.
    packet = bytearray(ip(own, "198.51.100.10", rnd.choice((6, 17, 1, 58, 132, 47)), rnd.randbytes(rnd.randrange(8, 60)))) if number % 2 \
        else bytearray(rnd.randbytes(rnd.randrange(1, 1400)))
    if number % 4 == 1:
        packet[rnd.randrange(min(20, len(packet)))] = rnd.randrange(256)
    if number % 8 == 1:
        packet = packet[: rnd.randrange(1, len(packet))]
    send(rnd.choice((gateway_mac, victim_mac, b"\xff" * 6)), own_mac, rnd.choice((0x0800, 0x86DD, 0x0806, 0x8100, rnd.randrange(65536))), bytes(packet))
# SYNs to everywhere.
for number in range(3000):
    send(gateway_mac, own_mac, 0x0800, ip(own, "198.51.100.%d" % (100 + number % 150), 6, tcp(10000 + number, 80 + number % 10, 2)))
print("sent")
"#;

const WATCH: &str = r#"
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 7))
print("watching", flush=True)
while True:
    data, source = s.recvfrom(2000)
    print(source[0], data[:20], flush=True)
"#;

#[test]
fn raw_frames_reach_nobody_in_anothers_name() {
    let world = World::new();
    std::fs::write(world.bench().path("watch.py"), WATCH).unwrap();
    let watch = world.bench().text("watch.py");
    world.user(&format!("rbox run -d --name victim -v {watch}:/watch.py:ro rootfs:/ python3 /watch.py; rbox run -d --name friend rootfs:/ sleep 1000")).ok();
    world.until("it watches", "rbox logs victim | grep -q watching");
    // Loopback services of the host that count who comes.
    let listener = "nohup python3 -u -c 'import socket
s = socket.socket(); s.bind((\"127.0.0.1\", 9100)); s.listen()
while True: print(s.accept()[1], flush=True)' >/run/accepted 2>&1 &
nohup python3 -u -c 'import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((\"127.0.0.1\", 9100))
while True: print(s.recvfrom(100), flush=True)' >/run/received 2>&1 & sleep 0.5";
    world.at("host", listener).ok();
    let (victim, gateway) = (world.user("address victim").ok(), world.user("gateway victim").ok());
    let before = anchor(&world);
    let flags = format!("--name evil --privileged -e VICTIM={victim} -e GATEWAY={gateway}");
    let evil = attack(&world, &flags, SPOOF);
    assert_eq!(evil, "sent");
    assert_eq!(anchor(&world), before, "the anchor has not crashed");
    let seen = world.user("rbox logs victim").ok();
    let friend = world.user("address friend").ok();
    for line in seen.lines().filter(|line| line.contains("SPOOFED")) {
        assert!(
            ![victim.as_str(), &gateway, &friend, "203.0.113.10"].iter().any(|source| line.starts_with(*source)),
            "{seen}"
        );
    }
    assert_eq!(world.at("host", "cat /run/accepted /run/received").ok(), "", "the host's loopback was reached");
    // The neighbours know the right link addresses, and all works as before.
    world
        .user(&format!(
            "rbox exec victim bash -c 'echo hi >/dev/udp/{gateway}/9; sleep 0.1; ! ip neigh show | grep -i evil'"
        ))
        .ok();
    assert_eq!(world.user(&format!("rbox exec victim curl -sS -m 3 http://{ONE}:8000/name")).ok(), "one");
    world.user("rbox exec friend ping -c 1 -W 2 victim").ok();
    let routes = world.user("rbox exec victim ip -6 route").ok();
    assert!(!routes.contains("fe80::bad"), "{routes}");
    world.finish();
}

#[test]
fn floods_end_in_limits() {
    let world = World::new();
    world.user("rbox run -d --name by rootfs:/ sleep 1000").ok();
    let before = anchor(&world);
    let flood = r#"
import resource, socket
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
# Flows of datagrams, each from a port of its own, to a place that is silent.
count = 0
for _ in range(min(hard - 100, 20000)):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.sendto(b"x", ("198.51.100.67", 1000 + count % 60000))
    except OSError:
        pass
    count += 1
    s.close()
# Connections that never come up.
socks = []
for number in range(min(hard - 100, 3000)):
    s = socket.socket()
    s.setblocking(False)
    try:
        s.connect(("198.51.100.67", 1000 + number))
    except OSError:
        pass
    socks.append(s)
# Connections that are held, nobody reading.
held = []
for number in range(min(hard - 3200, 1000)):
    try:
        s = socket.create_connection(("198.51.100.10", 82), 2)
        s.setblocking(False)
        s.send(b"x" * 100000)
        held.append(s)
    except OSError:
        pass
print("done", len(held) > 0)
"#;
    assert_eq!(attack(&world, "--name me", flood), "done True");
    assert_eq!(anchor(&world), before);
    let get = format!("[[ $(rbox exec by curl -sS -m 3 http://{ONE}:8000/name) == one ]]");
    world.until("others get through", &get);
    let memory = world.at("host", &format!("awk '/^VmRSS/ {{ print $2 }}' /proc/{before}/status")).ok();
    assert!(memory.parse::<u64>().unwrap() < 128 * 1024, "{memory} kB");
    let fds = world.at("host", &format!("ls /proc/{before}/fd | wc -l")).ok();
    crate::common::wait_until("flows of the dead end", || {
        let now = world.at("host", &format!("ls /proc/{before}/fd | wc -l")).ok();
        now.parse::<u32>().unwrap() < 1000.max(fds.parse::<u32>().unwrap() / 2)
    });
    world.finish();
}
