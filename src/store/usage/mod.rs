//! What the store takes on disk: every block below its root, counted once, by what it is for.

mod cache;
mod images;
pub mod tree;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD};

pub use cache::LayerBlocks;
pub use images::{ImageUsage, ImagesUsage};

use super::containers::{Container, names};
use super::images::Image;
use super::{Store, fs};
use crate::spec::config::ContainerId;
use crate::spec::digest::Digest;
use crate::spec::volume::check_volume_name;

/// Measures trees in which directories of mapped ids are: in the user namespace, where it answers
/// with the bytes of each.
pub type Inside<'a> = dyn FnMut(&[PathBuf]) -> Result<Vec<u64>> + 'a;

/// The blocks of a store, in bytes. Together they are what `du` says of its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub blobs: BTreeMap<Digest, u64>,
    /// By chain id.
    pub layers: BTreeMap<Digest, u64>,
    /// Layers for containers with other ids.
    pub shifted: u64,
    /// Records of image names, by the hex digits that name their files.
    pub image_names: BTreeMap<Digest, u64>,
    /// Their directories and their names.
    pub containers: BTreeMap<ContainerId, u64>,
    /// By name, with their records.
    pub volumes: BTreeMap<String, u64>,
    /// Downloads that were interrupted or go on.
    pub partial: u64,
    /// Work in progress and what waits for deletion.
    pub staging: u64,
    /// Records that were set aside.
    pub quarantine: u64,
    /// Other records, locks, caches and the store's own directories.
    pub records: u64,
}

impl Usage {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.images() + self.containers.values().sum::<u64>() + self.volumes.values().sum::<u64>() + self.other()
    }

    /// What images take: blobs, layers, shifted or not, and names.
    pub fn images(&self) -> u64 {
        let names = self.image_names.values().sum::<u64>();
        self.blobs.values().sum::<u64>() + self.layers.values().sum::<u64>() + self.shifted + names
    }

    /// What is neither images nor containers nor volumes.
    pub fn other(&self) -> u64 {
        self.partial + self.staging + self.quarantine + self.records
    }
}

/// Measures the whole store. What layers take is remembered from the last time.
pub fn measure(store: &Store, inside: &mut Inside<'_>) -> Result<Usage> {
    let layers = layers(store, inside)?;
    let mut usage = Usage { layers, ..Usage::default() };
    measure_blobs(store, &mut usage).context("measure blobs")?;
    measure_image_names(store, &mut usage).context("measure image names")?;
    let ids = store.containers().ids().context("list containers")?;
    let mut trees: Vec<PathBuf> = ids.iter().map(|id| store.containers().directory(id)).collect();
    let rest = others(store).context("list the store")?;
    let names = store.volumes().names()?;
    trees.extend(names.iter().map(|name| store.volumes().directory(name)));
    trees.extend(rest.iter().map(|name| store.path(name)));
    let mut sizes = measure_all(&trees, inside)?;
    let rest_sizes = sizes.split_off(ids.len() + names.len());
    usage.volumes = names.iter().cloned().zip(sizes.split_off(ids.len())).collect();
    usage.containers = ids.into_iter().zip(sizes).collect();
    for (name, bytes) in rest.iter().zip(rest_sizes) {
        match name.as_str() {
            "shifted" => usage.shifted += bytes,
            "staging" => usage.staging += bytes,
            "quarantine" => usage.quarantine += bytes,
            _ => usage.records += bytes,
        }
    }
    for directory in ["", "blobs", "blobs/sha256", "layers", "images", "containers", "names", "volumes"] {
        usage.records += own_blocks(&store.path(directory))?;
    }
    measure_container_names(store, &mut usage).context("measure container names")?;
    Ok(usage)
}

/// What each layer takes, measured where it is not known.
pub fn layers(store: &Store, inside: &mut Inside<'_>) -> Result<BTreeMap<Digest, u64>> {
    let mut known = LayerBlocks::read(store);
    let all = store.layers().list().context("list layers")?;
    let mut sizes = BTreeMap::new();
    let mut unknown = Vec::new();
    for layer in &all {
        match known.get(store, *layer) {
            Some(bytes) => drop(sizes.insert(*layer, bytes)),
            None => unknown.push(*layer),
        }
    }
    let paths: Vec<PathBuf> = unknown.iter().map(|layer| store.layers().path(*layer)).collect();
    for (layer, bytes) in unknown.iter().zip(measure_all(&paths, inside)?) {
        known.insert(store, *layer, bytes);
        sizes.insert(*layer, bytes);
    }
    // On a full or read-only disk it is measured again the next time.
    let _ = known.write(store, &all);
    Ok(sizes)
}

