//! Reading what happened while it goes on happening.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use super::{numbers, path};
use crate::spec::event::Event;

/// A place in the record of what happened.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    file: BufReader<File>,
    /// Behind the last whole line.
    place: u64,
}

impl Reader {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, open: None }
    }

    /// Hands over what was added since the last time, in its order.
    pub fn read<E: From<io::Error>>(&mut self, mut each: impl FnMut(Event) -> Result<(), E>) -> Result<(), E> {
        loop {
            self.drain(&mut each)?;
            let Some(next) = self.next()? else { return Ok(()) };
            // No line is added to a file that has a successor; but one may have been just before.
            self.drain(&mut each)?;
            self.open = Some(next);
        }
    }

    fn drain<E: From<io::Error>>(&mut self, each: &mut impl FnMut(Event) -> Result<(), E>) -> Result<(), E> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.file.seek(SeekFrom::Start(open.place))?;
        let mut line = Vec::new();
        while open.file.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            open.place += line.len() as u64;
            // What a power failure left in place of a line says nothing.
            if let Ok(event) = serde_json::from_slice(&line) {
                each(event)?;
            }
            line.clear();
        }
        Ok(())
    }

    /// The file after the open one, or the oldest one.
    fn next(&self) -> io::Result<Option<Open>> {
        let numbers = match numbers(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            numbers => numbers?,
        };
        let present = self.open.as_ref().map_or(0, |open| open.number);
        for number in numbers.into_iter().filter(|&number| number > present) {
            match File::open(path(&self.directory, number)) {
                Ok(file) => return Ok(Some(Open { number, file: BufReader::new(file), place: 0 })),
                // It was the oldest.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
