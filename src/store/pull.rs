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

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

pub use super::unpack::{Compression, UnpackJob, UnpackLimits, UnpackStream, Unpacked};
pub use error::PullError;
use layer::{LayerJob, Pipeline};

use super::registry::resolve;
pub use super::registry::resolve::{Layer, Resolved};
use super::registry::{self, Demands, Keyring, Patience, RegistryError, Source, Sources};
use super::{Store, gc};
use crate::spec::digest::Digest;
use crate::spec::platform::Platform;
use crate::spec::reference::ImageRef;
use crate::spec::registries::Registries;

/// Layers in work at a time, as docker.
const PARALLEL: usize = 3;

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
    /// Mirrors, and registries that need not prove who they are.
    pub registries: Registries,
    /// Asked when a registry wants to know who we are.
    pub keyring: Option<Arc<dyn Keyring>>,
    /// How long to wait, and how often to try.
    pub patience: Patience,
    /// The user namespace maps one id only; see [`UnpackJob::single_id`].
    pub single_id: bool,
    /// Where a layer is stopped.
    pub limits: UnpackLimits,
    /// Fetch also blobs of layers that are here from another blob, compressed in another way. What
    /// gives the image away byte by byte needs them; running it does not.
    pub every_blob: bool,
}

impl PullOptions {
    /// The places of `reference`, as they may be reached.
    fn sources<'a>(&'a self, reference: &'a ImageRef) -> Result<Sources<'a>, RegistryError> {
        let demands = Demands {
            registries: &self.registries,
            tls_verify: self.tls_verify,
            cert_dir: self.cert_dir.as_deref(),
            keyring: self.keyring.as_ref(),
        };
        Sources::new(reference, demands, &self.patience)
    }
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
    /// Device nodes in new layers, which were left out: containers get devices of their own.
    pub skipped_devices: u64,
}

/// Told what happens, from the pulling process itself; must not block.
pub trait Progress {
    /// The image is resolved: the digests of its layers, bottom first. Called once.
    fn layers(&mut self, reference: &ImageRef, layers: &[Digest]);
    /// The layer at `index` of that list changed its state.
    fn layer(&mut self, index: usize, state: LayerState);
    /// A request outside any layer is repeated after a pause. The reason is safe to print.
    fn retrying(&mut self, pause: Duration, reason: &str);
    /// A mirror failed, and the next place is asked. Both texts are safe to print.
    fn passed_over(&mut self, mirror: &str, reason: &str);
}

/// Where a layer is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerState {
    PullingFsLayer,
    /// Not yet its turn, or another process is fetching the same blob.
    Waiting,
    /// Bytes of the compressed layer that are here, and all of them.
    Downloading {
        current: u64,
        total: u64,
    },
    Retrying {
        pause: Duration,
    },
    Verifying,
    DownloadComplete,
    Extracting,
    PullComplete,
    AlreadyExists,
}

/// Pulls `reference` into `store` and names it. Names, layers and documents that are here already
/// are not fetched again, but the registry is always asked what the reference means now.
pub fn pull(
    store: &Store,
    reference: &ImageRef,
    options: &PullOptions,
    unpacker: &mut dyn Unpacker,
    progress: &mut dyn Progress,
) -> Result<Pulled, PullError> {
    let work = async {
        let sources = options.sources(reference)?;
        let resolved = resolve(store, &sources, options, progress).await?;
        let _lease = lease(store, &resolved)?;
        let fetched = fetch(store, reference, &sources, &resolved.layers, options, unpacker, progress).await;
        if matches!(fetched, Err(PullError::NoSpace(_))) {
            discard_partials(store, &resolved.layers);
        }
        let skipped_devices = fetched?;
        Ok(Pulled { skipped_devices, ..name(store, reference, &resolved)? })
    };
    registry::block_on(work).map_err(PullError::file(store, "start the network runtime"))?
}

/// Fetches the `wanted` blobs of an image that is here, from where `from` is. Nothing is extracted or
/// named.
pub fn fetch_blobs(
    store: &Store,
    from: &ImageRef,
    manifest: Digest,
    wanted: &[Digest],
    options: &PullOptions,
    progress: &mut dyn Progress,
) -> Result<(), PullError> {
    let reference = from.at_digest(manifest);
    let options = PullOptions { every_blob: true, ..options.clone() };
    let work = async {
        let sources = options.sources(&reference)?;
        let mut resolved = resolve(store, &sources, &options, progress).await?;
        resolved.layers.retain(|layer| wanted.contains(&layer.blob.digest));
        let _lease = lease(store, &resolved)?;
        fetch(store, &reference, &sources, &resolved.layers, &options, &mut Idle, progress).await.map(drop)
    };
    registry::block_on(work).map_err(PullError::file(store, "start the network runtime"))?
}

/// What `reference` means at its registry; nothing but the documents is fetched, and nothing is stored.
pub fn look_up(
    store: &Store,
    reference: &ImageRef,
    options: &PullOptions,
    progress: &mut dyn Progress,
) -> Result<Resolved, PullError> {
    let work = async {
        let sources = options.sources(reference)?;
        Ok(resolve(store, &sources, options, progress).await?)
    };
    registry::block_on(work).map_err(PullError::file(store, "start the network runtime"))?
}

