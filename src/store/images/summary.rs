//! What a list shows of many images, with few system calls for each.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Result;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::Images;
use crate::spec::digest::Digest;
use crate::store::fs;
use crate::store::layers::chain_ids;

/// Configs of this size or more are read the slow way.
const USUAL: usize = 32 << 10;

/// What lists show of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// As the config has it.
    pub created: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Bytes of its layers' contents.
    pub size: u64,
    /// Whether all its layers are here.
    pub whole: bool,
}

/// Reads summaries one after another; what images share is read once.
pub struct Summaries<'a> {
    images: Images<'a>,
    blobs: Option<OwnedFd>,
    buffer: Vec<u8>,
    /// None for a layer that is missing.
    layer_sizes: HashMap<Digest, Option<u64>>,
}

/// The part of an image's config that lists need.
#[derive(Default, Deserialize)]
struct Part {
    created: Option<String>,
    config: Option<Defaults>,
    rootfs: Option<RootFs>,
}

#[derive(Default, Deserialize)]
struct Defaults {
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
struct RootFs {
    diff_ids: Option<Vec<Digest>>,
}

impl<'a> Images<'a> {
    /// A reader of summaries.
    pub fn summaries(&self) -> Summaries<'a> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let blobs = rustix::fs::open(self.store.path("blobs/sha256"), flags, Mode::empty()).ok();
        Summaries { images: *self, blobs, buffer: vec![0; USUAL], layer_sizes: HashMap::new() }
    }
}

impl Summaries<'_> {
    /// The summary of the image `id`; an error when its config is missing or damaged. A missing
    /// layer counts nothing.
    pub fn read(&mut self, id: Digest) -> Result<Summary> {
        let part = match self.read_quickly(id) {
            Some(part) => part,
            None => {
                let config = self.images.config(id)?;
                Part {
                    created: config.created,
                    config: Some(Defaults { labels: Some(config.config.labels) }),
                    rootfs: Some(RootFs { diff_ids: Some(config.rootfs.diff_ids) }),
                }
            }
        };
        let diff_ids = part.rootfs.and_then(|rootfs| rootfs.diff_ids).unwrap_or_default();
        let sizes: Vec<Option<u64>> = chain_ids(&diff_ids).into_iter().map(|layer| self.layer_size(layer)).collect();
        let labels = part.config.and_then(|config| config.labels).unwrap_or_default();
        let whole = sizes.iter().all(Option::is_some);
        Ok(Summary { created: part.created, labels, size: sizes.into_iter().flatten().sum(), whole })
    }

    /// None when it cannot be read or is not what its name says.
    fn read_quickly(&mut self, id: Digest) -> Option<Part> {
        let bytes = fs::read_quickly(self.blobs.as_ref()?.as_fd(), &id.hex(), &mut self.buffer)?;
        if Digest::of(bytes) != id {
            return None;
        }
        serde_json::from_slice(bytes).ok()
    }

    fn layer_size(&mut self, chain_id: Digest) -> Option<u64> {
        let layers = self.images.store.layers();
        *self.layer_sizes.entry(chain_id).or_insert_with(|| layers.get(chain_id).ok().map(|record| record.size))
    }
}
