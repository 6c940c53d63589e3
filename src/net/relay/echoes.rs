//! Echo requests: answered for the gateway, passed on through ping sockets for everyone else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send, socket_with,
};

use super::packet::{Echo, Reason, echo_original, echo_reply, echo_request, parse_echo, split_v4};
use super::policy::Verdict;
use super::slab::{Face, Token};
use super::{Relay, reason_for};
use crate::sys::net_datagrams::receive_from;

/// Messages taken in one turn.
const MESSAGES: usize = 16;
/// Seconds without traffic after which a stream of echoes ends.
const IDLE: u32 = 30;
/// The longest message that is taken; longer ones are cut by the kernel and then dropped.
const LONGEST: usize = 65535;

/// What a stream of echoes is found by: container, destination, identifier.
pub(crate) type Index = (IpAddr, IpAddr, u16);

/// A stream of echo requests to one destination.
pub(crate) struct Ping {
    /// The container.
    pub key: u64,
    index: Index,
    socket: OwnedFd,
    last: u32,
    /// The newest request, for errors to quote.
    sequence: u16,
    pub queued: bool,
}

impl Relay {
    /// Takes echo requests from containers.
    pub(super) fn take_echoes(&mut self, token: Token) {
        let v6 = token.place & 1 == 1;
        let mut buffer = vec![0; LONGEST];
        for _ in 0..MESSAGES {
            let Some(socket) = self.sockets.get(token.place) else { return };
            let (length, peer, local) = match receive_from(socket.as_fd(), &mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => continue,
            };
            let bytes = &buffer[..length];
            let parts =
                if v6 { peer.zip(local).map(|(peer, local)| (peer.ip(), local, bytes)) } else { split_v4(bytes) };
            let Some((source, destination, message)) = parts else { continue };
            if let Some(echo) = parse_echo(message, v6, false) {
                self.echo(source, destination, &echo);
            }
        }
        self.enqueue(token);
    }

    /// Answers or passes on one request.
    fn echo(&mut self, source: IpAddr, destination: IpAddr, echo: &Echo<'_>) {
        let Some(key) = self.addresses.get(&source).copied() else { return };
        if self.plan.gateways.contains(&destination) {
            if let Some(packet) = echo_reply(echo, destination, source) {
                self.sockets.send(&packet, source);
            }
            return;
        }
        // The port plays no part but must not be null.
        let outcome = match self.verdict(key, SocketAddr::new(destination, 7)) {
            Verdict::Connect(address) => self.pass_on(key, (source, destination, echo.identifier), address.ip(), echo),
            Verdict::Unreachable => Err(io::Error::from_raw_os_error(nix::libc::ENETUNREACH)),
            Verdict::Local | Verdict::Ignore => return,
        };
        // Not allowed means that ping_group_range forbids ping sockets: silence, as agreed.
        if let Err(error) = outcome
            && let Some(reason) = reason_for(&error).filter(|reason| *reason != Reason::Prohibited)
            && let Some(original) = echo_original(echo, source, destination)
        {
            self.send_unreachable(&original, source, destination, reason);
        }
    }

    fn pass_on(&mut self, key: u64, index: Index, address: IpAddr, echo: &Echo<'_>) -> io::Result<()> {
        let now = self.clock();
        let token = match self.ping_index.get(&index).copied() {
            Some(token) => token,
            None => self.open_ping(key, index, address, now)?,
        };
        let Some(ping) = self.pings.get_mut(token) else { return Ok(()) };
        ping.last = now;
        ping.sequence = echo.sequence;
        let message = echo_request(echo, address.is_ipv6());
        match send(&ping.socket, &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn open_ping(&mut self, key: u64, index: Index, address: IpAddr, now: u32) -> io::Result<Token> {
        if self.pings.len() >= self.limits.pings
            && let Some((_, token)) =
                self.pings.iter().map(|(token, ping)| (ping.last, token)).min_by_key(|(last, _)| *last)
        {
            self.close_ping(token);
        }
        let (family, protocol) = if address.is_ipv6() {
            (AddressFamily::INET6, ipproto::ICMPV6)
        } else {
            (AddressFamily::INET, ipproto::ICMP)
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, Some(protocol))?;
        connect(&socket, &SocketAddr::new(address, 0))?;
        let token = self.pings.insert(Ping { key, index, socket, last: now, sequence: 0, queued: false });
        self.ping_index.insert(index, token);
        let Some(ping) = self.pings.get_mut(token) else { return Ok(token) };
        let data = rustix::event::epoll::EventData::new_u64(token.word(Face::Outer));
        let outcome = rustix::event::epoll::add(&self.epoll, &ping.socket, data, EventFlags::IN | EventFlags::ET);
        if let Err(error) = outcome {
            self.close_ping(token);
            return Err(error.into());
        }
        self.want_sweep();
        Ok(token)
    }

    /// Takes replies, or the error that came instead.
    pub(super) fn turn_ping(&mut self, token: Token) {
        if let Some(ping) = self.pings.get_mut(token) {
            ping.queued = false;
        }
        let mut buffer = vec![0; LONGEST];
        for _ in 0..MESSAGES {
            let Some(ping) = self.pings.get_mut(token) else { return };
            let (source, destination, identifier) = ping.index;
            match recv(&ping.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    let message = &buffer[..length.min(LONGEST)];
                    let packet = parse_echo(message, source.is_ipv6(), true)
                        .and_then(|echo| echo_reply(&Echo { identifier, ..echo }, destination, source));
                    if let Some(packet) = packet {
                        self.sockets.send(&packet, source);
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return,
                Err(error) => {
                    let echo = Echo { identifier, sequence: ping.sequence, payload: &[] };
                    if let Some(reason) = reason_for(&error.into())
                        && let Some(original) = echo_original(&echo, source, destination)
                    {
                        self.send_unreachable(&original, source, destination, reason);
                    }
                }
            }
        }
        self.enqueue(token);
    }

    /// Ends a stream of echoes.
    pub(super) fn close_ping(&mut self, token: Token) {
        if let Some(ping) = self.pings.remove(token) {
            self.ping_index.remove(&ping.index);
        }
    }

    /// Ends streams of echoes that have been idle for too long.
    pub(super) fn sweep_pings(&mut self) {
        let now = self.clock();
        let idle: Vec<Token> = self
            .pings
            .iter()
            .filter(|(_, ping)| now.saturating_sub(ping.last) >= IDLE)
            .map(|(token, _)| token)
            .collect();
        for token in idle {
            self.close_ping(token);
        }
    }
}
