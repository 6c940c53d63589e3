//! UDP: a flow for each pair of addresses, ended by time.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::packet::{Reason, datagram_head};
use super::policy::{Verdict, appearance};
use super::slab::{Face, Token};
use super::{Relay, plain, reason_for};
use crate::net::inner::{Kind, tune_datagrams};
use crate::sys::net_datagrams::{BATCH, Target};

/// Batches that one flow moves in each direction in one turn.
const BATCHES: usize = 4;
/// Seconds without traffic after which a flow ends: answered ones, unanswered ones, and those to
/// name servers once answered.
const IDLE: u32 = 60;
const IDLE_UNANSWERED: u32 = 30;
const IDLE_NAMES: u32 = 10;

/// What a flow is found by: its ends, and the place of the published port it came by.
pub(crate) type Index = (SocketAddr, SocketAddr, Option<u32>);

/// The outer end of a flow.
pub(crate) enum Exit {
    /// A socket of its own, connected.
    Own(OwnedFd),
    /// A published port's socket, which serves many clients.
    Published(Token, Target),
}

/// A flow of datagrams.
pub(crate) struct Flow {
    /// The container.
    pub key: u64,
    index: Index,
    /// The container's end, and the address under which the other end appears to it.
    ends: (SocketAddr, SocketAddr),
    inner: OwnedFd,
    exit: Exit,
    /// When something last went by, in seconds of the relay's clock.
    last: u32,
    answered: bool,
    /// Whether runs of datagrams can be sent as one: inward, outward.
    offload: [bool; 2],
    /// Sides with something to read.
    readable: [bool; 2],
    pub queued: bool,
}

impl Flow {
    /// Notes what epoll reports of one side.
    pub fn note(&mut self, face: Face, _failed: bool) {
        self.readable[face as usize] = true;
    }

    /// Whether a client opened it by this published port.
    pub fn came_by(&self, publication: Token) -> bool {
        matches!(self.exit, Exit::Published(token, _) if token == publication)
    }

    fn is_idle(&self, now: u32) -> bool {
        let limit = match (&self.exit, self.answered) {
            (Exit::Published(..), _) => IDLE,
            (Exit::Own(_), false) => IDLE_UNANSWERED,
            (Exit::Own(_), true) if self.index.1.port() == 53 => IDLE_NAMES,
            (Exit::Own(_), true) => IDLE,
        };
        now.saturating_sub(self.last) >= limit
    }
}

impl Relay {
    /// Takes datagrams that belong to no flow yet.
    pub(super) fn take_datagrams(&mut self, token: Token) {
        let Some(socket) = self.sockets.get(token.place) else { return };
        let Ok(count) = self.datagrams.receive(socket.as_fd()) else { return };
        for (range, source, destination) in self.groups(count, None) {
            self.route_outward((source, destination, None), range);
        }
        if count == BATCH {
            self.enqueue(token);
        }
    }

    /// Sends part of the last batch out by its flow, which is opened if there is none.
    fn route_outward(&mut self, index: Index, range: Range<usize>) {
        let flow = self.flow_index.get(&index).copied().or_else(|| self.open_outward(index));
        if let Some(flow) = flow {
            self.send_outward(flow, range);
        }
    }

    /// Takes datagrams of a published port's clients.
    pub(super) fn take_published(&mut self, token: Token) {
        let Some(published) = self.publications.get_mut(token) else { return };
        let Ok(count) = self.datagrams.receive(published.publication.socket.as_fd()) else { return };
        for (range, client, local) in self.groups(count, None) {
            let index = (client, local, Some(token.place));
            let flow = self.flow_index.get(&index).copied().or_else(|| self.open_inward(index, token));
            if let Some(flow) = flow {
                self.send_inward(flow, range);
            }
        }
        if count == BATCH {
            self.enqueue(token);
        }
    }

    /// Runs of a batch with the same ends, all of them sent to `bound` if given. What has none is left out.
    fn groups(&self, count: usize, bound: Option<SocketAddr>) -> Vec<(Range<usize>, SocketAddr, SocketAddr)> {
        let mut groups: Vec<(Range<usize>, SocketAddr, SocketAddr)> = Vec::new();
        for index in 0..count {
            let datagram = self.datagrams.get(index);
            let (Some(peer), Some(local)) = (datagram.peer, bound.or(datagram.local)) else { continue };
            match groups.last_mut() {
                Some((range, from, to)) if range.end == index && *from == peer && *to == local => range.end += 1,
                _ => groups.push((index..index + 1, peer, local)),
            }
        }
        groups
    }

