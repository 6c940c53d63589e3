//! A layer that comes from elsewhere than a registry (an archive, a container's changes): one pass
//! over its bytes keeps them as a blob, compressed on the way if asked for, and extracts the tree in
//! the unpacking process.
//!
//! Unlike a pull this blocks and uses threads: the unpacking process must have been forked before.

mod adopt;
mod blob;
mod error;
mod feed;
mod input;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};

pub use adopt::{Adoption, adopt};
pub use error::IntakeError;

use blob::NewBlob;
use feed::{Extracted, Feed};
use input::{Input, recognise};

use super::Store;
use super::compress::{Codec, Compressor};
use super::gc::Lease;
use super::layers::{LayerRecord, chain_id};
use super::pull::Unpacker;
use super::unpack::{Compression, UnpackJob, UnpackLimits};
use crate::spec::digest::Digest;

/// Bytes that travel at once.
const CHUNK: usize = 256 << 10;

/// What is known about a layer before it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Digest of the bytes to read. Looked at when they are kept as they are read.
    pub blob: Option<Digest>,
    /// How many bytes are to be read.
    pub size: Option<u64>,
    /// Digest of the uncompressed tar.
    pub diff_id: Option<Digest>,
}

/// How the blob is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Byte by byte.
    AsRead,
    /// Compressed; what arrives compressed is decompressed before.
    Compressed(Codec),
}

/// A layer that is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub blob: Digest,
    /// Bytes of the blob.
    pub size: u64,
    pub compression: Compression,
    pub diff_id: Digest,
    pub chain_id: Digest,
    /// Device nodes that were left out of the tree.
    pub skipped_devices: u64,
    /// Whether the tree is new in the store.
    pub fresh: bool,
}

/// Where layers are taken in.
pub struct Intake<'a> {
    pub store: &'a Store,
    /// Told every blob and layer before it appears in the store.
    pub lease: &'a Lease,
    pub unpacker: &'a mut dyn Unpacker,
    /// The user namespace maps one id only; see [`UnpackJob::single_id`].
    pub single_id: bool,
    pub limits: UnpackLimits,
}

