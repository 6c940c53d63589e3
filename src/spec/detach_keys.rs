//! `--detach-keys`: what a person types to leave a terminal without ending what runs in it.

use std::fmt;
use std::str::FromStr;

use super::text::printable;

/// The bytes of a key sequence; none when leaving by keys is switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// Why a text is not a key sequence.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown key '{0}': give characters or ctrl-X (X of a-z @ [ \\ ] ^ _), separated by commas")]
pub struct InvalidDetachKeys(String);

/// What follows `ctrl-` for the bytes 0 to 31.
const CONTROL: &str = "@abcdefghijklmnopqrstuvwxyz[\\]^_";
const DELETE: u8 = 127;

impl DetachKeys {
    /// The bytes that a terminal in raw mode delivers for the sequence.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Default for DetachKeys {
    /// ctrl-p ctrl-q, as docker has it.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl FromStr for DetachKeys {
    type Err = InvalidDetachKeys;

    /// docker's grammar: `ctrl-x`, one ASCII character, or `DEL`, separated by commas. An empty text
    /// switches detaching off, as podman has it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        text.split(',').map(key).collect::<Result<_, _>>().map(Self)
    }
}

fn key(name: &str) -> Result<u8, InvalidDetachKeys> {
    let control = |letter: &str| if letter.len() == 1 { CONTROL.find(letter) } else { None };
    match name.as_bytes() {
        [byte] if byte.is_ascii() => Ok(*byte),
        b"DEL" => Ok(DELETE),
        // At most 31, as CONTROL is no longer.
        _ => match name.strip_prefix("ctrl-").and_then(control) {
            Some(index) => Ok(index as u8),
            None => Err(InvalidDetachKeys(printable(name))),
        },
    }
}

impl fmt::Display for DetachKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, &byte) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match CONTROL.as_bytes().get(usize::from(byte)) {
                Some(&letter) => write!(f, "ctrl-{}", char::from(letter))?,
                None if byte == DELETE => f.write_str("DEL")?,
                None => write!(f, "{}", char::from(byte))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_grammar() {
        for (text, bytes) in [
            ("ctrl-p,ctrl-q", &[0x10, 0x11][..]),
            ("ctrl-a", &[1]),
            ("a,b,Z,1", b"abZ1"),
            ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", &[0, 27, 28, 29, 30, 31]),
            ("ctrl-z,DEL", &[26, 127]),
            ("", &[]),
        ] {
            let keys: DetachKeys = text.parse().unwrap();
            assert_eq!(keys.bytes(), bytes, "{text}");
            assert_eq!(keys.to_string(), text);
        }
        assert_eq!(DetachKeys::default().to_string(), "ctrl-p,ctrl-q");
    }

    #[test]
    fn what_is_no_key_is_named() {
        for (text, culprit) in [
            ("ctrl-", "ctrl-"),
            ("ctrl-1", "ctrl-1"),
            ("ctrl-A", "ctrl-A"),
            ("a,,b", ""),
            ("a,", ""),
            ("ctrl-p,foo", "foo"),
            ("ctrl-ab", "ctrl-ab"),
            ("é", "é"),
            ("shift-a", "shift-a"),
        ] {
            let error = text.parse::<DetachKeys>().unwrap_err();
            assert_eq!(error, InvalidDetachKeys(culprit.to_owned()), "{text}");
        }
    }
}
