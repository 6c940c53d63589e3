//! `port`: where a container's ports are published.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};

use super::{Context, print_text, selection};
use crate::spec::port::PublishedPort;
use crate::store::containers::Container;

/// List port mappings or a specific mapping for the container
#[derive(clap::Args, Debug)]
pub struct Args {
    /// List the ports of all running containers
    #[arg(short, long)]
    all: bool,
    /// List the ports of the container created last
    #[arg(short, long)]
    latest: bool,
    /// Container by name, id or unique prefix
    #[arg(required_unless_present_any = ["all", "latest"])]
    container: Option<String>,
    /// A port of the container, on tcp unless told
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    if args.all {
        if args.latest || args.container.is_some() {
            bail!("conflicting options: --all and --latest or a container's name");
        }
        return all(context);
    }
    // With --latest what would be the name is the port.
    let (name, port) = match (args.latest, args.container, args.port) {
        (true, _, Some(_)) => bail!("conflicting options: --latest and a container's name"),
        (true, port, None) => (None, port),
        (false, name, port) => (name, port),
    };
    if name.is_none() && !args.latest {
        // As after --all=false.
        bail!("requires at least 1 argument");
    }
    let container = selection::one(context, name.as_deref(), args.latest)?;
    let shown = name.unwrap_or_else(|| container.config.name.clone());
    print_text(&text(&container, &shown, port.as_deref())?)?;
    Ok(ExitCode::SUCCESS)
}

/// Each line begins with the container it is about.
fn all(context: &Context) -> Result<ExitCode> {
    let (containers, _) = context.store()?.containers().list()?;
    for container in &containers {
        for line in text(container, &container.config.name, None)?.lines() {
            super::print_line(&format!("{}\t{line}", container.id().short()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The lines about one container; `name` is what it was called.
fn text(container: &Container, name: &str, wanted: Option<&str>) -> Result<String> {
    let mut ports = container.published_ports().to_vec();
    ports.sort_by_key(|port| (port.container_port, port.protocol.to_string(), port.host_ip, port.host_port));
    let Some(wanted) = wanted else {
        let line = |port: &PublishedPort| format!("{}/{} -> {}\n", port.container_port, port.protocol, host(port));
        return Ok(ports.iter().map(line).collect());
    };
    let (number, protocol) = wanted.split_once('/').filter(|(_, protocol)| !protocol.is_empty()).unwrap_or_else(|| {
        let number = wanted.strip_suffix('/').unwrap_or(wanted);
        (number, "tcp")
    });
    let number: u16 = number.parse().map_err(|_| anyhow!("invalid port ({number})"))?;
    ports.retain(|port| port.container_port == number && port.protocol.to_string() == protocol);
    if ports.is_empty() {
        bail!("no public port '{wanted}' published for {name}");
    }
    Ok(ports.iter().map(|port| format!("{}\n", host(port))).collect())
}

fn host(port: &PublishedPort) -> SocketAddr {
    SocketAddr::new(port.host_ip, port.host_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::containers::{State, Status};
    use crate::store::testing::{TestStore, config};

    fn published(host: &str, container_port: u16, protocol: &str) -> PublishedPort {
        let host: SocketAddr = host.parse().unwrap();
        let protocol = protocol.parse().unwrap();
        PublishedPort { container_port, protocol, host_ip: host.ip(), host_port: host.port() }
    }

    #[test]
    fn lines_of_docker() {
        let store = TestStore::new();
        let mut container = store.containers().create(config("web", "aa")).unwrap();
        assert_eq!(text(&container, "web", None).unwrap(), "");
        let ports = vec![
            published("[::]:8080", 80, "tcp"),
            published("0.0.0.0:8080", 80, "tcp"),
            published("127.0.0.1:53", 53, "udp"),
            published("0.0.0.0:32768", 443, "tcp"),
        ];
        container.state = State { status: Status::Running, ports, ..State::created() };
        assert_eq!(
            text(&container, "web", None).unwrap(),
            "53/udp -> 127.0.0.1:53\n80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n443/tcp -> 0.0.0.0:32768\n"
        );
        for wanted in ["80", "80/tcp", "80/"] {
            assert_eq!(text(&container, "web", Some(wanted)).unwrap(), "0.0.0.0:8080\n[::]:8080\n");
        }
        assert_eq!(text(&container, "web", Some("53/udp")).unwrap(), "127.0.0.1:53\n");
        for (wanted, error) in [
            ("53", "no public port '53' published for web"),
            ("80/udp", "no public port '80/udp' published for web"),
            ("x", "invalid port (x)"),
            ("70000/tcp", "invalid port (70000)"),
        ] {
            assert_eq!(text(&container, "web", Some(wanted)).unwrap_err().to_string(), error);
        }
        container.state.status = Status::Exited;
        assert_eq!(text(&container, "web", None).unwrap(), "", "nothing is published when it does not run");
    }
}
