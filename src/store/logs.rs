//! Container logs in files: docker's json-file format, one object
//! `{"log":"text\n","stream":"stdout","time":"2026-11-22T00:58:29.449803835Z"}` a line, and podman's
//! k8s-file format, `2026-11-22T00:58:29.449803835+00:00 stdout F text`.

mod input;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::input::{Input, Original, Tail};

/// Bytes read at once.
const BLOCK: usize = 64 << 10;

/// A longer line is damage: docker writes at most 16 KiB of text a line.
const LINE_MAX: usize = 1 << 20;

/// How every line begins. Inside a JSON string its quotes would be escaped.
const LINE_START: &[u8] = b"{\"log\":";

/// Where a container wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub time: Timestamp,
    pub stream: Stream,
    /// As the container wrote it, raw; without a final newline it continues in the next entry of
    /// its stream.
    pub text: Vec<u8>,
    /// Labels and variables that were logged with it: an object in JSON.
    pub attributes: Option<Box<str>>,
}

/// How a line of a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    K8s,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    stream: Stream,
    #[serde(borrow)]
    attrs: Option<&'a RawValue>,
    time: Timestamp,
}

/// Which entries to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogQuery {
    /// Only so many at the end, counted before the times are looked at, as docker does.
    pub tail: Option<u64>,
    /// Not before this moment.
    pub since: Option<Timestamp>,
    /// Not after this moment.
    pub until: Option<Timestamp>,
}

/// Reads one file of a log. As an iterator it ends where the file ends now; after the file has grown
/// it goes on. An unfinished last line waits for its end.
#[derive(Debug)]
pub struct LogReader {
    input: Input,
    form: Form,
    query: LogQuery,
    buffer: Vec<u8>,
    /// Where in `buffer` the next line begins.
    start: usize,
    /// Up to where in `buffer` there is no line end.
    searched: usize,
    /// In the middle of a line that is too long.
    overlong: bool,
    skipped: u64,
}

impl LogReader {
    /// Reads from the byte `start` on. The tail of the query is for who chooses the start: see
    /// [`Tail::of`].
    pub fn new(mut input: Input, form: Form, start: u64, query: LogQuery) -> io::Result<Self> {
        input.skip_to(start)?;
        Ok(Self { input, form, query, buffer: Vec::new(), start: 0, searched: 0, overlong: false, skipped: 0 })
    }

    /// The file that is read.
    pub fn file(&self) -> &File {
        self.input.file()
    }

    /// How many damaged lines were passed over so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    fn next_entry(&mut self) -> io::Result<Option<LogEntry>> {
        loop {
            let Some(length) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                if self.fill()? {
                    continue;
                }
                return Ok(None);
            };
            let (start, end) = (self.start, self.searched + length);
            (self.start, self.searched) = (end + 1, end + 1);
            if let Some(entry) = self.parse(start, end)
                && self.wants(&entry)
            {
                return Ok(Some(entry));
            }
        }
    }

    /// The entry in a line; what a crashed writer left before it in the same line is passed over.
    fn parse(&mut self, start: usize, end: usize) -> Option<LogEntry> {
        let line = &self.buffer[start..end];
        let whole = match self.form {
            _ if std::mem::take(&mut self.overlong) => None,
            Form::Json => parse_json(line),
            Form::K8s => parse_k8s(line),
        };
        if whole.is_some() {
            return whole;
        }
        self.skipped += 1;
        if self.form == Form::K8s {
            return None;
        }
        let last = line.windows(LINE_START.len()).rposition(|window| window == LINE_START);
        last.filter(|at| *at > 0).and_then(|at| parse_json(&line[at..]))
    }

    fn wants(&self, entry: &LogEntry) -> bool {
        self.query.since.is_none_or(|since| entry.time >= since)
            && self.query.until.is_none_or(|until| entry.time <= until)
    }

    /// Reads more; false at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        if self.buffer.len() > LINE_MAX {
            self.buffer.clear();
            self.overlong = true;
        }
        self.start = 0;
        let kept = self.buffer.len();
        self.searched = kept;
        self.buffer.resize(kept + BLOCK, 0);
        let count = self.input.read(&mut self.buffer[kept..]);
        self.buffer.truncate(kept + *count.as_ref().unwrap_or(&0));
        Ok(count? > 0)
    }
}

impl Iterator for LogReader {
    type Item = io::Result<LogEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

fn parse_json(line: &[u8]) -> Option<LogEntry> {
    let Line { log, stream, attrs, time } = serde_json::from_slice(line).ok()?;
    let attributes = attrs.map(|attributes| attributes.get().into());
    Some(LogEntry { time, stream, text: log.into_owned().into_bytes(), attributes })
}

/// `TIME STREAM TAGS TEXT`; the first of the tags, which colons separate, says whether the line ends.
fn parse_k8s(line: &[u8]) -> Option<LogEntry> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(parts.next()?).ok();
    let time = word()?.parse().ok()?;
    let stream = match word()? {
        "stdout" => Stream::Stdout,
        "stderr" => Stream::Stderr,
        _ => return None,
    };
    let ends = match word()?.split(':').next()? {
        "F" => true,
        "P" => false,
        _ => return None,
    };
    let mut text = parts.next()?.to_vec();
    if ends {
        text.push(b'\n');
    }
    Some(LogEntry { time, stream, text, attributes: None })
}
