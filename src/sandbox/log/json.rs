//! docker's json-file format: one object a line, `{"log":"text\n","stream":"stdout","time":"..."}`.

use super::{Piece, Stamp, Stream};

/// Writes lines.
#[derive(Debug)]
pub(super) struct Json {
    /// What stands between the text and the time, of stdout and stderr.
    middle: [Vec<u8>; 2],
}

impl Json {
    pub(super) fn new(attributes: &[(String, String)]) -> Self {
        let middle = |stream: Stream| {
            let mut middle = format!("\",\"stream\":\"{}\"", stream.name()).into_bytes();
            for (index, (name, value)) in attributes.iter().enumerate() {
                middle.extend_from_slice(if index == 0 { b",\"attrs\":{\"" } else { b",\"" });
                escape(&mut middle, name.as_bytes());
                middle.extend_from_slice(b"\":\"");
                escape(&mut middle, value.as_bytes());
                middle.push(b'"');
            }
            middle.extend_from_slice(if attributes.is_empty() { b",\"time\":\"" } else { b"},\"time\":\"" });
            middle
        };
        Self { middle: [middle(Stream::Stdout), middle(Stream::Stderr)] }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>, piece: Piece<'_>, stamp: &Stamp) {
        out.extend_from_slice(b"{\"log\":\"");
        escape(out, piece.text);
        if piece.ends {
            out.extend_from_slice(b"\\n");
        }
        out.extend_from_slice(&self.middle[piece.stream as usize]);
        out.extend_from_slice(stamp.text.as_bytes());
        out.extend_from_slice(b"Z\"}\n");
    }
}

/// The inside of a JSON string. What is no UTF-8 becomes U+FFFD, as docker has it.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    // Most lines: one pass that the compiler turns into vector instructions.
    if text.iter().fold(true, |plain, byte| plain & is_plain(*byte) & byte.is_ascii()) {
        return out.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        escape_valid(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn escape_valid(out: &mut Vec<u8>, mut text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    while let Some(at) = text.iter().position(|byte| !is_plain(*byte)) {
        out.extend_from_slice(&text[..at]);
        let byte = text[at];
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            }
        }
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

fn is_plain(byte: u8) -> bool {
    (byte >= 0x20) & (byte != b'"') & (byte != b'\\')
}
