//! pasta(1): the host's own addresses inside, ports on the command line, readiness by a file with its process id.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};

use super::{HelperError, HelperKind, HelperPlan, HelperPort, HelperProtocol, Inside, MTU};

/// Where the host's resolver answers inside, as with podman: link-local, so it is nobody's.
const DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));

/// The FIFO for its process id, in the plan's directory.
pub const PID_FILE: &str = "pasta.pid";

/// Options that stand alone. Those that choose files, namespaces, users or what runs are left out: they are not
/// the container's to set.
const FLAGS: [&str; 23] = [
    "-4",
    "-6",
    "-d",
    "-q",
    "--debug",
    "--quiet",
    "--trace",
    "--ipv4-only",
    "--ipv6-only",
    "--config-net",
    "--no-tcp",
    "--no-udp",
    "--no-icmp",
    "--no-dhcp",
    "--no-ndp",
    "--no-dhcpv6",
    "--no-ra",
    "--no-map-gw",
    "--map-gw",
    "--no-copy-routes",
    "--no-copy-addrs",
    "--no-splice",
    "--host-lo-to-ns-lo",
];
/// Options with a value, in their long and short spelling.
const VALUED: [(&str, &str); 24] = [
    ("--tcp-ports", "-t"),
    ("--udp-ports", "-u"),
    ("--tcp-ns", "-T"),
    ("--udp-ns", "-U"),
    ("--address", "-a"),
    ("--netmask", "-n"),
    ("--mac-addr", "-M"),
    ("--gateway", "-g"),
    ("--interface", "-i"),
    ("--outbound", "-o"),
    ("--dns", "-D"),
    ("--search", "-S"),
    ("--mtu", "-m"),
    ("--ns-ifname", "-I"),
    ("--ns-mac-addr", ""),
    ("--outbound-if4", ""),
    ("--outbound-if6", ""),
    ("--dns-forward", ""),
    ("--dns-host", ""),
    ("--map-host-loopback", ""),
    ("--map-guest-addr", ""),
    ("--hostname", "-H"),
    ("--fqdn", ""),
    ("--log-size", ""),
];

/// One option as given, and its long name and value.
#[derive(Debug, PartialEq)]
struct Given<'a> {
    words: Vec<&'a str>,
    name: &'a str,
    value: &'a str,
}

/// Takes the words apart as getopt_long(3) would, so that none of them is taken for something else there.
fn read(options: &[String]) -> Result<Vec<Given<'_>>, HelperError> {
    let error = |option: &str, reason: &str| HelperKind::Pasta.option_error(option, reason);
    let mut given = Vec::new();
    let mut words = options.iter().map(String::as_str).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        if FLAGS.contains(&word) {
            given.push(Given { words: vec![word], name: word, value: "" });
            continue;
        }
        let (option, attached) = match word.split_once('=') {
            Some((option, value)) if word.starts_with("--") => (option, Some(value)),
            None if word.starts_with("--") => (word, None),
            _ if word.starts_with('-') && word.len() > 2 && word.is_char_boundary(2) => (&word[..2], Some(&word[2..])),
            _ => (word, None),
        };
        let known = VALUED.iter().find(|(long, short)| option == *long || option == *short);
        let Some((name, _)) = known else { return Err(error(word, "unknown or not allowed")) };
        let (words, value) = match attached {
            Some(value) => (vec![word], value),
            None => {
                let value = words.next().ok_or_else(|| error(word, "its value is missing"))?;
                (vec![word, value], value)
            }
        };
        given.push(Given { words, name, value });
    }
    Ok(given)
}

/// The command line, by podman's rules: ports, host loopback and MTU are closed or set unless asked otherwise.
pub fn arguments(plan: &HelperPlan) -> Result<Vec<OsString>, HelperError> {
    let given = read(&plan.options)?;
    let has = |name: &str| given.iter().any(|option| option.name == name);
    let mut arguments: Vec<OsString> = vec!["--config-net".into(), "--quiet".into()];
    let own = ["--map-gw", "--config-net", "--quiet", "-q"];
    for option in given.iter().filter(|option| !own.contains(&option.name)) {
        arguments.extend(option.words.iter().map(OsString::from));
    }
    for port in &plan.ports {
        arguments.extend([flag(port.protocol).into(), forward(port).into()]);
    }
    let published = |protocol| plan.ports.iter().any(|port| port.protocol == protocol);
    if !published(HelperProtocol::Tcp) && !has("--tcp-ports") {
        arguments.extend(["-t", "none"].map(OsString::from));
    }
    if !published(HelperProtocol::Udp) && !has("--udp-ports") {
        arguments.extend(["-u", "none"].map(OsString::from));
    }
    // Else every port of the host's loopback would be open on the container's.
    for (name, short) in [("--tcp-ns", "-T"), ("--udp-ns", "-U")] {
        if !has(name) {
            arguments.extend([short, "none"].map(OsString::from));
        }
    }
    if !has("--map-gw") && !has("--no-map-gw") {
        arguments.push("--no-map-gw".into());
    }
    if !has("--mtu") {
        arguments.extend(["--mtu".into(), plan.mtu.unwrap_or(MTU).to_string().into()]);
    }
    if !has("--dns-forward") {
        arguments.extend(["--dns-forward".into(), DNS.to_string().into()]);
    }
    if let Some(user) = &plan.user_namespace {
        arguments.extend(["--userns".into(), user.into()]);
    }
    arguments.extend(["--netns".into(), plan.namespace.clone().into()]);
    Ok(arguments)
}

fn flag(protocol: HelperProtocol) -> &'static str {
    match protocol {
        HelperProtocol::Tcp => "-t",
        HelperProtocol::Udp => "-u",
    }
}

fn forward(port: &HelperPort) -> String {
    let address = port.host_ip.map(|ip| format!("{ip}/")).unwrap_or_default();
    format!("{address}{}:{}", port.host_port, port.container_port)
}

/// What follows from the options; the rest is the host's and not known here.
pub fn inside(options: &[String]) -> Result<Inside, HelperError> {
    let given = read(options)?;
    let value = |name: &str| given.iter().find(|option| option.name == name).map(|option| option.value);
    let address = |name| value(name).and_then(|value| value.parse().ok());
    let prefix =
        |ip: &IpAddr| if ip.is_ipv4() { value("--netmask").and_then(|mask| mask.parse().ok()) } else { Some(64) };
    Ok(Inside {
        interface: value("--ns-ifname").map(str::to_owned),
        address: address("--address").and_then(|ip: IpAddr| prefix(&ip).map(|prefix| (ip, prefix))),
        gateway: address("--gateway"),
        dns: Some(address("--dns-forward").unwrap_or(DNS)),
        host: address("--map-host-loopback").or_else(|| value("--map-gw").and(address("--gateway"))),
    })
}
