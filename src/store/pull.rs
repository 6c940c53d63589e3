//! Pulling an image: resolve it at its registry, then for each missing layer one streaming pass of
//! download, digest, decompress and extract; names appear only when everything is in the store.
//!
//! One current-thread runtime does it all and no thread is started. What an interrupted pull leaves
//! is partial blobs, which the next pull resumes, and staging entries, which the next sweep removes.

mod error;
mod feed;
mod layer;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use super::unpack::job::{Compression, UnpackJob, UnpackLimits, UnpackStream, Unpacked};
pub use error::PullError;

use crate::spec::digest::Digest;
use crate::spec::platform::Platform;
use crate::spec::reference::ImageRef;

/// Turns compressed layer bytes into a directory, in another process (inside the user namespace).
pub trait Unpacker {
    /// Starts one job; several may run at a time.
    fn start(&mut self, job: &UnpackJob) -> io::Result<UnpackStream>;
}

/// How to reach the registry and what to take from it.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// The platform to select; None is the host's.
    pub platform: Option<Platform>,
    /// None: verified https, or plain http for loopback hosts. `Some(true)`: verified https only.
    /// `Some(false)`: https without verification, else plain http.
    pub tls_verify: Option<bool>,
    /// A directory of `*.crt` files to trust instead of those in the `certs.d` directories.
    pub cert_dir: Option<PathBuf>,
}

/// What a pull brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image id: the digest of its config.
    pub config: Digest,
    /// The digest of the platform's manifest.
    pub manifest: Digest,
    /// What the registry resolved the reference to: an index or a manifest.
    pub resolved: Digest,
    /// Whether the name is new or refers to another image than before.
    pub changed: bool,
}

/// Told what happens, from the pulling process itself; must not block.
pub trait Progress {
    /// The image is resolved: the digests of its layers, bottom first. Called once.
    fn layers(&mut self, reference: &ImageRef, layers: &[Digest]);
    /// The layer at `index` of that list changed its state.
    fn layer(&mut self, index: usize, state: LayerState);
    /// A request outside any layer is repeated after a pause. The reason is safe to print.
    fn retrying(&mut self, pause: Duration, reason: &str);
}

/// Where a layer is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerState {
    PullingFsLayer,
    /// Not yet its turn, or another process is fetching the same blob.
    Waiting,
    /// Bytes of the compressed layer that are here, and all of them.
    Downloading { current: u64, total: u64 },
    Retrying { pause: Duration },
    Verifying,
    DownloadComplete,
    Extracting,
    PullComplete,
    AlreadyExists,
}
