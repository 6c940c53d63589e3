//! Garbage collection: blobs and layers that no image name, no container and no lease refers to.
//!
//! Whoever makes a new reference to what is there holds `gc.lock` shared while it looks and names;
//! a collection holds it exclusively. What a long operation (a pull) brings in before it has a name
//! is protected by a lease.

use std::cell::LazyCell;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::images::NameRecord;
use super::lock::FileLock;
use super::record::Quarantined;
use super::shifted::{self, ShiftedLayer};
use super::staging::{self, Cleanup};
use super::usage::LayerBlocks;
use super::{Store, fs};
use crate::spec::digest::Digest;

/// The most that a lease may hold: some 100,000 digests.
const LEASE_MAX: usize = 8 << 20;

/// How long an interrupted download is kept for a pull to resume.
const PARTIAL_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often every command that writes looks for them; `rmi` and the prune commands always do.
const TIDY_INTERVAL: Duration = Duration::from_secs(3600);

/// Waits for the right to make references to blobs and layers that are there.
pub(super) fn shared(store: &Store) -> io::Result<FileLock> {
    FileLock::shared(&store.path("gc.lock"))
}

/// Waits for the right to remove blobs and layers.
pub(super) fn exclusive(store: &Store) -> io::Result<FileLock> {
    FileLock::exclusive(&store.path("gc.lock"))
}

/// Keeps blobs (by digest) and layers (by chain id) from collection, whether they exist yet or not,
/// until it is dropped or its process dies.
#[derive(Debug)]
pub struct Lease {
    gc_lock: PathBuf,
    path: PathBuf,
    _lock: FileLock,
}

impl Lease {
    /// Makes a lease. What it names is safe from here on: look for it afterwards.
    pub fn create(store: &Store, digests: &[Digest]) -> Result<Self> {
        let make = || -> io::Result<Self> {
            let _gc = shared(store)?;
            let path = store.path("leases").join(fs::random_suffix()?);
            let lease = Self { gc_lock: store.path("gc.lock"), _lock: FileLock::exclusive(&path)?, path };
            lease.append(digests)?;
            Ok(lease)
        };
        make().context("keep blobs from being collected")
    }

    /// Protects more.
    pub fn add(&self, digests: &[Digest]) -> Result<()> {
        let add = || -> io::Result<()> {
            let _gc = FileLock::shared(&self.gc_lock)?;
            self.append(digests)
        };
        add().context("keep blobs from being collected")
    }

