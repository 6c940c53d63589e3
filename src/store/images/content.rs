//! What an image consists of: manifest, config, layers.

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use super::Images;
use crate::spec::digest::Digest;
use crate::spec::event::Happening;
use crate::spec::image::{ImageConfig, Manifest};
use crate::spec::reference::ImageRef;
use crate::store::layers::chain_ids;

/// The most that a manifest or config may hold, as the registry client has it.
const DOCUMENT_MAX: u64 = 4 << 20;

/// A layer of an image: the blob it comes from and what it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLayer {
    pub blob: Digest,
    pub diff_id: Digest,
    pub chain_id: Digest,
}

impl Images<'_> {
    /// The config of the image `id`.
    pub fn config(&self, id: Digest) -> Result<ImageConfig> {
        self.document(id).with_context(|| format!("read the config of image {}", id.short()))
    }

    /// Tells of something that happened to an image, under one of its names or under none: its labels come along.
    pub fn happened(&self, id: Digest, action: &str, name: Option<&ImageRef>) {
        let mut what = Happening::of_image(id, action, name);
        // Of one that is gone they are not known any more.
        let labels = self.config(id).map(|config| config.config.labels).unwrap_or_default();
        let own = std::mem::replace(&mut what.attributes, labels);
        what.attributes.extend(own);
        self.store.happened(what);
    }

    /// A manifest that an image name refers to.
    pub fn manifest(&self, digest: Digest) -> Result<Manifest> {
        self.document(digest)
    }

    /// The digests of the layers' blobs, lowest first.
    pub fn layer_blobs(&self, manifest: Digest) -> Result<Vec<Digest>> {
        Ok(self.manifest(manifest)?.layers.into_iter().map(|layer| layer.digest).collect())
    }

    /// The chain ids of an image's layers, lowest first.
    pub fn layers(&self, id: Digest) -> Result<Vec<Digest>> {
        Ok(chain_ids(&self.config(id)?.rootfs.diff_ids))
    }

    /// The layers with their blobs, lowest first.
    pub(in crate::store) fn layer_sources(&self, manifest: Digest, id: Digest) -> Result<Vec<ImageLayer>> {
        let (blobs, diff_ids) = (self.layer_blobs(manifest)?, self.config(id)?.rootfs.diff_ids);
        if blobs.len() != diff_ids.len() {
            bail!("its manifest has {} layers, its config {}", blobs.len(), diff_ids.len());
        }
        let parts = blobs.into_iter().zip(chain_ids(&diff_ids)).zip(diff_ids);
        Ok(parts.map(|((blob, chain_id), diff_id)| ImageLayer { blob, diff_id, chain_id }).collect())
    }

    /// The size of an image in bytes: the sum of its layers' contents. A missing layer counts
    /// nothing.
    pub fn size(&self, id: Digest) -> Result<u64> {
        let layers = self.layers(id)?;
        Ok(layers.into_iter().filter_map(|layer| self.store.layers().get(layer).ok()).map(|record| record.size).sum())
    }

    fn document<T: DeserializeOwned>(&self, digest: Digest) -> Result<T> {
        let bytes = self.store.blobs().read(digest, DOCUMENT_MAX)?;
        serde_json::from_slice(&bytes).with_context(|| format!("blob {digest} is no image manifest or config"))
    }
}
