//! Watches typed bytes for the detach sequence.

use crate::spec::detach_keys::DetachKeys;

/// What was typed so far of the sequence. A beginning of it is withheld until it is broken off.
#[derive(Debug)]
pub struct KeyWatch {
    keys: Vec<u8>,
    matched: usize,
}

impl KeyWatch {
    /// Watches for `keys`; with none, for nothing.
    pub fn new(keys: Option<&DetachKeys>) -> Self {
        Self { keys: keys.map(|keys| keys.bytes().to_vec()).unwrap_or_default(), matched: 0 }
    }

    /// The bytes to deliver, and whether the sequence was completed; what follows it is dropped.
    pub fn filter(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        if self.keys.is_empty() {
            return (bytes.to_vec(), false);
        }
        let mut deliver = Vec::with_capacity(bytes.len() + self.matched);
        for &byte in bytes {
            if self.matched == 0 && byte != self.keys[0] {
                deliver.push(byte);
                continue;
            }
            let mut withheld = self.keys[..self.matched].to_vec();
            withheld.push(byte);
            // The longest end of what was typed that begins the sequence may still become it.
            let begins = |from: &usize| self.keys.starts_with(&withheld[*from..]);
            let from = (0..withheld.len()).find(begins).unwrap_or(withheld.len());
            deliver.extend_from_slice(&withheld[..from]);
            self.matched = withheld.len() - from;
            if self.matched == self.keys.len() {
                self.matched = 0;
                return (deliver, true);
            }
        }
        (deliver, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(keys: &str) -> KeyWatch {
        KeyWatch::new(Some(&keys.parse().unwrap()))
    }

    #[test]
    fn a_beginning_is_withheld_and_given_back() {
        let mut keys = watch("ctrl-p,ctrl-q");
        assert_eq!(keys.filter(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(keys.filter(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.filter(b"\x11rest"), (Vec::new(), true));
        for off in [KeyWatch::new(None), watch("")] {
            let mut off = off;
            assert_eq!(off.filter(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
        }
    }

    #[test]
    fn a_sequence_that_begins_like_itself_is_found() {
        let mut keys = watch("a,a,b");
        assert_eq!(keys.filter(b"aaab"), (b"a".to_vec(), true));
        let mut keys = watch("a,b,a,c");
        assert_eq!(keys.filter(b"abab"), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(b"ac"), (Vec::new(), true));
        let mut keys = watch("x");
        assert_eq!(keys.filter(b"abx"), (b"ab".to_vec(), true));
    }
}
