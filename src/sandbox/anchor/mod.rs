//! The anchor: one process for each network in use, which keeps its network namespace G, relays
//! between it and the host, and answers names.
//!
//! Whoever needs a network [`reach`]es its anchor: connects to the socket `anchor` in the network's
//! runtime directory, or, under the network's lock, makes that socket and a process to serve it. Each
//! supervisor stays connected; its connection is its membership. When the last one is closed, the
//! anchor leaves, and G goes with it. When the anchor dies, the supervisors' descriptors keep G, and
//! one of them starts another.

mod layout;
mod names;
mod protocol;
mod server;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};

pub use self::layout::{bridge, mtu};
pub use self::protocol::{Answer, Member, Request, Service};
use super::channel::Channel;
use crate::spec::config::ContainerId;
use crate::spec::network::Network;
use crate::store::Store;
use crate::store::lock::FileLock;

/// The socket's name in the network's runtime directory.
const SOCKET: &str = "anchor";
/// The lock's name there: held while an anchor is looked for, made, or leaves.
const LOCK: &str = "lock";
/// How many may wait to be accepted.
const BACKLOG: i32 = 256;

/// A connection to an anchor, and what is needed to start that anchor if there was none.
#[derive(Debug)]
pub struct Reached {
    pub connection: Channel,
    pub birth: Option<Birth>,
}

/// An anchor that is to be started: its socket is there already, so nobody else makes one.
#[derive(Debug)]
pub struct Birth {
    store: Store,
    network: Network,
    listener: OwnedFd,
}

impl Birth {
    /// Becomes the anchor: in U, in the host's network namespace, in a process made for it that has
    /// one thread. `namespace` is G, if it lives already.
    pub fn run(self, namespace: Option<OwnedFd>) -> ! {
        server::run(&self.store, &self.network, self.listener, namespace)
    }
}

/// Connects to the anchor of `network`. Where there is none, one is to be started by the caller, who
/// is connected to it already.
pub fn reach(store: &Store, network: &Network) -> Result<Reached> {
    let directory = store.networks().runtime_directory(network)?;
    let attempt = || -> io::Result<Reached> {
        let _lock = FileLock::exclusive(&directory.join(LOCK))?;
        if let Some(connection) = knock(&directory)? {
            return Ok(Reached { connection, birth: None });
        }
        let listener = open_door(&directory)?;
        let connection = knock(&directory)?.ok_or(io::ErrorKind::ConnectionRefused)?;
        let birth = Birth { store: store.clone(), network: network.clone(), listener };
        Ok(Reached { connection, birth: Some(birth) })
    };
    attempt().with_context(|| format!("reach the anchor of network {}", network.name))
}

/// Removes what an anchor that was killed left of a network that nobody is on; all of a container's own
/// network. False while an anchor is there, who does that itself, or somebody else is at it.
pub fn sweep(store: &Store, network: &Network) -> Result<bool> {
    let directory = store.networks().runtime_directory(network)?;
    let Some(_lock) = FileLock::try_exclusive(&directory.join(LOCK))? else { return Ok(false) };
    if knock(&directory)?.is_some() {
        return Ok(false);
    }
    if network.is_own() {
        crate::store::remove::remove_tree(&directory)?;
    }
    crate::store::fs::remove_if_present(&directory.join(SOCKET))?;
    Ok(true)
}

/// Removes what anchors that were killed left of all networks that nobody is on.
pub fn sweep_all(store: &Store) -> Result<()> {
    let (networks, _) = store.networks().list()?;
    let directory = store.runtime_path("networks")?;
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("list {}", directory.display()))?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(network) = networks.iter().find(|network| *network.id == *name) {
            if store.leases(network).list()?.is_empty() {
                sweep(store, network)?;
            }
            continue;
        }
        // A container's own network, or one whose record is gone.
        let Some(id) = name.to_str().and_then(|name| name.parse::<ContainerId>().ok()) else { continue };
        let is_empty = |path: &Path| std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        let is_running = store.containers().get(&id).is_ok_and(|container| container.is_running());
        if !is_running && is_empty(&entry.path().join("endpoints")) {
            sweep(store, &Network::own_of(&id))?;
        }
    }
    Ok(())
}

/// The address of the socket: through the directory's descriptor, whose /proc path is short enough.
fn address(directory: &Path) -> io::Result<(OwnedFd, SocketAddrUnix)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(directory, flags, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", handle.as_fd().as_raw_fd()))?;
    Ok((handle, address))
}

fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// None when nobody listens.
fn knock(directory: &Path) -> io::Result<Option<Channel>> {
    let (_handle, address) = address(directory)?;
    let socket = socket()?;
    match connect(&socket, &address) {
        Ok(()) => Ok(Some(Channel::from_descriptor(socket))),
        Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The caller holds the network's lock and has found nobody.
fn open_door(directory: &Path) -> io::Result<OwnedFd> {
    let (_handle, address) = address(directory)?;
    crate::store::fs::remove_if_present(&directory.join(SOCKET))?;
    let listener = socket()?;
    bind(&listener, &address)?;
    rustix::fs::chmod(directory.join(SOCKET), Mode::RUSR | Mode::WUSR)?;
    listen(&listener, BACKLOG)?;
    Ok(listener)
}
