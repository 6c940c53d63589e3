//! Messages that wait for a receiver, in bounded memory.

use crate::sandbox::queue::Queue;

/// Bytes before each message: its length.
const PREFIX: usize = 4;

/// A queue of messages.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Queue,
    count: u64,
}

impl Outbox {
    /// How many messages wait.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Adds a message, at the end.
    pub(super) fn push(&mut self, message: &[u8]) {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        self.queue.extend(&length.to_le_bytes());
        self.queue.extend(message);
        self.count += 1;
    }

    /// The message that is next.
    pub(super) fn front(&self) -> Option<&[u8]> {
        let (prefix, rest) = self.queue.rest().split_first_chunk::<PREFIX>()?;
        rest.get(..u32::from_le_bytes(*prefix) as usize)
    }

    /// Lets go of it.
    pub(super) fn pop(&mut self) {
        if let Some(length) = self.front().map(<[u8]>::len) {
            self.queue.consume(PREFIX + length);
            self.count -= 1;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.count = 0;
    }
}
