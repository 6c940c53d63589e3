//! Which repositories of a registry should have a blob already, by what was pulled from there or
//! pushed there.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;

use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;
use crate::store::Store;

/// What is known of a registry's other repositories.
#[derive(Debug, Default)]
pub struct Mounts {
    /// By the digests of blobs and by diff ids: a layer was perhaps compressed on its way there.
    repositories: HashMap<Digest, BTreeSet<String>>,
    known: bool,
}

impl Mounts {
    /// Looks for images of the registry of `to`. `image` is the manifest to be pushed.
    pub fn at(store: &Store, to: &ImageRef, image: Digest) -> Result<Self> {
        let mut found = Self::default();
        let images = store.images();
        let names = images.names()?.0;
        // Only a digest in a name shows that a registry has it.
        for record in names.iter().filter(|record| record.name.digest().is_some() && !record.is_untagged()) {
            found.known |= record.name.digest() == Some(image);
            if record.name.domain() != to.domain() || record.name.path() == to.path() {
                continue;
            }
            let blobs = images.layer_blobs(record.manifest).unwrap_or_default();
            let diff_ids = images.config(record.config).map(|config| config.rootfs.diff_ids).unwrap_or_default();
            for digest in blobs.into_iter().chain(diff_ids) {
                found.repositories.entry(digest).or_default().insert(record.name.path().to_owned());
            }
        }
        Ok(found)
    }

    /// Whether some registry has the image's manifest as it is here.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// The repositories that may have a blob, or the layer `diff_id` in some form.
    pub fn of(&self, blob: Digest, diff_id: Digest) -> Vec<String> {
        let exact = self.repositories.get(&blob).into_iter().flatten();
        let other = self.repositories.get(&diff_id).into_iter().flatten();
        let mut repositories: Vec<String> = Vec::new();
        for repository in exact.chain(other) {
            if !repositories.contains(repository) {
                repositories.push(repository.clone());
            }
        }
        repositories
    }
}
