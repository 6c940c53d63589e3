//! Removing a volume: one rename makes it gone, which works on a full disk; then its files are deleted.

use std::io;

use anyhow::Context;

use super::{RemoveError, Users, Volumes};
use crate::spec::event::Happening;
use crate::spec::text::printable;
use crate::store::fs;
use crate::store::staging::{Cleanup, Trash};

impl Volumes<'_> {
    /// The users of all volumes now.
    pub fn users(&self) -> anyhow::Result<Users> {
        let (containers, damaged) = self.store.containers().list()?;
        Ok(Users::of(&containers, &damaged))
    }

    /// Removes a volume that no container names, readable or not.
    pub fn remove(&self, name: &str) -> Result<Cleanup, RemoveError> {
        let trash = self.retire(name)?;
        trash.delete().with_context(|| format!("remove volume {name}")).map_err(RemoveError::Other)
    }

    /// When this returns the volume is gone; its files are still to be deleted.
    pub fn retire(&self, name: &str) -> Result<Trash, RemoveError> {
        if !self.exists(name) {
            return Err(RemoveError::NotFound(printable(name)));
        }
        // Asked without the lock first: who holds it may be filling the volume for one of these.
        self.users()?.check(name)?;
        self.retire_now(name)
    }

    pub(super) fn retire_now(&self, name: &str) -> Result<Trash, RemoveError> {
        let missing = || RemoveError::NotFound(printable(name));
        if !self.exists(name) {
            return Err(missing());
        }
        let other = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound if !self.exists(name) => missing(),
            _ => RemoveError::Other(anyhow::Error::new(error).context(format!("remove volume {name}"))),
        };
        let lock = self.lock(name).map_err(other)?;
        self.users()?.check(name)?;
        let trash = Trash::take(self.store, &self.directory(name)).map_err(other)?;
        drop(lock);
        fs::sync_dir(&self.store.path("volumes")).map_err(other)?;
        self.store.happened(Happening::of_volume(name, "destroy"));
        Ok(trash)
    }
}
