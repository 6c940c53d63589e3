//! Why a pull failed.

use std::io;
use std::path::PathBuf;

use crate::spec::digest::Digest;
use crate::store::registry::RegistryError;
use crate::store::registry::error::printable;
use crate::store::unpack::answer;
use crate::store::{Store, fs};

/// A failed pull. Nothing was named; verified blobs and partial downloads stay for the next try.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("no space left on the file system of {}: free some space and pull again", .0.display())]
    NoSpace(PathBuf),
    #[error("unpack layer {layer}: {why}")]
    Unpack { layer: Digest, why: String },
    #[error("layer {layer} unpacks to {found}, its image config promises {expected}")]
    Content { layer: Digest, expected: Digest, found: Digest },
    #[error("{0:#}")]
    Store(anyhow::Error),
}

impl PullError {
    /// A failure of the store's files while doing `what`.
    pub(super) fn file(store: &Store, what: &'static str) -> impl FnOnce(io::Error) -> Self + use<> {
        let root = store.root().to_owned();
        move |error| Self::store_at(root, anyhow::Error::new(error).context(what))
    }

    /// A failure of the store.
    pub(super) fn store(store: &Store) -> impl FnOnce(anyhow::Error) -> Self + use<> {
        let root = store.root().to_owned();
        move |error| Self::store_at(root, error)
    }

    /// A failure the unpacking process reported in words.
    pub(super) fn unpack(store: &Store, layer: Digest, why: &str) -> Self {
        if answer::is_full(why) {
            return Self::NoSpace(store.root().to_owned());
        }
        Self::Unpack { layer, why: printable(why) }
    }

    fn store_at(root: PathBuf, error: anyhow::Error) -> Self {
        if fs::is_full(&error) {
            return Self::NoSpace(root);
        }
        Self::Store(error)
    }
}
