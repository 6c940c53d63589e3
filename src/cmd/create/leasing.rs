//! The ids of `--userns auto`: a range that no other container has, as long as this one exists. What
//! is leased is what the containers' configurations say, so nothing is to be given back.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::OFlags;

use crate::cmd::create_options::explained;
use crate::sandbox::userns;
use crate::spec::config::{ContainerConfig, RootSource};
use crate::spec::identity::AutoOptions;
use crate::spec::identity::auto;
use crate::store::Store;
use crate::store::lock::FileLock;

/// Account files are the image's: not believed beyond this.
const FILE_LIMIT: u64 = 1 << 20;

/// Gives a container that is about to be made its ids. Nobody else gets any while the lock is held.
pub fn lease(store: &Store, options: &AutoOptions, config: &mut ContainerConfig) -> Result<FileLock> {
    let outer = userns::maps(store)?;
    let size = match options.size {
        Some(size) => size,
        None => auto::size_for(&text(store, config, "etc/passwd"), &text(store, config, "etc/group")),
    };
    let lock = FileLock::exclusive(&store.path("ids.lock")).context("lock the ids of containers")?;
    let (containers, _) = store.containers().list()?;
    let leased = containers.iter().map(|one| &one.config.identity).filter(|identity| identity.is_leased());
    let held: Vec<(u64, u64)> = leased.filter_map(|identity| identity.maps.as_ref()).flat_map(auto::held).collect();
    config.identity.maps = Some(auto::lease(options, size, &outer, &held).map_err(explained)?);
    Ok(lock)
}

/// A file of the container's topmost layer that has it. What cannot be read asks for no more ids.
fn text(store: &Store, config: &ContainerConfig, path: &str) -> String {
    let read = |root: &Path| -> Option<String> {
        let directory = root.join(Path::new(path).parent()?);
        // Never through a link of the image's.
        if !std::fs::symlink_metadata(&directory).ok()?.is_dir() {
            return None;
        }
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let flags = i32::try_from(flags).ok()?;
        let file = File::options().read(true).custom_flags(flags).open(root.join(path)).ok()?;
        let mut bytes = Vec::new();
        file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        file.take(FILE_LIMIT).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    match &config.root {
        RootSource::Directory(root) => read(root),
        RootSource::Image { layers, .. } => {
            layers.iter().rev().find_map(|layer| read(&store.layers().diff_path(*layer)))
        }
    }
    .unwrap_or_default()
}
