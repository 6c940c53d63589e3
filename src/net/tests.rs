//! Gateways and endpoints in namespaces of the test's own. The tests run themselves again as root of a new user
//! namespace, where threads may make and enter network namespaces.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::endpoint::{EndpointPlan, attach, detach, set_default_routes};
use super::gateway::{GatewayPlan, configure};
use super::host::host_subnets;
use super::netlink::{Batch, Socket, add_address};
use super::{Cidr, NetError};
use crate::sys::net_netlink::enable;
use crate::testing::{alone, assert_passed};

const BRIDGE: &str = "br-0123456789ab";
const RELAY: u16 = 7;
const SHORT: Duration = Duration::from_millis(200);

#[test]
fn in_new_namespaces() {
    let inner = alone(module_path!(), "as_root");
    let output = Command::new("unshare").arg("-Urn").arg(inner.get_program()).args(inner.get_args()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("unshare failed") {
        eprintln!("skipped: no user namespace: {errors}");
        return;
    }
    assert_passed(&output);
}

#[test]
#[ignore = "run by in_new_namespaces"]
fn as_root() {
    containers_reach_each_other_at_once();
    only_own_addresses_pass();
    connections_are_held_back_and_datagrams_relayed();
    internal_networks_lead_nowhere();
    isolated_endpoints_do_not_meet();
    failures_leave_nothing();
    endpoints_come_and_go();
    unusual_endpoints();
    default_routes_are_replaced();
    subnets_of_a_namespace_are_found();
    fresh();
    super::nft::tests::unknown_expressions_are_missing_features();
}

fn fresh() -> OwnedFd {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    File::open("/proc/thread-self/ns/net").unwrap().into()
}

fn enter(namespace: &OwnedFd) {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn cidr(text: &str) -> Cidr {
    Cidr::from(text.parse::<ipnet::IpNet>().unwrap())
}

fn gateway(internal: bool) -> OwnedFd {
    let namespace = fresh();
    let plan = GatewayPlan {
        bridge: BRIDGE.to_owned(),
        mac: [2, 0x42, 0, 0, 0, 1],
        addresses: vec![cidr("10.9.0.1/16"), cidr("fd00:9::1/64")],
        mtu: 65520,
        relay_port: RELAY,
        internal,
    };
    configure(&plan).unwrap();
    namespace
}

fn plan(number: u8) -> EndpointPlan {
    EndpointPlan {
        interface: "eth0".to_owned(),
        port: format!("v{number:012x}"),
        bridge: BRIDGE.to_owned(),
        mac: [2, 0x42, 0, 0, 1, number],
        addresses: vec![cidr(&format!("10.9.0.{number}/16")), cidr(&format!("fd00:9::{number}/64"))],
        default_routes: vec!["10.9.0.1".parse().unwrap(), "fd00:9::1".parse().unwrap()],
        mtu: 65520,
        isolated: false,
    }
}

fn container(gateway: &OwnedFd, plan: &EndpointPlan) -> OwnedFd {
    let namespace = fresh();
    attach(gateway.as_fd(), namespace.as_fd(), plan).unwrap();
    namespace
}

fn socket(namespace: &OwnedFd, address: &str) -> UdpSocket {
    enter(namespace);
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(SHORT)).unwrap();
    socket
}

/// Whether a datagram from `source` in one namespace reaches `destination` in the other.
fn passes(from: &OwnedFd, source: &str, to: &OwnedFd, destination: &str) -> bool {
    let receiver = socket(to, destination);
    let sender = socket(from, source);
    sender.send_to(b"hello", receiver.local_addr().unwrap()).unwrap();
    match receiver.recv_from(&mut [0; 16]) {
        Ok((length, peer)) => length == 5 && peer == sender.local_addr().unwrap(),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

fn exists(namespace: &OwnedFd, interface: &str) -> bool {
    enter(namespace);
    rustix::net::netdevice::name_to_index(Socket::route().unwrap(), interface).is_ok()
}

fn containers_reach_each_other_at_once() {
    for number in 2..12 {
        let network = gateway(false);
        let (a, b) = (container(&network, &plan(number)), container(&network, &plan(number + 100)));
        let [v4, v6] = [("10.9.0.", ""), ("[fd00:9::", "]")].map(|(start, end)| {
            passes(&a, &format!("{start}{number}{end}:0"), &b, &format!("{start}{}{end}:0", number + 100))
        });
        assert!(v4 && v6, "{v4} {v6}");
    }
}

fn only_own_addresses_pass() {
    let network = gateway(false);
    let (a, b) = (container(&network, &plan(2)), container(&network, &plan(3)));
    enter(&a);
    let mut route = Socket::route().unwrap();
    let index = rustix::net::netdevice::name_to_index(&route, "eth0").unwrap();
    let mut batch = Batch::new();
    for address in ["10.9.0.9/16", "fd00:9::9/64", "fe80::9/64"] {
        add_address(&mut batch, index, "eth0", cidr(address));
    }
    route.run(batch).unwrap();
    for (source, destination, expected) in [
        ("10.9.0.2:0", "10.9.0.3:0", true),
        ("10.9.0.9:0", "10.9.0.3:0", false),
        ("10.9.0.2:67", "10.9.0.3:68", false),
        ("[fd00:9::2]:0", "[fd00:9::3]:0", true),
        ("[fd00:9::9]:0", "[fd00:9::3]:0", false),
        ("[fd00:9::2]:547", "[fd00:9::3]:546", false),
    ] {
        assert_eq!(passes(&a, source, &b, destination), expected, "{source} {destination}");
    }
}

/// A socket in the gateway that takes datagrams to whatever address.
fn transparent(network: &OwnedFd, address: &str) -> UdpSocket {
    let socket = socket(network, address);
    enable(socket.as_fd(), libc::SOL_IP, libc::IP_TRANSPARENT).unwrap();
    socket
}

fn connects(namespace: &OwnedFd, destination: &str) -> io::Result<TcpStream> {
    enter(namespace);
    TcpStream::connect_timeout(&destination.parse().unwrap(), SHORT)
}

fn connections_are_held_back_and_datagrams_relayed() {
    let network = gateway(false);
    let a = container(&network, &plan(2));
    let relay = transparent(&network, &format!("0.0.0.0:{RELAY}"));
    let names = socket(&network, "10.9.0.1:53");
    let sender = socket(&a, "10.9.0.2:0");
    for (destination, receiver) in [("192.0.2.7:99", Some(&relay)), ("10.9.0.1:53", Some(&names))] {
        sender.send_to(b"out", destination).unwrap();
        let peer = receiver.unwrap().recv_from(&mut [0; 16]).unwrap().1;
        assert_eq!(peer, sender.local_addr().unwrap());
    }
    sender.send_to(b"many", "224.0.0.251:5353").unwrap();
    assert!(relay.recv_from(&mut [0; 16]).is_err());
    for destination in ["192.0.2.7:80", "10.9.0.1:80", "[2001:db8::7]:80", "[fd00:9::1]:80"] {
        assert_eq!(connects(&a, destination).unwrap_err().kind(), ErrorKind::TimedOut, "{destination}");
    }
    for destination in ["10.9.0.1:53", "[fd00:9::1]:53"] {
        assert_eq!(connects(&a, destination).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{destination}");
    }
}

fn internal_networks_lead_nowhere() {
    let network = gateway(true);
    let (a, b) = (container(&network, &plan(2)), container(&network, &plan(3)));
    let relay = transparent(&network, &format!("0.0.0.0:{RELAY}"));
    let names = socket(&network, "10.9.0.1:53");
    let sender = socket(&a, "10.9.0.2:0");
    sender.send_to(b"out", "192.0.2.7:99").unwrap();
    sender.send_to(b"out", ("10.9.0.1", RELAY)).unwrap();
    assert!(relay.recv_from(&mut [0; 16]).is_err());
    sender.send_to(b"name", "10.9.0.1:53").unwrap();
    names.recv_from(&mut [0; 16]).unwrap();
    assert_eq!(connects(&a, "10.9.0.1:80").unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(passes(&a, "10.9.0.2:0", &b, "10.9.0.3:0"));
}

fn isolated_endpoints_do_not_meet() {
    let network = gateway(false);
    let [a, b] = [2, 3].map(|number| container(&network, &EndpointPlan { isolated: true, ..plan(number) }));
    let c = container(&network, &plan(4));
    assert!(!passes(&a, "10.9.0.2:0", &b, "10.9.0.3:0"));
    assert!(passes(&a, "10.9.0.2:0", &c, "10.9.0.4:0"));
    assert!(passes(&b, "10.9.0.3:0", &network, "10.9.0.1:53"));
}

fn failures_leave_nothing() {
    let network = gateway(false);
    let a = container(&network, &plan(2));
    let taken = plan(3);
    let bad_route =
        EndpointPlan { interface: "eth1".to_owned(), default_routes: vec!["192.168.3.1".parse().unwrap()], ..plan(3) };
    let bad_name = EndpointPlan { interface: "a/b".to_owned(), ..plan(3) };
    for (plan, said) in [
        (taken, "cannot create the veth pair v000000000003 and eth0: File exists"),
        (bad_route, "cannot make 192.168.3.1 the default route"),
        (bad_name, "cannot create the veth pair v000000000003 and a/b"),
    ] {
        let error = attach(network.as_fd(), a.as_fd(), &plan).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(NetError::of(&error).is_some() && NetError::missing(&error).is_none());
        assert!(!exists(&network, "v000000000003") && !exists(&a, "eth1"));
    }
    assert!(passes(&a, "10.9.0.2:0", &network, "10.9.0.1:53"));
    // In a namespace that has no bridge.
    let error = attach(a.as_fd(), network.as_fd(), &plan(3)).unwrap_err();
    assert!(error.to_string().contains("cannot find interface br-"), "{error}");
}

fn endpoints_come_and_go() {
    let network = gateway(false);
    let a = container(&network, &plan(2));
    let b = container(&network, &plan(3));
    for _ in 0..3 {
        detach(network.as_fd(), &plan(2).port).unwrap();
        assert!(!exists(&network, &plan(2).port) && !exists(&a, "eth0"));
        detach(network.as_fd(), &plan(2).port).unwrap();
        attach(network.as_fd(), a.as_fd(), &plan(2)).unwrap();
        assert!(passes(&a, "10.9.0.2:0", &b, "10.9.0.3:0"));
    }
    // The same port again, for another container, with other addresses: what was there goes.
    let other = EndpointPlan { port: plan(2).port, ..plan(4) };
    let c = container(&network, &other);
    assert!(!exists(&a, "eth0"));
    assert!(passes(&c, "10.9.0.4:0", &b, "10.9.0.3:0"));
}

fn unusual_endpoints() {
    let network = gateway(false);
    let peer = container(&network, &plan(2));
    let several = ["10.9.0.3/16", "10.9.0.33/16"].map(cidr).to_vec();
    let v4 = EndpointPlan {
        interface: "lan.0".to_owned(),
        addresses: several,
        default_routes: Vec::new(),
        mtu: 1500,
        ..plan(3)
    };
    let v4 = container(&network, &v4);
    assert!(exists(&v4, "lan.0"));
    assert!(passes(&v4, "10.9.0.33:0", &peer, "10.9.0.2:0") && passes(&v4, "10.9.0.3:0", &peer, "10.9.0.2:0"));
    let several = ["fd00:9::4/64", "fd00:9::44/64"].map(cidr).to_vec();
    let v6 = EndpointPlan { addresses: several, default_routes: vec!["fd00:9::1".parse().unwrap()], ..plan(4) };
    // Even where IPv6 is off at first.
    let v6 = {
        let namespace = fresh();
        super::sysctl::set(&[("ipv6/conf/default/disable_ipv6", "1")]).unwrap();
        attach(network.as_fd(), namespace.as_fd(), &v6).unwrap();
        namespace
    };
    assert!(passes(&v6, "[fd00:9::44]:0", &peer, "[fd00:9::2]:0"));
}

fn default_routes_are_replaced() {
    let network = gateway(false);
    let a = container(&network, &plan(2));
    let reaches = |destination: &str| {
        enter(&a);
        let destination: SocketAddr = destination.parse().unwrap();
        let any: IpAddr = if destination.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        UdpSocket::bind((any, 0)).unwrap().connect(destination).is_ok()
    };
    let (v4, v6) = ("192.0.2.7:9", "[2001:db8::7]:9");
    assert!(reaches(v4) && reaches(v6));
    for routes in [&["10.9.0.1"][..], &["10.9.0.99", "fd00:9::99"], &[], &[], &["fd00:9::1"]] {
        let routes: Vec<IpAddr> = routes.iter().map(|route| route.parse().unwrap()).collect();
        set_default_routes(a.as_fd(), &routes).unwrap();
        assert_eq!(reaches(v4), routes.iter().any(IpAddr::is_ipv4));
        assert_eq!(reaches(v6), routes.iter().any(IpAddr::is_ipv6));
    }
}

fn subnets_of_a_namespace_are_found() {
    let network = gateway(false);
    let _a = container(&network, &plan(2));
    let found: Vec<String> = host_subnets().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(found, ["10.9.0.0/16", "fd00:9::/64"]);
}

#[test]
fn broadcast_addresses() {
    assert_eq!(cidr("10.89.0.2/24").broadcast(), Some([10, 89, 0, 255].into()));
    assert_eq!(cidr("10.89.0.2/0").broadcast(), Some([255; 4].into()));
    assert_eq!(cidr("10.89.0.2/31").broadcast(), None);
    assert_eq!(cidr("fd00::2/64").broadcast(), None);
}

#[test]
fn link_local_addresses() {
    let address = super::link_local([0x02, 0x42, 0xac, 0x11, 0, 2]);
    assert_eq!(address.to_string(), "fe80::42:acff:fe11:2");
}
