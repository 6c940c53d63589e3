//! Container names: `names/NAME` is a symbolic link whose text is the id. A link is made in one
//! step, whole or not at all; it is never followed. A name whose container is gone is free.

use std::io;
use std::path::PathBuf;

use crate::spec::config::ContainerId;
use crate::spec::names::container_name;
use crate::store::lock::FileLock;
use crate::store::{Store, fs};

/// The right to change names.
pub struct NamesLock<'a> {
    store: &'a Store,
    _lock: FileLock,
}

/// Waits for the store-wide lock on names.
pub fn lock(store: &Store) -> io::Result<NamesLock<'_>> {
    Ok(NamesLock { store, _lock: FileLock::exclusive(&store.path("names.lock"))? })
}

impl NamesLock<'_> {
    /// Gives a free name to `id`; Err is the container that has it.
    pub fn claim(&self, name: &str, id: &ContainerId) -> io::Result<Result<(), ContainerId>> {
        if let Some(holder) = holder(self.store, name)?
            && !is_left_over(self.store, name, &holder)
        {
            return Ok(Err(holder));
        }
        let path = path(self.store, name);
        fs::remove_if_present(&path)?;
        std::os::unix::fs::symlink(id.as_str(), path)?;
        Ok(Ok(()))
    }

    /// Frees a name if `id` still has it.
    pub fn release(&self, name: &str, id: &ContainerId) -> io::Result<()> {
        if recorded(self.store, name)?.is_some_and(|recorded| recorded == *id) {
            fs::remove_if_present(&path(self.store, name))?;
        }
        Ok(())
    }

    /// Removes a record that points to no container, or to one with another name.
    pub fn remove_dangling(&self, name: &str) -> io::Result<()> {
        let holder = holder(self.store, name)?;
        if holder.is_none_or(|holder| is_left_over(self.store, name, &holder)) {
            fs::remove_if_present(&path(self.store, name))?;
        }
        Ok(())
    }
}

/// Removes all records that point to no container.
pub fn remove_all_dangling(store: &Store) -> io::Result<()> {
    let names = lock(store)?;
    list(store)?.iter().try_for_each(|name| names.remove_dangling(name))
}

/// The container that has a name.
pub fn holder(store: &Store, name: &str) -> io::Result<Option<ContainerId>> {
    let recorded = recorded(store, name)?;
    Ok(recorded.filter(|id| fs::exists(&store.containers().directory(id))))
}

/// All names on record, in use or not.
pub fn list(store: &Store) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(store.path("names"))? {
        names.extend(entry?.file_name().into_string().ok().filter(|name| container_name(name).is_ok()));
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a name is what a crash of a renaming left: its container is called otherwise.
fn is_left_over(store: &Store, name: &str, holder: &ContainerId) -> bool {
    super::read_config(&store.containers().directory(holder), holder).is_ok_and(|config| config.name != name)
}

fn path(store: &Store, name: &str) -> PathBuf {
    store.path("names").join(name)
}

/// What the record of a name says; a damaged record says nothing.
fn recorded(store: &Store, name: &str) -> io::Result<Option<ContainerId>> {
    match std::fs::read_link(path(store, name)) {
        Ok(target) => Ok(target.to_str().and_then(|text| text.parse().ok())),
        // InvalidInput: not a link.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Ok(None),
        Err(error) => Err(error),
    }
}
