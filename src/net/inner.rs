//! The thread pinned in a network's own namespace, which opens sockets there for the relay.
//!
//! The relay runs in the host's namespace without any privilege; a socket belongs for ever to the
//! namespace of the thread that opens it, and IP_TRANSPARENT needs CAP_NET_RAW over that namespace.
//! Both are this thread's. It works ahead: opened sockets wait in a pool, so that a connection
//! usually costs no round trip to it.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};

use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::sys::net_relay::set_option;

/// Sockets opened ahead of their use, of one kind.
const POOL: usize = 32;
/// The room for datagrams that wait in a socket; the kernel caps it at net.core.rmem_max.
pub(crate) const DATAGRAM_ROOM: i32 = 1 << 20;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP connection over IPv4.
    Tcp4,
    /// A TCP connection over IPv6.
    Tcp6,
    /// Datagrams over IPv4.
    Udp4,
    /// Datagrams over IPv6.
    Udp6,
}

impl Kind {
    /// The kind for TCP with an address of this family.
    pub fn tcp(v6: bool) -> Self {
        if v6 { Self::Tcp6 } else { Self::Tcp4 }
    }

    /// The kind for UDP with an address of this family.
    pub fn udp(v6: bool) -> Self {
        if v6 { Self::Udp6 } else { Self::Udp4 }
    }

    fn is_v6(self) -> bool {
        matches!(self, Self::Tcp6 | Self::Udp6)
    }

    fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp4 | Self::Tcp6)
    }
}

/// Sockets of one kind that are ready, and whether more are on their way.
#[derive(Default)]
struct Pool {
    ready: Vec<OwnedFd>,
    awaited: usize,
}

/// The thread pinned in a namespace.
pub struct Inner {
    namespace: OwnedFd,
    orders: Sender<(Kind, usize)>,
    deliveries: Receiver<(Kind, io::Result<OwnedFd>)>,
    pools: RefCell<[Pool; 4]>,
}

impl Inner {
    /// Starts the thread. It enters `namespace`, or a network namespace that it makes, runs `setup`
    /// there, then serves requests until the returned value is dropped. Called from a process that
    /// has no other threads.
    ///
    /// # Errors
    /// When the namespace cannot be made or entered, and those of `setup`.
    pub fn start<T: Send + 'static>(
        namespace: Option<OwnedFd>,
        setup: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<(Self, T)> {
        let (orders, incoming) = channel();
        let (outgoing, deliveries) = channel();
        let (report, started) = channel();
        std::thread::Builder::new().name("inner".into()).stack_size(128 * 1024).spawn(move || {
            let outcome = enter(namespace).and_then(|namespace| Ok((namespace, setup()?)));
            let failed = outcome.is_err();
            if report.send(outcome).is_err() || failed {
                return;
            }
            serve(&incoming, &outgoing);
        })?;
        let (namespace, value) = started.recv().map_err(|_| io::Error::other("inner thread ended"))??;
        let inner = Self { namespace, orders, deliveries, pools: RefCell::default() };
        Ok((inner, value))
    }

    /// The namespace's descriptor.
    pub fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// A fresh non-blocking socket of the namespace that may use foreign addresses as its own.
    ///
    /// # Errors
    /// What the thread met when it opened it (too many open files, out of memory).
    pub fn socket(&self, kind: Kind) -> io::Result<OwnedFd> {
        let mut pools = self.pools.borrow_mut();
        while let Ok(delivery) = self.deliveries.try_recv() {
            store(&mut pools, delivery)?;
        }
        let pool = &mut pools[kind as usize];
        if pool.ready.len() + pool.awaited < POOL / 2 {
            // The first use of a kind asks for one only: many relays never need a second.
            let wanted = if pool.ready.is_empty() && pool.awaited == 0 { POOL / 8 } else { POOL };
            self.orders.send((kind, wanted)).map_err(|_| io::Error::other("inner thread ended"))?;
            pool.awaited += wanted;
        }
        loop {
            let pool = &mut pools[kind as usize];
            if let Some(socket) = pool.ready.pop() {
                return Ok(socket);
            }
            let delivery = self.deliveries.recv().map_err(|_| io::Error::other("inner thread ended"))?;
            store(&mut pools, delivery)?;
        }
    }
}

/// Takes what the thread delivered into the pool.
fn store(pools: &mut [Pool; 4], (kind, outcome): (Kind, io::Result<OwnedFd>)) -> io::Result<()> {
    let pool = &mut pools[kind as usize];
    pool.awaited = pool.awaited.saturating_sub(1);
    pool.ready.push(outcome?);
    Ok(())
}

/// Moves the calling thread into a namespace and returns its descriptor.
fn enter(namespace: Option<OwnedFd>) -> io::Result<OwnedFd> {
    match namespace {
        Some(namespace) => {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(namespace)
        }
        None => {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        }
    }
}

/// Opens sockets as ordered until the other side is gone.
fn serve(orders: &Receiver<(Kind, usize)>, deliveries: &Sender<(Kind, io::Result<OwnedFd>)>) {
    while let Ok((kind, count)) = orders.recv() {
        for _ in 0..count {
            if deliveries.send((kind, open(kind))).is_err() {
                return;
            }
        }
    }
}

/// Opens a transparent socket in the thread's namespace.
pub(crate) fn open(kind: Kind) -> io::Result<OwnedFd> {
    let family = if kind.is_v6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket_type = if kind.is_tcp() { SocketType::STREAM } else { SocketType::DGRAM };
    let socket = socket_with(family, socket_type, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    let fd = socket.as_fd();
    if kind.is_v6() {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT, 1)?;
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    } else {
        set_option(fd, libc::IPPROTO_IP, libc::IP_TRANSPARENT, 1)?;
    }
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if kind.is_tcp() {
        tune_stream(fd)?;
    } else {
        tune_datagrams(fd)?;
    }
    Ok(socket)
}

/// What every relayed connection wants: no waiting for more to send, urgent bytes in their place
/// in the stream, and an end when the peer has silently gone. Listeners hand it on.
pub(crate) fn tune_stream(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_OOBINLINE, 1)?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)
}

/// Room for bursts, and runs of datagrams handed over as one where the kernel has them so.
pub(crate) fn tune_datagrams(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, DATAGRAM_ROOM)?;
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_name_family_and_protocol() {
        assert_eq!(Kind::tcp(true), Kind::Tcp6);
        assert_eq!(Kind::udp(false), Kind::Udp4);
        assert!(Kind::Udp6.is_v6() && !Kind::Udp6.is_tcp());
    }
}
