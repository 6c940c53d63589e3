//! The anchor's process: one thread in G that opens sockets there, this one in the host's network
//! namespace, and one epoll loop.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::SigSet;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::thread::CapabilitySet;

use super::layout::{gateway_plan, relay_plan};
use super::names::LeaseNames;
use super::protocol::{Answer, Member, Request};
use super::{LOCK, SOCKET};
use crate::net::gateway;
use crate::net::inner::Inner;
use crate::net::relay::{self, Endpoint, InnerSockets, Publication, Relay};
use crate::net::{NetError, dns};
use crate::sandbox::caps::Sets;
use crate::sandbox::channel::{Channel, Received};
use crate::sandbox::{seccomp, supervisor};
use crate::spec::network::Network;
use crate::spec::port::Protocol;
use crate::store::Store;
use crate::store::lock::FileLock;
use crate::sys::process;

/// How long a new anchor waits for its first member before it leaves.
const FIRST_MEMBER: Duration = Duration::from_secs(10);
/// How long a killed anchor may take until the kernel has closed its sockets.
const LAST_BREATH: Duration = Duration::from_secs(5);
/// How long after a member came what was needed for it may stay in memory.
const SETTLED: Duration = Duration::from_millis(500);
/// The host's resolvers, as they are when a name is asked for.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Runs the anchor and ends its process.
pub fn run(store: &Store, network: &Network, listener: OwnedFd, namespace: Option<OwnedFd>) -> ! {
    let kept: Vec<i32> = [Some(&listener), namespace.as_ref()].into_iter().flatten().map(AsRawFd::as_raw_fd).collect();
    // Locks and sockets of whoever made us must not live on in us.
    let _ = process::close_all_but(&kept);
    let code = match serve(store, network, listener, namespace) {
        Ok(()) => 0,
        Err(_) => 1,
    };
    process::exit_now(code)
}

fn serve(store: &Store, network: &Network, listener: OwnedFd, namespace: Option<OwnedFd>) -> anyhow::Result<()> {
    supervisor::leave_the_invocation()?;
    let _ = process::set_title(&format!("rbox anchor {}", network.name));
    SigSet::empty().thread_set_mask()?;
    rustix::thread::set_no_new_privs(true)?;
    rustix::io::ioctl_fionbio(&listener, true)?;
    let directory = store.networks().runtime_directory(network)?;
    match Anchor::new(store, network, namespace) {
        Ok(anchor) => anchor.run(&listener, &directory),
        Err(error) => refuse(&listener, &directory, &error),
    }
}

/// Tells everybody who waits why there is no network, and leaves.
fn refuse(listener: &OwnedFd, directory: &Path, error: &anyhow::Error) -> anyhow::Result<()> {
    let missing = error
        .chain()
        .find_map(|cause| NetError::missing(cause.downcast_ref::<io::Error>()?))
        .map(|feature| feature.to_string());
    let answer = Answer::Failed { text: format!("{error:#}"), missing };
    let _lock = FileLock::exclusive(&directory.join(LOCK))?;
    let _ = std::fs::remove_file(directory.join(SOCKET));
    while let Some(connection) = accept(listener)? {
        let _ = connection.send(&answer, &[]);
        listen_out(&connection);
    }
    Ok(())
}

