//! What a supervisor and an invocation attached to it say to each other: frames of a kind byte, a
//! little-endian length and that many bytes, over a stream socket.

use std::io;

/// The longest payload of a frame.
pub const PAYLOAD_MAX: usize = 64 * 1024;
/// What goes before a payload.
pub const HEADER: usize = 5;

/// The kinds of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Bytes for the container's stdin.
    Stdin = 1,
    /// No more stdin. To a client: the container takes no more.
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
    /// The first frame on a connection to `ctl`: the key, then a byte of [`wish`]es. Answered by
    /// `Started`.
    Attach = 12,
    /// To the owning client: the write end of the container's stdin comes along.
    StdinPipe = 13,
    /// The container's networks are to change: JSON. Answered by `Changed`.
    Change = 14,
    /// They have: empty; or why not, as text.
    Changed = 15,
    /// The container's health is to be checked now. Answered by `Checked`.
    Check = 16,
    /// It was: the result as JSON; or nothing, where the container has no check.
    Checked = 17,
    /// To the owning client: what the container has to say to systemd, as text.
    Notify = 18,
    /// The container's record says another health check now. Answered by `Updated`.
    Update = 19,
    /// It counts from now on: empty; or why not, as text.
    Updated = 20,
}

/// The bits of a client's wishes.
pub mod wish {
    pub const STDIN: u8 = 1;
    pub const STDOUT: u8 = 2;
    pub const STDERR: u8 = 4;
    /// The container is to be started again: `--rm` does not remove it.
    pub const RESTART: u8 = 8;
    /// The container's networks are to be changed.
    pub const CHANGE: u8 = 16;
    /// The container's health is to be checked, or its check was changed.
    pub const CHECK: u8 = 32;
}

impl Kind {
    fn from_byte(byte: u8) -> io::Result<Self> {
        use Kind::*;
        let all = [
            Stdin, StdinEnd, Stdout, Stderr, Resize, Signal, Started, Failed, Exited, Detach, Warning, Attach,
            StdinPipe, Change, Changed, Check, Checked, Notify, Update, Updated,
        ];
        let kind = all.into_iter().find(|kind| *kind as u8 == byte);
        kind.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("unknown frame kind {byte}")))
    }
}

/// What goes before a payload of at most [`PAYLOAD_MAX`] bytes.
pub fn header(kind: Kind, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = (length as u32).to_le_bytes();
    [kind as u8, a, b, c, d]
}

/// Appends a frame to `out`, cutting a long payload into several.
pub fn push_frame(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    if payload.is_empty() {
        out.extend_from_slice(&header(kind, 0));
    }
    for part in payload.chunks(PAYLOAD_MAX) {
        out.extend_from_slice(&header(kind, part.len()));
        out.extend_from_slice(part);
    }
}

/// Room for a frame of any length behind what is left of the one before.
const BUFFER: usize = 2 * (PAYLOAD_MAX + HEADER);

/// Collects bytes and hands out whole frames, without copying them again.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Empty until first used.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Decoder {
    /// Where to put received bytes; never empty after all whole frames were taken.
    pub fn space(&mut self) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER];
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..]
    }

    /// That many bytes were put there.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// The first frame, if all of it has arrived.
    pub fn peek(&self) -> io::Result<Option<(Kind, &[u8])>> {
        let rest = &self.buffer[self.start..self.end];
        let Some((header, body)) = rest.split_at_checked(HEADER) else { return Ok(None) };
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length > PAYLOAD_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("frame of {length} bytes")));
        }
        let kind = Kind::from_byte(header[0])?;
        Ok(body.get(..length).map(|payload| (kind, payload)))
    }

    /// Takes the frame that was peeked at.
    pub fn advance(&mut self) {
        if let Ok(Some((_, payload))) = self.peek() {
            self.start += HEADER + payload.len();
        }
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
            let mut wire = &wire[..];
            while !wire.is_empty() {
                let space = decoder.space();
                let count = cut.min(space.len()).min(wire.len());
                space[..count].copy_from_slice(&wire[..count]);
                decoder.filled(count);
                wire = &wire[count..];
                while let Some((kind, bytes)) = decoder.peek().unwrap() {
                    match kind {
                        Kind::Stdout => got.extend_from_slice(bytes),
                        kind => ended = kind == Kind::StdinEnd,
                    }
                    decoder.advance();
                }
            }
            prop_assert_eq!(got, payload);
            prop_assert!(ended);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [[200, 0, 0, 0, 0], [1, 255, 255, 255, 255], [0, 0, 0, 0, 0]] {
            let mut decoder = Decoder::default();
            decoder.space()[..5].copy_from_slice(&bytes);
            decoder.filled(5);
            assert!(decoder.peek().is_err());
        }
    }
}
