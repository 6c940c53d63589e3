//! Container logs in docker's json-file format: one object
//! `{"log":"text\n","stream":"stdout","time":"2026-11-22T00:58:29.449803835Z"}` a line.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
    pub text: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    stream: Stream,
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
    file: File,
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
    /// Reads `file` from the byte `start` on. The tail of the query is for who chooses the start: see
    /// [`Tail::of`].
    pub fn new(mut file: File, start: u64, query: LogQuery) -> io::Result<Self> {
        file.seek(SeekFrom::Start(start))?;
        Ok(Self { file, query, buffer: Vec::new(), start: 0, searched: 0, overlong: false, skipped: 0 })
    }

    /// The file that is read.
    pub fn file(&self) -> &File {
        &self.file
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
        let whole = if std::mem::take(&mut self.overlong) { None } else { parse_line(line) };
        if whole.is_some() {
            return whole;
        }
        self.skipped += 1;
        let last = line.windows(LINE_START.len()).rposition(|window| window == LINE_START);
        last.filter(|at| *at > 0).and_then(|at| parse_line(&line[at..]))
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
        let count = self.file.read(&mut self.buffer[kept..]);
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

fn parse_line(line: &[u8]) -> Option<LogEntry> {
    let Line { log, stream, time } = serde_json::from_slice(line).ok()?;
    Some(LogEntry { time, stream, text: log.into_owned() })
}

/// The end of a file, in whole lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The byte it begins at.
    pub start: u64,
    /// The lines there are from there on, at most as many as asked for.
    pub lines: u64,
}

