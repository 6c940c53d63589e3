//! The names of containers, from the leases of all networks: what a container may see are those of
//! the networks that it is on itself.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::net::dns;
use crate::spec::network::{Lease, Network};
use crate::store::Store;

/// Names that mean the host, as docker and podman have them.
const HOST_NAMES: [&str; 3] = ["host.docker.internal", "host.containers.internal", "gateway.docker.internal"];

/// The leases, read again when one of them changes.
pub struct LeaseNames {
    store: Store,
    network: Network,
    changes: Inotify,
    networks: PathBuf,
    leases: Vec<Lease>,
    stale: bool,
}

impl LeaseNames {
    /// The names as containers of `network` see them.
    pub fn new(store: &Store, network: &Network) -> anyhow::Result<Self> {
        let changes = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let networks = store.runtime_path("networks")?;
        let (store, network) = (store.clone(), network.clone());
        Ok(Self { store, network, changes, networks, leases: Vec::new(), stale: true })
    }

    /// Takes note that something changed.
    pub fn refresh(&mut self) {
        // One look tells; what changes while we read is told again.
        while self.changes.read_events().is_ok() {}
        self.stale = true;
    }

    /// Watches before it reads: a change in between is seen twice rather than not at all.
    fn leases(&mut self) -> &[Lease] {
        if self.stale {
            self.watch();
            self.stale = false;
            self.leases = self.store.networks().all_leases().unwrap_or_default();
        }
        &self.leases
    }

    fn watch(&self) {
        let watch = |path: &Path| {
            let events = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
            // A network that went away meanwhile has no names.
            let _ = self.changes.add_watch(path, events | AddWatchFlags::IN_ONLYDIR);
        };
        watch(&self.networks);
        for entry in std::fs::read_dir(&self.networks).into_iter().flatten().flatten() {
            watch(&entry.path());
            watch(&entry.path().join("endpoints"));
        }
    }

    /// The leases that `asker` may know of, those of this network first.
    fn visible(&mut self, asker: IpAddr) -> Vec<Lease> {
        let own_network = self.network.id.clone();
        let leases = self.leases();
        let is_asker = |lease: &&Lease| lease.network_id == own_network && lease.addresses().contains(&asker);
        let Some(asking) = leases.iter().find(is_asker).map(|lease| &lease.container) else { return Vec::new() };
        let networks: Vec<&str> =
            leases.iter().filter(|lease| lease.container == *asking).map(|lease| lease.network_id.as_str()).collect();
        let mut visible: Vec<Lease> =
            leases.iter().filter(|lease| networks.contains(&lease.network_id.as_str())).cloned().collect();
        visible.sort_by_key(|lease| lease.network_id != own_network);
        visible
    }
}

impl AsFd for LeaseNames {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}

/// Whether `name` means the container: as such, or with the network's name behind it.
fn means(lease: &Lease, name: &str) -> bool {
    let network = lease.network.to_ascii_lowercase();
    let bare = name.strip_suffix(&network).and_then(|rest| rest.strip_suffix('.'));
    [Some(name), bare].into_iter().flatten().any(|name| {
        let is = |own: &str| own.eq_ignore_ascii_case(name);
        is(&lease.name) || is(lease.container.short()) || lease.aliases.iter().any(|alias| is(alias))
    })
}

impl dns::Names for LeaseNames {
    fn forward(&mut self, asker: IpAddr, name: &str) -> Option<Vec<IpAddr>> {
        if HOST_NAMES.contains(&name) {
            // One family: a program that tries the first address only would miss what the host has on
            // IPv4 alone, as most of it is.
            let gateways = || self.network.subnets.iter().map(|subnet| subnet.gateway);
            let v4: Vec<IpAddr> = gateways().filter(IpAddr::is_ipv4).collect();
            return Some(if v4.is_empty() { gateways().collect() } else { v4 });
        }
        let mut addresses = Vec::new();
        let mut network = None;
        for lease in self.visible(asker).iter().filter(|lease| means(lease, name)) {
            // The first network that knows the name has it.
            if network.get_or_insert_with(|| lease.network_id.clone()) == &lease.network_id {
                addresses.extend(lease.addresses());
            }
        }
        (!addresses.is_empty()).then_some(addresses)
    }

    fn reverse(&mut self, asker: IpAddr, address: IpAddr) -> Option<String> {
        let visible = self.visible(asker);
        let lease = visible.iter().find(|lease| lease.addresses().contains(&address))?;
        Some(format!("{}.{}", lease.name, lease.network))
    }

    fn is_own_subnet(&mut self, address: IpAddr) -> bool {
        self.network.subnets.iter().any(|subnet| subnet.subnet.contains(&address))
    }

    fn upstreams(&mut self, asker: IpAddr) -> Option<Vec<IpAddr>> {
        let own_network = self.network.id.clone();
        let of_network = self.network.dns_servers.clone();
        let is_asker = |lease: &&Lease| lease.network_id == own_network && lease.addresses().contains(&asker);
        let own = self.leases().iter().find(is_asker).map(|lease| lease.dns_servers.clone());
        own.into_iter().chain([of_network]).find(|servers| !servers.is_empty())
    }
}
