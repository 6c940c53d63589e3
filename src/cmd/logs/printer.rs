//! Writes entries to the streams they came from, with what goes before each line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};

use crate::store::logs::{LogEntry, Stream};

/// What goes before the text of a line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prefixes {
    pub timestamps: bool,
    pub details: bool,
}

/// Writes the entries of one container or several.
pub struct Printer<O: Write, E: Write> {
    pub out: BufWriter<O>,
    pub err: BufWriter<E>,
    prefixes: Prefixes,
    /// What tells a container's lines from those of others.
    names: Vec<String>,
    last: Stream,
    /// Of each container, stdout and stderr: a long line comes in pieces, and only the first has a
    /// prefix.
    at_line_start: Vec<[bool; 2]>,
    /// Of stdout and stderr: whose line is not finished.
    unfinished: [Option<usize>; 2],
    prefix: String,
}

impl<O: Write, E: Write> Printer<O, E> {
    /// For as many containers as there are names.
    pub fn new(out: O, err: E, names: Vec<String>, prefixes: Prefixes) -> Self {
        Self {
            out: BufWriter::new(out),
            err: BufWriter::new(err),
            prefixes,
            at_line_start: vec![[true; 2]; names.len()],
            names,
            last: Stream::Stdout,
            unfinished: [None; 2],
            prefix: String::new(),
        }
    }

    /// Prints an entry of the container with this number.
    pub fn print(&mut self, number: usize, entry: &LogEntry) -> io::Result<()> {
        let stream = entry.stream;
        if stream != self.last {
            // Where both go to one place, the order of lines is kept.
            self.flush()?;
            self.last = stream;
        }
        let ends = entry.text.ends_with(b"\n");
        let interrupts = self.unfinished[stream as usize].is_some_and(|of| of != number);
        let begins = std::mem::replace(&mut self.at_line_start[number][stream as usize], ends) || interrupts;
        self.unfinished[stream as usize] = (!ends).then_some(number);
        self.prefix.clear();
        if interrupts {
            self.prefix.push('\n');
        }
        if begins {
            self.begin_line(number, entry);
        }
        let target: &mut dyn Write = match stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        };
        target.write_all(self.prefix.as_bytes())?;
        target.write_all(&entry.text)
    }

    fn begin_line(&mut self, number: usize, entry: &LogEntry) {
        let prefix = &mut self.prefix;
        prefix.push_str(&self.names[number]);
        if self.prefixes.timestamps {
            // Writing to a String cannot fail.
            let _ = write!(prefix, "{} ", entry.time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ"));
        }
        if self.prefixes.details {
            prefix.push_str(&details(entry.attributes.as_deref()));
            // docker's blank, attributes or not.
            prefix.push(' ');
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.err.flush()
    }
}

/// Attributes as docker shows them: sorted, in the notation of URLs.
fn details(attributes: Option<&str>) -> String {
    let parsed = attributes.and_then(|text| serde_json::from_str::<BTreeMap<String, String>>(text).ok());
    let pairs =
        parsed.unwrap_or_default().into_iter().map(|(name, value)| format!("{}={}", escape(&name), escape(&value)));
    pairs.collect::<Vec<_>>().join(",")
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            b' ' => escaped.push('+'),
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}
