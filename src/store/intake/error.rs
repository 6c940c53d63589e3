//! Why a layer was not taken in.

use std::io;
use std::path::PathBuf;

use crate::spec::digest::Digest;
use crate::spec::text::printable;
use crate::store::unpack::answer;
use crate::store::{Store, fs};

/// A layer that was not taken in. Nothing of it is in the store.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error("read the layer: {0}")]
    Read(io::Error),
    #[error("the layer is compressed with {0}: only gzip and zstd are used for layers")]
    Format(&'static str),
    #[error("the layer has {found} bytes, expected {expected}")]
    Size { expected: u64, found: u64 },
    #[error("the layer has the digest {found}, expected {expected}")]
    Blob { expected: Digest, found: Digest },
    #[error("the layer unpacks to {found}, its image config promises {expected}")]
    Content { expected: Digest, found: Digest },
    /// The text is safe to print.
    #[error("unpack the layer: {0}")]
    Unpack(String),
    #[error("no space left on the file system of {}: free some space and try again", .0.display())]
    NoSpace(PathBuf),
    #[error("{0:#}")]
    Store(anyhow::Error),
}

impl IntakeError {
    /// A failure of the store's files while doing `what`.
    pub(super) fn file(store: &Store, what: &'static str) -> impl FnOnce(io::Error) -> Self + use<> {
        let failed = Self::store(store);
        move |error| failed(anyhow::Error::new(error).context(what))
    }

    /// A failure of the store.
    pub(super) fn store(store: &Store) -> impl FnOnce(anyhow::Error) -> Self + use<> {
        let root = store.root().to_owned();
        move |error| if fs::is_full(&error) { Self::NoSpace(root) } else { Self::Store(error) }
    }

    /// A failure the unpacking process reported in words.
    pub(super) fn unpack(store: &Store, why: &str) -> Self {
        if answer::is_full(why) {
            return Self::NoSpace(store.root().to_owned());
        }
        Self::Unpack(printable(why))
    }
}
