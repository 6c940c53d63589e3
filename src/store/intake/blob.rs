//! A blob whose digest is known only once it is written.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::IntakeError;
use crate::spec::digest::Digest;
use crate::store::metered::Digested;
use crate::store::staging::Staging;
use crate::store::{Store, fs};

/// A blob being written in a staging entry, which goes away with it.
pub(super) struct NewBlob {
    path: PathBuf,
    file: Digested,
    _staging: Staging,
}

impl NewBlob {
    pub fn create(store: &Store) -> io::Result<Self> {
        let staging = Staging::create(store)?;
        let path = staging.path().join("blob");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file: Digested::new(file), _staging: staging })
    }

    /// Where it lies as long as it has no name.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The digest of what was written so far.
    pub fn digest(&self) -> Digest {
        self.file.digest()
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.file.size()
    }

    pub fn check(&self, expected: Digest) -> Result<(), IntakeError> {
        match self.digest() {
            found if found == expected => Ok(()),
            found => Err(IntakeError::Blob { expected, found }),
        }
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Puts it among the blobs, unless it is there. It must be on disk.
    pub fn name(self, store: &Store) -> io::Result<()> {
        let digest = self.digest();
        if store.blobs().contains(digest) {
            return Ok(());
        }
        fs::rename_durable(&self.path, &store.blobs().path(digest))
    }
}

impl Write for NewBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
