//! One server asked once: a socket of the host's, and whether what comes from it is an answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::answer::{Answer, code};
use super::wire::{self, HEADER, flag};

/// Room for a datagram: more than was asked for.
const DATAGRAM: usize = 8192;
/// Datagrams looked at before others get their turn.
const BURST: usize = 16;

/// What became of an attempt.
#[derive(Debug)]
pub enum Outcome {
    Pending,
    /// The server cannot be reached or talks nonsense.
    Failed,
    /// The server will not say.
    Refused(Answer),
    Answered(Answer),
}

enum Transport {
    /// A socket of its own, so its source port is as random as the kernel makes it.
    Datagram(UdpSocket),
    Stream {
        socket: TcpStream,
        output: Vec<u8>,
        input: Vec<u8>,
    },
}

/// A query sent to one server.
pub struct Attempt {
    server: SocketAddr,
    id: u16,
    transport: Transport,
}

impl Attempt {
    /// Sends `message` under `id`, by UDP at once, by TCP when the connection is there.
    pub fn start(server: SocketAddr, message: &[u8], id: u16, over_tcp: bool) -> io::Result<Self> {
        let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = if over_tcp { SocketType::STREAM } else { SocketType::DGRAM };
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        match connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let mut message = message.to_vec();
        wire::put_u16(&mut message, 0, id);
        let transport = if over_tcp {
            let output = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
            Transport::Stream { socket: TcpStream::from(socket), output, input: Vec::new() }
        } else {
            let socket = UdpSocket::from(socket);
            socket.send(&message)?;
            Transport::Datagram(socket)
        };
        Ok(Self { server, id, transport })
    }

    /// Sends the same once more; false for a connection, which does so by itself.
    pub fn again(&self, message: &[u8]) -> io::Result<bool> {
        let Transport::Datagram(socket) = &self.transport else { return Ok(false) };
        let mut message = message.to_vec();
        wire::put_u16(&mut message, 0, self.id);
        socket.send(&message)?;
        Ok(true)
    }

    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// What its descriptor is to be watched for.
    pub fn interest(&self) -> EventFlags {
        match &self.transport {
            Transport::Stream { output, .. } if !output.is_empty() => EventFlags::IN | EventFlags::OUT,
            _ => EventFlags::IN,
        }
    }

    /// Goes on as far as its socket allows.
    pub fn proceed(&mut self, question: &[u8]) -> Outcome {
        match &mut self.transport {
            Transport::Datagram(socket) => receive(socket, self.id, question),
            Transport::Stream { socket, output, input } => match exchange(socket, output, input) {
                Ok(None) => Outcome::Pending,
                Ok(Some(message)) => judge(&message, self.id, question).unwrap_or(Outcome::Failed),
                Err(_) => Outcome::Failed,
            },
        }
    }
}

impl AsFd for Attempt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.transport {
            Transport::Datagram(socket) => socket.as_fd(),
            Transport::Stream { socket, .. } => socket.as_fd(),
        }
    }
}

/// Reads datagrams until one is an answer; the kernel lets only the server's own through.
fn receive(socket: &UdpSocket, id: u16, question: &[u8]) -> Outcome {
    let mut buffer = [0; DATAGRAM];
    for _ in 0..BURST {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                if let Some(outcome) = judge(&buffer[..length], id, question) {
                    return outcome;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Pending,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Outcome::Failed,
        }
    }
    Outcome::Pending
}

/// Writes what is left to write and reads a message with its length in front.
fn exchange(socket: &mut TcpStream, output: &mut Vec<u8>, input: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    if !output.is_empty() {
        match socket.write(output) {
            Ok(written) => drop(output.drain(..written)),
            Err(error) if is_retry(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let mut buffer = [0; DATAGRAM];
    // A message has at most 64 KiB, so this ends even if the server never stops.
    loop {
        let wanted = wire::u16_at(input, 0).map_or(2, |length| 2 + usize::from(length));
        if wanted > 2 && input.len() >= wanted {
            return Ok(Some(input[2..wanted].to_vec()));
        }
        if wanted == 2 && input.len() >= 2 {
            return Err(ErrorKind::InvalidData.into());
        }
        match socket.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => input.extend(&buffer[..length]),
            Err(error) if is_retry(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

fn is_retry(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected)
}

/// What a message means for a question sent under `id`; None: it belongs to something else.
fn judge(message: &[u8], id: u16, question: &[u8]) -> Option<Outcome> {
    if wire::u16_at(message, 0) != Ok(id) || message.len() < HEADER {
        return None;
    }
    if let Ok(answer) = Answer::read(message, question) {
        let refused = matches!(answer.code(), code::FORMERR | code::SERVFAIL | code::NOTIMP | code::REFUSED);
        return Some(if refused { Outcome::Refused(answer) } else { Outcome::Answered(answer) });
    }
    let flags = wire::u16_at(message, 2).unwrap_or(0);
    let bare = wire::u16_at(message, 4) == Ok(0) && flags & flag::RCODE != 0;
    let ours = wire::question(message).is_ok_and(|asked| wire::same_question(asked, question));
    (flags & flag::RESPONSE != 0 && (bare || ours)).then_some(Outcome::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x03web\0\0\x01\0\x01";

    fn response(id: u8, flags: u16, question: &[u8]) -> Vec<u8> {
        [&[0, id], &flags.to_be_bytes()[..], b"\0\x01\0\0\0\0\0\0", question].concat()
    }

    #[test]
    fn strangers_are_not_heard() {
        assert!(judge(&response(8, 0x8180, QUESTION), 7, QUESTION).is_none());
        assert!(judge(&response(7, 0x0100, QUESTION), 7, QUESTION).is_none());
        assert!(judge(&response(7, 0x8180, b"\x03wee\0\0\x01\0\x01"), 7, QUESTION).is_none());
        assert!(judge(b"\0\x07", 7, QUESTION).is_none());
    }

    #[test]
    fn servers_answer_refuse_or_fail() {
        assert!(matches!(judge(&response(7, 0x8180, QUESTION), 7, QUESTION), Some(Outcome::Answered(_))));
        assert!(matches!(judge(&response(7, 0x8183, QUESTION), 7, QUESTION), Some(Outcome::Answered(_))));
        assert!(matches!(judge(&response(7, 0x8182, QUESTION), 7, QUESTION), Some(Outcome::Refused(_))));
        assert!(matches!(judge(b"\0\x07\x81\x81\0\0\0\0\0\0\0\0", 7, QUESTION), Some(Outcome::Failed)));
        let mut lying = response(7, 0x8180, QUESTION);
        lying[7] = 1;
        assert!(matches!(judge(&lying, 7, QUESTION), Some(Outcome::Failed)));
    }
}
