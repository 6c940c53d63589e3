//! What the build cache holds, and what may go from it.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use super::mounts::MountRecord;
use super::records::Records;
use super::{DIRECTORY, Key};
use crate::spec::digest::Digest;
use crate::store::lock::FileLock;
use crate::store::record;
use crate::store::staging::{Cleanup, Trash};
use crate::store::usage::{Inside, LayerBlocks};
use crate::store::{Store, gc};

/// BuildKit's word for what a step made.
pub const REGULAR: &str = "regular";
/// BuildKit's word for a cache mount.
pub const CACHE_MOUNT: &str = "exec.cachemount";

/// Something in the build cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Hexadecimal digits.
    pub id: String,
    /// [`REGULAR`] or [`CACHE_MOUNT`].
    pub kind: &'static str,
    pub description: String,
    pub created: Option<String>,
    pub last_used: SystemTime,
    /// Bytes on disk, with what others share.
    pub size: u64,
    /// An image has its layer, too.
    pub shared: bool,
    /// A build uses it now.
    pub in_use: bool,
}

/// What is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneOptions {
    /// What images share, too.
    pub all: bool,
    /// Not used for so long (`until=`).
    pub unused_for: Option<Duration>,
    /// `type=`, `id=`, `description=`: one of the values of each key.
    pub filters: BTreeMap<String, Vec<String>>,
    /// `--keep-storage`, `--reserved-space`: so much stays.
    pub reserved: Option<u64>,
    /// `--max-used-space`: only what is beyond it goes.
    pub max_used: Option<u64>,
}

/// What went.
#[derive(Debug, Default)]
pub struct Pruned {
    pub entries: Vec<Entry>,
    pub bytes: u64,
    /// Files of mapped ids wait for a sweep in the user namespace.
    pub needs_user_namespace: bool,
}

/// Everything that the build cache holds, oldest use first. `inside` measures trees of mapped ids.
pub fn list(store: &Store, inside: &mut Inside<'_>) -> Result<Vec<Entry>> {
    let mut entries = steps(store)?;
    entries.extend(mounts(store, inside)?);
    entries.sort_by_key(|entry| entry.last_used);
    Ok(entries)
}

fn steps(store: &Store) -> Result<Vec<Entry>> {
    let of_images = image_layers(store)?;
    let known = LayerBlocks::read(store);
    let entry = |(record, last_used): (super::StepRecord, SystemTime)| {
        let size = record.layer.map_or(0, |layer| {
            let tree = known.get(store, layer.chain_id);
            let tree = tree.or_else(|| store.layers().get(layer.chain_id).ok().map(|record| record.size));
            tree.unwrap_or(0) + layer.size
        });
        Entry {
            id: record.key.hex(),
            kind: REGULAR,
            description: record.description,
            created: Some(record.created),
            last_used,
            size,
            shared: record.layer.is_some_and(|layer| of_images.contains(&layer.chain_id)),
            in_use: false,
        }
    };
    Ok(Records::of(store).list()?.into_iter().map(entry).collect())
}

/// The chain ids of the layers of images.
fn image_layers(store: &Store) -> Result<HashSet<Digest>> {
    let (images, _) = store.images().list()?;
    Ok(images.iter().filter_map(|image| store.images().layers(image.id).ok()).flatten().collect())
}

fn mounts(store: &Store, inside: &mut Inside<'_>) -> Result<Vec<Entry>> {
    let places = mount_places(store)?;
    let sizes = if places.is_empty() { Vec::new() } else { inside(&places)? };
    let entry = |(place, size): (&PathBuf, u64)| {
        let description = record::read::<MountRecord>(&place.join("mount.json")).map(|record| record.id);
        let description = description.unwrap_or_default();
        let last_used = std::fs::metadata(place).and_then(|metadata| metadata.modified());
        Entry {
            id: place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            kind: CACHE_MOUNT,
            description: format!("cached mount {description}"),
            created: None,
            last_used: last_used.unwrap_or(SystemTime::UNIX_EPOCH),
            size,
            shared: false,
            in_use: !matches!(hold(place), Ok(Some(_))),
        }
    };
    Ok(places.iter().zip(sizes).map(entry).collect())
}

