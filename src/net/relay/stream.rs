//! Moving the bytes of one TCP connection between its two sockets.
//!
//! Little is copied through a small buffer, which costs two system calls and no pipe; much is
//! spliced through a pipe, which copies nothing. Nothing is read that cannot be passed on, so a
//! slow reader is felt by the writer as without a relay.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustix::pipe::{SpliceFlags, splice};

use super::pipes::{Pipe, Pipes};

/// The buffer for small amounts. Leftovers of it must fit into an empty pipe of the smallest size.
pub(crate) const SCRATCH: usize = 16 * 1024;
/// What one splice asks for.
const SPLICE: usize = 1 << 20;
/// What one lane moves in one turn, so that no connection holds up the others.
const TURN: usize = 1 << 20;
/// A splice that moves less than this was not worth its pipe: the lane goes back to copying.
const WORTHWHILE: usize = 8 * 1024;

/// One socket of a connection and what epoll said of it.
#[derive(Default)]
pub(crate) struct Side {
    pub socket: Option<OwnedFd>,
    pub readable: bool,
    pub writable: bool,
    /// Its end is near: reads go on until they say how it ended.
    pub ending: bool,
    /// Reset or closed in both directions.
    pub failed: bool,
}

impl Side {
    /// A side that is open for writing.
    pub fn open(socket: OwnedFd) -> Self {
        Self { socket: Some(socket), writable: true, ..Self::default() }
    }

    /// A side whose connection is still to come.
    pub fn connecting(socket: OwnedFd) -> Self {
        Self { socket: Some(socket), ..Self::default() }
    }

    /// Notes what epoll reports.
    pub fn note(&mut self, events: EventFlags) {
        let gone = events.intersects(EventFlags::ERR | EventFlags::HUP);
        self.failed |= gone;
        self.ending |= gone || events.contains(EventFlags::RDHUP);
        self.readable |= self.ending || events.contains(EventFlags::IN);
        self.writable |= gone || events.contains(EventFlags::OUT);
    }
}

/// One direction of a connection.
#[derive(Default)]
pub(crate) struct Lane {
    pipe: Option<Pipe>,
    held: usize,
    /// The last reads were large.
    bulk: bool,
    /// The sender has finished.
    ended: bool,
    /// The receiver knows.
    shut: bool,
}

impl Lane {
    /// Nothing more will come this way.
    pub fn is_done(&self) -> bool {
        self.shut
    }

    /// Whether the sender has said that it will send no more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Gives back what the lane borrowed.
    pub fn release(&mut self, pipes: &mut Pipes) {
        match self.pipe.take() {
            Some(pipe) if self.held > 0 => pipes.discard(pipe),
            Some(pipe) => pipes.give(pipe),
            None => {}
        }
    }
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing to do until epoll says so.
    Idle,
    /// The turn is over, the work is not.
    More,
    /// One of the sockets is broken.
    Broken,
}

/// What the lanes of a relay share.
pub(crate) struct Tools {
    pub pipes: Pipes,
    pub scratch: Vec<u8>,
}

enum Step {
    Moved(usize),
    Blocked,
}

/// Moves what can be moved from one side to the other, up to a turn's worth.
pub(crate) fn pump(from: &mut Side, to: &mut Side, lane: &mut Lane, tools: &mut Tools) -> Progress {
    let mut moved = 0;
    while moved < TURN {
        match step(from, to, lane, tools) {
            Ok(Step::Moved(count)) => moved += count,
            Ok(Step::Blocked) => return Progress::Idle,
            Err(_) => return Progress::Broken,
        }
    }
    Progress::More
}

/// A socket in a step, with what is known of its readiness.
struct End<'a> {
    socket: BorrowedFd<'a>,
    ready: &'a mut bool,
}

fn step(from: &mut Side, to: &mut Side, lane: &mut Lane, tools: &mut Tools) -> io::Result<Step> {
    let (Some(source), Some(sink)) = (from.socket.as_ref(), to.socket.as_ref()) else { return Ok(Step::Blocked) };
    let source = End { socket: source.as_fd(), ready: &mut from.readable };
    let sink = End { socket: sink.as_fd(), ready: &mut to.writable };
    if lane.held > 0 {
        return drain(sink, lane, &mut tools.pipes);
    }
    if lane.ended {
        if !lane.shut {
            shutdown(sink.socket, Shutdown::Write)?;
            lane.shut = true;
        }
        return Ok(Step::Blocked);
    }
    if !*source.ready || !*sink.ready {
        return Ok(Step::Blocked);
    }
    if lane.bulk && lane.pipe.is_none() {
        lane.pipe = tools.pipes.take();
    }
    match lane.pipe {
        Some(_) => fill(source, lane, &mut tools.pipes),
        None => copy(source, sink, from.ending, lane, tools),
    }
}

