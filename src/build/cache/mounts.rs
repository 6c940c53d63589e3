//! Cache mounts: directories that RUN steps have in common, `mounts/HEX/N/data` by the digest of their id.
//!
//! `shared` ones use the first; `locked` ones hold its lock; `private` ones take the first whose lock is free,
//! or make one more.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::DIRECTORY;
use crate::spec::digest::Digest;
use crate::spec::dockerfile::ast::Sharing;
use crate::store::lock::FileLock;
use crate::store::{Store, fs};

/// So many of one id at the same time are a mistake.
const INSTANCES_MAX: u32 = 1000;

/// A cache mount in use.
#[derive(Debug)]
pub struct CacheMount {
    /// What is mounted.
    pub data: PathBuf,
    /// It was made just now.
    pub fresh: bool,
    _lock: FileLock,
}

/// What is known of a cache mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRecord {
    /// As given, or the target.
    pub id: String,
}

/// The cache mounts of this id lie below this directory.
pub fn directory(store: &Store, id: &str) -> PathBuf {
    store.path(DIRECTORY).join("mounts").join(Digest::of(id.as_bytes()).hex())
}

/// Takes a cache mount, waiting for it if need be. Its directory may be still to be made, as `data` by whoever
/// has the right owner for it.
pub fn take(store: &Store, id: &str, sharing: Sharing) -> Result<CacheMount> {
    let take = || -> io::Result<CacheMount> {
        let top = directory(store, id);
        fs::create_private_dir(&top)?;
        let record = top.join("mount.json");
        if !fs::exists(&record) {
            fs::write_volatile(&record, &serde_json::to_vec(&MountRecord { id: id.to_owned() })?)?;
        }
        for number in 0..INSTANCES_MAX {
            let place = top.join(number.to_string());
            fs::create_private_dir(&place)?;
            let path = place.join("lock");
            let lock = match sharing {
                Sharing::Locked => Some(FileLock::exclusive(&path)?),
                Sharing::Shared => Some(FileLock::shared(&path)?),
                Sharing::Private => FileLock::try_exclusive(&path)?,
            };
            if let Some(lock) = lock {
                let data = place.join("data");
                let fresh = !fs::exists(&data);
                // When it was used last decides what is pruned first, no more.
                let _ = std::fs::File::open(&top)?.set_modified(std::time::SystemTime::now());
                return Ok(CacheMount { data, fresh, _lock: lock });
            }
        }
        Err(io::Error::other("too many of them are in use"))
    };
    take().with_context(|| format!("take the cache mount {id:?}"))
}
