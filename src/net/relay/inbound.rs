//! Published ports: sockets of the host whose clients are led into a container under their own addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use nix::libc;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{SocketFlags, acceptfrom_with, bind, connect, getsockname};

use super::outbound::{ACCEPTS, Stage, Stream, choose_port_late, reset};
use super::policy::appearance;
use super::slab::{Face, Token};
use super::stream::Side;
use super::{Protocol, Publication, Relay, plain};
use crate::net::inner::{Kind, tune_datagrams, tune_stream};
use crate::sys::net_relay::set_option;

/// A published port and its container.
pub(crate) struct Published {
    pub key: u64,
    pub publication: Publication,
    pub queued: bool,
}

impl Relay {
    /// Leads a bound socket of the host into a container.
    ///
    /// # Errors
    /// When the socket cannot be watched.
    pub fn publish(&mut self, key: u64, publication: Publication) -> io::Result<()> {
        prepare(&publication)?;
        let token = self.publications.insert(Published { key, publication, queued: false });
        let Some(published) = self.publications.get_mut(token) else { return Ok(()) };
        let data = epoll::EventData::new_u64(token.word(Face::Outer));
        let outcome = epoll::add(&self.epoll, &published.publication.socket, data, EventFlags::IN | EventFlags::ET);
        if outcome.is_err() {
            self.publications.remove(token);
        }
        Ok(outcome?)
    }

    /// Closes a published port and the UDP flows that came by it.
    pub(super) fn unpublish(&mut self, token: Token) {
        let flows: Vec<Token> =
            self.flows.iter().filter(|(_, flow)| flow.came_by(token)).map(|(token, _)| token).collect();
        for flow in flows {
            self.close_flow(flow);
        }
        if let Some(published) = self.publications.remove(token) {
            // Others hold the same socket open, so that closing it would not end the watch.
            let _ = epoll::delete(&self.epoll, &published.publication.socket);
        }
    }

    pub(super) fn turn_published(&mut self, token: Token) {
        let Some(published) = self.publications.get_mut(token) else { return };
        published.queued = false;
        match published.publication.protocol {
            Protocol::Tcp => self.accept_published(token),
            Protocol::Udp => self.take_published(token),
        }
    }

    fn accept_published(&mut self, token: Token) {
        for _ in 0..ACCEPTS {
            let Some(published) = self.publications.get_mut(token) else { return };
            let (key, port) = (published.key, published.publication.container_port);
            if !self.has_room(key) {
                return self.stall(token);
            }
            let Some(published) = self.publications.get_mut(token) else { return };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match acceptfrom_with(&published.publication.socket, flags) {
                Ok((outer, Some(peer))) => {
                    if let Ok(peer) = SocketAddr::try_from(peer) {
                        self.lead_in(key, port, outer, plain(peer));
                    }
                }
                Ok((_, None)) | Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => return self.stall(token),
            }
        }
        self.enqueue(token);
    }

    /// Connects a client to the container.
    fn lead_in(&mut self, key: u64, port: u16, outer: OwnedFd, client: SocketAddr) {
        let inner = self.container_address(key, client.is_ipv6()).and_then(|address| {
            let client = appearance(&self.plan, client, address.is_ipv6())?;
            self.connect_inside(Kind::tcp(address.is_ipv6()), client, SocketAddr::new(address, port)).ok()
        });
        let Some(inner) = inner else {
            reset(&outer);
            return;
        };
        let stream = Stream::new(key, Side::connecting(inner), Side::open(outer), Stage::Inward);
        self.eager = true;
        if let Some(token) = self.start(stream, Face::Inner)
            && self.watch_stream(token, Face::Outer).is_err()
        {
            self.reset_stream(token);
        }
    }

    /// A container's address, of the client's family if it has one.
    pub(super) fn container_address(&self, key: u64, v6: bool) -> Option<IpAddr> {
        let addresses = &self.records.get(&key)?.endpoint.addresses;
        addresses.iter().find(|address| address.is_ipv6() == v6).or(addresses.first()).copied()
    }

    /// A socket inside that speaks to the container under the client's address. Where the client's
    /// port is taken (an old connection lingers), another port of the same address.
    pub(super) fn connect_inside(&self, kind: Kind, client: SocketAddr, container: SocketAddr) -> io::Result<OwnedFd> {
        if client.port() != 0 {
            let socket = self.inner.socket(kind)?;
            match bind(&socket, &client).and_then(|()| connect(&socket, &container)) {
                Ok(()) | Err(Errno::INPROGRESS) => return Ok(socket),
                Err(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL | Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let socket = self.inner.socket(kind)?;
        choose_port_late(&socket)?;
        bind(&socket, &SocketAddr::new(client.ip(), 0))?;
        match connect(&socket, &container) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error.into()),
        }
    }

    /// The connection to the container has been made, or not: then the client is reset.
    pub(super) fn finish_inward(&mut self, token: Token) {
        let Some(stream) = self.streams.get_mut(token) else { return };
        if !stream.inner.writable {
            return;
        }
        let standing = stream.inner.socket.as_ref().is_some_and(|socket| matches!(socket_error(socket), Ok(Ok(()))));
        if !standing {
            return self.reset_stream(token);
        }
        stream.stage = Stage::Open;
        self.enqueue(token);
    }
}

/// Makes a socket from outside ready for this loop.
fn prepare(publication: &Publication) -> io::Result<()> {
    let socket = publication.socket.as_fd();
    rustix::io::ioctl_fionbio(socket, true)?;
    match publication.protocol {
        Protocol::Tcp => tune_stream(socket),
        Protocol::Udp => {
            tune_datagrams(socket)?;
            if SocketAddr::try_from(getsockname(socket)?).is_ok_and(|address| address.is_ipv6()) {
                set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
            } else {
                set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
            }
        }
    }
}
