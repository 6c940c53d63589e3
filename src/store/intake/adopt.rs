//! A writable directory of an overlay becomes a layer as it is: what it holds is packed only to learn its
//! digest and to keep the blob.

use std::io::{BufWriter, Write};

use anyhow::{Context, Result};

use super::blob::NewBlob;
use super::{Taken, chain_id};
use crate::spec::digest::Digest;
use crate::store::Store;
use crate::store::fs;
use crate::store::gc::Lease;
use crate::store::layers::LayerRecord;
use crate::store::pack::{self, Form, PackOptions, Tree};
use crate::store::staging::Staging;
use crate::store::unpack::{self, Compression, UnpackJob, UnpackLimits};

/// How a layer is made of a directory.
#[derive(Clone, Copy, Debug)]
pub struct Adoption<'a> {
    /// The diff ids of the layers below.
    pub below: &'a [Digest],
    pub options: PackOptions,
    /// Where an unpacked layer is stopped.
    pub limits: UnpackLimits,
    /// The user namespace maps one id only; see [`UnpackJob::single_id`].
    pub single_id: bool,
}

/// Makes a layer of the writable directory of `tree`. If that is in the form that layers have, it is moved away;
/// else it stays and what was packed of it is unpacked. None when nothing was changed. The caller is in the user
/// namespace, and nobody writes to the directory any more.
pub fn adopt(store: &Store, lease: &Lease, tree: &Tree, adoption: &Adoption<'_>) -> Result<Option<Taken>> {
    let upper = tree.upper.as_deref().filter(|_| tree.form == Form::Overlay && tree.ids.is_none());
    let blob = NewBlob::create(store).context("make a layer's blob")?;
    let mut writer = BufWriter::with_capacity(super::CHUNK, blob);
    let packed = pack::layer(tree, adoption.options, &mut writer).context("pack the step's files")?;
    writer.flush().context("write a layer's blob")?;
    let blob = writer.into_inner().map_err(|error| error.into_error()).context("write a layer's blob")?;
    if packed.entries == 0 {
        return Ok(None);
    }
    let (digest, size) = (blob.digest(), blob.size());
    let chain_id = chain_id(adoption.below, digest);
    lease.add(&[digest, chain_id])?;
    let fresh = !store.layers().contains(chain_id);
    if fresh {
        let staging = Staging::create(store).context("make a layer")?;
        match upper {
            Some(upper) => {
                std::fs::rename(upper, staging.path().join("diff")).context("move a layer's files")?;
            }
            None => {
                let input = std::fs::File::open(blob.path()).context("read a layer's blob")?;
                let job = UnpackJob {
                    compression: Compression::None,
                    target: staging.path().to_owned(),
                    limits: adoption.limits,
                    single_id: adoption.single_id,
                };
                unpack::unpack_layer(input, &job)?;
            }
        }
        let record =
            LayerRecord { chain_id, diff_id: digest, blob: digest, size: packed.bytes, entries: packed.entries };
        // Syncs the file system, and so the blob.
        store.layers().commit(staging, &record)?;
    } else {
        blob.sync().context("write a layer's blob")?;
    }
    if !fs::exists(&store.blobs().path(digest)) {
        blob.name(store).context("name a layer's blob")?;
    }
    let compression = Compression::None;
    Ok(Some(Taken { blob: digest, size, compression, diff_id: digest, chain_id, skipped_devices: 0, fresh }))
}
