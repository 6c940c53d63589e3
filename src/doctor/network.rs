//! What networks need: a TAP device, nf_tables with tproxy, ping sockets, ports.

use std::fs::OpenOptions;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use super::Finding;
use super::inside::{Inside, device_trouble};
use crate::explain::distribution::sysctl;
use crate::explain::{Code, Explained, facts};

/// /dev/net/tun, opened.
pub fn tun() -> Finding {
    let path = "/dev/net/tun";
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Finding::pass(Code::Tun, format!("{path} can be opened")),
        Err(error) => Finding::warn(device_trouble(Code::Tun, path, "tun", &error)),
    }
}

/// A table, a chain and a tproxy rule, made in a network namespace of their own.
pub fn nf_tables(inside: &Inside) -> Finding {
    let code = Code::NfTables;
    let answers = match &inside.answers {
        Ok(answers) => answers,
        Err(why) => return Finding::skipped(code, why),
    };
    let (trouble, cause, module) = match (&answers.nf_tables, &answers.tproxy) {
        (Ok(()), Ok(())) => return Finding::pass(code, "a tproxy rule can be made"),
        (Err(trouble), _) => (trouble, "nf_tables cannot be used", "nf_tables"),
        (Ok(()), Err(trouble)) => (trouble, "nf_tables has no tproxy", "nft_tproxy"),
    };
    let reason = Errno::from_raw_os_error(trouble.errno);
    let explained = Explained::new(code, format!("{cause}: {}: {reason}", trouble.doing));
    Finding::warn(
        explained
            .administrator(format!("modprobe {module}"))
            .administrator(format!("echo {module} >>/etc/modules-load.d/rbox.conf")),
    )
}

/// A ping socket, opened.
pub fn ping_range() -> Finding {
    let (code, name) = (Code::PingRange, "net.ipv4.ping_group_range");
    match socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(ipproto::ICMP)) {
        Ok(_) => Finding::pass(code, "ping sockets can be opened"),
        Err(Errno::ACCESS) => {
            let range = facts::sysctl(name).unwrap_or_default();
            let groups = range.split_ascii_whitespace().collect::<Vec<_>>().join(" to ");
            let cause = format!("none of your groups is in {name} ({groups})");
            let [now, always] = sysctl(name, "0 2147483647");
            Finding::warn(Explained::new(code, cause).administrator(now).administrator(always))
        }
        Err(error) => Finding::warn(Explained::new(code, format!("a ping socket cannot be opened: {error}"))),
    }
}

/// From which port on. The usual 1024 is no fault; the line that lowers it comes along.
pub fn low_ports() -> Finding {
    let (code, name) = (Code::LowPorts, "net.ipv4.ip_unprivileged_port_start");
    let Some(start) = facts::sysctl_number(name) else {
        return Finding::skipped(code, format!("{name} cannot be read"));
    };
    if start <= 80 || rustix::process::geteuid().is_root() {
        return Finding::pass(code, format!("ports from {start} up can be listened on"));
    }
    let [now, _] = sysctl(name, "80");
    let summary = format!("ports from {start} up; for lower ones an administrator runs: {now}");
    Finding { mend: vec![crate::explain::Mend::Administrator(now)], ..Finding::pass(code, summary) }
}
