//! A root file system as a tar becomes an image of one layer.

use std::io::Read;

use anyhow::{Context, Result};
use jiff::Timestamp;
use oci_distribution::manifest::{IMAGE_CONFIG_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE};
use serde_json::json;

use super::decode;
use crate::spec::change::{self, InvalidChange};
use crate::spec::digest::Digest;
use crate::spec::image::{History, ImageConfig, RootFs};
use crate::spec::platform::Platform;
use crate::spec::reference::ImageRef;
use crate::store::Store;
use crate::store::compress::Codec;
use crate::store::gc::Lease;
use crate::store::intake::{Expected, Intake, Keep};
use crate::store::pull::Unpacker;
use crate::store::unpack::UnpackLimits;

/// What the image is to be.
#[derive(Clone, Debug)]
pub struct Import<'a> {
    /// None keeps it without a name.
    pub name: Option<&'a ImageRef>,
    pub platform: Platform,
    /// Dockerfile instructions; see [`change::apply`].
    pub changes: &'a [String],
    pub message: &'a str,
    pub created: Timestamp,
    /// The user namespace maps one id only; see [`UnpackJob::single_id`](crate::store::unpack::UnpackJob::single_id).
    pub single_id: bool,
    pub limits: UnpackLimits,
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The image's id.
    pub id: Digest,
    /// Device nodes, which were left out: containers get devices of their own.
    pub skipped_devices: u64,
}

/// Reads a tar, compressed or not, and makes an image of it.
pub fn import(store: &Store, input: impl Read, request: &Import<'_>, unpacker: &mut dyn Unpacker) -> Result<Imported> {
    let mut config = config(request)?;
    let lease = Lease::create(store, &[])?;
    let mut tar = decode::decoded(input, request.limits).context("read the archive")?;
    let (single_id, limits) = (request.single_id, request.limits);
    let taken = Intake { store, lease: &lease, unpacker, single_id, limits }.take(
        &mut tar,
        &[],
        &Expected::default(),
        Keep::Compressed(Codec::GZIP),
        &mut |_| {},
    )?;
    config.rootfs.diff_ids.push(taken.diff_id);
    let config = serde_json::to_vec(&config)?;
    let id = Digest::of(&config);
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE_MEDIA_TYPE,
        "config": {"mediaType": IMAGE_CONFIG_MEDIA_TYPE, "digest": id, "size": config.len()},
        "layers": [{"mediaType": IMAGE_LAYER_GZIP_MEDIA_TYPE, "digest": taken.blob, "size": taken.size}],
    }))?;
    lease.add(&[id, Digest::of(&manifest)])?;
    store.blobs().put(&config)?;
    let manifest = store.blobs().put(&manifest)?;
    match request.name {
        Some(name) => store.images().tag(name, manifest, id)?,
        None => store.images().keep(manifest, id)?,
    }
    Ok(Imported { id, skipped_devices: taken.skipped_devices })
}

/// The configuration, its layer still missing; as docker makes it.
fn config(request: &Import<'_>) -> Result<ImageConfig, InvalidChange> {
    let created = Some(format!("{:.9}", request.created));
    let history = History { created: created.clone(), comment: request.message.to_owned(), ..History::default() };
    let mut config = ImageConfig {
        created,
        architecture: request.platform.architecture.clone(),
        os: request.platform.os.clone(),
        variant: request.platform.variant.clone(),
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
        history: vec![history],
        ..ImageConfig::default()
    };
    config.rest.insert("comment".to_owned(), json!(request.message));
    change::apply(&mut config, request.changes)?;
    Ok(config)
}
