//! Answers that are still true, bounded in bytes.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::answer::{Answer, Keep};

/// The most bytes that all answers may take.
const BYTES: usize = 512 << 10;
/// The most bytes that one answer may take.
const ENTRY_BYTES: usize = 16 << 10;
/// What an entry costs beyond its answer and key, in bytes.
const OVERHEAD: usize = 256;
/// The longest lives, whatever the records say, in seconds.
const POSITIVE: u32 = 3600;
const NEGATIVE: u32 = 300;
/// The same when every server is on this host: such a one caches by itself, and knows when the host joins
/// or leaves a network, which resolv.conf does not show.
const LOCAL_POSITIVE: u32 = 10;
const LOCAL_NEGATIVE: u32 = 2;

/// What makes two queries one: asked of the same servers, the same question with the same wishes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub servers: Rc<[SocketAddr]>,
    /// The raw question, its name in lower case.
    pub question: Box<[u8]>,
    /// RD, AD and CD.
    pub wishes: u16,
    /// None: no EDNS; else whether DNSSEC's records are wanted.
    pub edns: Option<bool>,
}

struct Entry {
    answer: Rc<Answer>,
    stored: Instant,
    life: Duration,
    /// Its place in the order of use.
    used: u64,
}

/// The answers, the ones used last kept longest.
#[derive(Default)]
pub struct Cache {
    entries: HashMap<Rc<Key>, Entry>,
    order: BTreeMap<u64, Rc<Key>>,
    clock: u64,
    bytes: usize,
}

impl Cache {
    /// The answer and its age in seconds.
    pub fn get(&mut self, key: &Key, now: Instant) -> Option<(Rc<Answer>, u32)> {
        let entry = self.entries.get_mut(key)?;
        let age = now.saturating_duration_since(entry.stored);
        if age >= entry.life {
            self.remove(key);
            return None;
        }
        self.clock += 1;
        if let Some(key) = self.order.remove(&entry.used) {
            self.order.insert(self.clock, key);
        }
        entry.used = self.clock;
        Some((Rc::clone(&entry.answer), age.as_secs() as u32))
    }

    /// Keeps an answer for as long as it says, within bounds.
    pub fn put(&mut self, key: &Rc<Key>, answer: &Rc<Answer>, now: Instant) {
        let local = key.servers.iter().all(|server| server.ip().is_loopback());
        let seconds = match answer.keep() {
            Keep::No => 0,
            Keep::Positive(seconds) => seconds.min(if local { LOCAL_POSITIVE } else { POSITIVE }),
            Keep::Negative(seconds) => seconds.min(if local { LOCAL_NEGATIVE } else { NEGATIVE }),
        };
        let size = cost(key, answer);
        if seconds == 0 || size > ENTRY_BYTES {
            return;
        }
        self.remove(key);
        while self.bytes + size > BYTES {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            let oldest = Rc::clone(oldest);
            self.remove(&oldest);
        }
        self.clock += 1;
        self.bytes += size;
        self.order.insert(self.clock, Rc::clone(key));
        let life = Duration::from_secs(seconds.into());
        let entry = Entry { answer: Rc::clone(answer), stored: now, life, used: self.clock };
        self.entries.insert(Rc::clone(key), entry);
    }

    fn remove(&mut self, key: &Key) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            self.order.remove(&entry.used);
            self.bytes -= cost(&key, &entry.answer);
        }
    }
}

fn cost(key: &Key, answer: &Answer) -> usize {
    OVERHEAD + key.question.len() + answer.size()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32, server: &str) -> Rc<Key> {
        let name = format!("{number:08}");
        let question = [b"\x08", name.as_bytes(), b"\0\0\x01\0\x01"].concat().into();
        Rc::new(Key { servers: [server.parse().unwrap()].into(), question, wishes: 0, edns: None })
    }

    fn answer(key: &Key, ttl: u32, records: u16) -> Rc<Answer> {
        let mut message = vec![0, 0, 0x81, 0x80, 0, 1];
        message.extend([records.to_be_bytes(), [0; 2], [0; 2]].concat());
        message.extend(&key.question);
        for _ in 0..records {
            message.extend(b"\xc0\x0c\0\x01\0\x01");
            message.extend(ttl.to_be_bytes());
            message.extend(b"\0\x04\x0a\0\0\x01");
        }
        Rc::new(Answer::read(&message, &key.question).unwrap())
    }

    #[test]
    fn answers_live_as_long_as_they_say() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let far = key(1, "192.0.2.1:53");
        cache.put(&far, &answer(&far, 60, 1), now);
        assert_eq!(cache.get(&far, now + Duration::from_secs(59)).unwrap().1, 59);
        assert!(cache.get(&key(1, "192.0.2.2:53"), now).is_none());
        assert!(cache.get(&far, now + Duration::from_secs(60)).is_none());
        assert_eq!(cache.bytes, 0);
        let near = key(1, "127.0.0.53:53");
        cache.put(&near, &answer(&near, 60, 1), now);
        assert!(cache.get(&near, now + Duration::from_secs(10)).is_none());
        cache.put(&far, &answer(&far, 0, 1), now);
        assert!(cache.get(&far, now).is_none());
    }

    #[test]
    fn bytes_are_bounded_and_used_answers_stay() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let favourite = key(0, "192.0.2.1:53");
        cache.put(&favourite, &answer(&favourite, 60, 10), now);
        for number in 1..5000 {
            let key = key(number, "192.0.2.1:53");
            cache.put(&key, &answer(&key, 60, 10), now);
            assert!(cache.bytes <= BYTES);
            assert!(cache.get(&favourite, now).is_some());
        }
        assert!(cache.entries.len() > 500 && cache.entries.len() == cache.order.len());
        let large = key(9999, "192.0.2.1:53");
        cache.put(&large, &answer(&large, 60, 2000), now);
        assert!(cache.get(&large, now).is_none());
    }
}