impl Tail {
    /// Finds the last `lines` lines, reading from the end.
    pub fn of(file: &File, lines: u64) -> io::Result<Self> {
        let mut block = vec![0; BLOCK];
        let mut end = file.metadata()?.len();
        let mut found = 0;
        while end > 0 {
            let start = end.saturating_sub(BLOCK as u64);
            let bytes = &mut block[..(end - start) as usize];
            file.read_exact_at(bytes, start)?;
            for (at, _) in bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                // The end of the line before the first one wanted.
                if found == lines {
                    return Ok(Self { start: start + at as u64 + 1, lines });
                }
                found += 1;
            }
            end = start;
        }
        Ok(Self { start: 0, lines: found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    struct Log {
        _directory: tempfile::TempDir,
        path: std::path::PathBuf,
    }

    impl Log {
        fn new(bytes: &[u8]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("log");
            std::fs::write(&path, bytes).unwrap();
            Self { _directory: directory, path }
        }

        fn append(&self, bytes: &[u8]) {
            std::fs::OpenOptions::new().append(true).open(&self.path).unwrap().write_all(bytes).unwrap();
        }

        fn open(&self, query: LogQuery) -> LogReader {
            let file = File::open(&self.path).unwrap();
            let start = query.tail.map_or(0, |lines| Tail::of(&file, lines).unwrap().start);
            LogReader::new(file, start, query).unwrap()
        }

        fn texts(&self, query: LogQuery) -> Vec<String> {
            texts(&mut self.open(query))
        }
    }

    fn texts(reader: &mut LogReader) -> Vec<String> {
        reader.map(|entry| entry.unwrap().text).collect()
    }

    fn line(text: &str, second: u32) -> String {
        let text = serde_json::to_string(text).unwrap();
        format!("{{\"log\":{text},\"stream\":\"stdout\",\"time\":\"2026-11-22T00:00:{second:02}.5Z\"}}\n")
    }

    fn tail(lines: u64) -> LogQuery {
        LogQuery { tail: Some(lines), ..LogQuery::default() }
    }

    #[test]
    fn entries_have_time_stream_and_text() {
        let log = Log::new(
            b"{\"log\":\"a\\u0000\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-22T00:58:29.449803835Z\",\"attrs\":{\"a\":\"b\"}}\n",
        );
        let entries: Vec<LogEntry> = log.open(LogQuery::default()).map(Result::unwrap).collect();
        let time = "2026-11-22T00:58:29.449803835Z".parse().unwrap();
        assert_eq!(entries, [LogEntry { time, stream: Stream::Stderr, text: "a\0\n".to_owned() }]);
    }

    #[test]
    fn the_tail_is_found_from_the_end() {
        let lines: String = (0..20_000).map(|n| line(&format!("{n}\n"), n % 60)).collect();
        let log = Log::new(lines.as_bytes());
        assert!(log.texts(tail(0)).is_empty());
        assert_eq!(log.texts(tail(2)), ["19998\n", "19999\n"]);
        assert_eq!(log.texts(tail(5000))[0], "15000\n");
        assert_eq!(log.texts(tail(20_000)).len(), 20_000);
        assert_eq!(log.texts(tail(u64::MAX)), log.texts(LogQuery::default()));
        log.append(b"{\"log\":\"unfin");
        assert_eq!(log.texts(tail(1)), ["19999\n"]);
        assert_eq!(Log::new(b"").texts(tail(3)).len(), 0);
    }

    #[test]
    fn a_reader_goes_on_when_the_log_grows() {
        let log = Log::new(line("one\n", 1).as_bytes());
        let mut reader = log.open(LogQuery::default());
        assert_eq!(texts(&mut reader), ["one\n"]);
        let two = line("two\n", 2);
        log.append(&two.as_bytes()[..20]);
        assert!(texts(&mut reader).is_empty());
        log.append(&two.as_bytes()[20..]);
        log.append(line("three\n", 3).as_bytes());
        assert_eq!((texts(&mut reader), reader.skipped()), (vec!["two\n".to_owned(), "three\n".to_owned()], 0));
        let mut follower = log.open(tail(0));
        log.append(line("four\n", 4).as_bytes());
        assert_eq!(texts(&mut follower), ["four\n"]);
    }

    #[test]
    fn damage_costs_only_its_own_line() {
        let mut bytes = line("before\n", 1).into_bytes();
        for damage in [&b"\n"[..], b"\0\0\0\n", b"{\n", b"\xff\xfe\n", b"[]\n", b"{\"log\":1}\n", b"{\"log\":\"x\"}\n"]
        {
            bytes.extend_from_slice(damage);
        }
        bytes.extend_from_slice(b"{\"log\":\"torn by a cra");
        bytes.extend_from_slice(line("after \"{\"log\":\"\n", 2).as_bytes());
        bytes.extend_from_slice(&b"x".repeat(3 * LINE_MAX));
        bytes.push(b'\n');
        bytes.extend_from_slice(line("end\n", 3).as_bytes());
        let log = Log::new(&bytes);
        let mut reader = log.open(LogQuery::default());
        assert_eq!(texts(&mut reader), ["before\n", "after \"{\"log\":\"\n", "end\n"]);
        assert_eq!(reader.skipped(), 9);
        assert!(reader.buffer.capacity() < 3 * LINE_MAX);
    }

    #[test]
    fn times_are_compared_as_moments() {
        let lines: String = (0..10).map(|n| line(&format!("{n}"), n)).collect();
        let log = Log::new(lines.as_bytes());
        let query = LogQuery {
            since: Some("2026-11-22T01:00:03.5+01:00".parse().unwrap()),
            until: Some("2026-11-22T00:00:05.500Z".parse().unwrap()),
            ..LogQuery::default()
        };
        assert_eq!(log.texts(query), ["3", "4", "5"]);
        assert_eq!(log.texts(LogQuery { tail: Some(6), ..query }), ["4", "5"]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived_and_the_next_line_is_found(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let mut bytes = bytes;
            bytes.push(b'\n');
            bytes.extend_from_slice(line("good", 1).as_bytes());
            let found = Log::new(&bytes).texts(LogQuery::default());
            proptest::prop_assert_eq!(found.last().map(String::as_str), Some("good"));
        }
    }
}
