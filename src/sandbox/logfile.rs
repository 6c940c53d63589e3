//! The container's log in docker's json-file format: one object a line,
//! `{"log":"text\n","stream":"stdout","time":"..."}`, in pieces of at most 16 KiB.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

/// docker's longest piece of a line.
const PIECE_MAX: usize = 16 * 1024;

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    log: &'a str,
    stream: &'static str,
    time: String,
}

/// The writer. It never fails its caller: a full disk costs log lines, which are counted, never the
/// container.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    /// Unfinished last lines of stdout and stderr.
    partial: [Vec<u8>; 2],
    buffer: Vec<u8>,
    /// Bytes lost since the last success.
    lost: u64,
}

impl LogFile {
    /// Opens the log for appending.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { file, partial: [Vec::new(), Vec::new()], buffer: Vec::new(), lost: 0 })
    }

    /// Takes what the container wrote; whole lines go to the file at once.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let mut pending = std::mem::take(&mut self.partial[stream as usize]);
        let time = jiff::Timestamp::now().to_string();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            pending.extend_from_slice(&rest[..=end]);
            self.push(stream, &pending, &time);
            pending.clear();
            rest = &rest[end + 1..];
        }
        pending.extend_from_slice(rest);
        while pending.len() > PIECE_MAX {
            let tail = pending.split_off(PIECE_MAX);
            self.push(stream, &pending, &time);
            pending = tail;
        }
        self.partial[stream as usize] = pending;
        self.flush();
    }

    /// Writes unfinished lines, when the container has ended.
    pub fn finish(&mut self) {
        let time = jiff::Timestamp::now().to_string();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pending = std::mem::take(&mut self.partial[stream as usize]);
            if !pending.is_empty() {
                self.push(stream, &pending, &time);
            }
        }
        self.flush();
    }

    fn push(&mut self, stream: Stream, line: &[u8], time: &str) {
        for piece in line.chunks(PIECE_MAX) {
            let text = String::from_utf8_lossy(piece);
            let record = Line { log: &text, stream: stream.name(), time: time.to_owned() };
            if serde_json::to_writer(&mut self.buffer, &record).is_ok() {
                self.buffer.push(b'\n');
            }
        }
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if self.lost > 0 {
            let note = Line {
                log: &format!("[rbox: {} bytes of log lost: no space]\n", self.lost),
                stream: "stderr",
                time: jiff::Timestamp::now().to_string(),
            };
            let mut line = serde_json::to_vec(&note).unwrap_or_default();
            line.push(b'\n');
            if self.file.write_all(&line).is_ok() {
                self.lost = 0;
            }
        }
        let before = self.file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
        if self.lost > 0 || self.file.write_all(&self.buffer).is_err() {
            self.lost += self.buffer.len() as u64;
            // Half a line would spoil the next one.
            let _ = self.file.set_len(before);
        }
        self.buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                (value["log"].as_str().unwrap().to_owned(), value["stream"].as_str().unwrap().to_owned())
            })
            .collect()
    }

    #[test]
    fn lines_are_joined_cut_and_kept_apart_by_stream() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::open(&path).unwrap();
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"err\n");
        log.write(Stream::Stdout, b"o\nthree");
        log.write(Stream::Stdout, &vec![b'x'; 40_000]);
        log.write(Stream::Stderr, b"bad \xff utf8\n");
        log.finish();
        let lines = lines(&path);
        let stdout: Vec<&str> = lines.iter().filter(|l| l.1 == "stdout").map(|l| l.0.as_str()).collect();
        assert_eq!(stdout[..2], ["one\n", "two\n"]);
        assert_eq!(stdout[2..].concat(), format!("three{}", "x".repeat(40_000)));
        assert!(stdout.iter().all(|line| line.len() <= PIECE_MAX));
        let stderr: Vec<&str> = lines.iter().filter(|l| l.1 == "stderr").map(|l| l.0.as_str()).collect();
        assert_eq!(stderr, ["err\n", "bad \u{fffd} utf8\n"]);
    }
}
