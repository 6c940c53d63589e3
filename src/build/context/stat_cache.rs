//! Digests of files that did not change since they were read: by device and inode, sizes and times. A
//! file that changed at about the time it was read is read again, since its times may not show the next
//! change. What is stored can always be made again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;
use sha2::{Digest as _, Sha256};

use super::entry::{Stamp, identity};
use crate::spec::digest::Digest;
use crate::store::copy::Attributes;
use crate::store::fs;

/// Device and inode, what changes with the file, what is known.
type Record = ((u64, u64), Stamp, Known);

const MAGIC: &[u8; 8] = b"rboxsc01";
/// Bytes of a stored [`Record`].
const RECORD: usize = 8 + 8 + 8 + 8 + 4 + 8 + 4 + 4 + 32 + 4;
/// A million files.
const SIZE_MAX: usize = RECORD * 1_000_000 + 40;
/// Longer than a tick of the clock that file systems take times from.
const TICK: Duration = Duration::from_millis(50);
/// File systems that store no fractions of a second (FAT has two).
const COARSE_TICK: Duration = Duration::from_secs(3);

/// What is known of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Of content and extended attributes.
    pub digest: Digest,
    /// Whether it has extended attributes.
    pub attributes: bool,
}

/// The digests of one directory's files.
#[derive(Debug, Default)]
pub struct StatCache {
    path: Option<PathBuf>,
    /// Sorted by identity.
    records: Vec<Record>,
}

impl StatCache {
    /// Reads what was stored at `path`; what is missing or damaged is worth nothing, and no error.
    pub fn load(path: &Path) -> Self {
        let records = fs::read_limited(path, SIZE_MAX).ok().and_then(|bytes| parse(&bytes)).unwrap_or_default();
        Self { path: Some(path.to_owned()), records }
    }

    /// One that remembers nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// What is known of the file with this stat data.
    pub fn get(&self, stat: &Stat) -> Option<Known> {
        let found = self.records.binary_search_by_key(&identity(stat), |(identity, ..)| *identity).ok()?;
        let (_, stamp, known) = &self.records[found];
        (*stamp == Stamp::of(stat)).then_some(*known)
    }

    /// Stores what is known now of the files that `new` gives, with what was known of others. Does
    /// nothing where nothing is new.
    pub fn store(&self, new: Vec<(Stat, Known)>) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if new.is_empty() {
            return Ok(());
        }
        let mut records: Vec<_> = new.iter().map(|(stat, known)| (identity(stat), Stamp::of(stat), *known)).collect();
        records.extend_from_slice(&self.records);
        // The first of equals stays: the newer one.
        records.sort_by_key(|(identity, ..)| *identity);
        records.dedup_by_key(|(identity, ..)| *identity);
        fs::write_volatile(path, &write(&records))
    }
}

fn write(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(records.len() * RECORD + 40);
    bytes.extend_from_slice(MAGIC);
    for ((device, inode), stamp, known) in records {
        for number in [*device, *inode, stamp.size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for (seconds, nanoseconds) in [stamp.modified, stamp.changed] {
            bytes.extend_from_slice(&seconds.to_le_bytes());
            bytes.extend_from_slice(&nanoseconds.to_le_bytes());
        }
        bytes.extend_from_slice(&stamp.mode.to_le_bytes());
        bytes.extend_from_slice(known.digest.as_bytes());
        bytes.extend_from_slice(&u32::from(known.attributes).to_le_bytes());
    }
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

fn parse(bytes: &[u8]) -> Option<Vec<Record>> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Sha256::digest(body).as_slice() != sum {
        return None;
    }
    let records = body.strip_prefix(MAGIC)?;
    records.chunks(RECORD).map(record).collect()
}

fn record(mut bytes: &[u8]) -> Option<Record> {
    fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
        let (first, rest) = bytes.split_first_chunk::<N>()?;
        *bytes = rest;
        Some(*first)
    }
    let bytes = &mut bytes;
    let long = |bytes: &mut &[u8]| take::<8>(bytes).map(u64::from_le_bytes);
    let short = |bytes: &mut &[u8]| take::<4>(bytes).map(u32::from_le_bytes);
    let identity = (long(bytes)?, long(bytes)?);
    let size = long(bytes)?;
    let modified = (long(bytes)?.cast_signed(), short(bytes)?);
    let changed = (long(bytes)?.cast_signed(), short(bytes)?);
    let mode = short(bytes)?;
    let digest = Digest::from_sha256(take::<32>(bytes)?);
    let attributes = short(bytes)? != 0;
    Some((identity, Stamp { size, modified, changed, mode }, Known { digest, attributes }))
}

/// Whether a file with this stat data could change after `now` without that its times show it.
pub fn is_racy(stat: &Stat, now: SystemTime) -> bool {
    let stamp = Stamp::of(stat);
    let tick = if stamp.changed.1 == 0 && stamp.modified.1 == 0 { COARSE_TICK } else { TICK };
    let Ok(now) = now.duration_since(UNIX_EPOCH) else { return true };
    let latest = stamp.changed.max(stamp.modified);
    let Ok(seconds) = u64::try_from(latest.0) else { return false };
    Duration::new(seconds, latest.1).saturating_add(tick) > now
}

/// A digest of extended attributes, in the order of their names.
pub fn attribute_digest(attributes: &Attributes) -> Digest {
    let mut sorted: Vec<_> = attributes.iter().collect();
    sorted.sort();
    let mut hash = Sha256::new();
    for (name, value) in sorted {
        for part in [name.to_bytes(), value.as_slice()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Digest::from_sha256(hash.finalize().into())
}