/// What containers take, in the order given.
pub fn containers(store: &Store, all: &[Container], inside: &mut Inside<'_>) -> Result<Vec<u64>> {
    let paths: Vec<PathBuf> = all.iter().map(|one| store.containers().directory(one.id())).collect();
    let mut sizes = measure_all(&paths, inside)?;
    for (container, bytes) in all.iter().zip(&mut sizes) {
        *bytes += own_blocks(&store.path("names").join(&container.config.name))?;
    }
    Ok(sizes)
}

/// What volumes take, in the order given: those of the store, for others are not its own.
pub fn volumes(store: &Store, names: &[&str], inside: &mut Inside<'_>) -> Result<Vec<u64>> {
    let paths: Vec<PathBuf> = names.iter().map(|name| store.volumes().directory(name)).collect();
    measure_all(&paths, inside)
}

/// What the records of an image's names take.
pub fn image_names(store: &Store, image: &Image) -> Result<u64> {
    let paths = store.images().record_paths(image)?;
    let blocks = paths.iter().map(|path| own_blocks(path));
    Ok(blocks.sum::<io::Result<u64>>()?)
}

/// Measures trees, those with directories of mapped ids in the user namespace.
fn measure_all(paths: &[PathBuf], inside: &mut Inside<'_>) -> Result<Vec<u64>> {
    let measured = paths.iter().map(|path| tree::measure(path).with_context(|| format!("measure {}", path.display())));
    let mut measured: Vec<tree::Tree> = measured.collect::<Result<_>>()?;
    let (mut closed, mut closed_paths) = (Vec::new(), Vec::new());
    for (index, _) in measured.iter().enumerate().filter(|(_, tree)| !tree.complete) {
        closed.push(index);
        closed_paths.push(paths[index].clone());
    }
    if !closed.is_empty() {
        let sizes = inside(&closed_paths)?;
        if sizes.len() != closed.len() {
            bail!("measure files of mapped ids: {} of {} were answered", sizes.len(), closed.len());
        }
        closed.into_iter().zip(sizes).for_each(|(index, bytes)| measured[index].bytes = bytes);
    }
    Ok(measured.into_iter().map(|tree| tree.bytes).collect())
}

fn measure_blobs(store: &Store, usage: &mut Usage) -> io::Result<()> {
    let directory = store.path("blobs/sha256");
    for entry in std::fs::read_dir(&directory)? {
        let entry = entry?;
        let bytes = own_blocks(&entry.path())?;
        match entry.file_name().to_str().and_then(|name| Digest::from_hex(name).ok()) {
            Some(digest) => drop(usage.blobs.insert(digest, bytes)),
            None => usage.partial += bytes,
        }
    }
    for entry in std::fs::read_dir(store.path("blobs"))? {
        let path = entry?.path();
        if path != directory {
            usage.partial += tree::measure(&path)?.bytes;
        }
    }
    Ok(())
}

fn measure_image_names(store: &Store, usage: &mut Usage) -> io::Result<()> {
    for entry in std::fs::read_dir(store.path("images"))? {
        let entry = entry?;
        let name = entry.file_name();
        let digest = name.to_str().and_then(|name| name.strip_suffix(".json"));
        let bytes = own_blocks(&entry.path())?;
        match digest.and_then(|hex| Digest::from_hex(hex).ok()) {
            Some(digest) => drop(usage.image_names.insert(digest, bytes)),
            None => usage.records += bytes,
        }
    }
    Ok(())
}

fn measure_container_names(store: &Store, usage: &mut Usage) -> io::Result<()> {
    for entry in std::fs::read_dir(store.path("names"))? {
        let entry = entry?;
        let bytes = own_blocks(&entry.path())?;
        let holder = entry.file_name().to_str().and_then(|name| names::holder(store, name).ok().flatten());
        match holder.and_then(|id| usage.containers.get_mut(&id)) {
            Some(container) => *container += bytes,
            None => usage.records += bytes,
        }
    }
    Ok(())
}

/// The entries of the root and of directories that were looked at by entry, which are none of what
/// was counted there.
fn others(store: &Store) -> io::Result<Vec<String>> {
    let mut others = Vec::new();
    let mut add = |below: &str, counted: &dyn Fn(&str) -> bool| -> io::Result<()> {
        for entry in std::fs::read_dir(store.path(below))? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if !counted(&name) {
                others.push(if below.is_empty() { name.into_owned() } else { format!("{below}/{name}") });
            }
        }
        Ok(())
    };
    add("", &|name| matches!(name, "blobs" | "layers" | "images" | "containers" | "names" | "volumes"))?;
    if fs::exists(&store.path("volumes")) {
        add("volumes", &|name| check_volume_name(name).is_ok())?;
    }
    add("layers", &|name| Digest::from_hex(name).is_ok())?;
    add("containers", &|name| name.parse::<ContainerId>().is_ok())?;
    Ok(others)
}

/// The blocks of a file or a directory itself.
fn own_blocks(path: &Path) -> io::Result<u64> {
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(tree::blocks(&stat)),
        Err(rustix::io::Errno::NOENT) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
