//! One layer: found here, unpacked from a blob that is here, or downloaded, hashed and unpacked in
//! one pass.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::time::Duration;

use super::feed::{Feed, Tree};
use super::{LayerState, Progress, PullError, PullOptions, UnpackJob, Unpacker};
use crate::store::Store;
use crate::store::blobs::{Claim, Ingest};
use crate::store::layers::LayerRecord;
use crate::store::registry::blob::{self, Opened};
use crate::store::registry::resolve::Layer;
use crate::store::registry::retry::Retry;
use crate::store::registry::{Client, RegistryError, Source, Sources};

const COPY_BYTES: usize = 256 << 10;
/// A download that got this much further is not a failing one.
const PROGRESS_BYTES: u64 = 1 << 20;
/// How often to ask whether another process is done with a blob.
const CLAIM_PAUSE: Duration = Duration::from_millis(100);

/// What the layers of one pull share. Single-threaded: borrows never cross an await.
pub struct Pipeline<'a> {
    pub store: &'a Store,
    pub sources: &'a Sources<'a>,
    pub options: &'a PullOptions,
    pub unpacker: RefCell<&'a mut dyn Unpacker>,
    pub progress: RefCell<&'a mut dyn Progress>,
}

/// The work on one layer of the list.
pub struct LayerJob<'a> {
    pub pipeline: &'a Pipeline<'a>,
    pub index: usize,
    pub layer: &'a Layer,
}

/// How one attempt to download failed.
enum Interrupted {
    Registry(RegistryError),
    /// Our own side: final.
    Here(PullError),
}

impl From<RegistryError> for Interrupted {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

impl From<PullError> for Interrupted {
    fn from(error: PullError) -> Self {
        Self::Here(error)
    }
}

impl LayerJob<'_> {
    /// Whether the layer is in the store, its record undamaged, and a blob it can be rebuilt from:
    /// its own, or the one it came from, compressed in another way.
    pub fn is_here(&self) -> bool {
        let (layers, blobs) = (self.store().layers(), self.store().blobs());
        let from = layers.get(self.layer.chain_id).ok().filter(|_| self.has_tree());
        from.is_some_and(|from| {
            blobs.contains(self.layer.blob.digest) || !self.pipeline.options.every_blob && blobs.contains(from.blob)
        })
    }

    /// Whether the layer was extracted, whatever became of its blob.
    fn has_tree(&self) -> bool {
        self.store().layers().contains(self.layer.chain_id)
    }

    /// Tells the progress display.
    pub fn tell(&self, state: LayerState) {
        self.pipeline.progress.borrow_mut().layer(self.index, state);
    }

    /// Brings the layer into the store. The claim on its blob is held to the end, so that another
    /// process pulling the same finds the layer and does not unpack it again. Gives the number of
    /// device nodes that were left out.
    pub async fn run(&self) -> Result<u64, PullError> {
        let claim = self.claim().await?;
        if self.is_here() {
            self.tell(LayerState::AlreadyExists);
            return Ok(0);
        }
        let (_claim, feed) = if claim.is_complete() { self.replay(claim).await? } else { self.download(claim).await? };
        if self.has_tree() {
            self.tell(LayerState::PullComplete);
            return Ok(0);
        }
        self.tell(LayerState::Extracting);
        let tree = feed.finish(self.store(), self.layer.blob.digest).await?;
        let skipped_devices = tree.unpacked.skipped_devices;
        self.commit(tree)?;
        self.tell(LayerState::PullComplete);
        Ok(skipped_devices)
    }

    fn store(&self) -> &Store {
        self.pipeline.store
    }

    async fn claim(&self) -> Result<Claim, PullError> {
        let mut waiting = false;
        loop {
            let claim = self.store().blobs().try_claim(self.layer.blob.digest);
            if let Some(claim) = claim.map_err(PullError::store(self.store()))? {
                return Ok(claim);
            }
            if !waiting {
                self.tell(LayerState::Waiting);
                waiting = true;
            }
            tokio::time::sleep(CLAIM_PAUSE).await;
        }
    }

    /// Where the bytes go beside the blob: nowhere if only the blob is missing.
    fn start_feed(&self) -> Result<Feed, PullError> {
        if self.has_tree() {
            return Ok(Feed::none());
        }
        Feed::start(self.store(), &self.pipeline.unpacker, |staging| UnpackJob {
            compression: self.layer.compression,
            target: staging.path().to_owned(),
            limits: self.pipeline.options.limits,
            single_id: self.pipeline.options.single_id,
        })
    }

    /// Feeds a blob that is in the store.
    async fn replay(&self, claim: Claim) -> Result<(Claim, Feed), PullError> {
        let file = self.store().blobs().open(self.layer.blob.digest).map_err(PullError::store(self.store()))?;
        let mut feed = self.start_feed()?;
        self.tell(LayerState::Extracting);
        self.copy(file, &mut feed).await?;
        Ok((claim, feed))
    }

