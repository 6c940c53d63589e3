//! The server: takes packets and connections of containers, answers or forwards, never blocks.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::answer::{Answer, code};
use super::client::Clients;
use super::exchange::Return;
use super::forward::{Forwarder, Reply, not_ourselves};
use super::local::{self, Turns};
use super::poll::{Poll, Token};
use super::query::{self, LARGEST, Parsed};
use super::{Listeners, Names};

/// Packets or connections taken from one listener before others get their turn.
const BURST: usize = 32;
/// How long a listener rests when the process has no descriptors left.
const REST: Duration = Duration::from_millis(100);

/// Answers the containers of one network.
pub struct Server {
    poll: Poll,
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    own: Vec<SocketAddr>,
    outward: bool,
    clients: Clients,
    forwarder: Forwarder,
    turns: Turns,
}

impl Server {
    /// Serves on `listeners`. Names that are not the network's are asked of the servers in `resolv_conf`
    /// if `outward`, else they do not exist. Call it in the network namespace that upstream sockets
    /// shall be in.
    pub fn new(listeners: Listeners, resolv_conf: PathBuf, outward: bool) -> io::Result<Self> {
        let poll = Poll::new()?;
        let udp: Vec<UdpSocket> = listeners.udp.into_iter().map(UdpSocket::from).collect();
        let tcp: Vec<TcpListener> = listeners.tcp.into_iter().map(TcpListener::from).collect();
        let mut own = Vec::new();
        for (index, socket) in udp.iter().enumerate() {
            socket.set_nonblocking(true)?;
            poll.watch(socket, Token::Datagrams(index), EventFlags::IN)?;
            own.push(socket.local_addr()?);
        }
        for (index, socket) in tcp.iter().enumerate() {
            socket.set_nonblocking(true)?;
            poll.watch(socket, Token::Connections(index), EventFlags::IN)?;
        }
        let (clients, forwarder, turns) = (Clients::default(), Forwarder::new(resolv_conf), Turns::default());
        Ok(Self { poll, udp, tcp, own, outward, clients, forwarder, turns })
    }

    /// Does what is ready, a bounded amount of it. Errors are those of the epoll descriptor only.
    pub fn dispatch(&mut self, names: &mut dyn Names) -> io::Result<()> {
        for (token, flags) in self.poll.ready()? {
            match token {
                Token::Datagrams(index) => self.datagrams(index, names),
                Token::Connections(index) => self.connections(index),
                Token::Client(number) => self.client(number, flags, names),
                Token::Exchange(number, attempt) => self.forwarder.ready(number, attempt, &mut self.poll),
            }
            self.flush();
        }
        Ok(())
    }

    /// When `expire` wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.poll.deadline()
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Instant) {
        while let Some(token) = self.poll.due(now) {
            match token {
                Token::Client(number) => self.clients.expire(number, now, &mut self.poll),
                Token::Exchange(number, _) => self.forwarder.expire(number, now, &mut self.poll),
                Token::Connections(index) => {
                    if let Some(socket) = self.tcp.get(index) {
                        let _ = self.poll.rewatch(socket, token, EventFlags::IN);
                    }
                }
                Token::Datagrams(_) => {}
            }
            self.flush();
        }
    }

    fn datagrams(&mut self, listener: usize, names: &mut dyn Names) {
        // One byte more than is taken, to see that there was more.
        let mut buffer = [0; LARGEST + 1];
        for _ in 0..BURST {
            let Some(socket) = self.udp.get(listener) else { return };
            match socket.recv_from(&mut buffer) {
                Ok((_, peer)) if peer.port() == 0 => {}
                Ok((length, peer)) => {
                    self.message(&buffer[..length], peer.ip(), Return::Datagram { listener, peer }, names);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
            self.flush();
        }
    }

    fn connections(&mut self, index: usize) {
        for _ in 0..BURST {
            let Some(socket) = self.tcp.get(index) else { return };
            match socket.accept() {
                // A connection that cannot be watched is closed; its client will try again.
                Ok((stream, peer)) => drop(self.clients.add(stream, peer.ip(), &mut self.poll)),
                Err(error) if is_exhausted(&error) => {
                    if !self.clients.close_oldest(&mut self.poll) {
                        let token = Token::Connections(index);
                        let _ = self.poll.rewatch(socket, token, EventFlags::empty());
                        self.poll.remind(token, Some(Instant::now() + REST));
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Somebody who was gone already.
                Err(_) => {}
            }
        }
    }

    fn client(&mut self, number: u64, flags: EventFlags, names: &mut dyn Names) {
        let mut flags = flags;
        // Replies made at once free the place of messages that were read already.
        while let Some((asker, messages)) = self.clients.ready(number, flags, &mut self.poll) {
            if messages.is_empty() {
                return;
            }
            for message in messages {
                self.message(&message, asker, Return::Stream { client: number }, names);
            }
            self.flush();
            flags = EventFlags::empty();
        }
    }

    /// Answers a message, or has it answered later.
    fn message(&mut self, message: &[u8], asker: IpAddr, to: Return, names: &mut dyn Names) {
        let query = match query::parse(message) {
            Parsed::Query(query) => query,
            Parsed::Error(message) => return self.forwarder.replies.push(Reply { to, message }),
            Parsed::Nothing => return self.reject(to),
        };
        if let Some(answer) = local::answer(&query, asker, names, &mut self.turns) {
            self.forwarder.reply(&query, to, &answer, 0);
        } else if self.outward {
            let upstreams = not_ourselves(names.upstreams(asker), &self.own);
            if !self.forwarder.ask(query, asker, to, upstreams, &mut self.poll) {
                self.reject(to);
            }
        } else {
            // Not REFUSED: resolvers take that for a broken server and try elsewhere or again.
            self.forwarder.reply(&query, to, &Answer::empty(&query, code::NXDOMAIN), 0);
        }
    }

    /// Silence for a datagram, the end of a connection.
    fn reject(&mut self, to: Return) {
        if let Return::Stream { client } = to {
            self.clients.reject(client, &mut self.poll);
        }
    }

    fn flush(&mut self) {
        for Reply { to, message } in std::mem::take(&mut self.forwarder.replies) {
            match to {
                Return::Stream { client } => self.clients.reply(client, &message, &mut self.poll),
                Return::Datagram { listener, peer } => {
                    // What does not go out now is lost, as datagrams are; the client asks again.
                    let _ = self.udp.get(listener).map(|socket| socket.send_to(&message, peer));
                }
            }
        }
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}
