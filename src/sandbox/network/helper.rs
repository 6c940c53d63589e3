//! Networking by pasta or slirp4netns: because it was asked for, or because the kernel lacks what a
//! relay needs.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rustix::process::Pid;

use super::Membership;
use super::ports::Bound;
use crate::net::helper::{HelperError, HelperKind, HelperPlan, HelperPort, HelperProtocol, find_helper};
use crate::sandbox::setup::{Doing, SetupError};
use crate::spec::network::HelperProgram;
use crate::spec::port::Protocol;
use crate::store::Store;

/// How long a helper may take until the container's network works.
const PATIENCE: Duration = Duration::from_secs(10);

/// A helper to be started for a container.
#[derive(Debug)]
pub struct Helper {
    kind: HelperKind,
    options: Vec<String>,
    /// They hold the ports until the helper takes them.
    ports: Vec<Bound>,
    mtu: Option<u32>,
}

impl Helper {
    /// A helper that was asked for. Whether it is installed shows at once.
    pub fn new(program: HelperProgram, options: &[String], ports: Vec<Bound>) -> Result<Self, HelperError> {
        let kind = match program {
            HelperProgram::Pasta => HelperKind::Pasta,
            HelperProgram::Slirp4netns => HelperKind::Slirp4netns,
        };
        find_helper(kind.program()).ok_or(HelperError::NotInstalled(kind))?;
        Ok(Self { kind, options: options.to_vec(), ports, mtu: None })
    }

    /// The one to use in place of an anchor for a container on these networks, if that can be.
    pub fn instead(memberships: &[Membership], ports: Vec<Bound>) -> Option<Self> {
        let [Membership { network, .. }] = memberships else { return None };
        if network.internal {
            return None;
        }
        let kinds = [HelperKind::Pasta, HelperKind::Slirp4netns];
        let kind = kinds.into_iter().find(|kind| find_helper(kind.program()).is_some())?;
        Some(Self { kind, options: Vec::new(), ports, mtu: network.mtu })
    }

    /// Where the container's names are resolved, if not by the host's servers.
    pub fn name_server(&self) -> Result<Option<IpAddr>, HelperError> {
        Ok(self.plan(Path::new("/"), Path::new("/")).inside()?.dns)
    }

    /// Starts it for the container of `init`, as a child of this process, and waits until it is ready.
    pub fn start(mut self, init: Pid, directory: &Path, store: &Store) -> Result<(), SetupError> {
        let namespace = format!("/proc/{}/ns/net", init.as_raw_nonzero());
        let mut plan = self.plan(Path::new(&namespace), directory);
        if self.kind == HelperKind::Slirp4netns {
            // A socket's path must be short.
            plan.directory = store
                .runtime_path(format!("slirp-{}", init.as_raw_nonzero()))
                .map_err(|error| SetupError::new(format!("{error:#}")))?;
            crate::store::fs::create_private_dir(&plan.directory).doing("make a directory for slirp4netns")?;
        }
        self.ports.clear();
        let started = plan.start(PATIENCE).map(drop).doing("set up the container's network");
        if self.kind == HelperKind::Slirp4netns {
            // Its ports were told.
            let _ = crate::store::remove::remove_tree(&plan.directory);
        }
        started
    }

    fn plan(&self, namespace: &Path, directory: &Path) -> HelperPlan {
        let ports = self.ports.iter().map(|bound| HelperPort {
            host_ip: (!bound.port.host_ip.is_unspecified()).then_some(bound.port.host_ip),
            host_port: bound.port.host_port,
            container_port: bound.port.container_port,
            protocol: if bound.port.protocol == Protocol::Udp { HelperProtocol::Udp } else { HelperProtocol::Tcp },
        });
        let mut ports: Vec<HelperPort> = ports.collect();
        // Every address of both families is one port to a helper.
        ports.dedup_by_key(|port| (port.host_ip, port.host_port, port.container_port, port.protocol as u8));
        HelperPlan {
            program: self.kind,
            options: self.options.clone(),
            namespace: namespace.to_owned(),
            user_namespace: None,
            ports,
            mtu: self.mtu,
            directory: directory.to_owned(),
        }
    }

    /// Closes the sockets that hold the ports.
    pub fn close_ports(&mut self) {
        self.ports.clear();
    }

    /// The ports that it publishes.
    pub fn ports(&self) -> impl Iterator<Item = &Bound> {
        self.ports.iter()
    }
}
