//! Repair: a corrupt blob is removed, a layer is extracted again, a bad record is set aside.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use super::Finding;
use crate::spec::config::ContainerId;
use crate::spec::text::printable;
use crate::store::containers::{self, names};
use crate::store::gc::Lease;
use crate::store::images::ImageLayer;
use crate::store::layers::LayerRecord;
use crate::store::pull::{Compression, UnpackJob, UnpackLimits, Unpacked, Unpacker};
use crate::store::staging::{self, Cleanup, Staging};
use crate::store::{Store, fs};

/// The most that an unpacking process may answer.
const ANSWER_MAX: u64 = 64 << 10;

/// A finding and what became of it.
#[derive(Debug)]
pub struct Repair {
    pub finding: Finding,
    /// What was done, or why nothing could be.
    pub outcome: Result<String>,
}

/// How layers are extracted.
#[derive(Clone, Copy, Debug, Default)]
pub struct RepairOptions {
    /// As in [`UnpackJob`].
    pub single_id: bool,
    /// Where a layer is stopped.
    pub limits: UnpackLimits,
}

/// Repairs what it can, in the order of the findings; goes on past what it cannot.
pub fn repair(
    store: &Store,
    findings: Vec<Finding>,
    unpacker: &mut dyn Unpacker,
    options: RepairOptions,
) -> Vec<Repair> {
    let mut repair_one = |finding: Finding| {
        let outcome = repair_finding(store, &finding, unpacker, options);
        Repair { finding, outcome }
    };
    findings.into_iter().map(&mut repair_one).collect()
}

fn repair_finding(
    store: &Store,
    finding: &Finding,
    unpacker: &mut dyn Unpacker,
    options: RepairOptions,
) -> Result<String> {
    match finding {
        Finding::BlobCorrupt { digest, .. } => {
            store.blobs().remove(*digest)?;
            Ok("removed: pull the images that need it again".to_owned())
        }
        Finding::BlobUnreadable { .. } => bail!("the disk may be failing"),
        Finding::BlobMissing { .. } | Finding::ImageUnusable { .. } => bail!("pull the image again"),
        Finding::ImageRecord(record) => set_aside(store, &store.path("images").join(&record.id), &record.id),
        Finding::Layer { source: None, .. } => bail!("no image in the store has this layer: pull the image again"),
        Finding::Layer { source: Some(layer), .. } => {
            extract(store, layer, unpacker, options)?;
            Ok("extracted again".to_owned())
        }
        Finding::Shifted { layer, .. } => {
            // Files of mapped ids stay in the trash until a sweep in the user namespace.
            let _ = store.discard_shifted(layer)?.delete()?;
            Ok("removed: it is made again when it is needed".to_owned())
        }
        Finding::ContainerConfig(record) => set_aside_container(store, &record.id.parse()?),
        Finding::ContainerState(record) => reset_state(store, &record.id.parse()?),
        Finding::NameDangling { name } => {
            names::lock(store)?.remove_dangling(name)?;
            Ok("removed".to_owned())
        }
        Finding::NameLost { name, id } => match names::lock(store)?.claim(name, id)? {
            Ok(()) => Ok("recorded again".to_owned()),
            Err(holder) => bail!("container {} has the name: remove one of them", holder.short()),
        },
        Finding::NetworkRecord(record) => {
            let file = format!("{}.json", record.id);
            set_aside(store, &store.path("networks").join(&file), &file)
        }
        Finding::VolumeRecord(record) => {
            let aside = store.path(format!("quarantine/{}.json.{}", record.id, fs::random_suffix()?));
            store.volumes().reset_record(&record.id, &aside)?;
            Ok("its files are kept; it has neither labels nor options now".to_owned())
        }
        Finding::VolumeData { name } => {
            store.volumes().make_data(name)?;
            Ok("it is empty now".to_owned())
        }
        Finding::ListRecord(record) => set_aside(store, &store.path("lists").join(&record.id), &record.id),
        Finding::SecretRecord(record) => set_aside(store, &store.path("secrets").join(&record.id), &record.id),
        Finding::Staging { .. } => match staging::sweep(store)? {
            Cleanup::Complete => Ok("removed".to_owned()),
            Cleanup::NeedsUserNamespace => bail!("files of mapped ids are left: repair inside the user namespace"),
        },
    }
}

