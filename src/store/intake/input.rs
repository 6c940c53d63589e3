//! The bytes of a layer: what they are packed with, how many they are.

use std::io::{self, BufReader, Read};

use super::{CHUNK, IntakeError};
use crate::store::unpack::{Compression, decoder};

/// Bytes that tell how a layer is packed.
pub(super) const MAGIC: usize = 6;

/// What the first bytes of a layer say of its compression.
pub(super) fn recognise(head: &[u8]) -> Result<Compression, IntakeError> {
    match Compression::of(head) {
        Some(compression) => Ok(compression),
        None if head.starts_with(b"\xfd7zXZ\0") => Err(IntakeError::Format("xz")),
        None if head.starts_with(b"BZh") => Err(IntakeError::Format("bzip2")),
        None => Ok(Compression::None),
    }
}

/// A layer being read.
pub(super) struct Input<'a> {
    inner: &'a mut dyn Read,
    /// The first bytes, until they are read.
    head: Vec<u8>,
    read: u64,
    expected: Option<u64>,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Input<'a> {
    pub fn new(inner: &'a mut dyn Read, expected: Option<u64>, progress: &'a mut dyn FnMut(u64)) -> Self {
        Self { inner, head: Vec::new(), read: 0, expected, progress }
    }

    /// The first bytes, which stay to be read.
    pub fn head(&mut self) -> io::Result<&[u8]> {
        if self.head.is_empty() {
            (&mut *self.inner).take(MAGIC as u64).read_to_end(&mut self.head)?;
        }
        Ok(&self.head)
    }

    /// What the bytes hold.
    pub fn decompressed(&mut self, compression: Compression) -> Result<Box<dyn Read + '_>, IntakeError> {
        decoder(BufReader::with_capacity(CHUNK, self), compression).map_err(IntakeError::Read)
    }

    /// Reads what is left, and says if it was not as much as expected.
    pub fn finish(mut self) -> Result<(), IntakeError> {
        io::copy(&mut self, &mut io::sink()).map_err(IntakeError::Read)?;
        match self.expected {
            Some(expected) if expected != self.read => Err(IntakeError::Size { expected, found: self.read }),
            _ => Ok(()),
        }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.head.len().min(buffer.len()) {
            0 => self.inner.read(buffer)?,
            count => {
                buffer[..count].copy_from_slice(&self.head[..count]);
                self.head.drain(..count);
                count
            }
        };
        self.read += count as u64;
        if let Some(expected) = self.expected.filter(|&expected| self.read > expected) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {expected} bytes")));
        }
        if count > 0 {
            (self.progress)(self.read);
        }
        Ok(count)
    }
}
