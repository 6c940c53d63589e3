//! A log that may not exist yet, grow, be truncated, or be replaced by a new file.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::store::logs::{LogEntry, LogQuery, LogReader};

/// The entries of a container's log, across the files it consists of in time.
pub struct Source {
    path: PathBuf,
    query: LogQuery,
    open: Option<Open>,
}

struct Open {
    reader: LogReader,
    identity: (u64, u64),
    /// The file's length when it was read last.
    length: u64,
}

struct Found {
    identity: (u64, u64),
    length: u64,
}

impl Source {
    /// The log at `path`, from the beginning of what `query` asks for.
    pub fn new(path: PathBuf, query: LogQuery) -> Self {
        Self { path, query, open: None }
    }

    /// The log's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hands over what was added since the last time.
    pub fn read(&mut self, mut print: impl FnMut(&LogEntry) -> io::Result<()>) -> io::Result<()> {
        loop {
            let found = self.look()?;
            if let (Some(open), Some(found)) = (&self.open, &found)
                && found.identity == open.identity
                && found.length < open.length
            {
                self.open = None;
            }
            if let Some(open) = &mut self.open {
                for entry in open.reader.by_ref() {
                    print(&entry?)?;
                }
            }
            // Another file took its place: what was left of the old one is read.
            let Some(found) = self.look()? else { return Ok(()) };
            match &mut self.open {
                Some(open) if open.identity == found.identity => {
                    open.length = found.length;
                    return Ok(());
                }
                _ => self.open_file(found)?,
            }
        }
    }

    fn look(&self) -> io::Result<Option<Found>> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => Ok(Some(Found { identity: (metadata.dev(), metadata.ino()), length: metadata.len() })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_file(&mut self, mut found: Found) -> io::Result<()> {
        loop {
            let reader = match LogReader::open(&self.path, self.query) {
                Ok(reader) => reader,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            let Some(now) = self.look()? else { return Ok(()) };
            if now.identity == found.identity {
                // The tail was that of the first file.
                self.query.tail = None;
                self.open = Some(Open { reader, identity: now.identity, length: 0 });
                return Ok(());
            }
            // Replaced while it was opened.
            found = now;
        }
    }
}