    fn append(&self, digests: &[Digest]) -> io::Result<()> {
        let mut lines = String::new();
        for digest in digests {
            // Writing to a string does not fail.
            let _ = writeln!(lines, "{digest}");
        }
        std::fs::OpenOptions::new().append(true).open(&self.path)?.write_all(lines.as_bytes())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A file that stays is seen to be unlocked and removed by the next collection.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What a collection did.
#[must_use]
#[derive(Debug, Default)]
pub struct Collected {
    pub blobs: Vec<Digest>,
    /// Chain ids.
    pub layers: Vec<Digest>,
    /// The blocks that this freed: of layers as far as it is known, see [`super::usage::layers`].
    pub bytes: u64,
    /// Whether files of mapped ids are left in `staging`, for a sweep in the user namespace.
    pub needs_user_namespace: bool,
    /// Records that cannot be read. As it is unknown what they refer to, nothing was collected.
    pub blocked_by: Vec<Quarantined>,
}

/// Deletes what is not referred to, and what crashes left. Needs no space.
pub fn collect(store: &Store) -> Result<Collected> {
    let mut collected = Collected::default();
    {
        let _gc = exclusive(store).context("lock the store for collection")?;
        let (roots, blocked_by) = find_roots(store)?;
        collected.blocked_by = blocked_by;
        if collected.blocked_by.is_empty() {
            drop_layers(store, &roots, &mut collected)?;
            drop_shifted(store, |layer| roots.contains(&layer.chain_id)).context("delete shifted layers")?;
            drop_blobs(store, &roots, &mut collected).context("delete blobs")?;
        }
    }
    collected.needs_user_namespace |= staging::sweep(store).context("sweep staging")? == Cleanup::NeedsUserNamespace;
    remove_leftovers(store)?;
    store.variants().forget_unused()?;
    Ok(collected)
}

/// Removes the small things that interrupted work left, if nobody looked for a while, and leases whose
/// holder died. Cheap enough for every command that writes.
pub fn tidy(store: &Store) -> Result<()> {
    remove_dead_leases(store).context("remove leftover leases")?;
    // A file that is always there and whose time means nothing else.
    let marker = store.path("gc.lock");
    if !fs::is_older(&marker, TIDY_INTERVAL)? {
        return Ok(());
    }
    remove_leftovers(store)?;
    for id in store.containers().lost_in_power_loss()? {
        // What it has of mapped ids waits in staging for the next sweep.
        let _ = store.containers().remove(&id);
    }
    Ok(std::fs::OpenOptions::new().write(true).open(marker)?.set_modified(SystemTime::now())?)
}

/// Removes old partial downloads and temporary files that have no writer any more.
fn remove_leftovers(store: &Store) -> Result<()> {
    store.blobs().remove_leftovers(PARTIAL_LIFE).context("remove leftovers of downloads")?;
    for directory in ["images", "networks", "variants", "lists", "cache"] {
        match fs::remove_stale_temporaries(&store.path(directory)) {
            // Made when first needed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.with_context(|| format!("remove leftovers in {directory}"))?,
        }
    }
    Ok(())
}

/// Moves the layers out of sight; the slow deletion is the sweep's.
fn drop_layers(store: &Store, roots: &HashSet<Digest>, collected: &mut Collected) -> Result<()> {
    let known = LazyCell::new(|| LayerBlocks::read(store));
    for layer in store.layers().list().context("list layers")? {
        if roots.contains(&layer) {
            continue;
        }
        let content = || store.layers().get(layer).map_or(0, |record| record.size);
        collected.bytes += known.get(store, layer).unwrap_or_else(content);
        // The trash's lock ends here and leaves it to the sweep.
        let _trash = store.layers().discard(layer).with_context(|| format!("remove layer {layer}"))?;
        collected.layers.push(layer);
    }
    Ok(())
}

/// Moves shifted layers out of sight, but those to keep.
fn drop_shifted(store: &Store, keep: impl Fn(&ShiftedLayer) -> bool) -> io::Result<()> {
    for layer in store.all_shifted()?.iter().filter(|layer| !keep(layer)) {
        // The trash's lock ends here and leaves it to the sweep.
        let _trash = store.discard_shifted(layer)?;
    }
    shifted::remove_empty(store)
}

/// Removes the shifted layers that no container uses. Files of mapped ids may be left in `staging`.
pub fn collect_shifted(store: &Store) -> Result<Cleanup> {
    {
        let _gc = exclusive(store).context("lock the store for collection")?;
        let (containers, damaged) = store.containers().list()?;
        // It is unknown what one uses that cannot be read.
        if damaged.is_empty() {
            let used: HashSet<ShiftedLayer> = containers.iter().flat_map(ShiftedLayer::of_container).collect();
            drop_shifted(store, |layer| used.contains(layer)).context("delete shifted layers")?;
        }
    }
    staging::sweep(store).context("sweep staging")
}

fn drop_blobs(store: &Store, roots: &HashSet<Digest>, collected: &mut Collected) -> io::Result<()> {
    for blob in store.blobs().list()? {
        if roots.contains(&blob) {
            continue;
        }
        if let Some(size) = store.blobs().remove(blob)? {
            collected.bytes += size;
            collected.blobs.push(blob);
        }
    }
    Ok(())
}

/// Everything that is referred to. Blob digests and chain ids share the set: where they are the same
/// (an uncompressed lowest layer) too much is kept, never too little.
fn find_roots(store: &Store) -> Result<(HashSet<Digest>, Vec<Quarantined>)> {
    let mut roots = HashSet::new();
    let (names, mut blocked_by) = store.images().names()?;
    for record in &names {
        add_image(store, record, &mut roots)?;
    }
    let (containers, damaged) = store.containers().list_all()?;
    blocked_by.extend(damaged);
    for container in &containers {
        roots.extend(container.used_layers());
    }
    add_build_cache(store, &mut roots).context("read the build cache")?;
    blocked_by.extend(store.lists().add_roots(&mut roots)?);
    add_leases(store, &mut roots).context("read leases")?;
    Ok((roots, blocked_by))
}

/// What steps of builds have made. A record that cannot be read is worth nothing and keeps nothing.
fn add_build_cache(store: &Store, roots: &mut HashSet<Digest>) -> io::Result<()> {
    #[derive(serde::Deserialize)]
    struct Record {
        layer: Option<Layer>,
    }
    #[derive(serde::Deserialize)]
    struct Layer {
        chain_id: Digest,
        blob: Digest,
    }
    let entries = match std::fs::read_dir(store.path("build-cache/records")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let read = super::record::read::<Record>(&entry?.path());
        roots.extend(
            read.ok().and_then(|record| record.layer).into_iter().flat_map(|layer| [layer.chain_id, layer.blob]),
        );
    }
    Ok(())
}

/// An image whose manifest or config is lost keeps what is left of it by name; its layers can only
/// be used again after a pull, which brings what is missing.
fn add_image(store: &Store, record: &NameRecord, roots: &mut HashSet<Digest>) -> Result<()> {
    roots.extend([record.manifest, record.config]);
    // The index that the registry resolved, if it was kept.
    roots.extend(record.name.digest());
    roots.extend(unless_lost(store, record.manifest, store.images().layer_blobs(record.manifest))?);
    roots.extend(unless_lost(store, record.config, store.images().layers(record.config))?);
    // A layer may have come from another blob than the image's own, which then was not fetched.
    let layers = store.images().layer_sources(record.manifest, record.config).unwrap_or_default();
    let elsewhere = layers.iter().filter(|layer| !store.blobs().contains(layer.blob));
    roots.extend(elsewhere.filter_map(|layer| store.layers().get(layer.chain_id).ok()).map(|from| from.blob));
    Ok(())
}

/// Nothing for a blob that is missing or corrupt; a system failure is an error.
fn unless_lost(store: &Store, blob: Digest, found: Result<Vec<Digest>>) -> Result<Vec<Digest>> {
    match found {
        Ok(digests) => Ok(digests),
        Err(_) if !store.blobs().contains(blob) => Ok(Vec::new()),
        Err(error) if error.chain().any(|cause| cause.is::<io::Error>()) => Err(error),
        Err(_) => Ok(Vec::new()),
    }
}

/// Live leases protect, dead ones are removed.
fn add_leases(store: &Store, roots: &mut HashSet<Digest>) -> io::Result<()> {
    for path in remove_dead_leases(store)? {
        roots.extend(read_lease(&path)?);
    }
    Ok(())
}

/// Removes the leases whose holder died; returns the others.
fn remove_dead_leases(store: &Store) -> io::Result<Vec<PathBuf>> {
    let mut live = Vec::new();
    for entry in std::fs::read_dir(store.path("leases"))? {
        let path = entry?.path();
        if let Some(_dead) = FileLock::try_exclusive(&path)? {
            fs::remove_if_present(&path)?;
        } else {
            live.push(path);
        }
    }
    Ok(live)
}

fn read_lease(path: &Path) -> io::Result<Vec<Digest>> {
    match fs::read_limited(path, LEASE_MAX) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).lines().filter_map(|line| line.parse().ok()).collect()),
        // Dropped since we looked.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::config::RootSource;
    use crate::store::testing::{self, TestStore, reference};