    /// Opens the flow of a container to somewhere outside.
    fn open_outward(&mut self, index: Index) -> Option<Token> {
        let (source, destination, _) = index;
        let key = self.addresses.get(&source.ip()).copied()?;
        let outcome = match self.verdict(key, destination) {
            Verdict::Connect(address) => self.outward_sockets(key, source, destination, address),
            Verdict::Unreachable => Err(io::Error::from_raw_os_error(nix::libc::ENETUNREACH)),
            Verdict::Local | Verdict::Ignore => return None,
        };
        match outcome {
            Ok((inner, outer)) => self.start_flow(key, index, (source, destination), inner, Exit::Own(outer)),
            Err(error) => {
                self.tell(source, destination, &error);
                None
            }
        }
    }

    fn outward_sockets(
        &mut self,
        key: u64,
        source: SocketAddr,
        destination: SocketAddr,
        address: SocketAddr,
    ) -> io::Result<(OwnedFd, OwnedFd)> {
        self.make_room(key);
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let outer = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        tune_datagrams(outer.as_fd())?;
        connect(&outer, &address)?;
        let inner = self.connect_inside(Kind::udp(source.is_ipv6()), destination, source)?;
        Ok((inner, outer))
    }

    /// Opens the flow of an outside client to a published port.
    fn open_inward(&mut self, index: Index, publication: Token) -> Option<Token> {
        let (client, local, _) = index;
        let published = self.publications.get_mut(publication)?;
        let (key, port) = (published.key, published.publication.container_port);
        let seen = plain(client);
        let address = self.container_address(key, seen.is_ipv6())?;
        let seen = appearance(&self.plan, seen, address.is_ipv6())?;
        self.make_room(key);
        let container = SocketAddr::new(address, port);
        let inner = self.connect_inside(Kind::udp(address.is_ipv6()), seen, container).ok()?;
        let target = Target { peer: client, local: Some(local.ip()) };
        self.start_flow(key, index, (container, seen), inner, Exit::Published(publication, target))
    }

    fn start_flow(
        &mut self,
        key: u64,
        index: Index,
        ends: (SocketAddr, SocketAddr),
        inner: OwnedFd,
        exit: Exit,
    ) -> Option<Token> {
        let last = self.clock();
        let flow = Flow {
            key,
            index,
            ends,
            inner,
            exit,
            last,
            answered: false,
            offload: [true; 2],
            readable: [false; 2],
            queued: false,
        };
        let token = self.flows.insert(flow);
        self.flow_index.insert(index, token);
        if let Some(record) = self.records.get_mut(&key) {
            record.flows += 1;
        }
        if self.watch_flow(token).is_err() {
            self.close_flow(token);
            return None;
        }
        self.want_sweep();
        Some(token)
    }

    fn watch_flow(&mut self, token: Token) -> io::Result<()> {
        let Some(flow) = self.flows.get_mut(token) else { return Ok(()) };
        let data = |face| rustix::event::epoll::EventData::new_u64(token.word(face));
        let events = EventFlags::IN | EventFlags::ET;
        rustix::event::epoll::add(&self.epoll, &flow.inner, data(Face::Inner), events)?;
        if let Exit::Own(outer) = &flow.exit {
            rustix::event::epoll::add(&self.epoll, outer, data(Face::Outer), events)?;
        }
        Ok(())
    }

    /// Sends part of the last batch out.
    fn send_outward(&mut self, token: Token, range: Range<usize>) {
        let now = self.clock();
        let Some(flow) = self.flows.get_mut(token) else { return };
        flow.last = now;
        let offload = &mut flow.offload[Face::Outer as usize];
        let outcome = match &flow.exit {
            Exit::Own(outer) => self.datagrams.send(outer.as_fd(), range, None, offload),
            Exit::Published(publication, target) => match self.publications.get_mut(*publication) {
                Some(published) => {
                    flow.answered = true;
                    self.datagrams.send(published.publication.socket.as_fd(), range, Some(target), offload)
                }
                None => Ok(()),
            },
        };
        if let (Err(error), Exit::Own(_)) = (outcome, &flow.exit) {
            let (source, destination, _) = flow.index;
            self.tell(source, destination, &error);
        }
    }

    /// Sends the last batch out, which a flow's inner socket received. Between its bind and its connect
    /// such a socket is for anybody who sends to that address: what others sent goes by their own flows.
    fn send_own_outward(&mut self, token: Token, count: usize) {
        let Some((peer, bound)) = self.flows.get_mut(token).map(|flow| flow.ends) else { return };
        if (0..count).all(|index| self.datagrams.get(index).peer == Some(peer)) {
            return self.send_outward(token, 0..count);
        }
        for (range, source, destination) in self.groups(count, Some(bound)) {
            if source == peer {
                self.send_outward(token, range);
            } else {
                self.route_outward((source, destination, None), range);
            }
        }
    }

