//! `system check`: is everything in the store what it says it is, and repair of what can be.

mod repair;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result};

pub use repair::{Repair, RepairOptions, repair};

use super::Store;
use super::containers::{self, names};
use super::images::{ImageLayer, NameRecord};
use super::record::{Quarantined, RecordError};
use super::shifted::ShiftedLayer;
use super::staging;
use crate::spec::config::ContainerId;
use crate::spec::digest::Digest;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A blob's content has another digest.
    BlobCorrupt { digest: Digest, found: Digest },
    /// A blob cannot be read to its end.
    BlobUnreadable { digest: Digest, why: String },
    /// An image refers to a blob that is not here.
    BlobMissing { digest: Digest, image: String },
    /// An image's manifest or config is here and makes no sense.
    ImageUnusable { image: String, why: String },
    /// The record of an image name.
    ImageRecord(Quarantined),
    /// A layer that something uses is missing or incomplete.
    Layer {
        chain_id: Digest,
        /// The image or container that uses it.
        user: String,
        why: String,
        /// How to extract it again.
        source: Option<ImageLayer>,
    },
    /// A layer for other ids.
    Shifted { layer: ShiftedLayer, why: String },
    /// A container whose `config.json` cannot be used.
    ContainerConfig(Quarantined),
    /// A container whose `state.json` cannot be used.
    ContainerState(Quarantined),
    /// A container name that leads nowhere.
    NameDangling { name: String },
    /// A container that its name does not lead to.
    NameLost { name: String, id: ContainerId },
    /// The record of a network.
    NetworkRecord(Quarantined),
    /// The record of a volume.
    VolumeRecord(Quarantined),
    /// A volume whose directory of files is missing.
    VolumeData { name: String },
    /// The record of a manifest list.
    ListRecord(Quarantined),
    /// The record of a secret, by its directory.
    SecretRecord(Quarantined),
    /// Work that crashes left in `staging`.
    Staging { entries: usize },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlobCorrupt { digest, found } => write!(f, "blob {digest} is corrupt: its content is {found}"),
            Self::BlobUnreadable { digest, why } => write!(f, "blob {digest} cannot be read: {why}"),
            Self::BlobMissing { digest, image } => write!(f, "blob {digest} of image {image} is missing"),
            Self::ImageUnusable { image, why } => write!(f, "image {image} cannot be used: {why}"),
            Self::ImageRecord(Quarantined { id, why }) => write!(f, "image name record {id}: {why}"),
            Self::Layer { chain_id, user, why, .. } => write!(f, "layer {chain_id} of {user}: {why}"),
            Self::Shifted { layer: ShiftedLayer { key, chain_id }, why } => {
                write!(f, "layer {chain_id} for the id map {key}: {why}")
            }
            Self::ContainerConfig(Quarantined { id, why }) | Self::ContainerState(Quarantined { id, why }) => {
                write!(f, "container {id}: {why}")
            }
            Self::NameDangling { name } => write!(f, "container name {name} leads to no container"),
            Self::NameLost { name, id } => write!(f, "container {id} is not found by its name {name}"),
            Self::NetworkRecord(Quarantined { id, why }) => write!(f, "network {id}: {why}"),
            Self::VolumeRecord(Quarantined { id, why }) => write!(f, "volume {id}: {why}"),
            Self::VolumeData { name } => write!(f, "volume {name}: its files are missing"),
            Self::ListRecord(Quarantined { id, why }) => write!(f, "manifest list record {id}: {why}"),
            Self::SecretRecord(Quarantined { id, why }) => write!(f, "secret {id}: {why}"),
            Self::Staging { entries } => write!(f, "{entries} unfinished operations were left in staging"),
        }
    }
}

/// Examines the whole store; writes nothing. Reads every blob, so it takes its time.
pub fn check(store: &Store) -> Result<Vec<Finding>> {
    let mut findings = check_blobs(store)?;
    findings.extend(check_records(store)?);
    Ok(findings)
}

/// Examines what can be without reading the content of layers' blobs: records, names, manifests,
/// and whether everything that something refers to is there. Quick.
pub fn check_records(store: &Store) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let known = check_images(store, &mut findings)?;
    check_containers(store, &known, &mut findings)?;
    check_names(store, &mut findings).context("read container names")?;
    let (_, damaged) = store.networks().list()?;
    findings.extend(damaged.into_iter().map(Finding::NetworkRecord));
    let (_, damaged) = store.volumes().list()?;
    findings.extend(damaged.into_iter().map(Finding::VolumeRecord));
    findings.extend(store.volumes().without_data()?.into_iter().map(|name| Finding::VolumeData { name }));
    let (_, damaged) = store.lists().list()?;
    findings.extend(damaged.into_iter().map(Finding::ListRecord));
    let (_, damaged) = store.secrets().list()?;
    findings.extend(damaged.into_iter().map(Finding::SecretRecord));
    for layer in store.all_shifted().context("list shifted layers")? {
        findings.extend(store.shifted_fault(&layer).map(|why| Finding::Shifted { layer, why }));
    }
    match staging::count_abandoned(store).context("read staging")? {
        0 => {}
        entries => findings.push(Finding::Staging { entries }),
    }
    Ok(findings)
}

