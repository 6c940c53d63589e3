//! Pushing an image: its layers side by side, each asked for first and sent only where it is
//! missing, then its config, then its manifest, so that a tag never means what is not whole there.
//!
//! What an interrupted push leaves is at the registry, whole blobs that the next push finds, and
//! staging entries here, which the next sweep removes. Compression uses threads: the process must
//! not fork afterwards.

mod copy;
mod describe;
mod error;
mod format;
mod layer;
mod mounts;
mod plan;
mod squeeze;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;

pub use copy::{CopyProgress, document, push_list};
pub use describe::{Fetched, Found, describe_local, describe_remote, fetch, local};
pub use error::PushError;
pub use format::Format;
use layer::{LayerJob, Pipeline};
use mounts::Mounts;
use plan::{Plan, Ready};

use super::compress::Codec;
use super::registry::auth::Keyring;
use super::registry::manifest::Descriptor;
use super::registry::repository::Repository;
use super::registry::retry::patiently;
use super::registry::upload::{Content, Upload};
use super::registry::{self, Access, Patience, RegistryError};
use super::unpack::Compression;
use super::{Store, gc};
use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;
use crate::spec::registries::{Place, Registries};

/// Layers in work at a time, as docker.
const PARALLEL: usize = 5;

/// How to reach the registry and what to make of the image on the way.
#[derive(Clone, Debug)]
pub struct PushOptions {
    pub access: PushAccess,
    /// What uncompressed layers become; None: gzip.
    pub codec: Option<Codec>,
    /// Compress anew what is compressed in another way.
    pub force: bool,
    /// Whose manifest; None: the image's own.
    pub format: Option<Format>,
    pub patience: Patience,
}

/// How a registry may be reached; see [`PullOptions`](super::pull::PullOptions).
#[derive(Clone, Debug, Default)]
pub struct PushAccess {
    pub tls_verify: Option<bool>,
    pub cert_dir: Option<PathBuf>,
    pub registries: Registries,
    pub keyring: Option<std::sync::Arc<dyn Keyring>>,
}

/// What a push sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest as it was sent.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// Told what happens, from the pushing process itself; must not block.
pub trait Progress {
    /// What is pushed: the digests of its layers' contents, lowest first. Called once a push; one that is
    /// repeated when something was fetched goes on with the same display.
    fn layers(&mut self, layers: &[Digest]);
    /// The layer at `index` of that list changed its state.
    fn layer(&mut self, index: usize, state: &LayerState);
    /// A request outside any layer is repeated after a pause. The reason is safe to print.
    fn retrying(&mut self, pause: Duration, reason: &str);
}

/// Where a layer is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerState {
    Preparing,
    /// Not yet its turn.
    Waiting,
    /// Bytes of the layer that were compressed, and all of them.
    Compressing {
        current: u64,
        total: u64,
    },
    /// Bytes of the blob that were sent, and all of them.
    Pushing {
        current: u64,
        total: u64,
    },
    Retrying {
        pause: Duration,
    },
    Pushed,
    AlreadyExists,
    /// The repository it was mounted from.
    Mounted(String),
}

impl Default for PushOptions {
    fn default() -> Self {
        let patience = Patience::default();
        Self { access: PushAccess::default(), codec: None, force: false, format: None, patience }
    }
}

impl PushAccess {
    /// Where `reference` is written to or read from: its registry, or where that has moved. Never a
    /// mirror.
    pub fn place(&self, reference: &ImageRef) -> Result<Place, RegistryError> {
        Ok(self.registries.places(reference)?.1)
    }

    /// How to reach that place.
    pub fn of<'a>(&'a self, place: &'a Place) -> Access<'a> {
        Access {
            tls_verify: self.tls_verify.or(place.insecure.then_some(false)),
            cert_dir: self.cert_dir.as_deref(),
            mirror: Some(place),
            keyring: self.keyring.as_ref(),
            registries: Some(&self.registries),
        }
    }
}

/// Pushes the image of the manifest `image` in the store as `to`, and notes that `to` has it. `to`
/// has a tag.
pub fn push(
    store: &Store,
    image: Digest,
    to: &ImageRef,
    options: &PushOptions,
    progress: &mut dyn Progress,
) -> Result<Pushed, PushError> {
    let pushed = send(store, image, to, options, progress)?;
    let config = store.images().manifest(image).map_err(PushError::store(store))?.config.digest;
    store.images().tag(&to.at_digest(pushed.digest), image, config).map_err(PushError::store(store))?;
    Ok(pushed)
}

