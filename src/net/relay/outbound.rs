//! TCP connections that containers open, and what all TCP connections share.
//!
//! The namespace's rules drop connection requests; a packet socket shows them. Only when the outer
//! connection stands is the request put back, by loopback, and taken by the transparent listener.
//! So a container learns of a refusal or a missing route what the host's kernel said.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use nix::libc;
use rustix::event::epoll::EventFlags;
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, SocketFlags, SocketType, acceptfrom_with, connect, getsockname, socket_with};

use super::packet::{Reason, Syn, parse_syn};
use super::policy::Verdict;
use super::slab::{Face, Token};
use super::stream::{Lane, Progress, Side, pump};
use super::{Relay, Tuple, is_shortage, plain, reason_for, sockets};
use crate::net::inner::tune_stream;
use crate::sys::net_datagrams::BATCH;
use crate::sys::net_relay::set_option;

/// What epoll watches of a connection.
pub(super) const STREAM_EVENTS: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP);
/// Connections accepted in one turn.
pub(super) const ACCEPTS: usize = 64;

/// How far a connection has come.
pub(crate) enum Stage {
    /// Both sides stand.
    Open,
    /// The outer side is being connected, or (true) the request has been put back.
    Outward(Box<Syn>, bool),
    /// The inner side is being connected.
    Inward,
}

/// A TCP connection.
pub(crate) struct Stream {
    /// The container.
    pub key: u64,
    pub inner: Side,
    pub outer: Side,
    pub up: Lane,
    pub down: Lane,
    pub stage: Stage,
    pub queued: bool,
}

impl Stream {
    pub fn new(key: u64, inner: Side, outer: Side, stage: Stage) -> Self {
        Self { key, inner, outer, up: Lane::default(), down: Lane::default(), stage, queued: false }
    }

    pub fn side(&mut self, face: Face) -> &mut Side {
        match face {
            Face::Inner => &mut self.inner,
            Face::Outer => &mut self.outer,
        }
    }
}

impl Relay {
    /// Takes held-back connection requests.
    pub(super) fn take_requests(&mut self, token: Token) {
        let Some(socket) = self.sockets.get(token.place) else { return };
        let Ok(count) = self.datagrams.receive(socket.as_fd()) else { return };
        for index in 0..count {
            if let Some(syn) = parse_syn(self.datagrams.get(index).data) {
                self.request(syn);
            }
        }
        if count == BATCH {
            self.enqueue(token);
        }
    }

    /// Opens the outer connection of one request.
    fn request(&mut self, mut syn: Syn) {
        let tuple = Tuple { source: syn.source, destination: syn.destination };
        if let Some(token) = self.opening.get(&tuple).copied() {
            return self.repeat(token);
        }
        let Some(key) = self.addresses.get(&syn.source.ip()).copied() else { return };
        let address = match self.verdict(key, syn.destination) {
            Verdict::Connect(address) => address,
            Verdict::Unreachable => return self.refuse(&syn, Reason::Network),
            Verdict::Local | Verdict::Ignore => return,
        };
        if !self.has_room(key) {
            return;
        }
        syn.fill_checksum();
        match connect_outside(address) {
            Ok(outer) => self.start_outward(key, tuple, syn, outer),
            // Silence has the container try again.
            Err(error) if is_shortage(&error) => {}
            Err(error) => {
                if let Some(reason) = reason_for(&error) {
                    self.refuse(&syn, reason);
                }
            }
        }
    }

    fn start_outward(&mut self, key: u64, tuple: Tuple, syn: Syn, outer: OwnedFd) {
        let stage = Stage::Outward(Box::new(syn), false);
        let Some(token) = self.start(Stream::new(key, Side::default(), Side::connecting(outer), stage), Face::Outer)
        else {
            return;
        };
        self.opening.insert(tuple, token);
        self.eager = true;
    }

    /// Enters a connection of which one side is being connected and watched.
    pub(super) fn start(&mut self, stream: Stream, face: Face) -> Option<Token> {
        let key = stream.key;
        let token = self.streams.insert(stream);
        if let Some(record) = self.records.get_mut(&key) {
            record.streams += 1;
        }
        if self.watch_stream(token, face).is_err() {
            self.close_stream(token);
            return None;
        }
        Some(token)
    }

