//! What a supervisor and an invocation attached to it say to each other: frames of a kind byte, a
//! little-endian length and that many bytes, over a stream socket.

use std::io;

/// The longest payload of a frame.
pub const PAYLOAD_MAX: usize = 64 * 1024;
const HEADER: usize = 5;

/// The kinds of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Bytes for the container's stdin.
    Stdin = 1,
    /// No more stdin.
    StdinEnd = 2,
    /// Bytes the container wrote to stdout (or its terminal).
    Stdout = 3,
    /// Bytes the container wrote to stderr.
    Stderr = 4,
    /// Terminal size: rows and columns as two little-endian u16.
    Resize = 5,
    /// A signal for the container's init: one little-endian i32.
    Signal = 6,
    /// The init was executed: its pid as little-endian i32.
    Started = 7,
    /// The start failed: one byte of exit code, then the reason as text.
    Failed = 8,
    /// The container ended: its exit code as little-endian i32. Everything was recorded before.
    Exited = 9,
    /// This client leaves on purpose; the container goes on.
    Detach = 10,
    /// A warning for a person.
    Warning = 11,
}

impl Kind {
    fn from_byte(byte: u8) -> io::Result<Self> {
        use Kind::*;
        let all = [Stdin, StdinEnd, Stdout, Stderr, Resize, Signal, Started, Failed, Exited, Detach, Warning];
        let kind = all.into_iter().find(|kind| *kind as u8 == byte);
        kind.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("unknown frame kind {byte}")))
    }
}

/// Appends a frame to `out`, cutting a long payload into several.
pub fn push_frame(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    if payload.is_empty() {
        out.push(kind as u8);
        out.extend_from_slice(&0u32.to_le_bytes());
    }
    for part in payload.chunks(PAYLOAD_MAX) {
        out.push(kind as u8);
        out.extend_from_slice(&(part.len() as u32).to_le_bytes());
        out.extend_from_slice(part);
    }
}

/// Collects bytes and hands out whole frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Adds received bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it has arrived.
    pub fn next_frame(&mut self) -> io::Result<Option<(Kind, &[u8])>> {
        let rest = &self.buffer[self.start..];
        let Some((header, body)) = rest.split_at_checked(HEADER) else { return Ok(None) };
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length > PAYLOAD_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("frame of {length} bytes")));
        }
        let kind = Kind::from_byte(header[0])?;
        if body.len() < length {
            return Ok(None);
        }
        let begin = self.start + HEADER;
        self.start = begin + length;
        Ok(Some((kind, &self.buffer[begin..self.start])))
    }
}

/// Reads a little-endian i32 payload.
pub fn number(payload: &[u8]) -> io::Result<i32> {
    match payload.try_into() {
        Ok(bytes) => Ok(i32::from_le_bytes(bytes)),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "frame payload is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_survive_any_cut(payload in proptest::collection::vec(any::<u8>(), 0..200_000), cut in 1usize..70_000) {
            let mut wire = Vec::new();
            push_frame(&mut wire, Kind::Stdout, &payload);
            push_frame(&mut wire, Kind::StdinEnd, &[]);
            let (mut decoder, mut got, mut ended) = (Decoder::default(), Vec::new(), false);
            for part in wire.chunks(cut) {
                decoder.extend(part);
                while let Some((kind, bytes)) = decoder.next_frame().unwrap() {
                    match kind {
                        Kind::Stdout => got.extend_from_slice(bytes),
                        kind => ended = kind == Kind::StdinEnd,
                    }
                }
            }
            prop_assert_eq!(got, payload);
            prop_assert!(ended);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let mut decoder = Decoder::default();
        decoder.extend(&[200, 0, 0, 0, 0]);
        assert!(decoder.next_frame().is_err());
        let mut decoder = Decoder::default();
        decoder.extend(&[1, 255, 255, 255, 255]);
        assert!(decoder.next_frame().is_err());
    }
}