fn mount_places(store: &Store) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(store.path(DIRECTORY).join("mounts")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context("list cache mounts")?,
    };
    let paths = entries.map(|entry| Ok(entry?.path()));
    paths.collect::<io::Result<_>>().context("list cache mounts")
}

/// The locks of all instances of a cache mount; None while one of them is in use.
fn hold(place: &std::path::Path) -> io::Result<Option<Vec<FileLock>>> {
    let mut locks = Vec::new();
    for entry in std::fs::read_dir(place)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            match FileLock::try_exclusive(&entry.path().join("lock"))? {
                Some(lock) => locks.push(lock),
                None => return Ok(None),
            }
        }
    }
    Ok(Some(locks))
}

impl PruneOptions {
    /// Takes a `--filter`, or says why not.
    pub fn filter(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "until" | "unused-for" => {
                let duration = crate::spec::time::parse_duration(value)
                    .ok()
                    .and_then(|duration| Duration::try_from(duration).ok());
                let Some(duration) = duration else {
                    bail!("\"{key}\" filter expects a duration (e.g., '24h') or a timestamp");
                };
                self.unused_for = Some(duration);
            }
            "type" | "id" | "description" | "inuse" | "shared" | "private" | "parents" | "mutable" | "immutable" => {
                self.filters.entry(key.to_owned()).or_default().push(value.to_owned());
            }
            _ => bail!("invalid filter '{key}'"),
        }
        Ok(())
    }

    fn admits(&self, entry: &Entry, now: SystemTime) -> bool {
        let age = now.duration_since(entry.last_used).unwrap_or_default();
        let kept = entry.in_use || !self.all && entry.shared || self.unused_for.is_some_and(|least| age < least);
        !kept && self.matches(entry)
    }

    /// Whether the filters mean this.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.filters.iter().all(|(key, values)| {
            let is = |flag: bool| values.iter().any(|value| value.parse() == Ok(flag) || value.is_empty() && flag);
            match key.as_str() {
                "type" => values.iter().any(|value| value == entry.kind),
                "id" => values.iter().any(|value| entry.id.starts_with(value.as_str())),
                "description" => values.iter().any(|value| entry.description.contains(value.as_str())),
                "inuse" => is(entry.in_use),
                "shared" => is(entry.shared),
                "private" => is(!entry.shared),
                "mutable" => is(entry.kind == CACHE_MOUNT),
                "immutable" => is(entry.kind != CACHE_MOUNT),
                _ => false,
            }
        })
    }
}

/// Removes what the options say, least recently used first, and what nobody refers to any more then.
pub fn prune(store: &Store, options: &PruneOptions, inside: &mut Inside<'_>) -> Result<Pruned> {
    let now = SystemTime::now();
    let entries = list(store, inside)?;
    let total: u64 = entries.iter().map(|entry| entry.size).sum();
    // So much may stay.
    let kept = options.max_used.max(options.reserved);
    let mut excess = kept.map(|kept| total.saturating_sub(kept));
    let mut pruned = Pruned::default();
    for entry in entries.into_iter().filter(|entry| options.admits(entry, now)) {
        if excess == Some(0) {
            break;
        }
        let removed = match entry.kind {
            CACHE_MOUNT => remove_mount(store, &entry, &mut pruned)?,
            _ => Records::of(store).remove(Key(Digest::from_hex(&entry.id)?)).map(|()| true)?,
        };
        if removed {
            excess = excess.map(|excess| excess.saturating_sub(entry.size));
            pruned.entries.push(entry);
        }
    }
    let collected = gc::collect(store)?;
    pruned.bytes += collected.bytes;
    pruned.needs_user_namespace |= collected.needs_user_namespace;
    Ok(pruned)
}

fn remove_mount(store: &Store, entry: &Entry, pruned: &mut Pruned) -> Result<bool> {
    let place = store.path(DIRECTORY).join("mounts").join(&entry.id);
    let Some(_locks) = hold(&place).context("lock a cache mount")? else { return Ok(false) };
    let trash = Trash::take(store, &place).context("remove a cache mount")?;
    pruned.bytes += entry.size;
    pruned.needs_user_namespace |= trash.delete().context("remove a cache mount")? == Cleanup::NeedsUserNamespace;
    Ok(true)
}
