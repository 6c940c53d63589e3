//! Compression of layers, on all processors. The same bytes give the same result on every machine:
//! how the work is divided depends on the input and the level alone.

mod gzip;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::num::NonZero;
use std::thread::available_parallelism;

use zstd::stream::write::Encoder;
use zstd::zstd_safe::CParameter;

use super::unpack::Compression;

/// More threads cost memory and find little to do beside a disk.
const THREADS_MAX: usize = 8;
/// What one thread compresses at a time with zstd, in bytes: the library's own choice would need
/// hundreds of megabytes at high levels.
const ZSTD_JOB: u32 = 2 << 20;
/// The largest window every decoder must take (RFC 8878, 3.1.1.1.2): 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Levels from here on would use a larger window.
const ZSTD_ULTRA: i32 = 20;

/// How to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// RFC 1952. Levels 1 (fast) to 9 (small).
    Gzip { level: u32 },
    /// RFC 8878. Levels 1 (fast) to 22 (small).
    Zstd { level: i32 },
}

/// A level that the format does not have.
#[derive(Debug, thiserror::Error)]
#[error("invalid compression level {level} for {format}: give one from 1 to {max}")]
pub struct LevelError {
    level: i64,
    format: &'static str,
    max: i64,
}

impl Codec {
    /// What layers are written with unless something else is asked for.
    pub const GZIP: Self = Self::Gzip { level: 6 };
    /// zstd at its own default level.
    pub const ZSTD: Self = Self::Zstd { level: 3 };

    /// How hard it compresses.
    pub fn level(self) -> i32 {
        match self {
            Self::Gzip { level } => level.cast_signed(),
            Self::Zstd { level } => level,
        }
    }

    /// The same format at another level.
    pub fn with_level(self, level: i64) -> Result<Self, LevelError> {
        let (format, max) = match self {
            Self::Gzip { .. } => ("gzip", 9),
            Self::Zstd { .. } => ("zstd", 22),
        };
        match (self, i32::try_from(level)) {
            (Self::Gzip { .. }, Ok(level @ 1..=9)) => Ok(Self::Gzip { level: level.unsigned_abs() }),
            (Self::Zstd { .. }, Ok(level @ 1..=22)) => Ok(Self::Zstd { level }),
            _ => Err(LevelError { level, format, max }),
        }
    }

    /// How what it makes is to be read.
    pub fn compression(self) -> Compression {
        match self {
            Self::Gzip { .. } => Compression::Gzip,
            Self::Zstd { .. } => Compression::Zstd,
        }
    }
}

/// Compresses what is written to it into `W`. Threads do the work, the caller's own thread writes
/// the result. Without [`finish`](Self::finish) the result is incomplete.
pub struct Compressor<W: Write>(Inner<W>);

enum Inner<W: Write> {
    Gzip(gzip::Writer<W>),
    Zstd(Box<Encoder<'static, W>>),
}

impl<W: Write> Compressor<W> {
    /// Compresses on every processor there is.
    pub fn new(codec: Codec, output: W) -> io::Result<Self> {
        let threads = available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
        Self::with_threads(codec, output, threads)
    }

    fn with_threads(codec: Codec, output: W, threads: usize) -> io::Result<Self> {
        Ok(Self(match codec {
            Codec::Gzip { level } => Inner::Gzip(gzip::Writer::new(output, level, threads)?),
            Codec::Zstd { level } => Inner::Zstd(Box::new(zstd_encoder(output, level, threads)?)),
        }))
    }

    /// Compresses the rest and gives the output back. Nothing is flushed or synced there.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Inner::Gzip(writer) => writer.finish(),
            Inner::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Gzip(writer) => writer.write(bytes),
            Inner::Zstd(encoder) => encoder.write(bytes),
        }
    }

    /// Nothing: to end a block early would make the result depend on when this is called.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Any number of workers gives the same frame, as long as there is one.
fn zstd_encoder<W: Write>(output: W, level: i32, threads: usize) -> io::Result<Encoder<'static, W>> {
    let mut encoder = Encoder::new(output, level)?;
    encoder.include_checksum(true)?;
    encoder.multithread(u32::try_from(threads.max(1)).unwrap_or(1))?;
    encoder.set_parameter(CParameter::JobSize(ZSTD_JOB))?;
    if level >= ZSTD_ULTRA {
        encoder.window_log(ZSTD_WINDOW_LOG)?;
    }
    Ok(encoder)
}
