//! Questions about the rest of the world: cached, joined, or asked of the host's resolvers.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use super::answer::{Answer, code};
use super::cache::{Cache, Key};
use super::exchange::{Exchange, Return, Silent, Step, Waiter};
use super::poll::{Poll, Token};
use super::query::Query;
use super::resolv::{self, ResolvConf, Settings};

/// The most queries in flight; the oldest goes unanswered when there is one more.
const EXCHANGES: usize = 1024;
/// The most answers that one container waits for; likewise.
const PER_ASKER: usize = 256;

/// Queries that one container may have asked of servers per second; what is above goes unanswered, so that
/// its flood does not fill the socket that all share.
const RATE: f64 = 1000.0;
/// How many of them may come at once.
const BURST: f64 = 500.0;
/// Containers whose rate is remembered.
const REMEMBERED: usize = 1024;

/// A message for a client.
pub struct Reply {
    pub to: Return,
    pub message: Vec<u8>,
}

/// Who waits, oldest first.
#[derive(Default)]
struct Queue {
    /// The exchange of each waiter, by asker and order of arrival.
    waiters: BTreeMap<(IpAddr, u64), u64>,
    counts: HashMap<IpAddr, usize>,
}

impl Queue {
    fn enter(&mut self, asker: IpAddr, number: u64, exchange: u64) {
        if self.waiters.insert((asker, number), exchange).is_none() {
            *self.counts.entry(asker).or_default() += 1;
        }
    }

    fn leave(&mut self, asker: IpAddr, number: u64) {
        if self.waiters.remove(&(asker, number)).is_none() {
            return;
        }
        if let Some(count) = self.counts.get_mut(&asker) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&asker);
            }
        }
    }

    /// The oldest of an asker that has as many as it may.
    fn surplus(&self, asker: IpAddr) -> Option<(u64, u64)> {
        if self.counts.get(&asker).is_none_or(|count| *count < PER_ASKER) {
            return None;
        }
        let mut own = self.waiters.range((asker, 0)..=(asker, u64::MAX));
        own.next().map(|((_, number), exchange)| (*number, *exchange))
    }
}

/// What each container may still ask.
#[derive(Default)]
struct Allowances(HashMap<IpAddr, (f64, Instant)>);

impl Allowances {
    fn take(&mut self, asker: IpAddr, now: Instant) -> bool {
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        let (left, last) = self.0.entry(asker).or_insert((BURST, now));
        *left = (*left + now.saturating_duration_since(*last).as_secs_f64() * RATE).min(BURST);
        *last = now;
        let allowed = *left >= 1.0;
        if allowed {
            *left -= 1.0;
        }
        allowed
    }
}

/// Asks servers in the network namespace of the calling thread.
pub struct Forwarder {
    resolv: ResolvConf,
    cache: Cache,
    silent: Silent,
    exchanges: BTreeMap<u64, Exchange>,
    by_key: HashMap<Rc<Key>, u64>,
    queue: Queue,
    allowances: Allowances,
    counter: u64,
    turn: usize,
    /// What is to be sent.
    pub replies: Vec<Reply>,
}

impl Forwarder {
    pub fn new(resolv_conf: PathBuf) -> Self {
        Self {
            resolv: ResolvConf::new(resolv_conf),
            cache: Cache::default(),
            silent: Silent::default(),
            exchanges: BTreeMap::new(),
            by_key: HashMap::new(),
            queue: Queue::default(),
            allowances: Allowances::default(),
            counter: 0,
            turn: 0,
            replies: Vec::new(),
        }
    }

    /// Sends `answer` to who asked.
    pub fn reply(&mut self, query: &Query, to: Return, answer: &Answer, age: u32) {
        let limit = match to {
            Return::Datagram { .. } => query.udp_limit(),
            Return::Stream { .. } => u16::MAX,
        };
        self.replies.push(Reply { to, message: answer.render(query, limit.into(), age) });
    }

    /// Answers from the cache or asks; `upstreams` instead of the host's servers. False if the container asks
    /// too much: there will be no reply.
    pub fn ask(
        &mut self,
        query: Query,
        asker: IpAddr,
        to: Return,
        upstreams: Option<Vec<IpAddr>>,
        poll: &mut Poll,
    ) -> bool {
        let now = Instant::now();
        let settings = self.resolv.current(now).clone();
        let servers = upstreams.and_then(|own| resolv::servers(&own)).unwrap_or_else(|| Rc::clone(&settings.servers));
        let edns = query.edns.map(|edns| edns.dnssec);
        let key = Key { servers, question: query.folded(), wishes: query.wishes(), edns };
        if let Some((answer, age)) = self.cache.get(&key, now) {
            self.reply(&query, to, &answer, age);
            return true;
        }
        self.make_room(asker, poll);
        if let Some(&number) = self.by_key.get(&key) {
            self.join(number, query, asker, to);
            return true;
        }
        if !self.allowances.take(asker, now) {
            return false;
        }
        let number = self.begin(key, &query, &settings, poll);
        self.join(number, query, asker, to);
        self.drive(number, poll, |exchange, poll, _| exchange.advance(poll, now));
        true
    }

