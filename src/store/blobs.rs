//! Content-addressed blobs: `blobs/sha256/HEX`, immutable, verified before they are named.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::lock::FileLock;
use super::metered::Digested;
use super::{Store, fs};
use crate::spec::digest::Digest;
use anyhow::{Context, Result, bail};

/// The blobs of a store.
#[derive(Clone, Copy, Debug)]
pub struct Blobs<'a> {
    store: &'a Store,
}

impl Store {
    /// The store's blobs.
    pub fn blobs(&self) -> Blobs<'_> {
        Blobs { store: self }
    }
}

impl Blobs<'_> {
    /// Where a blob lies, or would.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.store.path("blobs/sha256").join(digest.hex())
    }

    /// Whether the blob is here.
    pub fn contains(&self, digest: Digest) -> bool {
        fs::exists(&self.path(digest))
    }

    /// The digests of all blobs, sorted.
    pub fn list(&self) -> io::Result<Vec<Digest>> {
        fs::digests_in(&self.store.path("blobs/sha256"))
    }

    /// Hashes a blob of any size: the digest of what is there.
    pub fn verify(&self, digest: Digest) -> Result<Digest> {
        let read = Digested::resume(self.open(digest)?).with_context(|| format!("read blob {digest}"))?;
        Ok(read.digest())
    }

    /// Removes a blob; returns the bytes of its blocks, None when it was absent.
    pub(super) fn remove(&self, digest: Digest) -> io::Result<Option<u64>> {
        let path = self.path(digest);
        let bytes = std::fs::symlink_metadata(&path).map_or(0, |metadata| metadata.blocks() * 512);
        Ok(fs::remove_if_present(&path)?.then_some(bytes))
    }

    /// Removes what crashes left: temporary files, and partial downloads that nobody writes and
    /// that nobody resumed for `age`.
    pub(super) fn remove_leftovers(&self, age: Duration) -> io::Result<()> {
        fs::remove_stale_temporaries(&self.store.path("blobs/sha256"))?;
        let entries = match std::fs::read_dir(self.store.path("blobs/partial")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let partial = entry?.path().with_extension("");
            if !fs::exists(&partial) || fs::is_older(&partial, age)? {
                remove_partial(&partial)?;
            }
        }
        Ok(())
    }

    /// Opens a blob for reading.
    pub fn open(&self, digest: Digest) -> Result<File> {
        let context = || format!("blob {digest} is missing from the store: pull its image again");
        File::open(self.path(digest)).with_context(context)
    }

    /// Reads a small blob (manifest, config) of at most `limit` bytes and verifies it.
    pub fn read(&self, digest: Digest, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(digest)?.take(limit + 1).read_to_end(&mut bytes).with_context(|| format!("read blob {digest}"))?;
        if bytes.len() as u64 > limit {
            bail!("blob {digest} is larger than {limit} bytes");
        }
        if Digest::of(&bytes) != digest {
            bail!("blob {digest} is corrupt: run 'rbox system check --repair'");
        }
        Ok(bytes)
    }

    /// Stores a small blob and returns its digest.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if !self.contains(digest) {
            fs::write_atomic(&self.path(digest), bytes).with_context(|| format!("store blob {digest}"))?;
        }
        Ok(digest)
    }

    /// Takes the right to write the blob `digest`; None while another process or task holds it.
    /// Never waits, so that an async caller can.
    pub fn try_claim(&self, digest: Digest) -> Result<Option<Claim>> {
        let directory = self.store.path("blobs/partial");
        fs::create_private_dir(&directory).context("create the directory of partial downloads")?;
        let partial = directory.join(digest.hex());
        let lock_path = directory.join(format!("{}.lock", digest.hex()));
        let lock = FileLock::try_exclusive(&lock_path).with_context(|| format!("lock blob {digest}"))?;
        Ok(lock.map(|lock| Claim { destination: self.path(digest), digest, partial, lock_path, _lock: lock }))
    }
}

/// The right to write one blob. Whoever drops it removes the lock file; waiters notice and make a
/// new one.
#[derive(Debug)]
pub struct Claim {
    destination: PathBuf,
    digest: Digest,
    partial: PathBuf,
    lock_path: PathBuf,
    _lock: FileLock,
}