/// The same, and nothing is noted: what is pushed need be no image that anybody runs.
pub fn send(
    store: &Store,
    image: Digest,
    to: &ImageRef,
    options: &PushOptions,
    progress: &mut dyn Progress,
) -> Result<Pushed, PushError> {
    let work = async {
        let mounts = Mounts::at(store, to, image).map_err(PushError::store(store))?;
        let plan = Plan::new(store, image, mounts.is_known(), options)?;
        let _lease = lease(store, image, &plan)?;
        let repository = connect(to, options, progress).await?;
        let sent = send_layers(store, image, &repository, &plan, &mounts, progress).await?;
        let ready = plan.manifest(&sent)?;
        let mut notify = |pause, reason: &str| progress.retrying(pause, reason);
        send_documents(store, &repository, plan.config, &ready, &to.manifest_key(), &mut notify).await?;
        Ok(Pushed { digest: Digest::of(&ready.body), size: ready.body.len() as u64 })
    };
    registry::block_on(work).map_err(PushError::file(store, "start the network runtime"))?
}

/// Keeps a concurrent clean-up away from what is being read.
fn lease(store: &Store, image: Digest, plan: &Plan) -> Result<gc::Lease, PushError> {
    let mut digests = vec![image, plan.config.digest];
    digests.extend(plan.layers.iter().map(|layer| layer.blob.digest));
    gc::Lease::create(store, &digests).map_err(PushError::store(store))
}

async fn connect(
    to: &ImageRef,
    options: &PushOptions,
    progress: &mut dyn Progress,
) -> Result<Repository, RegistryError> {
    let place = options.access.place(to)?;
    let access = options.access.of(&place);
    let connect = async || Repository::connect(to, &access, options.patience.clone()).await;
    patiently(&options.patience, |pause, reason| progress.retrying(pause, reason), connect).await
}

/// Sends the layers: how each was compressed in the end, and its blob.
async fn send_layers(
    store: &Store,
    image: Digest,
    repository: &Repository,
    plan: &Plan,
    mounts: &Mounts,
    progress: &mut dyn Progress,
) -> Result<Vec<(Compression, Descriptor)>, PushError> {
    let digests: Vec<Digest> = plan.layers.iter().map(|layer| layer.diff_id).collect();
    progress.layers(&digests);
    let pipeline = Pipeline {
        store,
        image,
        repository,
        mounts,
        progress: RefCell::new(progress),
        compressing: tokio::sync::Mutex::default(),
    };
    // The same layer may be there several times: it is sent once.
    let first_of = |index: usize| {
        let same = |layer: &plan::Layer| layer.blob.digest == plan.layers[index].blob.digest;
        plan.layers.iter().position(same).unwrap_or(index)
    };
    let firsts: Vec<usize> = (0..plan.layers.len()).filter(|index| first_of(*index) == *index).collect();
    (0..plan.layers.len()).for_each(|index| pipeline.tell(index, &LayerState::Preparing));
    firsts.iter().skip(PARALLEL).for_each(|index| pipeline.tell(*index, &LayerState::Waiting));
    let jobs = firsts.iter().map(|index| LayerJob { pipeline: &pipeline, index: *index, layer: &plan.layers[*index] });
    let work = jobs.map(async |job| (job.index, job.run().await));
    let mut running = futures_util::stream::iter(work).buffer_unordered(PARALLEL);
    let mut sent = vec![None; plan.layers.len()];
    while let Some((index, done)) = running.next().await {
        sent[index] = Some(done?);
    }
    let sent = (0..plan.layers.len()).filter_map(|index| {
        if first_of(index) != index {
            pipeline.tell(index, &LayerState::AlreadyExists);
        }
        sent[first_of(index)]
    });
    Ok(sent.collect())
}

/// Sends the config, then the manifest.
async fn send_documents(
    store: &Store,
    repository: &Repository,
    config: Descriptor,
    ready: &Ready,
    key: &str,
    notify: &mut dyn FnMut(Duration, &str),
) -> Result<(), PushError> {
    let path = store.blobs().path(config.digest);
    let upload = Upload { to: repository, blob: config, content: Content::File(&path), mounts: &[] };
    upload.run(&|_| {}).await?;
    let put = async || repository.put_manifest(key, &ready.media_type, &ready.body).await;
    Ok(patiently(repository.patience(), notify, put).await?)
}
