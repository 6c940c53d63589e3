//! One layer: sent as it is, or compressed first, unless the registry has what it would become.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::mounts::Mounts;
use super::plan::Layer;
use super::squeeze::{self, Squeezed};
use super::{Format, LayerState, Progress, PushError};
use crate::spec::digest::Digest;
use crate::store::Store;
use crate::store::compress::Codec;
use crate::store::registry::manifest::Descriptor;
use crate::store::registry::repository::Repository;
use crate::store::registry::retry::patiently;
use crate::store::registry::upload::{Content, Event, Outcome, Upload};
use crate::store::unpack::Compression;
use crate::store::variants::Variant;

/// How often the progress of the compressing thread is shown.
const TICK: Duration = Duration::from_millis(100);

/// What the layers of one push share. One thread: borrows never cross an await.
pub struct Pipeline<'a> {
    pub store: &'a Store,
    /// The manifest of what is pushed.
    pub image: Digest,
    pub repository: &'a Repository,
    pub mounts: &'a Mounts,
    pub progress: RefCell<&'a mut dyn Progress>,
    /// Compression uses all processors for one layer.
    pub compressing: tokio::sync::Mutex<()>,
}

impl Pipeline<'_> {
    /// Tells the progress display.
    pub fn tell(&self, index: usize, state: &LayerState) {
        self.progress.borrow_mut().layer(index, state);
    }
}

/// The work on one layer of the list.
pub struct LayerJob<'a> {
    pub pipeline: &'a Pipeline<'a>,
    pub index: usize,
    pub layer: &'a Layer,
}

impl LayerJob<'_> {
    /// Brings the layer to the registry: how it is compressed there, and its blob.
    pub async fn run(&self) -> Result<(Compression, Descriptor), PushError> {
        let Some(codec) = self.layer.codec else {
            let blob = self.layer.blob;
            if self.pipeline.store.blobs().contains(blob.digest) {
                self.upload(blob).await?;
            } else if !self.find_there(blob).await? {
                return Err(self.missing(blob.digest));
            }
            return Ok((self.layer.compression, blob));
        };
        if let Some(blob) = self.find_variant(codec).await? {
            return Ok((codec.compression(), blob));
        }
        let squeezed = self.squeeze(codec).await?;
        let blob = Descriptor { digest: squeezed.digest, size: squeezed.size };
        let variants = self.pipeline.store.variants();
        let variant =
            Variant { blob: blob.digest, size: blob.size, media_type: media_type(codec), level: codec.level() };
        // Only a later push would be quicker for it.
        let _ = variants.remember(self.layer.diff_id, variant);
        self.upload_file(blob, &squeezed.path()).await?;
        Ok((codec.compression(), blob))
    }

    /// The blob that the layer became in an earlier push, if it is there or can be had without being
    /// sent.
    async fn find_variant(&self, codec: Codec) -> Result<Option<Descriptor>, PushError> {
        let store = self.pipeline.store;
        let is_it = |known: &Variant| (known.media_type == media_type(codec)) && known.level == codec.level();
        let Some(known) = store.variants().of(self.layer.diff_id).into_iter().find(is_it) else { return Ok(None) };
        let blob = Descriptor { digest: known.blob, size: known.size };
        if store.blobs().contains(blob.digest) {
            self.upload(blob).await?;
            return Ok(Some(blob));
        }
        Ok(self.find_there(blob).await?.then_some(blob))
    }

    /// Whether a blob that is not here is there, or was mounted there from another repository.
    async fn find_there(&self, blob: Descriptor) -> Result<bool, PushError> {
        let Pipeline { store, repository, mounts, .. } = self.pipeline;
        let retrying = |pause, _: &str| self.tell(&LayerState::Retrying { pause });
        let has = async || repository.has_blob(blob.digest).await;
        if patiently(repository.patience(), retrying, has).await? {
            self.tell(&LayerState::AlreadyExists);
            return Ok(true);
        }
        let (path, candidates) = (store.blobs().path(blob.digest), mounts.of(blob.digest, self.layer.diff_id));
        let upload = Upload { to: repository, blob, content: Content::File(&path), mounts: &candidates };
        let mounted = upload.mount().await?;
        let Some(from) = mounted else { return Ok(false) };
        self.tell(&LayerState::Mounted(from));
        Ok(true)
    }

    async fn upload(&self, blob: Descriptor) -> Result<(), PushError> {
        let path = self.pipeline.store.blobs().path(blob.digest);
        self.upload_file(blob, &path).await
    }

    async fn upload_file(&self, blob: Descriptor, path: &Path) -> Result<(), PushError> {
        let Pipeline { repository, mounts, .. } = self.pipeline;
        let candidates = mounts.of(blob.digest, self.layer.diff_id);
        let upload = Upload { to: repository, blob, content: Content::File(path), mounts: &candidates };
        let tell = |event| match event {
            Event::Sent(current) => self.tell(&LayerState::Pushing { current, total: blob.size }),
            Event::Retrying(pause) => self.tell(&LayerState::Retrying { pause }),
        };
        self.tell(&match upload.run(&tell).await? {
            Outcome::Existed => LayerState::AlreadyExists,
            Outcome::Mounted(from) => LayerState::Mounted(from),
            Outcome::Uploaded => LayerState::Pushed,
        });
        Ok(())
    }

    /// Compresses the layer into a staging entry, in a thread: other layers are sent meanwhile.
    async fn squeeze(&self, codec: Codec) -> Result<Squeezed, PushError> {
        let store = self.pipeline.store;
        let _one = self.pipeline.compressing.lock().await;
        let (blob, total) = (self.layer.blob.digest, self.layer.blob.size);
        if !store.blobs().contains(blob) {
            return Err(self.missing(blob));
        }
        let from = store.blobs().open(blob).map_err(PushError::store(store))?;
        let done = Arc::new(AtomicU64::new(0));
        let (there, counter, compression) = (store.clone(), Arc::clone(&done), self.layer.compression);
        let work = move || squeeze::squeeze(&there, from, compression, codec, &counter);
        let mut work = tokio::task::spawn_blocking(work);
        loop {
            match tokio::time::timeout(TICK, &mut work).await {
                Err(_) => {
                    let current = done.load(Ordering::Relaxed);
                    self.tell(&LayerState::Compressing { current, total });
                }
                Ok(Ok(squeezed)) => return squeezed.map_err(PushError::file(store, "compress a layer")),
                Ok(Err(_)) => {
                    return Err(PushError::Store(anyhow::anyhow!("compress layer {blob}: its thread ended early")));
                }
            }
        }
    }

    fn missing(&self, digest: Digest) -> PushError {
        PushError::Missing { digest, manifest: self.pipeline.image }
    }

    fn tell(&self, state: &LayerState) {
        self.pipeline.tell(self.index, state);
    }
}

fn media_type(codec: Codec) -> String {
    Format::Oci.layer(codec.compression()).to_owned()
}
