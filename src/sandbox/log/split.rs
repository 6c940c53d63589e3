//! Cuts what a container writes into lines, and long lines into pieces.

use std::io::BufRead;

use super::{Piece, Stream};

/// docker's longest piece of a line.
pub(super) const PIECE_MAX: usize = 16 * 1024;

/// Unfinished last lines of stdout and stderr.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    partial: [Vec<u8>; 2],
}

impl Splitter {
    /// Hands over all whole lines, and of an unfinished one what is more than a piece.
    pub(super) fn feed(&mut self, stream: Stream, bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) {
        let pending = &mut self.partial[stream as usize];
        let mut rest = bytes;
        while let Some(end) = end_of_line(rest) {
            let (line, after) = rest.split_at(end);
            rest = after;
            if pending.is_empty() {
                pieces(stream, line, take);
            } else {
                pending.extend_from_slice(line);
                pieces(stream, pending, take);
                pending.clear();
            }
        }
        pending.extend_from_slice(rest);
        // More than a piece is not kept, the end of the line may be far.
        while pending.len() > PIECE_MAX {
            let cut = cut(pending);
            take(Piece { stream, text: &pending[..cut], ends: false });
            pending.drain(..cut);
        }
    }

    /// Hands over unfinished lines.
    pub(super) fn finish(&mut self, take: &mut impl FnMut(Piece<'_>)) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            pieces(stream, &std::mem::take(&mut self.partial[stream as usize]), take);
        }
    }
}

/// A line, or its beginning, in pieces.
fn pieces(stream: Stream, line: &[u8], take: &mut impl FnMut(Piece<'_>)) {
    let mut rest = line;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(if rest.len() <= PIECE_MAX { rest.len() } else { cut(rest) });
        rest = after;
        match piece.strip_suffix(b"\n") {
            Some(text) => take(Piece { stream, text, ends: true }),
            None => take(Piece { stream, text: piece, ends: false }),
        }
    }
}

/// Where to cut what is longer than a piece: not within a character, of which neither half could be
/// written as JSON.
fn cut(bytes: &[u8]) -> usize {
    let is_continuation = |byte: u8| byte & 0xc0 == 0x80;
    let back = (0..3).take_while(|back| is_continuation(bytes[PIECE_MAX - back])).count();
    if back < 3 || !is_continuation(bytes[PIECE_MAX - 3]) { PIECE_MAX - back } else { PIECE_MAX }
}

/// Where the first line ends, behind its newline.
fn end_of_line(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    // The fastest search there is in std; reading from memory cannot fail.
    let skipped = rest.skip_until(b'\n').unwrap_or(0);
    (skipped > 0 && bytes[skipped - 1] == b'\n').then_some(skipped)
}