/// Moves a file or directory to `quarantine`, which needs no space.
fn set_aside(store: &Store, path: &Path, name: &str) -> Result<String> {
    let relative = format!("quarantine/{name}.{}", fs::random_suffix()?);
    let target = store.path(&relative);
    fs::rename_durable(path, &target).with_context(|| format!("move it to {}", target.display()))?;
    fs::sync_parent(path)?;
    Ok(format!("moved to {relative}"))
}

/// The container's files go with it, so that what was written in it is not lost.
fn set_aside_container(store: &Store, id: &ContainerId) -> Result<String> {
    let alive = containers::stopped(store, id)?.context("it is running: stop it first")?;
    let lock = store.containers().lock(id)?;
    let done = set_aside(store, &store.containers().directory(id), id.as_str())?;
    drop((lock, alive));
    names::remove_all_dangling(store)?;
    Ok(done)
}

fn reset_state(store: &Store, id: &ContainerId) -> Result<String> {
    let _alive = containers::stopped(store, id)?.context("it is running: stop it first")?;
    let _lock = store.containers().lock(id)?;
    let path = store.containers().directory(id).join("state.json");
    let aside =
        if fs::exists(&path) { set_aside(store, &path, &format!("{id}-state.json"))? } else { "missing".to_owned() };
    containers::write_lost_state(store, id)?;
    Ok(format!("{aside}; the container counts as exited"))
}

/// Extracts a layer from its blob, through the same process as a pull.
fn extract(store: &Store, layer: &ImageLayer, unpacker: &mut dyn Unpacker, options: RepairOptions) -> Result<()> {
    let _lease = Lease::create(store, &[layer.blob, layer.chain_id])?;
    let mut blob = store.blobs().open(layer.blob)?;
    let staged = Staging::create(store).context("make a staging directory")?;
    let job = UnpackJob {
        compression: compression(&store.blobs().path(layer.blob))?,
        target: staged.path().to_owned(),
        limits: options.limits,
        single_id: options.single_id,
    };
    let unpacked = unpack(&mut blob, unpacker, &job)?;
    if unpacked.diff_id != layer.diff_id {
        bail!("blob {} unpacks to {}, not to {}", layer.blob, unpacked.diff_id, layer.diff_id);
    }
    let ImageLayer { blob, diff_id, chain_id } = *layer;
    let record = LayerRecord { chain_id, diff_id, blob, size: unpacked.size, entries: unpacked.entries };
    store.layers().commit(staged, &record)
}

fn unpack(blob: &mut File, unpacker: &mut dyn Unpacker, job: &UnpackJob) -> Result<Unpacked> {
    let stream = unpacker.start(job).context("start unpacking")?;
    let mut input = File::from(stream.input);
    match io::copy(blob, &mut input) {
        // The job ended early: its answer tells why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        copied => {
            copied.context("feed the unpacking process")?;
        }
    }
    drop(input);
    let mut answer = Vec::new();
    File::from(stream.result)
        .take(ANSWER_MAX)
        .read_to_end(&mut answer)
        .context("read the unpacking process's answer")?;
    let answer: Result<Unpacked, String> =
        serde_json::from_slice(&answer).map_err(|_| anyhow!("the unpacking process died"))?;
    answer.map_err(|why| anyhow!("unpack the layer: {}", printable(&why)))
}

/// How a blob is packed, by its first bytes (RFC 1952, RFC 8878).
fn compression(blob: &Path) -> Result<Compression> {
    let mut magic = Vec::new();
    File::open(blob)?.take(4).read_to_end(&mut magic)?;
    Ok(match magic.as_slice() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd,
        _ => Compression::None,
    })
}
