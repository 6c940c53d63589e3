//! What happened, in `events/NUMBER.log`: one JSON [`Event`] a line. Lines are only ever appended,
//! under the lock on the directory; a file that is full is followed by one of the next number, and
//! the oldest goes. So a reader that knows its file and its place in it misses nothing, sees nothing
//! twice and needs no lock.

mod reader;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use reader::Reader;

use super::Store;
use super::fs;
use super::lock::FileLock;
use crate::spec::event::{Event, Happening};

/// A file that has grown beyond this many bytes is followed by another.
const FILE_SIZE: u64 = 1 << 20;
/// How many files are kept, the one that is written to among them.
const FILES: usize = 4;

/// The record of what happened.
#[derive(Clone, Debug)]
pub struct Events {
    directory: PathBuf,
}

impl Store {
    /// The record of what happened in this store.
    pub fn events(&self) -> Events {
        Events { directory: self.path("events") }
    }

    /// Records what happened. Nothing fails for want of a line here: on a full disk there is none.
    pub fn happened(&self, what: Happening) {
        if !what.hidden {
            let _ = self.events().append(what);
        }
    }
}

impl Events {
    /// The directory in which lines appear.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A reader that begins with the oldest line kept.
    pub fn reader(&self) -> Reader {
        Reader::new(self.directory.clone())
    }

    /// Appends a line, with the present time: later lines have later times as far as the clock goes
    /// forward.
    pub fn append(&self, what: Happening) -> io::Result<()> {
        let _lock = match FileLock::directory(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_private_dir(&self.directory)?;
                FileLock::directory(&self.directory)?
            }
            lock => lock?,
        };
        let mut line = serde_json::to_vec(&Event { time: Timestamp::now(), what })?;
        line.push(b'\n');
        let (mut file, end) = self.open_last()?;
        let written = file.write_all(&line);
        if written.is_err() {
            // Else the next line would go on with this one's beginning.
            file.set_len(end)?;
        }
        written
    }

    /// The file to append to, and its length.
    fn open_last(&self) -> io::Result<(File, u64)> {
        let numbers = numbers(&self.directory)?;
        let number = match numbers.last() {
            Some(&last) => {
                let mut file = open(&self.path(last))?;
                let end = whole_lines(&mut file)?;
                if end < FILE_SIZE {
                    return Ok((file, end));
                }
                last + 1
            }
            None => 1,
        };
        for old in numbers.iter().rev().skip(FILES - 1) {
            fs::remove_if_present(&self.path(*old))?;
        }
        Ok((open(&self.path(number))?, 0))
    }

    fn path(&self, number: u64) -> PathBuf {
        path(&self.directory, number)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number}.log"))
}

/// The numbers of the files there are, in ascending order.
fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_suffix(".log")?.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The length of the file without the beginning of a line whose writer was killed, which is cut off.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let end = file.metadata()?.len();
    let mut last = [b'\n'];
    if end > 0 {
        file.read_exact_at(&mut last, end - 1)?;
    }
    if last == *b"\n" {
        return Ok(end);
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline as u64 + 1);
    file.set_len(whole)?;
    Ok(whole)
}

#[cfg(test)]
mod tests;