fn check_blobs(store: &Store) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for digest in store.blobs().list().context("list blobs")? {
        match store.blobs().verify(digest) {
            Ok(found) if found == digest => {}
            Ok(found) => findings.push(Finding::BlobCorrupt { digest, found }),
            // Removed while we looked.
            Err(_) if !store.blobs().contains(digest) => {}
            Err(error) => findings.push(Finding::BlobUnreadable { digest, why: format!("{error:#}") }),
        }
    }
    Ok(findings)
}

/// Checks what images refer to; returns all their layers.
fn check_images(store: &Store, findings: &mut Vec<Finding>) -> Result<BTreeMap<Digest, ImageLayer>> {
    let (names, damaged) = store.images().names()?;
    findings.extend(damaged.into_iter().map(Finding::ImageRecord));
    let (mut known, mut missing) = (BTreeMap::new(), BTreeSet::new());
    for record in &names {
        let image = record.label();
        let mut require = |digest: Digest| {
            if !store.blobs().contains(digest) && missing.insert(digest) {
                findings.push(Finding::BlobMissing { digest, image: image.clone() });
            }
        };
        [record.manifest, record.config].into_iter().for_each(&mut require);
        match image_layers(store, record) {
            Ok(layers) => {
                layers.iter().filter(|layer| !came_otherwise(store, layer)).for_each(|layer| require(layer.blob));
                known.extend(layers.iter().map(|layer| (layer.chain_id, *layer)));
                for layer in layers {
                    check_layer(store, layer.chain_id, &format!("image {image}"), Some(layer), findings);
                }
            }
            // A missing or corrupt blob has been reported as such.
            Err(Unusable::Blob) => {}
            Err(Unusable::Content(why)) => findings.push(Finding::ImageUnusable { image, why }),
        }
    }
    Ok(known)
}

/// Whether the layer was extracted from another blob than this image's, which is here and serves as
/// well: a pull does not fetch the same content in another compression.
fn came_otherwise(store: &Store, layer: &ImageLayer) -> bool {
    let from = store.layers().get(layer.chain_id).ok().filter(|_| store.layers().contains(layer.chain_id));
    from.is_some_and(|from| store.blobs().contains(from.blob))
}

enum Unusable {
    Blob,
    Content(String),
}

fn image_layers(store: &Store, record: &NameRecord) -> Result<Vec<ImageLayer>, Unusable> {
    let sound = |digest| store.blobs().verify(digest).is_ok_and(|found| found == digest);
    if ![record.manifest, record.config].into_iter().all(sound) {
        return Err(Unusable::Blob);
    }
    let layers = store.images().layer_sources(record.manifest, record.config);
    layers.map_err(|error| Unusable::Content(crate::spec::text::printable(&format!("{error:#}"))))
}

/// Checks a layer once, for its first user.
fn check_layer(store: &Store, chain_id: Digest, user: &str, source: Option<ImageLayer>, findings: &mut Vec<Finding>) {
    let reported = |finding: &Finding| matches!(finding, Finding::Layer { chain_id: known, .. } if *known == chain_id);
    let why = match store.layers().get(chain_id) {
        _ if findings.iter().any(reported) => return,
        Ok(_) if store.layers().contains(chain_id) => return,
        Ok(_) => "its files are missing".to_owned(),
        Err(RecordError::Missing { .. }) => "it is missing".to_owned(),
        Err(error) => error.to_string(),
    };
    findings.push(Finding::Layer { chain_id, user: user.to_owned(), why, source });
}

fn check_containers(store: &Store, known: &BTreeMap<Digest, ImageLayer>, findings: &mut Vec<Finding>) -> Result<()> {
    let (containers, damaged) = store.containers().list()?;
    for container in &containers {
        let user = format!("container {}", container.id().short());
        for layer in container.layers() {
            check_layer(store, *layer, &user, known.get(layer).copied(), findings);
        }
    }
    findings.extend(damaged.into_iter().map(|record| {
        let usable = record.id.parse().is_ok_and(|id| containers::has_config(store, &id));
        if usable { Finding::ContainerState(record) } else { Finding::ContainerConfig(record) }
    }));
    let lost = containers.into_iter().filter(|container| !leads_to(store, &container.config.name, container.id()));
    findings.extend(lost.map(|container| Finding::NameLost { name: container.config.name, id: container.config.id }));
    Ok(())
}

fn leads_to(store: &Store, name: &str, id: &ContainerId) -> bool {
    names::holder(store, name).is_ok_and(|holder| holder.as_ref() == Some(id))
}

fn check_names(store: &Store, findings: &mut Vec<Finding>) -> Result<()> {
    for name in names::list(store)? {
        if names::holder(store, &name)?.is_none() {
            findings.push(Finding::NameDangling { name });
        }
    }
    Ok(())
}
