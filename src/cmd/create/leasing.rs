//! The ids of `--userns auto`: a range that no other container has, as long as this one exists. What
//! is leased is what the containers' configurations say, so nothing is to be given back.

use anyhow::{Context as _, Result};

use crate::cmd::create_options::explained;
use crate::cmd::image_file::text;
use crate::sandbox::userns;
use crate::spec::config::ContainerConfig;
use crate::spec::identity::AutoOptions;
use crate::spec::identity::auto;
use crate::store::Store;
use crate::store::lock::FileLock;

/// Gives a container that is about to be made its ids. Nobody else gets any while the lock is held.
pub fn lease(store: &Store, options: &AutoOptions, config: &mut ContainerConfig) -> Result<FileLock> {
    let outer = userns::maps(store)?;
    let size = match options.size {
        Some(size) => size,
        None => auto::size_for(&text(store, &config.root, "etc/passwd"), &text(store, &config.root, "etc/group")),
    };
    let lock = FileLock::exclusive(&store.path("ids.lock")).context("lock the ids of containers")?;
    let (containers, _) = store.containers().list()?;
    let leased = containers.iter().map(|one| &one.config.identity).filter(|identity| identity.is_leased());
    let held: Vec<(u64, u64)> = leased.filter_map(|identity| identity.maps.as_ref()).flat_map(auto::held).collect();
    config.identity.maps = Some(auto::lease(options, size, &outer, &held).map_err(explained)?);
    Ok(lock)
}
