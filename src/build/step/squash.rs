//! `--squash`: the layers of a build become one, on top of those of its base.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::Below;
use super::files::own_mounts;
use super::layer::{self, Taking};
use super::worker::Layer;
use crate::sandbox::rootfs;
use crate::store::Store;
use crate::store::gc::Lease;
use crate::store::pack::Form;
use crate::store::staging::Staging;

/// Makes the layer of all differences between the lowest `kept` layers and all of them. The caller is in the user
/// namespace, in a process of its own.
pub fn squash(store: &Store, lease: &Lease, below: &Below, kept: usize) -> Result<Option<Layer>> {
    own_mounts()?;
    let place = Staging::create(store).context("make a place for a root")?;
    let root = place.path().join("root");
    std::fs::create_dir(&root).context("make a place for a root")?;
    let all: Vec<PathBuf> = below.paths(store);
    let mounted = rootfs::mount_read_only(&all, &root);
    if let Err(error) = &mounted {
        let copied = rootfs::copy_layers(&all, &root);
        copied.with_context(|| format!("copy the layers, which cannot be mounted ({error})"))?;
    }
    let taking = Taking {
        upper: &root,
        lowers: &all[..kept],
        below: &below.diff_ids[..kept],
        mount_points: &[],
        was_root: false,
        // The whole tree is there.
        form: Form::Copy,
        youngest: None,
    };
    let layer = layer::take(store, lease, &taking);
    if mounted.is_ok() {
        rustix::mount::unmount(&root, rustix::mount::UnmountFlags::DETACH).context("unmount the layers")?;
    }
    layer
}