    #[test]
    fn what_a_name_refers_to_stays_and_the_rest_goes() {
        let store = TestStore::new();
        let kept = testing::image(&store, &["a:1"], &["base", "top"]);
        let gone = testing::image(&store, &["b:1"], &["base", "other"]);
        store.images().untag(&reference("b:1")).unwrap();
        let collected = collect(&store).unwrap();
        assert_eq!(collected.layers, [gone.chains[1]]);
        let mut blobs = vec![gone.manifest, gone.config, gone.blobs[1]];
        blobs.sort_unstable();
        assert_eq!(collected.blobs, blobs);
        assert!(collected.bytes > 100 && !collected.needs_user_namespace);
        assert!(kept.chains.iter().all(|chain| store.layers().contains(*chain)));
        assert_eq!(staging::count_abandoned(&store).unwrap(), 0);
        assert!(collect(&store).unwrap().blobs.is_empty());
    }

    #[test]
    fn a_container_keeps_its_layers_and_a_lease_what_it_names() {
        let store = TestStore::new();
        let image = testing::image(&store, &["a:1"], &["base", "top"]);
        let mut config = testing::config("web", "a");
        config.root = RootSource::Image { id: image.config, layers: image.chains[..1].to_vec() };
        store.containers().create(config).unwrap();
        store.images().untag(&reference("a:1")).unwrap();
        let lease = Lease::create(&store, &[image.manifest]).unwrap();
        lease.add(&image.chains[1..]).unwrap();
        assert!(collect(&store).unwrap().layers.is_empty());
        assert!(store.blobs().contains(image.manifest) && !store.blobs().contains(image.config));
        drop(lease);
        assert_eq!(collect(&store).unwrap().layers, image.chains[1..]);
        assert!(store.layers().contains(image.chains[0]));
    }