/// Fetches a layer, blob and tree, from the repository of `from`. Nothing is named.
pub fn fetch_layer(
    store: &Store,
    from: &ImageRef,
    layer: Layer,
    options: &PullOptions,
    unpacker: &mut dyn Unpacker,
    progress: &mut dyn Progress,
) -> Result<(), PullError> {
    let work = async {
        let sources = options.sources(from)?;
        fetch(store, from, &sources, &[layer], options, unpacker, progress).await.map(drop)
    };
    registry::block_on(work).map_err(PullError::file(store, "start the network runtime"))?
}

/// For blobs whose layers are extracted.
struct Idle;

impl Unpacker for Idle {
    fn start(&mut self, _: &UnpackJob) -> io::Result<UnpackStream> {
        Err(io::Error::other("the layer itself is missing: pull the image again"))
    }
}

/// What the reference means at the first place that can tell. A mirror is believed about a tag.
async fn resolve(
    store: &Store,
    sources: &Sources<'_>,
    options: &PullOptions,
    progress: &mut dyn Progress,
) -> Result<Resolved, RegistryError> {
    for mirror in sources.mirrors() {
        match resolve_at(store, mirror, options, progress).await {
            Ok(resolved) => return Ok(resolved),
            Err(error) => {
                mirror.fail();
                progress.passed_over(mirror.name(), &error.to_string());
            }
        }
    }
    resolve_at(store, sources.registry(), options, progress).await
}

async fn resolve_at(
    store: &Store,
    source: &Source<'_>,
    options: &PullOptions,
    progress: &mut dyn Progress,
) -> Result<Resolved, RegistryError> {
    let local = |digest| store.blobs().read(digest, registry::client::DOCUMENT_MAX).ok();
    let mut notify = |pause, reason: &str| progress.retrying(pause, reason);
    let client = source.client(&mut notify).await?;
    resolve::resolve(client, options.platform.as_ref(), &local, &mut notify).await
}

/// Keeps a concurrent clean-up away from what has no name yet.
fn lease(store: &Store, resolved: &Resolved) -> Result<gc::Lease, PullError> {
    let mut digests = vec![Digest::of(&resolved.manifest), Digest::of(&resolved.config)];
    digests.extend(resolved.layers.iter().flat_map(|layer| [layer.blob.digest, layer.chain_id]));
    gc::Lease::create(store, &digests).map_err(PullError::store(store))
}

async fn fetch(
    store: &Store,
    reference: &ImageRef,
    sources: &Sources<'_>,
    layers: &[Layer],
    options: &PullOptions,
    unpacker: &mut dyn Unpacker,
    progress: &mut dyn Progress,
) -> Result<u64, PullError> {
    let digests: Vec<Digest> = layers.iter().map(|layer| layer.blob.digest).collect();
    progress.layers(reference, &digests);
    let (unpacker, progress) = (RefCell::new(unpacker), RefCell::new(progress));
    let pipeline = Pipeline { store, sources, options, unpacker, progress };
    let job = |(index, layer)| LayerJob { pipeline: &pipeline, index, layer };
    let (here, missing): (Vec<_>, Vec<_>) = layers.iter().enumerate().map(job).partition(LayerJob::is_here);
    here.iter().for_each(|job| job.tell(LayerState::AlreadyExists));
    missing.iter().for_each(|job| job.tell(LayerState::PullingFsLayer));
    missing.iter().skip(PARALLEL).for_each(|job| job.tell(LayerState::Waiting));
    let mut running = futures_util::stream::iter(&missing).map(LayerJob::run).buffer_unordered(PARALLEL);
    let mut skipped_devices = 0;
    while let Some(finished) = running.next().await {
        skipped_devices += finished?;
    }
    Ok(skipped_devices)
}

/// A full disk is not left full for the sake of a later resume.
fn discard_partials(store: &Store, layers: &[Layer]) {
    for layer in layers {
        if let Ok(Some(claim)) = store.blobs().try_claim(layer.blob.digest) {
            let _ = claim.discard_partial();
        }
    }
}

/// Stores the documents, then the names: what was asked for if it was a tag, and the digest it
/// resolved to.
fn name(store: &Store, reference: &ImageRef, resolved: &Resolved) -> Result<Pulled, PullError> {
    let put = |bytes: &[u8]| store.blobs().put(bytes).map_err(PullError::store(store));
    let (config, manifest) = (put(&resolved.config)?, put(&resolved.manifest)?);
    let by_digest = reference.at_digest(resolved.resolved);
    let by_tag = reference.tag().filter(|_| reference.digest().is_none()).map(|tag| reference.at_tag(tag));
    let mut changed = false;
    for name in by_tag.iter().chain([&by_digest]) {
        // A damaged record is no obstacle: it is replaced.
        let known = store.images().by_name(name).ok().flatten();
        if known.is_some_and(|record| (record.manifest, record.config) == (manifest, config)) {
            continue;
        }
        changed = true;
        store.images().tag(name, manifest, config).map_err(PullError::store(store))?;
    }
    Ok(Pulled { config, manifest, resolved: resolved.resolved, changed, skipped_devices: 0 })
}
