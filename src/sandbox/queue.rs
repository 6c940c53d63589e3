//! Bytes on their way out, taken from the front in pieces.

use super::message::{Kind, push_frame};

/// Memory that is kept for the next time.
const KEEP: usize = 256 * 1024;

/// A queue of bytes.
#[derive(Debug, Default)]
pub struct Queue {
    bytes: Vec<u8>,
    start: usize,
}

impl Queue {
    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All that waits.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Takes `count` bytes from the front.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.is_empty() {
            self.clear();
        } else if self.start >= self.len() {
            // No more is moved than was consumed since the last time.
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Adds bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds a frame.
    pub fn push(&mut self, kind: Kind, payload: &[u8]) {
        push_frame(&mut self.bytes, kind, payload);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.start = 0;
        if self.bytes.capacity() > KEEP { self.bytes = Vec::new() } else { self.bytes.clear() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(steps in proptest::collection::vec((0usize..5000, 0usize..5000), 0..60)) {
            let (mut queue, mut went_in, mut came_out) = (Queue::default(), Vec::new(), Vec::new());
            for (step, (add, take)) in steps.into_iter().enumerate() {
                let bytes = vec![step as u8; add];
                queue.extend(&bytes);
                went_in.extend(bytes);
                let take = take.min(queue.len());
                came_out.extend_from_slice(&queue.rest()[..take]);
                queue.consume(take);
            }
            came_out.extend_from_slice(queue.rest());
            prop_assert_eq!(came_out, went_in);
        }
    }
}
