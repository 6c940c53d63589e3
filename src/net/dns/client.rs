//! Containers that ask by TCP (RFC 7766): several queries over a connection, none of them able to hold
//! up anybody else.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::poll::{Poll, Token};
use super::query::LARGEST;
use super::wire::HEADER;

/// The most connections, and the most of one container; the oldest is closed when there is one more.
const CONNECTIONS: usize = 256;
const PER_ASKER: usize = 32;
/// The most queries of one connection that wait for an answer; further ones are not read.
const IN_FLIGHT: usize = 16;
/// The most bytes that wait to be taken; further queries are not read.
const OUTPUT: usize = 64 << 10;
/// How long a message may take from its first byte to its last.
const MESSAGE: Duration = Duration::from_secs(5);
/// How long replies may wait to be taken.
const TAKING: Duration = Duration::from_secs(5);
/// How long a connection may do nothing. Longer than any query takes.
const IDLE: Duration = Duration::from_secs(12);

/// One connection.
struct Client {
    socket: TcpStream,
    asker: IpAddr,
    input: Vec<u8>,
    output: Vec<u8>,
    in_flight: usize,
    /// It will send no more.
    ended: bool,
    /// When the message being read began, when `output` became something, when anything was whole last.
    began: Option<Instant>,
    offered: Option<Instant>,
    active: Instant,
    interest: EventFlags,
}

/// All connections.
#[derive(Default)]
pub struct Clients {
    clients: BTreeMap<u64, Client>,
    counter: u64,
}

impl Clients {
    /// Takes a connection, closing an older one if there are too many.
    pub fn add(&mut self, socket: TcpStream, asker: IpAddr, poll: &mut Poll) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let own = self.clients.iter().filter(|(_, client)| client.asker == asker);
        let oldest = if own.clone().count() >= PER_ASKER {
            own.map(|(number, _)| *number).next()
        } else if self.clients.len() >= CONNECTIONS {
            self.clients.keys().next().copied()
        } else {
            None
        };
        if let Some(number) = oldest {
            self.close(number, poll);
        }
        self.counter += 1;
        let token = Token::Client(self.counter);
        let now = Instant::now();
        poll.watch(&socket, token, EventFlags::IN)?;
        poll.remind(token, Some(now + IDLE));
        let client = Client {
            socket,
            asker,
            input: Vec::new(),
            output: Vec::new(),
            in_flight: 0,
            ended: false,
            began: None,
            offered: None,
            active: now,
            interest: EventFlags::IN,
        };
        self.clients.insert(self.counter, client);
        Ok(())
    }

    /// Closes the oldest connection of all; false if there is none.
    pub fn close_oldest(&mut self, poll: &mut Poll) -> bool {
        let oldest = self.clients.keys().next().copied();
        oldest.is_some_and(|number| self.close(number, poll))
    }

    fn close(&mut self, number: u64, poll: &mut Poll) -> bool {
        poll.remind(Token::Client(number), None);
        self.clients.remove(&number).is_some()
    }

    /// Reads and writes what the socket allows: who it is and the whole messages that came. Each message
    /// wants one call of `reply` or `reject`.
    pub fn ready(&mut self, number: u64, flags: EventFlags, poll: &mut Poll) -> Option<(IpAddr, Vec<Vec<u8>>)> {
        let client = self.clients.get_mut(&number)?;
        let asker = client.asker;
        let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let messages = if broken { Err(ErrorKind::ConnectionReset.into()) } else { client.proceed(flags) };
        match messages {
            Ok(messages) => {
                self.settle(number, poll);
                Some((asker, messages))
            }
            Err(_) => {
                self.close(number, poll);
                None
            }
        }
    }

    /// Sends a reply, if its client is still there.
    pub fn reply(&mut self, number: u64, message: &[u8], poll: &mut Poll) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let Ok(length) = u16::try_from(message.len()) else { return };
        client.in_flight = client.in_flight.saturating_sub(1);
        client.active = Instant::now();
        client.output.extend(length.to_be_bytes());
        client.output.extend(message);
        if client.write().is_err() {
            self.close(number, poll);
        } else {
            self.settle(number, poll);
        }
    }

    /// A message that gets no reply: the client is not worth another.
    pub fn reject(&mut self, number: u64, poll: &mut Poll) {
        self.close(number, poll);
    }

    /// A connection's time may be up.
    pub fn expire(&mut self, number: u64, now: Instant, poll: &mut Poll) {
        if self.clients.get(&number).is_some_and(|client| client.due() <= now) {
            self.close(number, poll);
        } else {
            self.settle(number, poll);
        }
    }

    /// Watches a connection for what it is ready for now, or closes it when all is said.
    fn settle(&mut self, number: u64, poll: &mut Poll) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if client.ended && client.in_flight == 0 && client.output.is_empty() && !client.has_message() {
            self.close(number, poll);
            return;
        }
        let token = Token::Client(number);
        let wanted = client.wanted();
        if wanted != client.interest {
            client.interest = wanted;
            if poll.rewatch(&client.socket, token, wanted).is_err() {
                self.close(number, poll);
                return;
            }
        }
        poll.remind(token, Some(client.due()));
    }
}

