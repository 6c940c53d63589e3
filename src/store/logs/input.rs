//! A file of a log, as it is or compressed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::str::FromStr;

use flate2::read::GzDecoder;

use super::BLOCK;

/// How much of a file's beginning tells it from others.
const BEGINNING: usize = 512;

/// Bytes of a log.
#[derive(Debug)]
pub enum Input {
    Plain(File),
    Compressed(Box<GzDecoder<File>>),
}

impl Input {
    /// A file that gzip made.
    pub fn compressed(file: File) -> Self {
        Self::Compressed(Box::new(GzDecoder::new(file)))
    }

    /// The file.
    pub fn file(&self) -> &File {
        match self {
            Self::Plain(file) => file,
            Self::Compressed(decoder) => decoder.get_ref(),
        }
    }

    /// What was compressed, if it says.
    pub fn original(&self) -> Option<Original> {
        let Self::Compressed(decoder) = self else { return None };
        std::str::from_utf8(decoder.header()?.comment()?).ok()?.parse().ok()
    }

    /// Goes to a byte of the text, forwards.
    pub(super) fn skip_to(&mut self, start: u64) -> io::Result<()> {
        match self {
            Self::Plain(file) => drop(file.seek(SeekFrom::Start(start))?),
            Self::Compressed(decoder) => drop(io::copy(&mut decoder.take(start), &mut io::sink())?),
        }
        Ok(())
    }

    /// From the beginning again.
    fn rewind(&mut self) -> io::Result<()> {
        let mut file = self.file().try_clone()?;
        file.rewind()?;
        match self {
            Self::Plain(_) => {}
            Self::Compressed(decoder) => **decoder = GzDecoder::new(file),
        }
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Compressed(decoder) => decoder.read(buffer),
        }
    }
}

/// The end of a file, in whole lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The byte of the text that it begins at.
    pub start: u64,
    /// The lines there are from there on, at most as many as asked for.
    pub lines: u64,
}

impl Tail {
    /// Finds the last `lines` lines.
    pub fn of(input: &mut Input, lines: u64) -> io::Result<Self> {
        match input {
            Input::Plain(file) => Self::of_file(file, lines),
            Input::Compressed(_) => {
                let tail = Self::of_stream(input, lines)?;
                input.rewind()?;
                Ok(tail)
            }
        }
    }

    /// Reading from the end.
    fn of_file(file: &File, lines: u64) -> io::Result<Self> {
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

    /// What can only be read from its beginning is read twice: to count, and to find the place.
    fn of_stream(input: &mut Input, lines: u64) -> io::Result<Self> {
        let mut all = 0;
        each_line_end(input, |_| {
            all += 1;
            true
        })?;
        let mut missing = all - lines.min(all);
        if missing == 0 {
            return Ok(Self { start: 0, lines: all });
        }
        input.rewind()?;
        let mut start = 0;
        each_line_end(input, |end| {
            missing -= 1;
            start = end;
            missing > 0
        })?;
        Ok(Self { start, lines })
    }
}

/// Where each line ends, behind its newline, until the caller has seen enough.
fn each_line_end(input: &mut Input, mut see: impl FnMut(u64) -> bool) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut before = 0;
    loop {
        let count = input.read(&mut block)?;
        for (at, _) in block[..count].iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            if !see(before + at as u64 + 1) {
                return Ok(());
            }
        }
        if count == 0 {
            return Ok(());
        }
        before += count as u64;
    }
}

/// Which file was compressed, so that who reads the one does not read the other as well. Inode numbers
/// alone would not do, they are given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    device: u64,
    inode: u64,
    length: u64,
    beginning: u64,
}

impl Original {
    /// A file that is no longer written to.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let mut bytes = [0; BEGINNING];
        let mut filled = 0;
        loop {
            match file.read_at(&mut bytes[filled..], filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            beginning: fingerprint(&bytes[..filled]),
        })
    }

    /// Whether it was this file.
    pub fn could_be(self, file: &File) -> io::Result<bool> {
        let metadata = file.metadata()?;
        let same = (metadata.dev(), metadata.ino(), metadata.len()) == (self.device, self.inode, self.length);
        Ok(same && Self::of(file)? == self)
    }
}

impl fmt::Display for Original {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rbox {} {} {} {}", self.device, self.inode, self.length, self.beginning)
    }
}

impl FromStr for Original {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words =
            text.strip_prefix("rbox ").ok_or(())?.split(' ').map(|word| word.parse::<u64>().map_err(|_| ()));
        let mut word = || words.next().ok_or(())?;
        Ok(Self { device: word()?, inode: word()?, length: word()?, beginning: word()? })
    }
}

/// FNV-1a.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
