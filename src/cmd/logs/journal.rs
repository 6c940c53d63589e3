//! What a container wrote to the systemd journal. Its files have no stable format for others, so it is
//! systemd's `journalctl` that reads them.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Deserialize;

use crate::spec::config::ContainerId;
use crate::store::logs::{LogEntry, LogQuery, Stream};

/// Bytes read at once.
const BLOCK: usize = 64 << 10;

/// The entries of a container.
pub struct Journal {
    reader: Child,
    output: ChildStdout,
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
}

/// What `journalctl --output=json` says of an entry.
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    microseconds: String,
    #[serde(rename = "MESSAGE", default)]
    message: Message,
    #[serde(rename = "PRIORITY", default)]
    priority: String,
    #[serde(rename = "CONTAINER_PARTIAL_MESSAGE", default)]
    partial: Option<String>,
}

/// Text, or the bytes of what is no text.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Message {
    Text(String),
    Bytes(Vec<u8>),
    #[default]
    Nothing,
}

impl Journal {
    /// Starts to read. Only entries of our own user count: anybody can write any field.
    pub fn open(id: &ContainerId, query: LogQuery, follow: bool) -> Result<Self> {
        let mut command = Command::new("journalctl");
        command.args(["--output=json", "--all", "--quiet", "--no-pager"]);
        command.arg(query.tail.map_or("--lines=all".to_owned(), |lines| format!("--lines={lines}")));
        let at = |moment: Timestamp| format!("@{}.{:06}", moment.as_second(), moment.subsec_microsecond());
        command.args(query.since.map(|since| format!("--since={}", at(since))));
        command.args(query.until.map(|until| format!("--until={}", at(until))));
        command.args(follow.then_some("--follow"));
        command.arg(format!("CONTAINER_ID_FULL={id}"));
        command.arg(format!("_UID={}", rustix::process::geteuid().as_raw()));
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut reader = started.context("logs of driver journald are read by journalctl, which is not installed")?;
        let output = reader.stdout.take().context("journalctl has no output")?;
        if follow {
            rustix::io::ioctl_fionbio(&output, true)?;
        }
        Ok(Self { reader, output, buffer: Vec::new(), start: 0, ended: false })
    }

    /// What to wait for.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        (!self.ended).then(|| self.output.as_fd())
    }

    /// What comes next; None: that was all until now.
    pub fn next(&mut self) -> io::Result<Option<LogEntry>> {
        loop {
            if let Some(length) = self.buffer[self.start..].iter().position(|byte| *byte == b'\n') {
                let line = &self.buffer[self.start..self.start + length];
                self.start += length + 1;
                match entry(line) {
                    Some(entry) => return Ok(Some(entry)),
                    None => continue,
                }
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let kept = self.buffer.len();
        self.buffer.resize(kept + BLOCK, 0);
        let count = self.output.read(&mut self.buffer[kept..]);
        self.buffer.truncate(kept + *count.as_ref().unwrap_or(&0));
        match count {
            Ok(0) => {
                self.ended = true;
                match self.reader.wait()? {
                    status if status.success() => Ok(false),
                    // It has said why.
                    status => Err(io::Error::other(format!("journalctl failed: {status}"))),
                }
            }
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.reader.kill();
        let _ = self.reader.wait();
    }
}

fn entry(line: &[u8]) -> Option<LogEntry> {
    let record: Record = serde_json::from_slice(line).ok()?;
    let time = Timestamp::from_microsecond(record.microseconds.parse().ok()?).ok()?;
    let stream = if record.priority == "3" { Stream::Stderr } else { Stream::Stdout };
    let mut text = match record.message {
        Message::Text(text) => text.into_bytes(),
        Message::Bytes(bytes) => bytes,
        Message::Nothing => Vec::new(),
    };
    if record.partial.is_none() {
        text.push(b'\n');
    }
    Some(LogEntry { time, stream, text, attributes: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_journalctl_are_understood() {
        let text = |line: &str| entry(line.as_bytes()).map(|entry| (entry.text, entry.stream));
        let line = r#"{"__REALTIME_TIMESTAMP":"1795312709449803","PRIORITY":"3","MESSAGE":"a","X":["b","c"]}"#;
        assert_eq!(text(line), Some((b"a\n".to_vec(), Stream::Stderr)));
        assert_eq!(entry(line.as_bytes()).unwrap().time.as_microsecond(), 1_795_312_709_449_803);
        let line = r#"{"__REALTIME_TIMESTAMP":"1","CONTAINER_PARTIAL_MESSAGE":"true","MESSAGE":[97,255]}"#;
        assert_eq!(text(line), Some((b"a\xff".to_vec(), Stream::Stdout)));
        assert_eq!(text(r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":null}"#), Some((b"\n".to_vec(), Stream::Stdout)));
        assert_eq!(text("{}"), None);
    }
}