impl Intake<'_> {
    /// The layer `diff_id` on top of `below`, if it is in the store, tree and blob: nothing has to
    /// be read then. The blob is the one it came from, whatever its compression.
    pub fn known(&self, below: &[Digest], diff_id: Digest) -> Option<Taken> {
        let chain_id = chain_id(below, diff_id);
        let record = self.store.layers().get(chain_id).ok().filter(|_| self.store.layers().contains(chain_id))?;
        let file = self.store.blobs().open(record.blob).ok()?;
        let size = file.metadata().ok()?.len();
        let mut head = Vec::new();
        file.take(input::MAGIC as u64).read_to_end(&mut head).ok()?;
        let compression = recognise(&head).ok()?;
        let (blob, skipped_devices) = (record.blob, 0);
        Some(Taken { blob, size, compression, diff_id, chain_id, skipped_devices, fresh: false })
    }

    /// Reads a layer to its end and brings it into the store, on top of the layers with the diff
    /// ids `below`. `progress` is told how many bytes were read. A layer that is there already is
    /// not extracted again, but what is read is verified and its blob kept. On an error nothing
    /// of it stays.
    pub fn take(
        &mut self,
        input: &mut dyn Read,
        below: &[Digest],
        expected: &Expected,
        keep: Keep,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Taken, IntakeError> {
        let mut input = Input::new(input, expected.size, progress);
        let compression = recognise(input.head().map_err(IntakeError::Read)?)?;
        let here = expected.diff_id.is_some_and(|diff_id| self.store.layers().contains(chain_id(below, diff_id)));
        let fed = if keep == Keep::AsRead { compression } else { Compression::None };
        let mut feed = if here { Feed::hash(fed, self.limits) } else { self.extract(fed) }?;
        let mut sink = Sink::new(self.store, keep)?;
        let whole = match keep {
            Keep::AsRead => self.copy(&mut input, &mut feed, &mut sink, expected.blob.is_none())?,
            Keep::Compressed(_) => self.copy(&mut input.decompressed(compression)?, &mut feed, &mut sink, true)?,
        };
        if whole {
            input.finish()?;
        }
        let blob = sink.finish().map_err(IntakeError::file(self.store, "write a layer's blob"))?;
        if let (Keep::AsRead, Some(expected)) = (keep, expected.blob) {
            blob.check(expected)?;
        }
        let extracted = feed.finish(self.store)?;
        if let Some(expected) = expected.diff_id.filter(|&expected| expected != extracted.diff_id()) {
            return Err(IntakeError::Content { expected, found: extracted.diff_id() });
        }
        let compression = match keep {
            Keep::AsRead => compression,
            Keep::Compressed(codec) => codec.compression(),
        };
        self.commit(blob, extracted, below, compression)
    }

    fn extract(&mut self, compression: Compression) -> Result<Feed, IntakeError> {
        let (limits, single_id) = (self.limits, self.single_id);
        Feed::extract(self.store, self.unpacker, |target| UnpackJob { compression, target, limits, single_id })
    }

    /// Passes everything on; false if the job failed before the end, which is looked at if `early`:
    /// where a digest is known, it tells better what is wrong than what the job made of the bytes.
    fn copy(&self, input: &mut dyn Read, feed: &mut Feed, sink: &mut Sink, early: bool) -> Result<bool, IntakeError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = match input.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(IntakeError::Read(error)),
            };
            feed.write(&buffer[..count]).map_err(IntakeError::file(self.store, "feed the unpacking process"))?;
            if early && feed.is_closed() {
                return Ok(false);
            }
            sink.write_all(&buffer[..count]).map_err(IntakeError::file(self.store, "write a layer's blob"))?;
        }
    }

    /// Makes tree and blob visible once they are on disk.
    fn commit(
        &self,
        blob: NewBlob,
        extracted: Extracted,
        below: &[Digest],
        compression: Compression,
    ) -> Result<Taken, IntakeError> {
        let (diff_id, digest, size) = (extracted.diff_id(), blob.digest(), blob.size());
        let chain_id = chain_id(below, diff_id);
        let failed = || IntakeError::store(self.store);
        self.lease.add(&[digest, chain_id]).map_err(failed())?;
        let (mut skipped_devices, mut fresh) = (0, false);
        match extracted {
            Extracted::Tree { staging, unpacked } if !self.store.layers().contains(chain_id) => {
                (skipped_devices, fresh) = (unpacked.skipped_devices, true);
                let (size, entries) = (unpacked.size, unpacked.entries);
                let record = LayerRecord { chain_id, diff_id, blob: digest, size, entries };
                // Syncs the file system, and so the blob.
                self.store.layers().commit(staging, &record).map_err(failed())?;
            }
            _ => blob.sync().map_err(IntakeError::file(self.store, "write a layer's blob"))?,
        }
        blob.name(self.store).map_err(IntakeError::file(self.store, "name a layer's blob"))?;
        Ok(Taken { blob: digest, size, compression, diff_id, chain_id, skipped_devices, fresh })
    }
}

/// What becomes of the bytes on their way to the blob.
enum Sink {
    AsRead(NewBlob),
    Compressed(Compressor<NewBlob>),
}

impl Sink {
    fn new(store: &Store, keep: Keep) -> Result<Self, IntakeError> {
        let failed = || IntakeError::file(store, "make a layer's blob");
        let blob = NewBlob::create(store).map_err(failed())?;
        Ok(match keep {
            Keep::AsRead => Self::AsRead(blob),
            Keep::Compressed(codec) => Self::Compressed(Compressor::new(codec, blob).map_err(failed())?),
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::AsRead(blob) => blob.write_all(bytes),
            Self::Compressed(compressor) => compressor.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<NewBlob> {
        match self {
            Self::AsRead(blob) => Ok(blob),
            Self::Compressed(compressor) => compressor.finish(),
        }
    }
}
