//! Layers for containers whose ids differ from the images': `shifted/KEY/HEX/{diff/,shifted.json}`,
//! KEY being the id map's and HEX the chain id of an image's topmost layer, which stands for all of
//! them. A cache: what is visible is whole, and what is lost can be made again.
//!
//! Where the kernel can follow them, the files of such a tree are stubs: the owner is the map's, the
//! content stays in the layer (overlayfs's data-only layers, Linux 6.16 without privileges). The kernel
//! follows them from the lowest layer only, so all layers of an image become one. The one data layer is
//! the directory of all layers: a stub names its layer and never finds another's file of the same path.

mod acl;
mod walk;

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub use walk::{Job, shift};

use super::containers::Container;
use super::lock::FileLock;
use super::staging::{Staging, Trash};
use super::{Store, fs, gc, record};
use crate::spec::digest::Digest;
use crate::spec::identity::{Extent, Maps};

/// Digits of a map's key.
const KEY_LENGTH: usize = 32;

/// How a tree is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Files without content of their own.
    Stubs,
    /// Files that share their blocks with the layer's, or copies.
    Content,
}

/// `shifted.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShiftedRecord {
    pub chain_id: Digest,
    pub maps: Maps,
    pub way: Way,
}

/// The images' layers of a store shifted by one map.
#[derive(Clone, Debug)]
pub struct Shifted<'a> {
    store: &'a Store,
    maps: &'a Maps,
    key: String,
}

/// The shifted layers of one image, whole or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShiftedLayer {
    /// The map's.
    pub key: String,
    pub chain_id: Digest,
}

impl ShiftedLayer {
    /// What a container starts from, if its ids are not the images'.
    pub fn of_container(container: &Container) -> Vec<Self> {
        let Some(maps) = container.config.identity.shift() else { return Vec::new() };
        let tops = container.config.layer_stacks().filter_map(|layers| layers.last());
        tops.map(|top| Self { key: key(maps), chain_id: *top }).collect()
    }
}

impl Store {
    /// Layers shifted by this map.
    pub fn shifted<'a>(&'a self, maps: &'a Maps) -> Shifted<'a> {
        Shifted { store: self, maps, key: key(maps) }
    }

    /// Where the content of stubs is found.
    pub fn shifted_data(&self) -> PathBuf {
        self.path("layers")
    }

    /// Every shifted layer of every map, sorted.
    pub fn all_shifted(&self) -> io::Result<Vec<ShiftedLayer>> {
        let mut all = Vec::new();
        for key in keys(self)? {
            let layers = match fs::digests_in(&self.path("shifted").join(&key)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                layers => layers?,
            };
            all.extend(layers.into_iter().map(|chain_id| ShiftedLayer { key: key.clone(), chain_id }));
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Takes a shifted layer out of the store; its files are in the returned trash.
    pub fn discard_shifted(&self, layer: &ShiftedLayer) -> io::Result<Trash> {
        Trash::take(self, &self.shifted_path(layer))
    }

    /// Where a shifted layer lies: its tree and its record.
    pub fn shifted_path(&self, layer: &ShiftedLayer) -> PathBuf {
        self.path("shifted").join(&layer.key).join(layer.chain_id.hex())
    }

    /// What is wrong with a shifted layer, if anything is.
    pub fn shifted_fault(&self, layer: &ShiftedLayer) -> Option<String> {
        let path = self.shifted_path(layer);
        match record::read::<ShiftedRecord>(&path.join("shifted.json")) {
            Err(error) => Some(error.to_string()),
            Ok(found) if found.chain_id != layer.chain_id || key(&found.maps) != layer.key => {
                Some("its record describes another".to_owned())
            }
            Ok(_) if !fs::exists(&path.join("diff")) => Some("its files are missing".to_owned()),
            Ok(_) => None,
        }
    }
}

/// Removes the directories of maps that have no layer left and nobody works on.
pub(super) fn remove_empty(store: &Store) -> io::Result<()> {
    for key in keys(store)? {
        let path = store.path("shifted").join(key);
        if let Ok(Some(_lock)) = FileLock::try_directory(&path) {
            // Not empty is no news.
            let _ = std::fs::remove_dir(&path);
        }
    }
    Ok(())
}

fn keys(store: &Store) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(store.path("shifted")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut keys = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let is_key = |name: &&str| name.len() == KEY_LENGTH && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        keys.extend(name.to_str().filter(is_key).map(str::to_owned));
    }
    Ok(keys)
}

/// The name of a map: equal maps have equal ones.
fn key(maps: &Maps) -> String {
    let lines = |extents: &[Extent]| {
        let line = |extent: &Extent| format!("{} {} {}\n", extent.inside, extent.outside, extent.count);
        extents.iter().map(line).collect::<String>()
    };
    let text = format!("uids\n{}gids\n{}", lines(&maps.uids), lines(&maps.gids));
    Digest::of(text.as_bytes()).hex()[..KEY_LENGTH].to_owned()
}

impl Shifted<'_> {
    /// The tree that overlayfs uses as its lower one; named by the topmost layer.
    pub fn tree(&self, chain_id: Digest) -> PathBuf {
        self.path(chain_id).join("diff")
    }

    /// How a tree that is here was made.
    pub fn way(&self, chain_id: Digest) -> Option<Way> {
        let record: ShiftedRecord = record::read(&self.path(chain_id).join("shifted.json")).ok()?;
        (record.chain_id == chain_id && record.maps == *self.maps).then_some(record.way)
    }

    /// Waits for the right to make layers of this map.
    pub fn lock(&self) -> io::Result<FileLock> {
        let directory = self.store.path("shifted").join(&self.key);
        loop {
            fs::create_private_dir(&self.store.path("shifted"))?;
            fs::create_private_dir(&directory)?;
            match FileLock::directory(&directory) {
                // A collection found it empty.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                lock => return lock,
            }
        }
    }

    /// The same, or None while another has it.
    pub fn try_lock(&self) -> io::Result<Option<FileLock>> {
        fs::create_private_dir(&self.store.path("shifted"))?;
        let directory = self.store.path("shifted").join(&self.key);
        fs::create_private_dir(&directory)?;
        match FileLock::try_directory(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            lock => lock,
        }
    }

    /// Makes `staged`, whose child `diff` is a whole tree, visible. For who holds the lock.
    pub fn commit(&self, chain_id: Digest, staged: Staging, way: Way) -> Result<()> {
        let bytes = serde_json::to_vec(&ShiftedRecord { chain_id, maps: self.maps.clone(), way })?;
        fs::create_file(&staged.path().join("shifted.json"), &bytes, fs::Durability::Volatile)
            .context("record shifted layers")?;
        fs::sync_file_system(staged.path()).context("write shifted layers to disk")?;
        // A collection that runs now must not find a tree whose layers it has just removed.
        let _gc = gc::shared(self.store)?;
        let path = self.path(chain_id);
        if fs::exists(&path) {
            // Damaged, or it would not have been made again.
            let _ = Trash::take(self.store, &path)?.delete();
        }
        fs::rename_durable(staged.path(), &path).context("store shifted layers")
    }

    fn path(&self, chain_id: Digest) -> PathBuf {
        self.store.path("shifted").join(&self.key).join(chain_id.hex())
    }
}
