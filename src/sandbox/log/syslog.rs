//! Syslog servers, on this machine and over UDP and TCP. Messages look as docker's do.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
    sockopt,
};

use super::plan::Server;
use super::remote::Transport;
use super::{Piece, Stamp, Stream};
use crate::spec::log::syslog::Format;

/// Where a machine's own syslog listens.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// How long the first connection over TCP may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether the server is there.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// Severities, docker's choice.
const STDERR: u8 = 3;
const STDOUT: u8 = 6;

/// The way to a server.
#[derive(Debug)]
pub(super) struct Syslog {
    server: Server,
    tag: String,
    facility: u8,
    format: Format,
    pid: i32,
    host: String,
    zone: TimeZone,
    /// What stands between the priority and the text, made for a second; with microseconds, for each
    /// moment.
    head: (Option<i64>, String),
    socket: Option<OwnedFd>,
    /// Messages are separated by newlines.
    stream: bool,
    /// Connected once: from then on nobody waits.
    met: bool,
    /// When the server was last seen at the other end of a stream.
    seen: Option<Instant>,
}

impl Syslog {
    pub(super) fn new(server: Server, tag: &str, facility: u8, format: Format, pid: i32) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        // A space would begin the next field, a control character could begin the next message.
        let word = |text: &str| -> String {
            text.chars().map(|c| if c.is_control() || c.is_whitespace() { '_' } else { c }).collect()
        };
        Self {
            server,
            tag: word(tag),
            facility,
            format,
            pid,
            host: word(&host),
            zone: TimeZone::system(),
            head: (None, String::new()),
            socket: None,
            stream: false,
            met: false,
            seen: None,
        }
    }

    fn renew_head(&mut self, stamp: &Stamp) {
        let precise = self.format == Format::Rfc5424Micro;
        let moment = if precise { stamp.time.as_microsecond() } else { stamp.time.as_second() };
        if self.head.0 == Some(moment) {
            return;
        }
        let Self { tag, pid, host, .. } = self;
        let time = stamp.time.to_zoned(self.zone.clone());
        let mut head = std::mem::take(&mut self.head.1);
        head.clear();
        // Writing to a String cannot fail.
        let _ = match self.format {
            Format::Unix => write!(head, "{} {tag}[{pid}]: ", time.strftime("%b %e %H:%M:%S")),
            Format::Rfc3164 => write!(head, "{} {host} {tag}[{pid}]: ", time.strftime("%b %e %H:%M:%S")),
            Format::Rfc5424 => {
                write!(head, "1 {} {host} {tag} {pid} {tag} - ", time.strftime("%Y-%m-%dT%H:%M:%S%:z"))
            }
            Format::Rfc5424Micro => {
                write!(head, "1 {} {host} {tag} {pid} {tag} - ", time.strftime("%Y-%m-%dT%H:%M:%S.%6f%:z"))
            }
        };
        self.head = (Some(moment), head);
    }

    /// A stream that the server has closed still takes a message, which nobody gets.
    fn check_server(&mut self) -> io::Result<()> {
        let recently = self.seen.is_some_and(|seen| seen.elapsed() < LOOK_PERIOD);
        let Some(socket) = self.socket.as_ref().filter(|_| self.stream && !recently) else { return Ok(()) };
        let mut byte = [0];
        // What servers say is nothing to us, and waits unread.
        match recv(socket, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the server closed the connection")),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {
                self.seen = Some(Instant::now());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn connect_unix(&mut self, path: &Path, kind: SocketType) -> io::Result<()> {
        let socket = new_socket(AddressFamily::UNIX, kind)?;
        let said = |error: Errno| {
            let error = io::Error::from(error);
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        connect(&socket, &SocketAddrUnix::new(path)?).map_err(said)?;
        (self.socket, self.stream) = (Some(socket), kind == SocketType::STREAM);
        Ok(())
    }

    fn connect_local(&mut self) -> io::Result<()> {
        let mut failure = None;
        for path in LOCAL {
            for kind in [SocketType::DGRAM, SocketType::STREAM] {
                match self.connect_unix(Path::new(path), kind) {
                    Ok(()) => return Ok(()),
                    Err(error) => drop(failure.get_or_insert(error)),
                }
            }
        }
        let why = failure.map_or_else(String::new, |error| format!(": {error}"));
        Err(io::Error::new(io::ErrorKind::NotFound, format!("unix syslog delivery error{why}")))
    }

    fn connect_inet(&mut self, address: SocketAddr, kind: SocketType) -> io::Result<()> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = new_socket(family, kind)?;
        let said = |error: Errno| {
            let error = io::Error::from(error);
            io::Error::new(error.kind(), format!("dial {address}: {error}"))
        };
        match connect(&socket, &address) {
            // Later nobody waits for it: until it is there, it takes nothing.
            Err(Errno::INPROGRESS) if self.met => {}
            Err(Errno::INPROGRESS) => {
                let mut descriptors = [PollFd::new(&socket, PollFlags::OUT)];
                if poll(&mut descriptors, Timespec::try_from(CONNECT_MAX).ok().as_ref())? == 0 {
                    return Err(said(Errno::TIMEDOUT));
                }
                sockopt::socket_error(&socket)?.map_err(said)?;
            }
            other => other.map_err(said)?,
        }
        (self.socket, self.stream) = (Some(socket), kind == SocketType::STREAM);
        Ok(())
    }
}

fn new_socket(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    Ok(socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
}

impl Transport for Syslog {
    fn encode(&mut self, out: &mut Vec<u8>, piece: Piece<'_>, stamp: &Stamp) {
        self.renew_head(stamp);
        let severity = if piece.stream == Stream::Stderr { STDERR } else { STDOUT };
        // Writing to memory cannot fail.
        let _ = io::Write::write_fmt(out, format_args!("<{}>{}", self.facility << 3 | severity, self.head.1));
        out.extend_from_slice(piece.text);
        if self.stream {
            out.push(b'\n');
        }
    }

    fn connect(&mut self) -> io::Result<()> {
        self.socket = None;
        match self.server.clone() {
            Server::Local => self.connect_local()?,
            Server::Unix(path) => self.connect_unix(&path, SocketType::STREAM)?,
            Server::UnixDatagram(path) => self.connect_unix(&path, SocketType::DGRAM)?,
            Server::Udp(address) => self.connect_inet(address, SocketType::DGRAM)?,
            Server::Tcp(address) => self.connect_inet(address, SocketType::STREAM)?,
        }
        (self.met, self.seen) = (true, None);
        Ok(())
    }

    fn send(&mut self, message: &[u8]) -> io::Result<usize> {
        self.check_server()?;
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(send(socket, message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
    }

    fn is_of_message(&self, error: &io::Error) -> bool {
        let refused = matches!(self.server, Server::Udp(_)) && error.kind() == io::ErrorKind::ConnectionRefused;
        refused || Errno::from_io_error(error) == Some(Errno::MSGSIZE)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }
}
