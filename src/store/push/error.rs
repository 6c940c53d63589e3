//! Why a push failed.

use std::io;

use crate::spec::digest::Digest;
use crate::store::Store;
use crate::store::registry::RegistryError;

/// A failed push. The blobs that arrived stay at the registry for the next try; the tag does not
/// change before everything is there.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("image {image} cannot be pushed: {why}")]
    Image { image: Digest, why: String },
    #[error("zstd layers need an OCI manifest: leave out --format v2s2 or the compression")]
    Zstd,
    #[error("blob {digest} of manifest {manifest} is neither in the store nor at a known registry")]
    NoSource { digest: Digest, manifest: Digest },
    #[error(
        "no space left on the file system of {0} to compress a layer: free some space, or push to where the layer is already"
    )]
    NoSpace(String),
    /// The layer was extracted from a blob of another compression.
    #[error("blob {digest} of the image is not in the store")]
    Missing { digest: Digest, manifest: Digest },
    #[error("{0:#}")]
    Store(anyhow::Error),
}

impl PushError {
    /// The manifest of the image whose layers are here but not all of their blobs, if that is it.
    pub fn lacking(&self) -> Option<Digest> {
        match self {
            Self::Missing { manifest, .. } => Some(*manifest),
            Self::NoSource { digest, manifest } if digest != manifest => Some(*manifest),
            _ => None,
        }
    }

    /// A failure of the store's files while doing `what`.
    pub(super) fn file(store: &Store, what: &'static str) -> impl FnOnce(io::Error) -> Self + use<> {
        let failed = Self::store(store);
        move |error| failed(anyhow::Error::new(error).context(what))
    }

    /// A failure of the store.
    pub(super) fn store(store: &Store) -> impl FnOnce(anyhow::Error) -> Self + use<> {
        let root = store.root().display().to_string();
        move |error| {
            let full =
                |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            if error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(full) {
                return Self::NoSpace(root);
            }
            Self::Store(error)
        }
    }
}
