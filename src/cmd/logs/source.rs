//! A log that may not exist yet, grow, be truncated, or be gone on with in a new file: `NAME`, whose
//! predecessors are `NAME.1`, `NAME.2` and so on.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::store::logs::{LogEntry, LogQuery, LogReader, Tail};

/// How often the list of files is made again when it changed meanwhile.
const TRIES: usize = 10;

/// The entries of a container's log, across the files it consists of in time.
pub struct Source {
    path: PathBuf,
    query: LogQuery,
    open: Option<Open>,
}

struct Open {
    reader: LogReader,
    identity: Identity,
    /// The file's length when it was read last.
    length: u64,
}

/// Device and inode. While we hold a file open no other gets its number.
type Identity = (u64, u64);

impl Source {
    /// The log at `path`, from the beginning of what `query` asks for.
    pub fn new(path: PathBuf, query: LogQuery) -> Self {
        Self { path, query, open: None }
    }

    /// The path of the file that is written to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hands over what was added since the last time.
    pub fn read(&mut self, mut print: impl FnMut(&LogEntry) -> io::Result<()>) -> io::Result<()> {
        loop {
            self.drain(&mut print)?;
            let Some(next) = self.next()? else { return Ok(()) };
            // Only after its last line was written the file got a successor.
            self.drain(&mut print)?;
            self.open = Some(next);
        }
    }

    /// Reads the open file to its end; from its beginning if it was truncated.
    fn drain(&mut self, print: &mut impl FnMut(&LogEntry) -> io::Result<()>) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let length = open.reader.file().metadata()?.len();
        if length < open.length {
            open.reader = LogReader::new(open.reader.file().try_clone()?, 0, self.query)?;
        }
        open.length = length;
        for entry in open.reader.by_ref() {
            print(&entry?)?;
        }
        Ok(())
    }

    /// The file to read after the open one, if there is any.
    fn next(&self) -> io::Result<Option<Open>> {
        let Some(open) = &self.open else { return self.first() };
        if identity_at(&self.path)?.is_none_or(|current| current == open.identity) {
            return Ok(None);
        }
        let mut files = self.files()?;
        let next = match files.iter().position(|(identity, _)| *identity == open.identity) {
            Some(0) => None,
            Some(position) => Some(files.swap_remove(position - 1)),
            // It is gone already, and so perhaps are some that came after it.
            None => files.pop(),
        };
        next.map(|file| self.open_at(file, 0)).transpose()
    }

    /// Where what the query asks for begins: in the oldest file, or where its tail does.
    fn first(&self) -> io::Result<Option<Open>> {
        let mut files = self.files()?;
        let Some(lines) = self.query.tail else {
            return files.pop().map(|file| self.open_at(file, 0)).transpose();
        };
        let mut missing = lines;
        let count = files.len();
        for (position, (_, file)) in files.iter().enumerate() {
            let tail = Tail::of(file, missing)?;
            missing -= tail.lines;
            if missing == 0 || position + 1 == count {
                return Ok(Some(self.open_at(files.swap_remove(position), tail.start)?));
            }
        }
        Ok(None)
    }

    fn open_at(&self, (identity, file): (Identity, File), start: u64) -> io::Result<Open> {
        Ok(Open { reader: LogReader::new(file, start, self.query)?, identity, length: start })
    }

    /// The log's files, the newest first. Each rotation gives the path another file, so if that is
    /// the same before and after, all belong together.
    fn files(&self) -> io::Result<Vec<(Identity, File)>> {
        let mut files = Vec::new();
        for _ in 0..TRIES {
            files = self.files_now()?;
            let first = files.first().map(|(identity, _)| *identity);
            if identity_at(&self.path)? == first {
                break;
            }
        }
        Ok(files)
    }

    fn files_now(&self) -> io::Result<Vec<(Identity, File)>> {
        let mut files: Vec<(Identity, File)> = Vec::new();
        for number in 0u32.. {
            let file = match File::open(self.numbered(number)) {
                Ok(file) => file,
                // For a moment of a rotation one of the names is missing, the first too.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if number > 0 && identity_at(&self.numbered(number + 1))?.is_none() {
                        break;
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            let identity = identity(&file.metadata()?);
            if files.iter().all(|(known, _)| *known != identity) {
                files.push((identity, file));
            }
        }
        Ok(files)
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        name.into()
    }
}

fn identity(metadata: &std::fs::Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

fn identity_at(path: &Path) -> io::Result<Option<Identity>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(identity(&metadata))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
