//! How much of a log was lost, and why.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::store::fs;

/// How often the record is written at most.
const PERIOD: Duration = Duration::from_secs(1);

/// What was lost of a container's log in all its lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Lines and parts of lines.
    pub messages: u64,
    /// Bytes, as they would have been written.
    pub bytes: u64,
    /// Why, the last time.
    pub reason: String,
}

/// The count.
#[derive(Debug, Default)]
pub(super) struct Loss {
    lost: Lost,
    changed: bool,
}

impl Loss {
    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.lost.messages
    }

    pub(super) fn add(&mut self, messages: u64, bytes: u64, reason: &str) {
        self.lost.messages += messages;
        self.lost.bytes += bytes;
        if self.lost.reason != reason {
            reason.clone_into(&mut self.lost.reason);
        }
        self.changed = true;
    }
}

/// The count in its file.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) loss: Loss,
    path: PathBuf,
    /// When it was written last, or failed to be.
    saved: Option<Instant>,
}

impl Record {
    /// Goes on with what earlier lives of the container lost.
    pub(super) fn open(path: PathBuf) -> Self {
        let lost = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { loss: Loss { lost, changed: false }, path, saved: None }
    }

    /// When the record is to be written.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.loss.changed.then(|| self.saved.map_or_else(Instant::now, |saved| saved + PERIOD))
    }

    /// Writes the record if it is time. On a full disk that fails, and is tried again.
    pub(super) fn save(&mut self) {
        if self.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            self.finish();
            self.saved = Some(Instant::now());
        }
    }

    /// Writes the record if it has changed.
    pub(super) fn finish(&mut self) {
        if self.loss.changed && self.write().is_ok() {
            self.loss.changed = false;
        }
    }

    fn write(&self) -> io::Result<()> {
        fs::write_volatile(&self.path, &serde_json::to_vec(&self.loss.lost)?)
    }
}

/// The note in a log about what is missing from it there.
pub(super) fn note(messages: u64, bytes: u64, reason: &str) -> String {
    let s = if messages == 1 { "" } else { "s" };
    format!("[rbox: {messages} message{s} ({bytes} bytes) of the log lost: {reason}]")
}