    #[test]
    fn a_dead_lease_protects_nothing_and_is_removed() {
        let store = TestStore::new();
        let blob = store.blobs().put(b"blob").unwrap();
        std::fs::write(store.path("leases/0123"), format!("{blob}\n")).unwrap();
        assert_eq!(collect(&store).unwrap().blobs, [blob]);
        assert!(!store.path("leases/0123").exists());
    }

    #[test]
    fn what_interrupted_work_left_is_tidied_up_once_in_a_while() {
        let store = TestStore::new();
        let lease = Lease::create(&store, &[]).unwrap();
        std::fs::write(store.path("leases/0123"), "").unwrap();
        std::fs::create_dir(store.path("variants")).unwrap();
        let age = |path: &Path| {
            let long_ago = SystemTime::now() - Duration::from_secs(2 * 24 * 3600);
            std::fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
        };
        let leave = |name: &str| {
            let path = store.path(name);
            std::fs::write(&path, "x").unwrap();
            age(&path);
            path
        };
        let left = ["images/.a", "blobs/sha256/.b", "variants/.c"].map(leave);
        age(&store.path("gc.lock"));
        tidy(&store).unwrap();
        assert!(left.iter().all(|path| !path.exists()) && !store.path("leases/0123").exists());
        assert_eq!(std::fs::read_dir(store.path("leases")).unwrap().count(), 1, "the live one stays");
        let later = leave("images/.a");
        tidy(&store).unwrap();
        assert!(later.exists(), "nobody looks again so soon");
        drop(lease);
    }

    #[test]
    fn an_unreadable_record_stops_the_deletion_and_is_named() {
        let store = TestStore::new();
        let blob = store.blobs().put(b"blob").unwrap();
        let container = store.containers().create(testing::config("web", "a")).unwrap();
        std::fs::write(container.path("config.json"), "{").unwrap();
        let collected = collect(&store).unwrap();
        assert_eq!(collected.blocked_by[0].id, container.id().as_str());
        assert!(collected.blobs.is_empty() && store.blobs().contains(blob));
        assert_eq!(store.containers().remove(container.id()).unwrap(), Cleanup::Complete);
        assert_eq!(collect(&store).unwrap().blobs, [blob]);
    }

    #[test]
    fn a_lost_manifest_costs_only_its_own_image() {
        let store = TestStore::new();
        let broken = testing::image(&store, &["a:1"], &["one"]);
        let whole = testing::image(&store, &["b:1"], &["two"]);
        std::fs::remove_file(store.blobs().path(broken.manifest)).unwrap();
        std::fs::write(store.blobs().path(broken.config), "damage").unwrap();
        let collected = collect(&store).unwrap();
        assert_eq!((collected.layers, collected.blobs), (broken.chains, broken.blobs));
        assert!(whole.chains.iter().all(|chain| store.layers().contains(*chain)));
    }
}
