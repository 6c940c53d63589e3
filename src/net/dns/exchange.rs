//! A query on its way: which servers are asked in which order and when, and who waits for the answer.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};

use super::answer::Answer;
use super::attempt::{Attempt, Outcome};
use super::cache::Key;
use super::poll::{Poll, Token};
use super::query::Query;
use super::resolv::Settings;

/// No client waits longer: the C library's own patience ends after ten seconds.
const PATIENCE: Duration = Duration::from_millis(9500);
/// How long a server is waited for before the next is asked as well, unless resolv.conf says.
const STEP: Duration = Duration::from_secs(2);
/// How long the last one is waited for, unless resolv.conf says.
const LAST: Duration = Duration::from_secs(5);
/// The most packets sent for one query.
const SENDS: usize = 12;
/// Unanswered queries in a row that make a server the last to be asked.
const MISSES: u32 = 2;
/// For how long.
const DEMOTED: Duration = Duration::from_secs(30);
/// Servers remembered as silent.
const REMEMBERED: usize = 64;

/// Where a reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// From the UDP listener of that index.
    Datagram { listener: usize, peer: SocketAddr },
    /// Over a container's connection.
    Stream { client: u64 },
}

/// A client that waits.
pub struct Waiter {
    /// In order of arrival over all clients.
    pub number: u64,
    pub asker: IpAddr,
    pub query: Query,
    pub to: Return,
}

/// Servers that do not answer.
#[derive(Default)]
pub struct Silent(HashMap<SocketAddr, (u32, Instant)>);

impl Silent {
    fn demoted(&self, server: &SocketAddr, now: Instant) -> bool {
        self.0.get(server).is_some_and(|(misses, last)| *misses >= MISSES && now < *last + DEMOTED)
    }

    fn missed(&mut self, server: SocketAddr, now: Instant) {
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        let (misses, last) = self.0.entry(server).or_insert((0, now));
        *misses += 1;
        *last = now;
    }

    fn answered(&mut self, server: &SocketAddr) {
        self.0.remove(server);
    }
}

/// How an exchange stands after an event.
pub enum Step {
    Waiting,
    /// A server answered.
    Done(Answer),
    /// Nobody answered; what a server that would not said last.
    GivenUp(Option<Answer>),
}

/// One question asked of its servers.
pub struct Exchange {
    pub key: Rc<Key>,
    pub waiters: Vec<Waiter>,
    number: u64,
    message: Vec<u8>,
    /// In the order of asking, and whether each has failed.
    servers: Vec<(SocketAddr, bool)>,
    attempts: Vec<Attempt>,
    over_tcp: bool,
    sent: usize,
    sends: usize,
    step: Duration,
    last: Duration,
    deadline: Instant,
    refusal: Option<Answer>,
}

impl Exchange {
    /// Prepares to ask; `turn` rotates the servers.
    pub fn new(number: u64, key: Rc<Key>, query: &Query, settings: &Settings, turn: usize, silent: &Silent) -> Self {
        let now = Instant::now();
        let mut servers: Vec<_> = key.servers.iter().map(|server| (*server, false)).collect();
        if settings.rotate && !servers.is_empty() {
            let first = turn % servers.len();
            servers.rotate_left(first);
        }
        servers.sort_by_key(|(server, _)| silent.demoted(server, now));
        let sends = (servers.len() * settings.attempts as usize).min(SENDS);
        let step = settings.timeout.unwrap_or(STEP).min(PATIENCE / sends.max(1) as u32);
        Self {
            key,
            waiters: Vec::new(),
            number,
            message: query.to_upstream(),
            servers,
            attempts: Vec::new(),
            over_tcp: settings.use_vc,
            sent: 0,
            sends,
            step,
            last: settings.timeout.unwrap_or(LAST),
            deadline: now + PATIENCE,
            refusal: None,
        }
    }