    fn begin(&mut self, key: Key, query: &Query, settings: &Settings, poll: &mut Poll) -> u64 {
        while self.exchanges.len() >= EXCHANGES {
            let Some((number, _)) = self.exchanges.first_key_value() else { break };
            self.drop_exchange(*number, poll);
        }
        self.counter += 1;
        self.turn = self.turn.wrapping_add(1);
        let (number, key) = (self.counter, Rc::new(key));
        let exchange = Exchange::new(number, Rc::clone(&key), query, settings, self.turn, &self.silent);
        self.exchanges.insert(number, exchange);
        self.by_key.insert(key, number);
        number
    }

    /// Lets a query wait for an exchange; a client that repeats itself still waits once.
    fn join(&mut self, exchange_number: u64, query: Query, asker: IpAddr, to: Return) {
        let Some(exchange) = self.exchanges.get_mut(&exchange_number) else { return };
        if exchange.waiters.iter().any(|waiter| waiter.to == to && waiter.query.id == query.id) {
            return;
        }
        self.counter += 1;
        exchange.waiters.push(Waiter { number: self.counter, asker, query, to });
        self.queue.enter(asker, self.counter, exchange_number);
    }

    /// Drops an asker's oldest query if it has too many.
    fn make_room(&mut self, asker: IpAddr, poll: &mut Poll) {
        while let Some((number, exchange_number)) = self.queue.surplus(asker) {
            self.queue.leave(asker, number);
            let Some(exchange) = self.exchanges.get_mut(&exchange_number) else { continue };
            exchange.waiters.retain(|waiter| waiter.number != number);
            if exchange.waiters.is_empty() {
                self.drop_exchange(exchange_number, poll);
            }
        }
    }

    fn drop_exchange(&mut self, number: u64, poll: &mut Poll) -> Option<Exchange> {
        let exchange = self.exchanges.remove(&number)?;
        self.by_key.remove(&exchange.key);
        exchange.waiters.iter().for_each(|waiter| self.queue.leave(waiter.asker, waiter.number));
        poll.remind(Token::Exchange(number, 0), None);
        Some(exchange)
    }

    /// A descriptor of an exchange is ready.
    pub fn ready(&mut self, number: u64, attempt: u8, poll: &mut Poll) {
        self.drive(number, poll, |exchange, poll, silent| exchange.ready(attempt, poll, silent, Instant::now()));
    }

    /// The moment of an exchange has come.
    pub fn expire(&mut self, number: u64, now: Instant, poll: &mut Poll) {
        self.drive(number, poll, |exchange, poll, silent| exchange.expire(poll, silent, now));
    }

    fn drive(
        &mut self,
        number: u64,
        poll: &mut Poll,
        step: impl FnOnce(&mut Exchange, &mut Poll, &mut Silent) -> Step,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        match step(exchange, poll, &mut self.silent) {
            Step::Waiting => {}
            Step::Done(answer) if answer.is_truncated() => self.truncated(number, answer, poll),
            Step::Done(answer) => self.finish(number, Some(answer), poll),
            Step::GivenUp(refusal) => self.finish(number, refusal, poll),
        }
    }

    /// Who came by UDP is told to come by TCP; for who did, the question is asked again by TCP.
    fn truncated(&mut self, number: u64, answer: Answer, poll: &mut Poll) {
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        let streams = exchange.waiters.iter().any(|waiter| matches!(waiter.to, Return::Stream { .. }));
        if !streams || !exchange.switch_to_tcp() {
            return self.finish(number, Some(answer), poll);
        }
        let told: Vec<Waiter> =
            exchange.waiters.extract_if(.., |waiter| matches!(waiter.to, Return::Datagram { .. })).collect();
        for waiter in told {
            self.queue.leave(waiter.asker, waiter.number);
            self.reply(&waiter.query, waiter.to, &answer, 0);
        }
        self.drive(number, poll, |exchange, poll, _| exchange.advance(poll, Instant::now()));
    }

    /// Gives everybody who waits the answer, or says that there is none.
    fn finish(&mut self, number: u64, answer: Option<Answer>, poll: &mut Poll) {
        let Some(exchange) = self.drop_exchange(number, poll) else { return };
        let answer = answer.map(Rc::new);
        if let Some(answer) = &answer {
            self.cache.put(&exchange.key, answer, Instant::now());
        }
        for Waiter { query, to, .. } in &exchange.waiters {
            match &answer {
                Some(answer) => self.reply(query, *to, answer, 0),
                None => self.reply(query, *to, &Answer::empty(query, code::SERVFAIL), 0),
            }
        }
    }
}

/// Servers that a container asked for, without those that are this one.
pub fn not_ourselves(upstreams: Option<Vec<IpAddr>>, own: &[SocketAddr]) -> Option<Vec<IpAddr>> {
    let mut upstreams = upstreams?;
    upstreams.retain(|address| own.iter().all(|listener| listener.ip() != *address));
    Some(upstreams)
}
