//! What the process that copies tells the one that shows it: lines of JSON over a pipe.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::sys::process;

/// How often progress is told of.
const EVERY: Duration = Duration::from_millis(100);

/// One line.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// Bytes copied so far.
    Bytes(u64),
    Done(Done),
    Failed(String),
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// Bytes of the files.
    pub size: u64,
    pub sockets: u64,
    pub devices: u64,
    /// Extended attributes that the destination did not take.
    pub attributes: u64,
}

/// The copying process's end.
pub struct Teller {
    out: RefCell<File>,
    bytes: std::cell::Cell<u64>,
    told: std::cell::Cell<Instant>,
}

impl Teller {
    pub fn new(out: File) -> Self {
        Self { out: RefCell::new(out), bytes: 0.into(), told: Instant::now().into() }
    }

    /// So many bytes more. Ends the process when nobody listens any more.
    pub fn advance(&self, count: u64) {
        self.bytes.set(self.bytes.get() + count);
        if self.told.get().elapsed() >= EVERY {
            self.told.set(Instant::now());
            if self.tell(&Line::Bytes(self.bytes.get())).is_err() {
                process::exit_now(1);
            }
        }
    }

    /// The end of it.
    pub fn finish(&self, outcome: Result<Done>) -> i32 {
        let (line, code) = match outcome {
            Ok(done) => (Line::Done(done), 0),
            Err(error) => (Line::Failed(format!("{error:#}")), 1),
        };
        if self.tell(&line).is_err() { 1 } else { code }
    }

    fn tell(&self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        Ok(self.out.borrow_mut().write_all(&text)?)
    }
}

/// Listens until the end; `progress` hears how many bytes were copied so far.
pub fn listen(pipe: File, mut progress: impl FnMut(u64)) -> Result<Done> {
    for line in BufReader::new(pipe).lines() {
        match serde_json::from_str(&line?)? {
            Line::Bytes(bytes) => progress(bytes),
            Line::Done(done) => return Ok(done),
            Line::Failed(why) => bail!("{why}"),
        }
    }
    bail!("the process that copies died")
}
