//! The epoll descriptor that everything here hangs on, and the clock's side of it.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// The most events that one call returns.
const BATCH: usize = 64;

/// What an event or a moment is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Token {
    /// The UDP listener of that index.
    Datagrams(usize),
    /// The TCP listener of that index.
    Connections(usize),
    /// A container's connection.
    Client(u64),
    /// A query on its way, and which of its tries.
    Exchange(u64, u8),
}

impl Token {
    fn pack(self) -> u64 {
        match self {
            Self::Datagrams(index) => (index as u64) << 2,
            Self::Connections(index) => (index as u64) << 2 | 1,
            Self::Client(number) => number << 2 | 2,
            Self::Exchange(number, attempt) => number << 10 | u64::from(attempt) << 2 | 3,
        }
    }

    fn unpack(packed: u64) -> Self {
        let rest = packed >> 2;
        match packed & 3 {
            0 => Self::Datagrams(rest as usize),
            1 => Self::Connections(rest as usize),
            2 => Self::Client(rest),
            _ => Self::Exchange(rest >> 8, rest as u8),
        }
    }
}

/// Descriptors and moments that are waited for.
pub struct Poll {
    epoll: OwnedFd,
    moments: BTreeSet<(Instant, Token)>,
    by_token: HashMap<Token, Instant>,
}

impl Poll {
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, moments: BTreeSet::new(), by_token: HashMap::new() })
    }

    /// Watches a descriptor until it is closed.
    pub fn watch(&self, descriptor: impl AsFd, token: Token, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, descriptor, EventData::new_u64(token.pack()), flags)?)
    }

    /// Changes what a watched descriptor is watched for.
    pub fn rewatch(&self, descriptor: impl AsFd, token: Token, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, descriptor, EventData::new_u64(token.pack()), flags)?)
    }

    /// Stops watching a descriptor before it is closed.
    pub fn forget(&self, descriptor: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, descriptor)?)
    }

    /// What is ready now.
    pub fn ready(&self) -> io::Result<Vec<(Token, EventFlags)>> {
        let mut events = Vec::with_capacity(BATCH);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&Timespec::default())) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(events.iter().map(|event: &epoll::Event| (Token::unpack(event.data.u64()), event.flags)).collect())
    }

    /// Sets or, with None, forgets the moment at which `token` is due.
    pub fn remind(&mut self, token: Token, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.by_token.insert(token, at),
            None => self.by_token.remove(&token),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.moments.remove(&(before, token));
        }
        if let Some(at) = at {
            self.moments.insert((at, token));
        }
    }

    /// The next moment at which something is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.moments.first().map(|(at, _)| *at)
    }

    /// Takes one token whose moment has come.
    pub fn due(&mut self, now: Instant) -> Option<Token> {
        let (at, token) = *self.moments.first()?;
        if at > now {
            return None;
        }
        self.remind(token, None);
        Some(token)
    }
}

impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for token in [Token::Datagrams(3), Token::Connections(0), Token::Client(1 << 40), Token::Exchange(1 << 40, 255)]
        {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }

    #[test]
    fn moments_come_in_order_and_can_be_moved() {
        let (mut poll, now) = (Poll::new().unwrap(), Instant::now());
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        poll.remind(Token::Client(1), at(5));
        poll.remind(Token::Client(2), at(3));
        poll.remind(Token::Client(1), at(1));
        poll.remind(Token::Client(3), at(2));
        poll.remind(Token::Client(3), None);
        assert_eq!(poll.deadline(), at(1));
        assert_eq!(poll.due(now), None);
        let late = now + Duration::from_secs(9);
        assert_eq!(
            [poll.due(late), poll.due(late), poll.due(late)],
            [Some(Token::Client(1)), Some(Token::Client(2)), None]
        );
        assert_eq!(poll.deadline(), None);
    }
}
