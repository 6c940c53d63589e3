//! Containers of builds: each belongs to the process that runs a step in it, and goes with it.
//!
//! `build-cache/running/ID` is locked by its owner, and by the container's supervisor, all the while. One whose
//! lock is free was left by a crash, and its container with it. The file holds the process id of the build.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::spec::config::ContainerId;
use crate::store::lock::FileLock;
use crate::store::staging::Cleanup;
use crate::store::{Store, fs};

const DIRECTORY: &str = "build-cache/running";

/// Says that a container of a build has an owner.
#[derive(Debug)]
pub struct Owner {
    path: PathBuf,
    _lock: FileLock,
}

impl Owner {
    /// Becomes the owner of a container that is about to be made.
    pub fn new(store: &Store, id: &ContainerId) -> io::Result<Self> {
        fs::create_private_dir(&store.path(DIRECTORY))?;
        let path = store.path(DIRECTORY).join(id.as_str());
        let lock = FileLock::exclusive(&path)?;
        std::fs::write(&path, std::os::unix::process::parent_id().to_string())?;
        Ok(Self { _lock: lock, path })
    }

    /// Removes the container; its files may have to be removed in the user namespace, by a sweep.
    pub fn discard(self, store: &Store, id: &ContainerId) -> Result<Cleanup> {
        let removed = remove(store, id)?;
        fs::remove_if_present(&self.path)?;
        Ok(removed)
    }
}

/// Whether there are containers of steps of this build, whose workers are children of this process.
pub fn has_any(store: &Store) -> bool {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir(store.path(DIRECTORY)).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| std::fs::read_to_string(entry.path()).is_ok_and(|text| text == own))
}

/// How many containers have lost their owner.
pub fn count_abandoned(store: &Store) -> Result<usize> {
    Ok(abandoned(store)?.len())
}

/// Removes the containers that have lost their owner, unless their supervisor is still about to end.
pub fn sweep(store: &Store) -> Result<Cleanup> {
    let mut outcome = Cleanup::Complete;
    for (path, id, _lock) in abandoned(store)? {
        let Ok(removed) = remove(store, &id) else { continue };
        outcome = outcome.and(removed);
        fs::remove_if_present(&path)?;
    }
    Ok(outcome)
}

fn remove(store: &Store, id: &ContainerId) -> Result<Cleanup> {
    if !fs::exists(&store.containers().directory(id)) {
        return Ok(Cleanup::Complete);
    }
    store.containers().remove(id).context("remove a build's container")
}

fn abandoned(store: &Store) -> Result<Vec<(PathBuf, ContainerId, FileLock)>> {
    let entries = match std::fs::read_dir(store.path(DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context("list the containers of builds")?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let Some(id) = id_of(&path)
            && let Some(lock) = FileLock::try_exclusive(&path)?
        {
            found.push((path, id, lock));
        }
    }
    Ok(found)
}

fn id_of(path: &Path) -> Option<ContainerId> {
    path.file_name()?.to_str()?.parse().ok()
}
