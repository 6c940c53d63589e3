//! The relay: joins the flows of a network's containers to ordinary sockets of the host.
//!
//! It runs in the host's network namespace; its inner sockets were opened in the network's own one
//! (see [`super::inner`]). It never blocks and has no threads: the owner waits on its descriptor
//! and calls [`Relay::dispatch`]. Since each flow opens a fresh socket of the host, the host's
//! routes are followed as they are at that moment.

mod datagrams;
mod echoes;
mod inbound;
mod outbound;
mod packet;
mod pipes;
mod policy;
mod slab;
mod sockets;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, getsockname, socket_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Cidr;
use super::inner::Inner;
use crate::sys::net_datagrams::Datagrams;
use crate::sys::net_relay::ignore_broken_pipes;
use packet::{Reason, unreachable};
use pipes::Pipes;
use policy::Verdict;
use slab::{Class, Face, Slab, Token};
pub use sockets::{InnerSockets, open_inner};
use stream::{SCRATCH, Tools};

/// Descriptors that are not for flows: the relay's own, pipes, pools and those of its owner.
const RESERVED: usize = 512;
/// Events taken, and turns given, in one round.
const EVENTS: usize = 256;
/// Rounds in one dispatch.
const ROUNDS: usize = 8;
/// How often idle flows are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// How long what failed for want of descriptors or memory waits before it is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// What a relay must know of its network.
#[derive(Clone, Debug)]
pub struct RelayPlan {
    /// The bridge in the network's namespace.
    pub bridge: String,
    /// The bridge's addresses.
    pub gateways: Vec<IpAddr>,
    /// The network's subnets.
    pub subnets: Vec<Cidr>,
    /// The port (TCP and UDP) to which the namespace's rules hand flows.
    pub port: u16,
    /// Nothing goes out.
    pub internal: bool,
}

/// A container on the network.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Chosen by the caller, unique.
    pub key: u64,
    /// Its addresses on this network.
    pub addresses: Vec<IpAddr>,
    /// Whether the gateway address leads to the host's loopback.
    pub host_loopback: bool,
}

/// Transport protocol of a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP; the socket listens.
    Tcp,
    /// UDP; the socket is bound.
    Udp,
}

/// A published port: a socket of the host, ready to be used, and where it leads.
#[derive(Debug)]
pub struct Publication {
    /// What the socket speaks.
    pub protocol: Protocol,
    /// The bound socket.
    pub socket: OwnedFd,
    /// The port in the container.
    pub container_port: u16,
}

/// Both ends of a flow as the container sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

struct Record {
    endpoint: Endpoint,
    /// TCP connections it has.
    streams: usize,
    /// UDP flows it has.
    flows: usize,
}

/// How many flows there may be: bounded by the process's descriptors, two for each flow.
#[derive(Clone, Copy)]
struct Limits {
    streams: usize,
    flows: usize,
    pings: usize,
}

