//! What images take, by image: which blobs and layers each one has, and which it shares.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;

use super::Usage;
use crate::spec::digest::Digest;
use crate::store::Store;
use crate::store::containers::Container;

/// A blob, a layer or the record of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Blob(Digest),
    Layer(Digest),
    Name(Digest),
}

/// What one image takes, in bytes of blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageUsage {
    pub size: u64,
    /// The part that other images have too.
    pub shared: u64,
}

impl ImageUsage {
    /// What goes when it is removed, with all its names and without a container.
    pub fn unique(&self) -> u64 {
        self.size - self.shared
    }
}

/// What all images take.
#[derive(Clone, Debug, Default)]
pub struct ImagesUsage {
    /// By id.
    pub images: BTreeMap<Digest, ImageUsage>,
    /// Images that containers are made from.
    pub used: HashSet<Digest>,
    /// What goes when every image without a container is removed. What manifest lists refer to stays.
    pub reclaimable: u64,
    /// The part of it that belongs to no image.
    pub unreferenced: u64,
}

impl Usage {
    /// Tells whose the blobs and layers are. `containers` are all there are.
    pub fn by_image(&self, store: &Store, containers: &[Container]) -> Result<ImagesUsage> {
        let mut parts: BTreeMap<Digest, HashSet<Part>> = BTreeMap::new();
        for record in store.images().names()?.0 {
            let of_image = parts.entry(record.config).or_default();
            of_image.insert(Part::Name(record.file_digest()));
            let known = of_image.contains(&Part::Blob(record.manifest));
            of_image.extend([record.manifest, record.config].map(Part::Blob));
            // The index that the registry resolved, if it was kept.
            of_image.extend(record.name.digest().map(Part::Blob));
            if known {
                continue;
            }
            // What cannot be read refers to nothing; `system check` names it.
            let blobs = store.images().layer_blobs(record.manifest).unwrap_or_default();
            of_image.extend(blobs.into_iter().map(Part::Blob));
            let layers = store.images().layers(record.config).unwrap_or_default();
            of_image.extend(layers.into_iter().map(Part::Layer));
        }
        let mut users: HashMap<Part, u32> = HashMap::new();
        parts.values().flatten().for_each(|part| *users.entry(*part).or_default() += 1);
        let used: HashSet<Digest> = containers.iter().flat_map(Container::images).collect();
        let mut kept: HashSet<Part> =
            containers.iter().flat_map(Container::used_layers).copied().map(Part::Layer).collect();
        kept.extend(parts.iter().filter(|(id, _)| used.contains(id)).flat_map(|(_, parts)| parts));
        let mut listed = HashSet::new();
        // A record that cannot be read blocks the collection, which says so.
        store.lists().add_roots(&mut listed)?;
        kept.extend(listed.into_iter().map(Part::Blob));
        let kept_bytes: u64 = kept.iter().map(|part| self.part(*part)).sum();
        let referred: HashSet<Part> = users.keys().chain(&kept).copied().collect();
        let referred: u64 = referred.into_iter().map(|part| self.part(part)).sum();
        let usage = |parts: HashSet<Part>| {
            let size = parts.iter().map(|part| self.part(*part)).sum();
            let shared = parts.iter().filter(|part| users[part] > 1).map(|part| self.part(*part)).sum();
            ImageUsage { size, shared }
        };
        Ok(ImagesUsage {
            images: parts.into_iter().map(|(id, parts)| (id, usage(parts))).collect(),
            used,
            reclaimable: self.images() - kept_bytes,
            unreferenced: self.images() - referred,
        })
    }

    fn part(&self, part: Part) -> u64 {
        let known = match part {
            Part::Blob(digest) => self.blobs.get(&digest),
            Part::Layer(chain_id) => self.layers.get(&chain_id),
            Part::Name(file) => self.image_names.get(&file),
        };
        known.copied().unwrap_or(0)
    }
}
