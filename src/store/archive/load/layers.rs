//! Layers of the archive into the store, several at a time. Those that are there are not read.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use super::{Found, FoundLayer, LoadOptions};
use crate::spec::digest::Digest;
use crate::spec::text::printable;
use crate::store::Store;
use crate::store::archive::Contents;
use crate::store::gc::Lease;
use crate::store::intake::{Expected, Intake, Keep, Taken};
use crate::store::layers::chain_ids;
use crate::store::pull::{UnpackJob, UnpackStream, Unpacker};

/// Layers in work at a time, as docker.
const PARALLEL: usize = 3;

/// What a layer is known by: where it lies, and the blob that an image wants it kept as.
type Key = (Digest, Option<Digest>);

/// The layers that are in the store now.
pub(super) struct Layers(HashMap<Key, Taken>);

impl Layers {
    /// Those of an image, lowest first.
    pub fn of(&self, image: &Found) -> Option<Vec<Taken>> {
        let chains = chain_ids(&image.diff_ids());
        image.layers.iter().zip(chains).map(|(layer, chain)| self.0.get(&key(layer, chain)).copied()).collect()
    }

    /// Device nodes that were left out.
    pub fn skipped_devices(&self) -> u64 {
        self.0.values().map(|taken| taken.skipped_devices).sum()
    }
}

fn key(layer: &FoundLayer, chain: Digest) -> Key {
    (chain, layer.blob.map(|(digest, _)| digest))
}

/// One layer to bring in, on top of others.
struct Job<'a> {
    key: Key,
    layer: &'a FoundLayer,
    below: Vec<Digest>,
}

/// What the threads share.
struct Work<'a> {
    store: &'a Store,
    contents: &'a Contents,
    lease: &'a Lease,
    options: &'a LoadOptions,
    unpacker: Mutex<&'a mut (dyn Unpacker + Send)>,
    jobs: Vec<Job<'a>>,
    next: AtomicUsize,
    failed: AtomicBool,
}

/// Brings in all layers of the images.
pub(super) fn take_all(
    store: &Store,
    contents: &Contents,
    lease: &Lease,
    images: &[Found],
    options: &LoadOptions,
    unpacker: &mut (dyn Unpacker + Send),
) -> Result<Layers> {
    let mut jobs: HashMap<Key, Job<'_>> = HashMap::new();
    for image in images {
        let diff_ids = image.diff_ids();
        for (position, (layer, chain)) in image.layers.iter().zip(chain_ids(&diff_ids)).enumerate() {
            let key = key(layer, chain);
            jobs.entry(key).or_insert_with(|| Job { key, layer, below: diff_ids[..position].to_vec() });
        }
    }
    let mut jobs: Vec<Job<'_>> = jobs.into_values().collect();
    // Lowest first: those that several images share.
    jobs.sort_by_key(|job| (job.below.len(), job.key));
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = Work { store, contents, lease, options, unpacker: Mutex::new(unpacker), jobs, next, failed };
    let threads = PARALLEL.min(work.jobs.len());
    let outcomes: Vec<Result<Vec<(Key, Taken)>>> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(|| work.run())).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread that brings in layers died")))
        };
        started.into_iter().map(join).collect()
    });
    let mut taken = HashMap::new();
    for outcome in outcomes {
        taken.extend(outcome?);
    }
    Ok(Layers(taken))
}

impl Work<'_> {
    /// Takes jobs until there are no more, or one failed.
    fn run(&self) -> Result<Vec<(Key, Taken)>> {
        let mut done = Vec::new();
        while let Some(job) = self.jobs.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if self.failed.load(Ordering::Relaxed) {
                break;
            }
            let taken = self.take(job).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
            done.push((job.key, taken));
        }
        Ok(done)
    }

    fn take(&self, job: &Job<'_>) -> Result<Taken> {
        let mut turn = Turn(&self.unpacker);
        let mut intake = Intake {
            store: self.store,
            lease: self.lease,
            unpacker: &mut turn,
            single_id: self.options.single_id,
            limits: self.options.limits,
        };
        if let Some(known) = self.known(&intake, job)? {
            return Ok(known);
        }
        let layer = job.layer;
        let mut part = self.contents.require(&layer.member)?;
        let (blob, size) = (layer.blob.map(|(digest, _)| digest), layer.blob.map(|(_, size)| size));
        let expected = Expected { blob, size, diff_id: Some(layer.diff_id) };
        let taken = intake.take(&mut part, &job.below, &expected, Keep::AsRead, &mut |_| {});
        taken.with_context(|| format!("layer {} of the archive", printable(&layer.member)))
    }

    /// The layer if it is in the store, together with the blob that is wanted.
    fn known(&self, intake: &Intake<'_>, job: &Job<'_>) -> Result<Option<Taken>> {
        let Some(known) = intake.known(&job.below, job.layer.diff_id) else { return Ok(None) };
        let blob = job.key.1.unwrap_or(known.blob);
        self.lease.add(&[blob])?;
        Ok(Some(Taken { blob, ..known }).filter(|known| self.store.blobs().contains(known.blob)))
    }
}

/// The unpacking process, which starts one job at a time.
struct Turn<'a, 'b>(&'a Mutex<&'b mut (dyn Unpacker + Send)>);

impl Unpacker for Turn<'_, '_> {
    fn start(&mut self, job: &UnpackJob) -> io::Result<UnpackStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).start(job)
    }
}
