//! What takes a look at all containers or all layers, for templates that ask for it.

use std::collections::HashMap;

use anyhow::Result;

use super::Listed;
use crate::cmd::format::list::Format;
use crate::spec::digest::Digest;
use crate::store::Store;
use crate::store::containers::Container;

/// How many containers images have, and how much of them is in other images too.
#[derive(Default)]
pub struct Sharing {
    containers: Option<HashMap<Digest, usize>>,
    shared: Option<HashMap<Digest, u64>>,
}

impl Sharing {
    /// Reads what the format mentions.
    pub fn read(store: &Store, images: &[Listed], format: &Format) -> Result<Self> {
        let mut sharing = Self::default();
        if format.mentions("Containers") {
            let mut users = HashMap::new();
            let (containers, _) = store.containers().list()?;
            containers.iter().filter_map(Container::image_id).for_each(|id| *users.entry(id).or_default() += 1);
            sharing.containers = Some(users);
        }
        if format.mentions("SharedSize") || format.mentions("UniqueSize") {
            sharing.shared = Some(shared_sizes(store, images));
        }
        Ok(sharing)
    }

    /// How many containers are made from an image; None when nobody asked.
    pub fn containers(&self, id: Digest) -> Option<usize> {
        Some(self.containers.as_ref()?.get(&id).copied().unwrap_or(0))
    }

    /// Bytes of the layers that other images have too; None when nobody asked.
    pub fn shared(&self, id: Digest) -> Option<u64> {
        Some(self.shared.as_ref()?.get(&id).copied().unwrap_or(0))
    }
}

fn shared_sizes(store: &Store, images: &[Listed]) -> HashMap<Digest, u64> {
    let mut users: HashMap<Digest, u32> = HashMap::new();
    let mut stacks = Vec::new();
    for listed in images {
        let layers = store.images().layers(listed.image.id).unwrap_or_default();
        layers.iter().for_each(|layer| *users.entry(*layer).or_default() += 1);
        stacks.push((listed.image.id, layers));
    }
    users.retain(|_, count| *count > 1);
    let size = |layer: &Digest| store.layers().get(*layer).map_or(0, |record| record.size);
    let sizes: HashMap<Digest, u64> = users.keys().map(|layer| (*layer, size(layer))).collect();
    let shared = |layers: Vec<Digest>| layers.iter().filter_map(|layer| sizes.get(layer)).sum();
    stacks.into_iter().map(|(id, layers)| (id, shared(layers))).collect()
}