/// The relay of one network.
pub struct Relay {
    plan: RelayPlan,
    epoll: OwnedFd,
    inner: Inner,
    sockets: InnerSockets,
    limits: Limits,
    records: HashMap<u64, Record>,
    addresses: HashMap<IpAddr, u64>,
    streams: Slab<outbound::Stream>,
    /// Connection requests that wait for their outer connection, or to be accepted.
    opening: HashMap<Tuple, Token>,
    flows: Slab<datagrams::Flow>,
    flow_index: HashMap<datagrams::Index, Token>,
    pings: Slab<echoes::Ping>,
    ping_index: HashMap<echoes::Index, Token>,
    publications: Slab<inbound::Published>,
    /// What has work left, in turn.
    ready: VecDeque<Token>,
    fixed_queued: [bool; sockets::PLACES],
    /// Something was started that is probably ready by now.
    eager: bool,
    /// What waits for descriptors or memory.
    stalled: Vec<Token>,
    resume: Option<Instant>,
    sweep: Option<Instant>,
    started: Instant,
    tools: Tools,
    datagrams: Box<Datagrams>,
    events: Vec<Event>,
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Relay {
    /// Makes the relay of a network. Raises the process's soft limit on open files to the hard one.
    ///
    /// # Errors
    /// When the kernel refuses an epoll instance.
    pub fn new(plan: RelayPlan, sockets: InnerSockets, inner: Inner) -> io::Result<Self> {
        ignore_broken_pipes();
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (place, socket) in sockets.sockets.iter().enumerate() {
            if let Some(socket) = socket {
                let data = EventData::new_u64(Token::fixed(place as u32).word(Face::Inner));
                epoll::add(&epoll, socket, data, EventFlags::IN | EventFlags::ET)?;
            }
        }
        Ok(Self {
            plan,
            epoll,
            inner,
            sockets,
            limits: raise_limits(),
            records: HashMap::new(),
            addresses: HashMap::new(),
            streams: Slab::new(Class::Tcp),
            opening: HashMap::new(),
            flows: Slab::new(Class::Udp),
            flow_index: HashMap::new(),
            pings: Slab::new(Class::Ping),
            ping_index: HashMap::new(),
            publications: Slab::new(Class::Publication),
            ready: VecDeque::new(),
            fixed_queued: [false; sockets::PLACES],
            eager: false,
            stalled: Vec::new(),
            resume: None,
            sweep: None,
            started: Instant::now(),
            tools: Tools { pipes: Pipes::default(), scratch: vec![0; SCRATCH] },
            datagrams: Box::default(),
            events: Vec::with_capacity(EVENTS),
        })
    }

    /// Adds a container, or replaces what is known of it.
    pub fn add(&mut self, endpoint: Endpoint) {
        self.addresses.retain(|_, key| *key != endpoint.key);
        for address in &endpoint.addresses {
            self.addresses.insert(*address, endpoint.key);
        }
        let record = self.records.remove(&endpoint.key);
        let (streams, flows) = record.map_or((0, 0), |record| (record.streams, record.flows));
        self.records.insert(endpoint.key, Record { endpoint, streams, flows });
    }

    /// Removes a container; its flows and published sockets close.
    pub fn remove(&mut self, key: u64) {
        let streams: Vec<Token> =
            self.streams.iter().filter(|(_, stream)| stream.key == key).map(|(token, _)| token).collect();
        for token in streams {
            self.reset_stream(token);
        }
        let flows: Vec<Token> = self.flows.iter().filter(|(_, flow)| flow.key == key).map(|(token, _)| token).collect();
        for token in flows {
            self.close_flow(token);
        }
        let pings: Vec<Token> = self.pings.iter().filter(|(_, ping)| ping.key == key).map(|(token, _)| token).collect();
        for token in pings {
            self.close_ping(token);
        }
        let published: Vec<Token> =
            self.publications.iter().filter(|(_, published)| published.key == key).map(|(token, _)| token).collect();
        for token in published {
            self.unpublish(token);
        }
        self.records.remove(&key);
        self.addresses.retain(|_, owner| *owner != key);
    }

    /// Does whatever is ready, in bounded work: what is left makes [`Relay::deadline`] due at once.
    ///
    /// # Errors
    /// When epoll itself fails; trouble with flows and sockets ends only those.
    pub fn dispatch(&mut self) -> io::Result<()> {
        // What is done for a flow often makes it ready again at once (a connection over loopback):
        // looking again here is cheaper than by way of the owner.
        for _ in 0..ROUNDS {
            self.collect()?;
            for _ in 0..self.ready.len().min(EVENTS) {
                let Some(token) = self.ready.pop_front() else { break };
                self.turn(token);
            }
            if self.ready.is_empty() && !std::mem::take(&mut self.eager) {
                break;
            }
        }
        Ok(())
    }

    /// Asks epoll what is ready and queues it.
    fn collect(&mut self) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let outcome = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&now));
        for event in &events {
            if let Some((token, face)) = Token::from_word(event.data.u64()) {
                self.note(token, face, event.flags);
            }
        }
        self.events = events;
        match outcome {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// When [`Relay::expire`] (and, if it is past, [`Relay::dispatch`]) wants to be called even
    /// though nothing is ready.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(self.started);
        }
        [self.resume, self.sweep].into_iter().flatten().min()
    }

    /// Does what the time asks for: closes idle flows, tries again what lacked descriptors.
    pub fn expire(&mut self, now: Instant) {
        if self.resume.is_some_and(|resume| resume <= now) {
            self.resume = None;
            for token in std::mem::take(&mut self.stalled) {
                self.enqueue(token);
            }
        }
        if self.sweep.is_some_and(|sweep| sweep <= now) {
            self.sweep_flows();
            self.sweep_pings();
            let idle = self.flows.len() == 0 && self.pings.len() == 0;
            self.sweep = if idle { None } else { Some(now + SWEEP) };
        }
    }

    /// Records what epoll reported and queues whom it concerns.
    fn note(&mut self, token: Token, face: Face, events: EventFlags) {
        match token.class {
            Class::Tcp => {
                let Some(stream) = self.streams.get_mut(token) else { return };
                stream.side(face).note(events);
            }
            Class::Udp => {
                let Some(flow) = self.flows.get_mut(token) else { return };
                flow.note(face, events.contains(EventFlags::ERR));
            }
            Class::Fixed | Class::Ping | Class::Publication => {}
        }
        self.enqueue(token);
    }

    /// Puts something with work to do at the end of the queue, once.
    fn enqueue(&mut self, token: Token) {
        let mut fixed = false;
        let queued = match token.class {
            Class::Fixed => self.fixed_queued.get_mut(token.place as usize).unwrap_or(&mut fixed),
            Class::Tcp => self.streams.get_mut(token).map_or(&mut fixed, |stream| &mut stream.queued),
            Class::Udp => self.flows.get_mut(token).map_or(&mut fixed, |flow| &mut flow.queued),
            Class::Ping => self.pings.get_mut(token).map_or(&mut fixed, |ping| &mut ping.queued),
            Class::Publication => {
                self.publications.get_mut(token).map_or(&mut fixed, |published| &mut published.queued)
            }
        };
        if !std::mem::replace(queued, true) {
            self.ready.push_back(token);
        }
    }

    fn turn(&mut self, token: Token) {
        match token.class {
            Class::Fixed => {
                if let Some(queued) = self.fixed_queued.get_mut(token.place as usize) {
                    *queued = false;
                }
                match token.place & !1 {
                    sockets::REQUESTS => self.take_requests(token),
                    sockets::LISTENER => self.accept_outbound(token),
                    sockets::DATAGRAMS => self.take_datagrams(token),
                    sockets::ECHOES => self.take_echoes(token),
                    _ => {}
                }
            }
            Class::Tcp => self.turn_stream(token),
            Class::Udp => self.turn_flow(token),
            Class::Ping => self.turn_ping(token),
            Class::Publication => self.turn_published(token),
        }
    }

    /// Has something wait until descriptors or memory may be there again.
    fn stall(&mut self, token: Token) {
        if !self.stalled.contains(&token) {
            self.stalled.push(token);
        }
        self.resume = Some(Instant::now() + RETRY);
    }

    /// Watches a flow's socket.
    fn watch(&self, socket: &OwnedFd, token: Token, face: Face, events: EventFlags) -> io::Result<()> {
        let data = EventData::new_u64(token.word(face));
        Ok(epoll::add(&self.epoll, socket, data, events | EventFlags::ET)?)
    }

    /// The policy's word on a destination for one container.
    fn verdict(&self, key: u64, destination: SocketAddr) -> Verdict {
        let loopback = self.records.get(&key).is_some_and(|record| record.endpoint.host_loopback);
        policy::decide(&self.plan, destination, loopback, host_address)
    }

    /// The gateway's address of a family.
    fn gateway(&self, v6: bool) -> Option<IpAddr> {
        self.plan.gateways.iter().find(|gateway| gateway.is_ipv6() == v6).copied()
    }

    /// Tells a container that its packet went nowhere. A closed port is the destination's own
    /// answer, everything else is the gateway's.
    fn send_unreachable(&self, original: &[u8], source: IpAddr, destination: IpAddr, reason: Reason) {
        let from = match reason {
            Reason::Port => destination,
            _ => self.gateway(source.is_ipv6()).unwrap_or(destination),
        };
        if let Some(packet) = unreachable(original, from, source, reason) {
            self.sockets.send(&packet, source);
        }
    }

    /// Seconds since the start, for idle times.
    fn clock(&self) -> u32 {
        self.started.elapsed().as_secs() as u32
    }

    fn want_sweep(&mut self) {
        if self.sweep.is_none() {
            self.sweep = Some(Instant::now() + SWEEP);
        }
    }
}