impl Client {
    fn proceed(&mut self, flags: EventFlags) -> io::Result<Vec<Vec<u8>>> {
        if flags.contains(EventFlags::OUT) {
            self.write()?;
        }
        if flags.contains(EventFlags::IN) && self.wants_more() {
            self.read()?;
        }
        self.take()
    }

    /// Reads once; more comes with the next event, after everybody else had a turn.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; LARGEST];
        match self.socket.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(length) => self.input.extend(&buffer[..length]),
            Err(error) if is_retry(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes whole messages off the input, as many as may be in flight.
    fn take(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let messages = split(&mut self.input, IN_FLIGHT - self.in_flight.min(IN_FLIGHT))?;
        self.in_flight += messages.len();
        if !messages.is_empty() {
            self.active = Instant::now();
            self.began = None;
        }
        if self.input.is_empty() || self.in_flight >= IN_FLIGHT {
            self.began = None;
        } else if self.began.is_none() {
            self.began = Some(Instant::now());
        }
        Ok(messages)
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.socket.write(&self.output) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if is_retry(&error) => break,
                Err(error) => return Err(error),
            }
        }
        self.offered = (!self.output.is_empty()).then(|| self.offered.unwrap_or_else(Instant::now));
        Ok(())
    }

    fn wants_more(&self) -> bool {
        !self.ended && self.in_flight < IN_FLIGHT && self.output.len() < OUTPUT
    }

    fn wanted(&self) -> EventFlags {
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, self.wants_more());
        // A message that was read already wakes by itself once there is room for it.
        let waiting = self.in_flight < IN_FLIGHT && self.has_message();
        wanted.set(EventFlags::OUT, waiting || !self.output.is_empty());
        wanted
    }

    fn has_message(&self) -> bool {
        !matches!(first(&self.input), Ok(None))
    }

    /// When it has had its time.
    fn due(&self) -> Instant {
        let limits = [self.began.map(|at| at + MESSAGE), self.offered.map(|at| at + TAKING)];
        limits.into_iter().flatten().fold(self.active + IDLE, Instant::min)
    }
}

/// The first message of a stream, if it is whole; an error if its length is none that a query has.
fn first(input: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some((length, rest)) = input.split_first_chunk::<2>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes(*length));
    if !(HEADER..=LARGEST).contains(&length) {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(rest.get(..length))
}

/// Takes at most so many whole messages off a stream.
pub fn split(input: &mut Vec<u8>, most: usize) -> io::Result<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    let mut taken = 0;
    while messages.len() < most
        && let Some(message) = first(&input[taken..])?
    {
        taken += 2 + message.len();
        messages.push(message.to_vec());
    }
    input.drain(..taken);
    Ok(messages)
}

fn is_retry(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
