//! Work in progress and what waits for deletion. Each entry is a directory locked by its maker (or
//! remover); an entry whose lock is free was left by a crash and is removed by whoever looks next.
//!
//! The directory itself carries the lock: deleting needs no new file, so it works on a full disk.

use std::io;
use std::path::{Path, PathBuf};

use super::lock::FileLock;
use super::volumes::Parting;
use super::{Store, fs, remove};

/// How far a deletion came. The names are gone from the store in both cases.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    Complete,
    /// Files of mapped ids are left in `staging`: call [`sweep`] again inside the user namespace.
    NeedsUserNamespace,
}

impl Cleanup {
    /// Both done only if each was.
    pub fn and(self, other: Self) -> Self {
        if self == Self::Complete { other } else { self }
    }

    fn from_result(result: io::Result<()>) -> io::Result<Self> {
        match result {
            Ok(()) => Ok(Self::Complete),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Self::NeedsUserNamespace),
            Err(error) => Err(error),
        }
    }
}

/// A private directory on the store's file system, removed on drop unless it was renamed away.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    _lock: FileLock,
}

impl Staging {
    /// Makes an entry and holds its lock.
    pub fn create(store: &Store) -> io::Result<Self> {
        loop {
            let path = new_path(store)?;
            fs::create_private_dir(&path)?;
            // A sweeper may have seen the lock free between the entry's creation and our taking it.
            match FileLock::try_directory(&path) {
                Ok(Some(lock)) => return Ok(Self { path, _lock: lock }),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
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
        let _ = remove::remove_tree(&self.path);
    }
}

fn new_path(store: &Store) -> io::Result<PathBuf> {
    Ok(store.path("staging").join(fs::random_suffix()?))
}

/// A directory that was moved out of its place and waits for deletion, with those that go with it.
#[derive(Debug)]
pub struct Trash {
    path: PathBuf,
    _lock: FileLock,
    others: Vec<Trash>,
}

impl Trash {
    /// Takes a directory of the store out of sight by renaming it; no new file is needed. Waits for
    /// whoever just put it there.
    pub fn take(store: &Store, directory: &Path) -> io::Result<Self> {
        let lock = FileLock::directory(directory)?;
        let path = new_path(store)?;
        std::fs::rename(directory, &path)?;
        Ok(Self { path, _lock: lock, others: Vec::new() })
    }

    /// Adds what is to be deleted with it.
    pub fn with(mut self, others: Vec<Self>) -> Self {
        self.others.extend(others);
        self
    }

    /// Where it lies now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Deletes it.
    pub fn delete(self) -> io::Result<Cleanup> {
        let mut outcome = Cleanup::from_result(remove::remove_tree(&self.path));
        for other in self.others {
            outcome = both(outcome, other.delete());
        }
        outcome
    }
}

/// Removes entries whose maker is gone; goes on past an entry that fails and reports the first
/// failure at the end.
pub fn sweep(store: &Store) -> io::Result<Cleanup> {
    let mut outcome = Ok(Cleanup::Complete);
    for path in abandoned(store)? {
        let swept = path.and_then(|(path, _lock)| {
            // Before the directory that says so goes.
            let volumes = Parting::found_in(&path).retire(store)?;
            let outcome = Cleanup::from_result(remove::remove_tree(&path));
            volumes.into_iter().fold(outcome, |outcome, volume| both(outcome, volume.delete()))
        });
        outcome = both(outcome, swept);
    }
    outcome
}

fn both(one: io::Result<Cleanup>, other: io::Result<Cleanup>) -> io::Result<Cleanup> {
    Ok(one?.and(other?))
}

/// How many entries a crash left.
pub fn count_abandoned(store: &Store) -> io::Result<usize> {
    Ok(abandoned(store)?.filter(Result::is_ok).count())
}

/// The entries that nobody holds, each locked while it is looked at.
fn abandoned(store: &Store) -> io::Result<impl Iterator<Item = io::Result<(PathBuf, FileLock)>>> {
    let entries = std::fs::read_dir(store.path("staging"))?;
    Ok(entries.filter_map(|entry| entry.and_then(|entry| lock_if_free(&entry)).transpose()))
}

fn lock_if_free(entry: &std::fs::DirEntry) -> io::Result<Option<(PathBuf, FileLock)>> {
    if !entry.file_type()?.is_dir() {
        return Ok(None);
    }
    match FileLock::try_directory(&entry.path()) {
        Ok(lock) => Ok(lock.map(|lock| (entry.path(), lock))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestStore;

    #[test]
    fn an_entry_in_use_is_never_swept() {
        let store = TestStore::new();
        let staging = Staging::create(&store).unwrap();
        std::fs::write(staging.path().join("file"), "x").unwrap();
        assert_eq!(sweep(&store).unwrap(), Cleanup::Complete);
        assert!(fs::exists(&staging.path().join("file")));
        drop(staging);
        assert_eq!(std::fs::read_dir(store.path("staging")).unwrap().count(), 0);
    }

    #[test]
    fn what_a_crash_left_is_swept() {
        let store = TestStore::new();
        std::fs::create_dir_all(store.path("staging/0123/diff/a")).unwrap();
        assert_eq!(count_abandoned(&store).unwrap(), 1);
        assert_eq!(sweep(&store).unwrap(), Cleanup::Complete);
        assert_eq!(count_abandoned(&store).unwrap(), 0);
    }

    #[test]
    fn makers_and_sweepers_race_without_harm() {
        let store = TestStore::new();
        std::thread::scope(|scope| {
            let makers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..300 {
                            let staging = Staging::create(&store).unwrap();
                            std::fs::write(staging.path().join("file"), "x").unwrap();
                        }
                    })
                })
                .collect();
            while makers.iter().any(|maker| !maker.is_finished()) {
                assert_eq!(sweep(&store).unwrap(), Cleanup::Complete);
            }
        });
    }
}
