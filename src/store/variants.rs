//! What layers became when they were compressed for a registry: `variants/DIFFHEX.json`, so that a
//! layer which is stored uncompressed is compressed for the first push only. The bytes themselves
//! are not kept: the registry has them.

use std::collections::HashSet;
use std::io;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::record;
use super::{Store, fs};
use crate::spec::digest::Digest;

/// A compressed form of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    pub blob: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// The layer's media type in an OCI manifest.
    pub media_type: String,
    /// How hard it was compressed.
    pub level: i32,
}

/// The variants of all layers.
#[derive(Clone, Copy, Debug)]
pub struct Variants<'a> {
    store: &'a Store,
}

impl Store {
    /// Compressed forms of layers.
    pub fn variants(&self) -> Variants<'_> {
        Variants { store: self }
    }
}

impl Variants<'_> {
    /// What the layer `diff_id` became; nothing if that is not known. A damaged record is none: the
    /// layer is compressed again.
    pub fn of(&self, diff_id: Digest) -> Vec<Variant> {
        record::read(&self.path(diff_id)).unwrap_or_default()
    }

    /// Remembers a form. Of one media type and level the last one counts.
    pub fn remember(&self, diff_id: Digest, variant: Variant) -> Result<()> {
        let context = || format!("record the compressed form of layer {diff_id}");
        let path = self.path(diff_id);
        fs::create_private_dir(&self.store.path("variants")).with_context(context)?;
        let mut variants = self.of(diff_id);
        variants.retain(|known| (&known.media_type, known.level) != (&variant.media_type, variant.level));
        variants.push(variant);
        fs::write_atomic(&path, &serde_json::to_vec(&variants)?).with_context(context)
    }

    /// Forgets what became of layers that no image has any more.
    pub(super) fn forget_unused(&self) -> Result<()> {
        let directory = self.store.path("variants");
        let known = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.context("list the compressed forms of layers")?,
        };
        let mut files: Vec<(String, Digest)> = Vec::new();
        for entry in known {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let digest = name.strip_suffix(".json").and_then(|hex| Digest::from_hex(hex).ok());
            files.extend(digest.map(|digest| (name, digest)));
        }
        let used = if files.is_empty() { HashSet::new() } else { self.layers_of_images()? };
        for (name, _) in files.iter().filter(|(_, digest)| !used.contains(digest)) {
            fs::remove_if_present(&directory.join(name))?;
        }
        fs::remove_stale_temporaries(&directory).context("remove leftovers of records")
    }

    fn layers_of_images(&self) -> Result<HashSet<Digest>> {
        let images = self.store.images();
        let (names, _) = images.names()?;
        let ids: HashSet<Digest> = names.iter().map(|record| record.config).collect();
        Ok(ids.into_iter().filter_map(|id| images.config(id).ok()).flat_map(|config| config.rootfs.diff_ids).collect())
    }

    fn path(&self, diff_id: Digest) -> std::path::PathBuf {
        self.store.path("variants").join(format!("{}.json", diff_id.hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::gc;
    use crate::store::testing::{self, TestStore, reference};

    fn variant(text: &str, level: i32) -> Variant {
        Variant { blob: Digest::of(text.as_bytes()), size: 1, media_type: "m".to_owned(), level }
    }

    #[test]
    fn the_last_of_a_kind_counts() {
        let store = TestStore::new();
        let layer = Digest::of(b"layer");
        assert_eq!(store.variants().of(layer), []);
        for known in [variant("a", 1), variant("b", 2), variant("c", 1)] {
            store.variants().remember(layer, known).unwrap();
        }
        assert_eq!(store.variants().of(layer), [variant("b", 2), variant("c", 1)]);
        std::fs::write(store.variants().path(layer), b"[{").unwrap();
        assert_eq!(store.variants().of(layer), []);
        store.variants().remember(layer, variant("d", 1)).unwrap();
        assert_eq!(store.variants().of(layer), [variant("d", 1)]);
    }

    #[test]
    fn they_go_with_the_last_image_of_the_layer() {
        let store = TestStore::new();
        testing::image(&store, &["a:1"], &["base"]);
        let layer = Digest::of(b"base");
        store.variants().remember(layer, variant("a", 1)).unwrap();
        store.variants().remember(Digest::of(b"other"), variant("a", 1)).unwrap();
        let _ = gc::collect(&store).unwrap();
        assert_eq!([store.variants().of(layer).len(), store.variants().of(Digest::of(b"other")).len()], [1, 0]);
        store.images().untag(&reference("a:1")).unwrap();
        let _ = gc::collect(&store).unwrap();
        assert_eq!(store.variants().of(layer), []);
    }
}
