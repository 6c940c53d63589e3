//! A log that may not exist yet, grow, be truncated, or be gone on with in a new file: `NAME`, whose
//! predecessors are `NAME.1`, `NAME.2` and so on, or compressed `NAME.1.gz`, `NAME.2.gz`.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::store::logs::{Form, Input, LogEntry, LogQuery, LogReader, Original, Tail};

/// How often the list of files is made again when it changed meanwhile.
const TRIES: usize = 10;

/// The entries of a container's log, across the files it consists of in time.
pub struct Source {
    path: PathBuf,
    form: Form,
    query: LogQuery,
    open: Option<Open>,
    /// What comes after the open file. Only after its last line was written the file got a successor.
    successor: Option<Open>,
}

struct Open {
    reader: LogReader,
    identity: Identity,
    /// The file's length when its end was reached last.
    length: u64,
}

/// Device and inode. While we hold a file open no other gets its number.
type Identity = (u64, u64);

/// A file of the log.
struct Found {
    input: Input,
    identity: Identity,
    /// What it was before it was compressed.
    original: Option<Original>,
}

impl Source {
    /// The log at `path`, from the beginning of what `query` asks for.
    pub fn new(path: PathBuf, form: Form, query: LogQuery) -> Self {
        Self { path, form, query, open: None, successor: None }
    }

    /// The path of the file that is written to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What comes next; None: that was all until now.
    pub fn next(&mut self) -> io::Result<Option<LogEntry>> {
        loop {
            if let Some(entry) = self.next_in_file()? {
                return Ok(Some(entry));
            }
            match self.successor.take() {
                Some(next) => self.open = Some(next),
                None => match self.find_next()? {
                    Some(next) => self.successor = Some(next),
                    None => return Ok(None),
                },
            }
        }
    }

    /// From the open file; from its beginning again if it was truncated.
    fn next_in_file(&mut self) -> io::Result<Option<LogEntry>> {
        let Some(open) = &mut self.open else { return Ok(None) };
        loop {
            if let Some(entry) = open.reader.next() {
                return entry.map(Some);
            }
            let length = open.reader.file().metadata()?.len();
            let was = std::mem::replace(&mut open.length, length);
            if length >= was {
                return Ok(None);
            }
            let input = Input::Plain(open.reader.file().try_clone()?);
            open.reader = LogReader::new(input, self.form, 0, self.query)?;
        }
    }

    /// The file to read after the open one, if there is any.
    fn find_next(&self) -> io::Result<Option<Open>> {
        let Some(open) = &self.open else { return self.first() };
        if identity_at(&self.path)?.is_none_or(|current| current == open.identity) {
            return Ok(None);
        }
        let mut files = self.files()?;
        let file = open.reader.file();
        let is_open = |found: &Found| found.identity == open.identity || found.was(file);
        let next = match files.iter().position(is_open) {
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
        for position in 0..count {
            let tail = Tail::of(&mut files[position].input, missing)?;
            missing -= tail.lines;
            if missing == 0 || position + 1 == count {
                return Ok(Some(self.open_at(files.swap_remove(position), tail.start)?));
            }
        }
        Ok(None)
    }

    fn open_at(&self, Found { input, identity, .. }: Found, start: u64) -> io::Result<Open> {
        let length = if matches!(input, Input::Plain(_)) { start } else { 0 };
        Ok(Open { reader: LogReader::new(input, self.form, start, self.query)?, identity, length })
    }

    /// The log's files, the newest first. Each rotation gives the path another file, so if that is
    /// the same before and after, all belong together.
    fn files(&self) -> io::Result<Vec<Found>> {
        let mut files = Vec::new();
        for _ in 0..TRIES {
            files = self.files_now()?;
            let first = files.first().map(|found: &Found| found.identity);
            if identity_at(&self.path)? == first {
                break;
            }
        }
        Ok(files)
    }

    fn files_now(&self) -> io::Result<Vec<Found>> {
        let mut files: Vec<Found> = Vec::new();
        for number in 0u32.. {
            let found = [self.find(number)?, self.find_compressed(number)?];
            // For a moment of a rotation one of the names is missing, the first too.
            if found.iter().all(Option::is_none) && number > 0 && !self.has(number + 1)? {
                break;
            }
            for found in found.into_iter().flatten() {
                if files.iter().all(|known| !known.is(&found)) {
                    files.push(found);
                }
            }
        }
        Ok(files)
    }

    fn find(&self, number: u32) -> io::Result<Option<Found>> {
        let Some(file) = open_if_present(&self.numbered(number, ""))? else { return Ok(None) };
        let identity = identity(&file.metadata()?);
        Ok(Some(Found { input: Input::Plain(file), identity, original: None }))
    }

    fn find_compressed(&self, number: u32) -> io::Result<Option<Found>> {
        if number == 0 {
            return Ok(None);
        }
        let Some(file) = open_if_present(&self.numbered(number, ".gz"))? else { return Ok(None) };
        let identity = identity(&file.metadata()?);
        let input = Input::compressed(file);
        Ok(Some(Found { original: input.original(), input, identity }))
    }

    fn has(&self, number: u32) -> io::Result<bool> {
        Ok(identity_at(&self.numbered(number, ""))?.is_some() || identity_at(&self.numbered(number, ".gz"))?.is_some())
    }

    fn numbered(&self, number: u32, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        if number > 0 {
            name.push(format!(".{number}{suffix}"));
        }
        name.into()
    }
}

impl Found {
    /// Whether both are the same file, of which one may be compressed.
    fn is(&self, other: &Self) -> bool {
        self.identity == other.identity || self.was(other.input.file()) || other.was(self.input.file())
    }

    /// Whether it was this file before it was compressed.
    fn was(&self, file: &File) -> bool {
        self.original.is_some_and(|original| original.could_be(file).unwrap_or(false))
    }
}

fn open_if_present(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
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