    /// Has epoll report on one side of a connection.
    pub(super) fn watch_stream(&mut self, token: Token, face: Face) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(token) else { return Ok(()) };
        let Some(socket) = stream.side(face).socket.take() else { return Ok(()) };
        let outcome = self.watch(&socket, token, face, STREAM_EVENTS);
        if let Some(stream) = self.streams.get_mut(token) {
            stream.side(face).socket = Some(socket);
        }
        outcome
    }

    /// A request seen again: if it was put back and lost, it is put back once more.
    fn repeat(&mut self, token: Token) {
        if let Some(Stream { stage: Stage::Outward(syn, true), .. }) = self.streams.get_mut(token) {
            let _ = self.sockets.inject(syn);
        }
    }

    /// Answers a request as the destination or the gateway would.
    fn refuse(&self, syn: &Syn, reason: Reason) {
        match reason {
            Reason::Port => self.sockets.send(&syn.refusal(), syn.source.ip()),
            _ => self.send_unreachable(&syn.packet, syn.source.ip(), syn.destination.ip(), reason),
        }
    }

    /// Whether one more connection of this container fits. No container may hold more than three
    /// quarters of them; requests that nobody has answered yet make room for new ones.
    pub(super) fn has_room(&mut self, key: u64) -> bool {
        let own = self.records.get(&key).map_or(0, |record| record.streams);
        let crowded = own >= self.limits.streams / 4 * 3;
        if !crowded && self.streams.len() < self.limits.streams {
            return true;
        }
        let unanswered = self
            .streams
            .iter()
            .find(|(_, stream)| matches!(stream.stage, Stage::Outward(_, false)) && (!crowded || stream.key == key));
        match unanswered.map(|(token, _)| token) {
            Some(token) => {
                self.close_stream(token);
                true
            }
            None => false,
        }
    }

    /// Takes connections that the transparent listener has completed.
    pub(super) fn accept_outbound(&mut self, token: Token) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.sockets.get(token.place) else { return };
            match acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((socket, Some(peer))) => {
                    if let Some(tuple) = SocketAddr::try_from(peer).ok().and_then(|peer| tuple_of(&socket, peer)) {
                        self.join(socket, &tuple);
                    }
                }
                Ok((_, None)) | Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => return self.stall(token),
            }
        }
        self.enqueue(token);
    }

    /// Joins an accepted connection with its outer one; without one it is reset.
    fn join(&mut self, socket: OwnedFd, tuple: &Tuple) {
        let token = self.opening.remove(tuple);
        let Some((token, stream)) = token.and_then(|token| Some((token, self.streams.get_mut(token)?))) else {
            reset(&socket);
            return;
        };
        stream.inner = Side::open(socket);
        stream.stage = Stage::Open;
        if self.watch_stream(token, Face::Inner).is_err() {
            return self.reset_stream(token);
        }
        self.eager = true;
    }

    /// Gives a connection its turn.
    pub(super) fn turn_stream(&mut self, token: Token) {
        let Some(stream) = self.streams.get_mut(token) else { return };
        stream.queued = false;
        match stream.stage {
            Stage::Open => self.relay_stream(token),
            Stage::Outward(_, false) => self.finish_outward(token),
            Stage::Outward(_, true) => {}
            Stage::Inward => self.finish_inward(token),
        }
    }

    fn relay_stream(&mut self, token: Token) {
        let Some(stream) = self.streams.get_mut(token) else { return };
        let up = pump(&mut stream.inner, &mut stream.outer, &mut stream.up, &mut self.tools);
        let down = pump(&mut stream.outer, &mut stream.inner, &mut stream.down, &mut self.tools);
        // Reset after its last byte was read: no read is left to find out.
        let lost = (stream.inner.failed && stream.up.has_ended() && !stream.down.is_done())
            || (stream.outer.failed && stream.down.has_ended() && !stream.up.is_done());
        if up == Progress::Broken || down == Progress::Broken || lost {
            self.reset_stream(token);
        } else if stream.up.is_done() && stream.down.is_done() {
            self.close_stream(token);
        } else if up == Progress::More || down == Progress::More {
            self.enqueue(token);
        }
    }

    /// The outer connection has been made, or not.
    fn finish_outward(&mut self, token: Token) {
        let Some(stream) = self.streams.get_mut(token) else { return };
        let Stage::Outward(syn, injected) = &mut stream.stage else { return };
        let (Some(socket), true) = (&stream.outer.socket, stream.outer.writable) else { return };
        let outcome = socket_error(socket).map_err(io::Error::from).and_then(|result| result.map_err(io::Error::from));
        let error = match outcome {
            Ok(()) => {
                *injected = true;
                match self.sockets.inject(syn) {
                    Ok(()) => return self.enqueue_listener(token),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let syn = syn.clone();
        self.close_stream(token);
        if let Some(reason) = reason_for(&error) {
            self.refuse(&syn, reason);
        }
    }

    /// The handshake inside is usually over once the request is put back: look at once.
    fn enqueue_listener(&mut self, token: Token) {
        let Some(stream) = self.streams.get_mut(token) else { return };
        if let Stage::Outward(syn, _) = &stream.stage {
            let place = sockets::LISTENER + u32::from(syn.source.is_ipv6());
            self.enqueue(Token::fixed(place));
        }
    }

    /// Ends a connection in the ordinary way.
    pub(super) fn close_stream(&mut self, token: Token) {
        let Some(mut stream) = self.streams.remove(token) else { return };
        stream.up.release(&mut self.tools.pipes);
        stream.down.release(&mut self.tools.pipes);
        if let Stage::Outward(syn, _) = &stream.stage {
            let tuple = Tuple { source: syn.source, destination: syn.destination };
            self.opening.remove(&tuple);
        }
        if let Some(record) = self.records.get_mut(&stream.key) {
            record.streams = record.streams.saturating_sub(1);
        }
    }

    /// Ends a connection by resetting what stands of it.
    pub(super) fn reset_stream(&mut self, token: Token) {
        if let Some(stream) = self.streams.get_mut(token) {
            stream.inner.socket.iter().chain(stream.outer.socket.iter()).for_each(reset);
        }
        self.close_stream(token);
    }
}

/// Has a socket send RST, not FIN, when it closes.
pub(super) fn reset(socket: &OwnedFd) {
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO));
}

/// Starts to connect a socket of the host.
fn connect_outside(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    tune_stream(socket.as_fd())?;
    match connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Both ends of an accepted connection.
fn tuple_of(socket: &OwnedFd, peer: SocketAddr) -> Option<Tuple> {
    let local = SocketAddr::try_from(getsockname(socket).ok()?).ok()?;
    Some(Tuple { source: plain(peer), destination: plain(local) })
}

/// Lets a socket choose its port when it connects, by the whole connection: see ip(7).
pub(super) fn choose_port_late(socket: &OwnedFd) -> io::Result<()> {
    set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}
