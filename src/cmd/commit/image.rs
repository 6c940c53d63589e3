//! The documents of a committed image: those of the image it came from, with one layer more.

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Format, Made};
use crate::spec::commit;
use crate::spec::digest::Digest;
use crate::spec::image::{Descriptor, History, ImageConfig, Manifest};
use crate::store::Store;
use crate::store::containers::Container;
use crate::store::gc::Lease;
use crate::store::intake::Taken;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Each kind of layer: OCI's media type and docker's.
const LAYERS: [(&str, &str); 3] = [
    ("application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    ("application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"),
    ("application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd"),
];
/// What docker keeps beside the image proper, about how that very image was made.
const OF_THE_MAKER: [&str; 6] = ["id", "parent", "comment", "container", "container_config", "docker_version"];

/// The image that a container was made from.
pub struct Base {
    /// Its manifest, unless its layers are not to be kept.
    pub manifest: Option<Digest>,
    config: ImageConfig,
    /// Its layers, lowest first; none when they are not to be kept.
    layers: Vec<Descriptor>,
    squash: bool,
}

impl Base {
    /// Reads it. With `squash` its layers are not needed.
    pub fn of(store: &Store, container: &Container, squash: bool) -> Result<Self> {
        let id = container.image_id();
        let Some(id) = id else {
            return Ok(Self { manifest: None, config: ImageConfig::default(), layers: Vec::new(), squash });
        };
        let gone =
            || format!("the image {} that the container was made from was removed: commit with --squash", id.short());
        let record = match store.images().resolve(&id.to_string()) {
            Err(_) if squash => {
                let config = store.images().config(id).unwrap_or_default();
                return Ok(Self { manifest: None, config, layers: Vec::new(), squash });
            }
            found => found.with_context(gone)?,
        };
        let config = store.images().config(record.config)?;
        let layers = if squash { Vec::new() } else { store.images().manifest(record.manifest)?.layers };
        Ok(Self { manifest: (!squash).then_some(record.manifest), config, layers, squash })
    }

    /// What must not be collected meanwhile.
    pub fn digests(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.digest).collect()
    }

    /// Whether its layers' blobs are still there, now that nobody collects them.
    pub fn check(&self, store: &Store) -> Result<()> {
        match self.digests().into_iter().find(|digest| !store.blobs().contains(*digest)) {
            None => Ok(()),
            Some(missing) => bail!("blob {missing} of the container's image is missing: commit with --squash"),
        }
    }

    /// The layers that the new one comes on top of.
    pub fn diff_ids(&self) -> &[Digest] {
        if self.squash { &[] } else { &self.config.rootfs.diff_ids }
    }

    /// The configuration of the new image, as far as the container decides it.
    pub fn config(&self, container: &Container) -> ImageConfig {
        let mut config = self.config.clone();
        config.config = commit::defaults(&container.config, &self.config);
        if config.architecture.is_empty() {
            let platform = crate::spec::platform::Platform::host();
            (config.os, config.architecture) = (platform.os, platform.architecture);
        }
        OF_THE_MAKER.iter().for_each(|key| drop(config.rest.remove(*key)));
        config
    }
}

/// Everything a new image consists of.
pub struct Recipe<'a> {
    pub base: &'a Base,
    pub config: ImageConfig,
    /// None when the container changed nothing.
    pub layer: Option<Taken>,
    pub created: Timestamp,
    pub author: Option<String>,
    pub comment: Option<String>,
}

impl Recipe<'_> {
    /// Puts its documents into the store.
    pub fn make(mut self, store: &Store, lease: &Lease, container: &Container, format: Format) -> Result<Made> {
        let created = self.created.to_string();
        let comment = self.comment.take().unwrap_or_default();
        let mut rest = Map::new();
        rest.extend(self.author.iter().map(|author| ("author".to_owned(), Value::from(author.as_str()))));
        let step = History {
            created: Some(created.clone()),
            created_by: container.config.cmd.as_deref().unwrap_or_default().join(" "),
            comment: comment.clone(),
            empty_layer: self.layer.is_none(),
            rest,
        };
        let config = &mut self.config;
        if self.base.squash {
            config.history.clear();
            config.rootfs.diff_ids.clear();
        }
        config.rootfs.kind = "layers".to_owned();
        config.rootfs.diff_ids.extend(self.layer.map(|layer| layer.diff_id));
        config.history.push(step);
        config.created = Some(created);
        config.author = self.author.take();
        if format == Format::Docker && !comment.is_empty() {
            config.rest.insert("comment".to_owned(), Value::from(comment));
        }
        let config = serde_json::to_vec(&self.config)?;
        let id = put(store, lease, &config)?;
        let manifest = serde_json::to_vec(&self.manifest(id, config.len() as u64, format))?;
        Ok(Made { manifest: put(store, lease, &manifest)?, id })
    }

    fn manifest(&self, config: Digest, size: u64, format: Format) -> Manifest {
        let (kind, config_kind) = format.media_types();
        let new = self.layer.map(|layer| Descriptor::new(LAYERS[0].0, layer.blob, layer.size));
        let below = self.base.layers.iter().cloned();
        let layers =
            below.chain(new).map(|layer| Descriptor { media_type: format.layer_kind(&layer.media_type), ..layer });
        Manifest::new(kind, Descriptor::new(config_kind, config, size), layers.collect())
    }
}

/// Stores a document, which may not be collected before it has a name.
fn put(store: &Store, lease: &Lease, bytes: &[u8]) -> Result<Digest> {
    lease.add(&[Digest::of(bytes)])?;
    store.blobs().put(bytes)
}

impl Format {
    /// The media types of a manifest and of its configuration.
    pub fn media_types(self) -> (&'static str, &'static str) {
        match self {
            Self::Oci => (OCI_MANIFEST, OCI_CONFIG),
            Self::Docker => (DOCKER_MANIFEST, DOCKER_CONFIG),
        }
    }

    /// The media type of a layer in a manifest of this format.
    pub fn layer_kind(self, kind: &str) -> String {
        let same = LAYERS.iter().find(|(oci, docker)| *oci == kind || *docker == kind);
        match (same, self) {
            (Some((oci, _)), Self::Oci) => (*oci).to_owned(),
            (Some((_, docker)), Self::Docker) => (*docker).to_owned(),
            (None, _) => kind.to_owned(),
        }
    }
}