/// What a failed connection or datagram means on the wire; None where the kernel stays silent.
fn reason_for(error: &io::Error) -> Option<Reason> {
    use nix::libc;
    match error.raw_os_error()? {
        libc::ECONNREFUSED | libc::ECONNRESET => Some(Reason::Port),
        libc::ENETUNREACH | libc::ENETDOWN | libc::EINVAL | libc::EAFNOSUPPORT => Some(Reason::Network),
        libc::EHOSTUNREACH | libc::EHOSTDOWN | libc::EADDRNOTAVAIL => Some(Reason::Host),
        libc::EACCES | libc::EPERM => Some(Reason::Prohibited),
        _ => None,
    }
}

/// Whether an error is about this process's or the kernel's means, not about the peer.
fn is_shortage(error: &io::Error) -> bool {
    use nix::libc;
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Lifts the soft limit on open files and divides what there is.
fn raise_limits() -> Limits {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let files = getrlimit(Resource::Nofile).current.map_or(1 << 20, |files| files as usize).min(1 << 20);
    let pairs = files.saturating_sub(RESERVED) / 2;
    let flows = pairs / 4;
    let pings = 64.min(pairs / 16);
    Limits { streams: pairs - flows - pings, flows, pings }
}

/// The host's own address of a family from which it would reach the world, at this moment.
fn host_address(v6: bool) -> Option<IpAddr> {
    // A socket of datagrams sends nothing when it connects; it only asks the routing table. These
    // are addresses of a root name server.
    let (family, world) = if v6 {
        (AddressFamily::INET6, IpAddr::from(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30)))
    } else {
        (AddressFamily::INET, IpAddr::from(Ipv4Addr::new(198, 41, 0, 4)))
    };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    connect(&socket, &SocketAddr::new(world, 53)).ok()?;
    Some(SocketAddr::try_from(getsockname(&socket).ok()?).ok()?.ip())
}

/// An address as itself, not as IPv4 written in IPv6.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