    /// Asks the next server that has not failed.
    pub fn advance(&mut self, poll: &mut Poll, now: Instant) -> Step {
        while self.sent < self.sends {
            let index = self.sent % self.servers.len().max(1);
            self.sent += 1;
            let Some(&(server, failed)) = self.servers.get(index) else { break };
            if failed {
                continue;
            }
            if self.send(server, poll).is_ok() {
                let wait = if self.sent == self.sends { self.last } else { self.step };
                poll.remind(Token::Exchange(self.number, 0), Some(self.deadline.min(now + wait)));
                return Step::Waiting;
            }
            self.mark_failed(server);
        }
        if self.servers.iter().all(|(_, failed)| *failed) { Step::GivenUp(self.refusal.take()) } else { Step::Waiting }
    }

    fn send(&mut self, server: SocketAddr, poll: &Poll) -> io::Result<()> {
        let before = self.attempts.iter().find(|attempt| attempt.server() == server);
        if let Some(before) = before.filter(|_| !self.over_tcp) {
            return before.again(&self.message).map(drop);
        }
        let attempt = Attempt::start(server, &self.message, random_id()?, self.over_tcp)?;
        let token = Token::Exchange(self.number, self.attempts.len() as u8);
        poll.watch(&attempt, token, attempt.interest())?;
        self.attempts.push(attempt);
        Ok(())
    }

    fn mark_failed(&mut self, server: SocketAddr) {
        self.servers.iter_mut().filter(|(other, _)| *other == server).for_each(|(_, failed)| *failed = true);
    }

    /// The descriptor of an attempt is ready.
    pub fn ready(&mut self, index: u8, poll: &mut Poll, silent: &mut Silent, now: Instant) -> Step {
        let Some(attempt) = self.attempts.get_mut(usize::from(index)) else { return Step::Waiting };
        let server = attempt.server();
        let wanted = attempt.interest();
        match attempt.proceed(&self.key.question) {
            Outcome::Pending => {
                let token = Token::Exchange(self.number, index);
                if attempt.interest() != wanted && poll.rewatch(&*attempt, token, attempt.interest()).is_err() {
                    return self.failed(server, poll, now);
                }
                Step::Waiting
            }
            Outcome::Failed => self.failed(server, poll, now),
            Outcome::Refused(answer) => {
                silent.answered(&server);
                self.refusal = Some(answer);
                self.failed(server, poll, now)
            }
            Outcome::Answered(answer) => {
                self.note_silence(Some(server), silent, now);
                silent.answered(&server);
                Step::Done(answer)
            }
        }
    }

    fn failed(&mut self, server: SocketAddr, poll: &mut Poll, now: Instant) -> Step {
        self.mark_failed(server);
        // Its sockets stay to keep the others' numbers, but are not watched: an error would wake for ever.
        for attempt in self.attempts.iter().filter(|attempt| attempt.server() == server) {
            let _ = poll.forget(attempt);
        }
        self.advance(poll, now)
    }

    /// The moment for the next server, or for giving up, has come.
    pub fn expire(&mut self, poll: &mut Poll, silent: &mut Silent, now: Instant) -> Step {
        if now < self.deadline && self.sent < self.sends {
            poll.remind(Token::Exchange(self.number, 0), Some(self.deadline.min(now + self.last)));
            return self.advance(poll, now);
        }
        self.note_silence(None, silent, now);
        Step::GivenUp(self.refusal.take())
    }

    /// Remembers which servers were asked and passed over in silence.
    fn note_silence(&self, answered: Option<SocketAddr>, silent: &mut Silent, now: Instant) {
        for (server, failed) in self.servers.iter().take(self.sent) {
            if !failed && Some(*server) != answered {
                silent.missed(*server, now);
            }
        }
    }

    /// Asks again by TCP, first the server whose answer did not fit a datagram; false if that was by TCP.
    pub fn switch_to_tcp(&mut self) -> bool {
        if self.over_tcp {
            return false;
        }
        let last = self.sent.saturating_sub(1) % self.servers.len().max(1);
        self.servers.rotate_left(last);
        self.servers.iter_mut().for_each(|(_, failed)| *failed = false);
        self.attempts.clear();
        (self.over_tcp, self.sent) = (true, 0);
        true
    }
}

/// An id that nobody can guess.
fn random_id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}