impl Claim {
    /// Whether the blob is here already, perhaps since the process that held the claim finished.
    pub fn is_complete(&self) -> bool {
        fs::exists(&self.destination)
    }

    /// Throws away what an interrupted download left.
    pub fn discard_partial(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Starts or resumes writing; re-hashes what is already there.
    pub fn ingest(self) -> Result<Ingest> {
        let context = || format!("open the partial download of blob {}", self.digest);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&self.partial).and_then(Digested::resume).with_context(context)?;
        Ok(Ingest { claim: self, file })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.lock_path);
    }
}

/// Removes a partial download and its lock file unless somebody writes it.
fn remove_partial(partial: &Path) -> io::Result<()> {
    let lock_path = partial.with_extension("lock");
    match FileLock::try_exclusive(&lock_path) {
        Ok(Some(_lock)) => {
            fs::remove_if_present(partial)?;
            fs::remove_if_present(&lock_path)?;
            Ok(())
        }
        Ok(None) => Ok(()),
        // No room for a lock file: left for a better day.
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A blob being written. Dropping it keeps the partial file for a later resume.
#[derive(Debug)]
pub struct Ingest {
    claim: Claim,
    file: Digested,
}

impl Ingest {
    /// Bytes already in the partial file.
    pub fn offset(&self) -> u64 {
        self.file.size()
    }

    /// A second handle to read back what was written so far, from the start.
    pub fn reader(&self) -> io::Result<File> {
        File::open(&self.claim.partial)
    }

    /// Throws away what is there, as after a corrupt or non-resumable download.
    pub fn restart(&mut self) -> io::Result<()> {
        self.file.restart()
    }

    /// The digest of what was written so far.
    pub fn digest(&self) -> Digest {
        self.file.digest()
    }

    /// Removes the partial file, as after a wrong digest.
    pub fn discard(self) -> io::Result<()> {
        self.claim.discard_partial()
    }

    /// Verifies size and digest, syncs, and names the blob. The claim is still held.
    pub fn commit(self, size: u64) -> Result<Claim> {
        let (digest, found, written) = (self.claim.digest, self.digest(), self.file.size());
        if written != size || found != digest {
            self.discard()?;
            bail!("blob {digest} arrived wrong: got {written} bytes with digest {found}, expected {size} bytes");
        }
        self.file.sync().with_context(|| format!("write blob {digest}"))?;
        fs::rename_durable(&self.claim.partial, &self.claim.destination)
            .with_context(|| format!("name blob {digest}"))?;
        Ok(self.claim)
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestStore;

    #[test]
    fn corruption_is_found_when_a_blob_is_read() {
        let store = TestStore::new();
        let digest = store.blobs().put(b"hello").unwrap();
        assert_eq!(store.blobs().list().unwrap(), [digest]);
        std::fs::write(store.blobs().path(digest), b"hellO").unwrap();
        assert!(store.blobs().read(digest, 100).unwrap_err().to_string().contains("corrupt"));
        assert_eq!(store.blobs().verify(digest).unwrap(), Digest::of(b"hellO"));
        assert!(store.blobs().read(Digest::of(b"x"), 100).unwrap_err().to_string().contains("missing"));
    }

    #[test]
    fn only_old_partials_that_nobody_writes_are_removed() {
        let store = TestStore::new();
        let directory = store.path("blobs/partial");
        std::fs::create_dir(&directory).unwrap();
        let (busy, left) = (directory.join(Digest::of(b"busy").hex()), directory.join(Digest::of(b"left").hex()));
        let lock = FileLock::exclusive(&busy.with_extension("lock")).unwrap();
        for partial in [&busy, &left] {
            std::fs::write(partial, "x").unwrap();
        }
        drop(FileLock::exclusive(&directory.join("orphan.lock")).unwrap());
        store.blobs().remove_leftovers(Duration::from_secs(3600)).unwrap();
        assert_eq!([fs::exists(&busy), fs::exists(&left)], [true, true]);
        assert!(!fs::exists(&directory.join("orphan.lock")));
        store.blobs().remove_leftovers(Duration::ZERO).unwrap();
        assert_eq!([fs::exists(&busy), fs::exists(&left)], [true, false]);
        drop(lock);
    }
}
