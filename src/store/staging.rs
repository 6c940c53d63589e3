//! Work in progress. Each entry is a directory whose lock its maker holds; an entry whose lock is
//! free was left by a crash and is removed by whoever looks next.

use std::io;
use std::path::{Path, PathBuf};

use super::lock::FileLock;
use super::{Store, fs, remove};

/// A private directory on the store's file system, removed on drop unless its content was renamed
/// away.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: FileLock,
}

impl Staging {
    /// Makes an entry and holds its lock.
    pub fn create(store: &Store) -> io::Result<Self> {
        loop {
            let path = store.path("staging").join(fs::random_suffix()?);
            let lock_path = path.with_extension("lock");
            let lock = FileLock::exclusive(&lock_path)?;
            // A sweeper may have seen the lock free between its creation and our taking it.
            if !fs::exists(&lock_path) {
                continue;
            }
            fs::create_private_dir(&path)?;
            return Ok(Self { path, lock_path, _lock: lock });
        }
    }

    /// The entry's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed here (files of mapped ids) is left to a sweep in the user namespace.
        if remove::remove_tree(&self.path).is_ok() {
            let _ = std::fs::remove_file(&self.lock_path);
        }
    }
}

/// Removes entries whose maker is gone. Returns whether anything could not be removed for lack of
/// permission, which a sweep inside the user namespace mends.
pub fn sweep(store: &Store) -> io::Result<bool> {
    let mut denied = false;
    for entry in std::fs::read_dir(store.path("staging"))? {
        let lock_path = entry?.path();
        if lock_path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        if let Some(_lock) = FileLock::try_exclusive(&lock_path)? {
            match remove::remove_tree(&lock_path.with_extension("")) {
                Ok(()) => std::fs::remove_file(&lock_path)?,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = true,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(denied)
}