/// Turns "not now" into None.
fn ready(result: Result<usize, Errno>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Empties the pipe into the sink.
fn drain(sink: End<'_>, lane: &mut Lane, pipes: &mut Pipes) -> io::Result<Step> {
    let Some(pipe) = lane.pipe.as_ref().filter(|_| *sink.ready) else { return Ok(Step::Blocked) };
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let count = match ready(splice(&pipe.exit, None, sink.socket, None, lane.held, flags))? {
        Some(0) => return Err(io::ErrorKind::WriteZero.into()),
        Some(count) => count,
        None => {
            *sink.ready = false;
            return Ok(Step::Blocked);
        }
    };
    lane.held = lane.held.saturating_sub(count);
    if lane.held == 0 {
        lane.release(pipes);
    }
    Ok(Step::Moved(count))
}

/// Fills the pipe from the source.
fn fill(source: End<'_>, lane: &mut Lane, pipes: &mut Pipes) -> io::Result<Step> {
    let Some(pipe) = lane.pipe.as_ref() else { return Ok(Step::Blocked) };
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let count = ready(splice(source.socket, None, &pipe.entry, None, SPLICE, flags));
    match count {
        Ok(Some(count)) if count > 0 => {
            lane.held = count;
            lane.bulk = count >= WORTHWHILE;
            return Ok(Step::Moved(0));
        }
        Ok(Some(_)) => lane.ended = true,
        _ => *source.ready = false,
    }
    lane.release(pipes);
    count.map(|_| Step::Moved(0))
}

/// Copies one buffer. What the sink does not take is kept in a pipe; without a pipe the bytes stay
/// in the source, which is peeked at.
fn copy(source: End<'_>, sink: End<'_>, ending: bool, lane: &mut Lane, tools: &mut Tools) -> io::Result<Step> {
    let spare = tools.pipes.take();
    let peek = if spare.is_some() { RecvFlags::empty() } else { RecvFlags::PEEK };
    let received =
        ready(recv(source.socket, &mut tools.scratch[..], RecvFlags::DONTWAIT | peek).map(|(_, count)| count));
    let outcome = match received {
        Ok(Some(count)) if count > 0 => {
            lane.bulk = count == SCRATCH;
            // A short read has emptied the socket; what comes later is a new edge.
            *source.ready = lane.bulk || ending || spare.is_none();
            let sent = ready(send(sink.socket, &tools.scratch[..count], SendFlags::NOSIGNAL | SendFlags::DONTWAIT));
            sent.map(|sent| Some((sent.unwrap_or(0), count)))
        }
        Ok(Some(_)) => {
            lane.ended = true;
            Ok(None)
        }
        Ok(None) => {
            *source.ready = false;
            Ok(None)
        }
        Err(error) => Err(error),
    };
    if let (Ok(Some((sent, count))), None) = (&outcome, &spare) {
        *sink.ready = sent == count;
        recv(source.socket, &mut tools.scratch[..*sent], RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
    }
    match (spare, outcome) {
        (Some(pipe), Ok(Some((sent, count)))) if sent < count => {
            *sink.ready = false;
            keep(pipe, lane, &tools.scratch[sent..count])?;
            Ok(Step::Moved(sent))
        }
        (spare, outcome) => {
            if let Some(pipe) = spare {
                tools.pipes.give(pipe);
            }
            Ok(Step::Moved(outcome?.map_or(0, |(sent, _)| sent)))
        }
    }
}

/// Puts what the sink did not take into the pipe.
fn keep(pipe: Pipe, lane: &mut Lane, rest: &[u8]) -> io::Result<()> {
    let written = rustix::io::write(&pipe.entry, rest);
    lane.pipe = Some(pipe);
    lane.held = written?;
    if lane.held == rest.len() { Ok(()) } else { Err(io::Error::from(Errno::NOBUFS)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        far.set_nonblocking(true).unwrap();
        (near, far)
    }

    /// Relays `data` from one connection to another whose reader starts late; with `pipes` none are to be had.
    fn relay(data: &[u8], without_pipes: bool) -> Vec<u8> {
        let ((mut writer, from), (mut reader, to)) = (pair(), pair());
        let mut tools = Tools { pipes: Pipes::default(), scratch: vec![0; SCRATCH] };
        let taken: Vec<Pipe> = std::iter::from_fn(|| without_pipes.then(|| tools.pipes.take()).flatten()).collect();
        assert_eq!(taken.is_empty(), !without_pipes);
        let (mut from, mut to, mut lane) = (Side::open(from.into()), Side::open(to.into()), Lane::default());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                writer.write_all(data).unwrap();
                writer.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let received = scope.spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(100));
                let mut received = Vec::new();
                reader.read_to_end(&mut received).unwrap();
                received
            });
            while !lane.is_done() {
                // As if epoll reported everything: what is not there shows as "not now".
                from.note(EventFlags::IN);
                to.note(EventFlags::OUT);
                assert_ne!(pump(&mut from, &mut to, &mut lane, &mut tools), Progress::Broken);
            }
            received.join().unwrap()
        })
    }

    #[test]
    fn bytes_arrive_as_sent_with_and_without_pipes() {
        let data: Vec<u8> = (0..12_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for size in [0, 1, SCRATCH - 1, SCRATCH, SCRATCH + 1, data.len()] {
            for without_pipes in [false, true] {
                assert!(relay(&data[..size], without_pipes) == data[..size], "{size} bytes");
            }
        }
    }

    #[test]
    fn a_reset_is_noticed() {
        let ((writer, from), (_reader, to)) = (pair(), pair());
        rustix::net::sockopt::set_socket_linger(&writer, Some(std::time::Duration::ZERO)).unwrap();
        drop(writer);
        let mut tools = Tools { pipes: Pipes::default(), scratch: vec![0; SCRATCH] };
        let (mut from, mut to, mut lane) = (Side::open(from.into()), Side::open(to.into()), Lane::default());
        from.note(EventFlags::ERR);
        assert_eq!(pump(&mut from, &mut to, &mut lane, &mut tools), Progress::Broken);
    }
}