    /// Sends part of the last batch to the container.
    fn send_inward(&mut self, token: Token, range: Range<usize>) {
        let now = self.clock();
        let Some(flow) = self.flows.get_mut(token) else { return };
        flow.last = now;
        flow.answered |= matches!(flow.exit, Exit::Own(_));
        // What the container's kernel refuses, it has refused: there is no one to tell.
        let _ = self.datagrams.send(flow.inner.as_fd(), range, None, &mut flow.offload[Face::Inner as usize]);
    }

    /// Gives a flow its turn.
    pub(super) fn turn_flow(&mut self, token: Token) {
        if let Some(flow) = self.flows.get_mut(token) {
            flow.queued = false;
        }
        let more = self.turn_face(token, Face::Inner) | self.turn_face(token, Face::Outer);
        if more {
            self.enqueue(token);
        }
    }

    /// Moves what one side has; true if there may be more.
    fn turn_face(&mut self, token: Token, face: Face) -> bool {
        for _ in 0..BATCHES {
            let Some(flow) = self.flows.get_mut(token) else { return false };
            let readable = &mut flow.readable[face as usize];
            if !*readable {
                return false;
            }
            let socket = match (face, &flow.exit) {
                (Face::Inner, _) => &flow.inner,
                (Face::Outer, Exit::Own(outer)) => outer,
                (Face::Outer, Exit::Published(..)) => return false,
            };
            match self.datagrams.receive(socket.as_fd()) {
                Ok(count) => {
                    *readable = count == BATCH;
                    match face {
                        Face::Inner => self.send_own_outward(token, count),
                        Face::Outer => self.send_inward(token, 0..count),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *readable = false,
                // The error was taken by asking: datagrams may still wait behind it.
                Err(error) if face == Face::Outer => {
                    let (source, destination, _) = flow.index;
                    self.tell(source, destination, &error);
                }
                Err(_) => {}
            }
        }
        self.flows.get_mut(token).is_some_and(|flow| flow.readable[face as usize])
    }

    /// Tells the container that its datagrams go nowhere.
    fn tell(&self, source: SocketAddr, destination: SocketAddr, error: &io::Error) {
        // By IPv4 a socket of datagrams is told of an unreachable host only where a filter said so; and
        // only that will the container's kernel tell its own socket (`icmp_err_convert`).
        let reason = match reason_for(error) {
            Some(Reason::Host) if destination.is_ipv4() => Some(Reason::Prohibited),
            reason => reason,
        };
        if let Some(reason) = reason {
            let head = datagram_head(source, destination);
            self.send_unreachable(&head, source.ip(), destination.ip(), reason);
        }
    }

    /// Makes sure that one more flow of this container fits: the longest idle ones give way, the
    /// container's own if it has half of all; of those of the same second the answered ones, which wait
    /// for nothing. Many at once, so that it costs little each time.
    fn make_room(&mut self, key: u64) {
        let own = self.records.get(&key).map_or(0, |record| record.flows);
        let crowded = own >= self.limits.flows / 2;
        if !crowded && self.flows.len() < self.limits.flows {
            return;
        }
        let mut candidates: Vec<((u32, bool), Token)> = self
            .flows
            .iter()
            .filter(|(_, flow)| !crowded || flow.key == key)
            .map(|(token, flow)| ((flow.last, !flow.answered), token))
            .collect();
        candidates.sort_unstable_by_key(|(age, _)| *age);
        candidates.truncate((self.limits.flows / 16).max(1));
        for (_, token) in candidates {
            self.close_flow(token);
        }
    }

    /// Ends a flow.
    pub(super) fn close_flow(&mut self, token: Token) {
        let Some(flow) = self.flows.remove(token) else { return };
        self.flow_index.remove(&flow.index);
        if let Some(record) = self.records.get_mut(&flow.key) {
            record.flows = record.flows.saturating_sub(1);
        }
    }

    /// Ends flows that have been idle for too long.
    pub(super) fn sweep_flows(&mut self) {
        let now = self.clock();
        let idle: Vec<Token> =
            self.flows.iter().filter(|(_, flow)| flow.is_idle(now)).map(|(token, _)| token).collect();
        for token in idle {
            self.close_flow(token);
        }
    }
}