    async fn copy(&self, mut from: impl Read, feed: &mut Feed) -> Result<(), PullError> {
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(PullError::file(self.store(), "read a blob")(error)),
            };
            feed.write(&buffer[..count]).await.map_err(PullError::file(self.store(), "feed the unpacking process"))?;
        }
    }

    /// Downloads, resuming what an earlier pull left, until the blob is whole and right. Wrong
    /// bytes are fetched anew once.
    async fn download(&self, claim: Claim) -> Result<(Claim, Feed), PullError> {
        let blob = self.layer.blob;
        let mut ingest = claim.ingest().map_err(PullError::store(self.store()))?;
        let mut feed = self.start_feed()?;
        if ingest.offset() > blob.size {
            ingest.restart().map_err(self.write_failed())?;
        }
        let prefix = ingest.reader().map_err(self.write_failed())?;
        self.copy(prefix, &mut feed).await?;
        if let Err(error) = self.fetch(&mut ingest, &mut feed).await {
            if matches!(&error, PullError::Registry(error) if is_wrong(error)) {
                ingest.discard().map_err(self.write_failed())?;
            }
            return Err(error);
        }
        let claim = ingest.commit(blob.size).map_err(PullError::store(self.store()))?;
        self.tell(LayerState::DownloadComplete);
        Ok((claim, feed))
    }

    /// Fetches from the first place that can give it. What came from one place is gone on with at
    /// the next, as the digest decides in the end.
    async fn fetch(&self, ingest: &mut Ingest, feed: &mut Feed) -> Result<(), PullError> {
        for mirror in self.pipeline.sources.mirrors() {
            let error = match self.fetch_from(mirror, ingest, feed).await {
                Err(PullError::Registry(error)) => error,
                done => return done,
            };
            if mirror.fail() {
                self.pipeline.progress.borrow_mut().passed_over(mirror.name(), &error.to_string());
            }
            if is_wrong(&error) {
                self.restart(ingest, feed)?;
            }
        }
        self.fetch_from(self.pipeline.sources.registry(), ingest, feed).await
    }

    async fn fetch_from(&self, source: &Source<'_>, ingest: &mut Ingest, feed: &mut Feed) -> Result<(), PullError> {
        let notify = |pause, _: &str| self.tell(LayerState::Retrying { pause });
        let client = source.client(notify).await?;
        let mut retry = Retry::new(client.patience());
        let (mut furthest, mut anew) = (ingest.offset(), true);
        loop {
            let error = match self.attempt(client, ingest, feed).await {
                Ok(()) => return Ok(()),
                Err(Interrupted::Here(error)) => return Err(error),
                Err(Interrupted::Registry(error)) => error,
            };
            if ingest.offset() >= furthest + PROGRESS_BYTES {
                furthest = ingest.offset();
                retry.progressed();
            }
            if anew && is_wrong(&error) {
                anew = false;
                self.restart(ingest, feed)?;
                continue;
            }
            let pause = retry.after(error)?;
            self.tell(LayerState::Retrying { pause });
            tokio::time::sleep(pause).await;
        }
    }

    /// Downloads what is missing and verifies the whole.
    async fn attempt(&self, client: &Client, ingest: &mut Ingest, feed: &mut Feed) -> Result<(), Interrupted> {
        let blob = self.layer.blob;
        if ingest.offset() < blob.size {
            let mut body = match blob::open(client, blob, ingest.offset()).await? {
                Opened::Body(body) => body,
                Opened::FromStart(body) => {
                    self.restart(ingest, feed)?;
                    match body {
                        Some(body) => body,
                        None => blob::open_all(client, blob).await?,
                    }
                }
            };
            while let Some(chunk) = body.chunk().await? {
                ingest.write_all(chunk.as_ref()).map_err(self.write_failed())?;
                self.tell(LayerState::Downloading { current: ingest.offset(), total: blob.size });
                let fed = feed.write(chunk.as_ref()).await;
                fed.map_err(PullError::file(self.store(), "feed the unpacking process"))?;
            }
        }
        self.tell(LayerState::Verifying);
        let found = ingest.digest();
        if found != blob.digest {
            return Err(RegistryError::Digest { what: "layer", expected: blob.digest, found }.into());
        }
        Ok(())
    }

    /// Begins again from the first byte, with a new unpacking job.
    fn restart(&self, ingest: &mut Ingest, feed: &mut Feed) -> Result<(), PullError> {
        ingest.restart().map_err(self.write_failed())?;
        *feed = self.start_feed()?;
        Ok(())
    }

    fn write_failed(&self) -> impl FnOnce(io::Error) -> PullError + use<> {
        PullError::file(self.store(), "write a blob")
    }

    /// Verifies what was unpacked against the image's config and makes it a layer.
    fn commit(&self, tree: Tree) -> Result<(), PullError> {
        let (Layer { blob, diff_id, chain_id, .. }, found) = (self.layer, tree.unpacked.diff_id);
        if found != *diff_id {
            return Err(PullError::Content { layer: blob.digest, expected: *diff_id, found });
        }
        let record = LayerRecord {
            chain_id: *chain_id,
            diff_id: *diff_id,
            blob: blob.digest,
            size: tree.unpacked.size,
            entries: tree.unpacked.entries,
        };
        self.store().layers().commit(tree.staging, &record).map_err(PullError::store(self.store()))
    }
}

/// Whether what came is not the blob, rather than not all of it.
fn is_wrong(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Digest { .. } | RegistryError::Blob { .. })
}