/// Takes all that the other side says until it closes: what is left unread would take the answer from it.
fn listen_out(connection: &Channel) {
    let deadline = Instant::now() + FIRST_MEMBER;
    loop {
        let left = rustix::event::Timespec::try_from(deadline.saturating_duration_since(Instant::now()));
        let mut waiting = [rustix::event::PollFd::new(connection, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut waiting, left.as_ref().ok()) {
            Ok(1..) | Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return,
        }
        if !matches!(connection.receive::<Request>(), Ok(Some(_))) {
            return;
        }
    }
}

fn accept(listener: &OwnedFd) -> io::Result<Option<Channel>> {
    loop {
        return match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => {
                // The directory is closed to others already.
                let peer = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials)?;
                if peer.uid() != rustix::process::geteuid().as_raw() {
                    continue;
                }
                Ok(Some(Channel::from_descriptor(socket)))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// A connection, and who joined by it.
struct Connection {
    key: u64,
    channel: Channel,
    member: Option<Member>,
}

struct Anchor {
    store: Store,
    network: Network,
    relay: Relay,
    dns: Option<dns::Server>,
    names: LeaseNames,
    namespace: OwnedFd,
    connections: Vec<Connection>,
    next_key: u64,
}

/// What the loop waits for; connections have their keys from [`CONNECTIONS`] on.
const LISTENER: u64 = 0;
const RELAY: u64 = 1;
const DNS: u64 = 2;
const NAMES: u64 = 3;
const CONNECTIONS: u64 = 16;

impl Anchor {
    fn new(store: &Store, network: &Network, namespace: Option<OwnedFd>) -> anyhow::Result<Self> {
        let (gateway, plan) = (gateway_plan(network), relay_plan(network));
        let is_new = namespace.is_none();
        let (inner_plan, with_dns) = (plan.clone(), !network.disable_dns);
        let setup = move || -> io::Result<(InnerSockets, Option<dns::Listeners>)> {
            if is_new {
                gateway::configure(&gateway)?;
            }
            let sockets = patiently(|| relay::open_inner(&inner_plan))?;
            let listeners = with_dns.then(|| patiently(|| dns::listeners(&inner_plan.gateways))).transpose()?;
            confine(CapabilitySet::NET_RAW | CapabilitySet::NET_BIND_SERVICE)?;
            Ok((sockets, listeners))
        };
        let (inner, (sockets, listeners)) = Inner::start(namespace, setup).context("set up the network")?;
        let namespace = inner.namespace().try_clone_to_owned()?;
        let relay = Relay::new(plan, sockets, inner).context("start the relay")?;
        let outward = !network.internal;
        let dns = listeners.map(|listeners| dns::Server::new(listeners, PathBuf::from(RESOLV_CONF), outward));
        let names = LeaseNames::new(store, network)?;
        confine(CapabilitySet::empty()).context("give up capabilities")?;
        let (store, network) = (store.clone(), network.clone());
        let dns = dns.transpose().context("start the name server")?;
        Ok(Self { store, network, relay, dns, names, namespace, connections: Vec::new(), next_key: CONNECTIONS })
    }

    fn run(mut self, listener: &OwnedFd, directory: &Path) -> anyhow::Result<()> {
        let watched = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let watch = |source: &dyn AsFd, token| {
            epoll::add(&watched, source.as_fd(), epoll::EventData::new_u64(token), epoll::EventFlags::IN)
        };
        watch(listener, LISTENER)?;
        watch(&self.relay, RELAY)?;
        watch(&self.names, NAMES)?;
        if let Some(dns) = &self.dns {
            watch(dns, DNS)?;
        }
        let mut tidy_at = Some(Instant::now() + SETTLED);
        let mut alone_until = Some(Instant::now() + FIRST_MEMBER);
        let mut events = Vec::with_capacity(64);
        loop {
            self.wait(&watched, &mut events, [alone_until.filter(|_| self.connections.is_empty()), tidy_at])?;
            if tidy_at.take_if(|at| *at <= Instant::now()).is_some() {
                process::release_free_memory();
                process::release_code();
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => {
                        self.greet(listener, &watched)?;
                        tidy_at = Some(Instant::now() + SETTLED);
                    }
                    RELAY => self.relay.dispatch()?,
                    NAMES => self.names.refresh(),
                    DNS => {
                        if let Some(dns) = &mut self.dns {
                            dns.dispatch(&mut self.names)?;
                        }
                    }
                    key => self.hear(key),
                }
            }
            self.expire()?;
            if !self.connections.is_empty() {
                alone_until = Some(Instant::now());
            } else if alone_until.is_some_and(|until| until <= Instant::now())
                && leave(listener, directory, self.network.is_own())?
            {
                return Ok(());
            }
        }
    }

    /// Waits for the next event or deadline.
    fn wait(
        &self,
        watched: &OwnedFd,
        events: &mut Vec<epoll::Event>,
        deadlines: [Option<Instant>; 2],
    ) -> anyhow::Result<()> {
        let dns = self.dns.as_ref().and_then(dns::Server::deadline);
        let next = self.relay.deadline().into_iter().chain(dns).chain(deadlines.into_iter().flatten()).min();
        let left = next.map(|next| next.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| rustix::event::Timespec::try_from(left).ok());
        match epoll::wait(watched, rustix::buffer::spare_capacity(events), left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn expire(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        if self.relay.deadline().is_some_and(|deadline| deadline <= now) {
            // One in the past is also its way to say that it has work left.
            self.relay.dispatch()?;
            self.relay.expire(now);
        }
        if let Some(dns) = self.dns.as_mut().filter(|dns| dns.deadline().is_some_and(|deadline| deadline <= now)) {
            dns.expire(now);
        }
        Ok(())
    }

    fn greet(&mut self, listener: &OwnedFd, watched: &OwnedFd) -> anyhow::Result<()> {
        while let Some(channel) = accept(listener)? {
            let key = self.next_key;
            self.next_key += 1;
            epoll::add(watched, &channel, epoll::EventData::new_u64(key), epoll::EventFlags::IN)?;
            self.connections.push(Connection { key, channel, member: None });
        }
        Ok(())
    }

    /// Takes what a connection has to say; one that is closed, or talks nonsense, is a member no more.
    fn hear(&mut self, key: u64) {
        let Some(index) = self.connections.iter().position(|connection| connection.key == key) else { return };
        match self.connections[index].channel.receive::<Request>() {
            Ok(Some(Received { message, descriptors })) => self.obey(index, message, descriptors),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => self.part(index),
        }
    }

    fn obey(&mut self, index: usize, request: Request, descriptors: Vec<OwnedFd>) {
        let connection = &mut self.connections[index];
        match request {
            Request::Join(member) => {
                let (addresses, host_loopback) = (member.addresses.clone(), member.host_loopback);
                self.relay.add(Endpoint { key: connection.key, addresses, host_loopback });
                connection.member = Some(member);
                // One that is gone already is noticed when its connection is.
                let _ = connection.channel.send(&Answer::Welcome, &[self.namespace.as_fd()]);
            }
            Request::Publish(services) => {
                for (service, socket) in services.into_iter().zip(descriptors) {
                    let protocol = match service.protocol {
                        Protocol::Tcp => relay::Protocol::Tcp,
                        Protocol::Udp => relay::Protocol::Udp,
                        Protocol::Sctp => continue,
                    };
                    let publication = Publication { protocol, socket, container_port: service.port };
                    if self.relay.publish(connection.key, publication).is_err() {
                        // Its supervisor hears of it, and tries again.
                        return self.part(index);
                    }
                }
            }
        }
    }

    /// The supervisor is gone, or its container left the network.
    fn part(&mut self, index: usize) {
        let connection = self.connections.swap_remove(index);
        self.relay.remove(connection.key);
        if let Some(member) = connection.member {
            // What a killed supervisor could not take back.
            let _ = self.store.leases(&self.network).release_endpoint(&member.container, &member.endpoint_id);
        }
    }
}

/// Tries again while an anchor that was killed a moment ago still has its sockets.
fn patiently<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + LAST_BREATH;
    loop {
        match open() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            opened => return opened,
        }
    }
}

/// Whether the anchor may go: nobody is about to come, and nobody will find its socket.
fn leave(listener: &OwnedFd, directory: &Path, is_own: bool) -> anyhow::Result<bool> {
    let Some(_lock) = FileLock::try_exclusive(&directory.join(LOCK))? else {
        // Whoever holds it comes in, or lets go.
        std::thread::sleep(Duration::from_millis(1));
        return Ok(false);
    };
    let mut waiting = [rustix::event::PollFd::new(listener, rustix::event::PollFlags::IN)];
    if rustix::event::poll(&mut waiting, Some(&rustix::event::Timespec::default()))? > 0 {
        return Ok(false);
    }
    if is_own {
        // Nobody will come back to a network that was one container's own.
        crate::store::remove::remove_tree(directory)?;
    } else {
        crate::store::fs::remove_if_present(&directory.join(SOCKET))?;
    }
    Ok(true)
}

/// Keeps `capabilities` over U for this thread alone, and only the system calls of the relay.
fn confine(capabilities: CapabilitySet) -> io::Result<()> {
    let none = CapabilitySet::empty();
    crate::sandbox::caps::drop_bounding(none)?;
    Sets { bounding: none, effective: capabilities, permitted: capabilities, inheritable: none, ambient: none }
        .apply()?;
    seccomp::relay_filter().load()
}
