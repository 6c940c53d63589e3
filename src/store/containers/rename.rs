//! Renaming a container: the new name is claimed, the record changed, the old name freed, in this
//! order, so that a crash leaves at worst a name too much, which [`super::names`] takes for free.

use std::io;

use super::{Containers, names, read_config};
use crate::spec::config::ContainerId;
use crate::spec::event::Happening;
use crate::spec::names::{InvalidName, container_name};
use crate::store::fs;
use crate::store::record::RecordError;

/// Why a container was not renamed.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    #[error("Renaming a container with the same name as its current name")]
    SameName,
    /// Docker's text.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or \
         rename) that container to be able to reuse that name."
    )]
    NameTaken { name: String, holder: ContainerId },
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    #[error("rename container {id}: {error}")]
    Record { id: ContainerId, error: RecordError },
    #[error("rename container {id}: {error}")]
    Io { id: ContainerId, error: io::Error },
}

impl Containers<'_> {
    /// Gives a container another name, running or not.
    pub fn rename(&self, id: &ContainerId, new: &str) -> Result<(), RenameError> {
        let new = container_name(new)?;
        let io_error = |error| RenameError::Io { id: id.clone(), error };
        let names = names::lock(self.store).map_err(io_error)?;
        let directory = self.directory(id);
        let _lock = self.lock(id).map_err(io_error)?;
        let mut config = read_config(&directory, id).map_err(|error| RenameError::Record { id: id.clone(), error })?;
        if config.name == new {
            return Err(RenameError::SameName);
        }
        if let Err(holder) = names.claim(new, id).map_err(io_error)? {
            return Err(RenameError::NameTaken { name: new.to_owned(), holder });
        }
        let old = std::mem::replace(&mut config.name, new.to_owned());
        let bytes = serde_json::to_vec(&config).map_err(|error| io_error(error.into()))?;
        if let Err(error) = fs::write_atomic(&directory.join("config.json"), &bytes) {
            let _ = names.release(new, id);
            return Err(io_error(error));
        }
        names.release(&old, id).map_err(io_error)?;
        // It has the new name whatever becomes of this; the old one still leads to it until it stops.
        let _ = self.store.networks().rename(id, new);
        self.store.happened(Happening::of_container(&config, "rename").with("oldName", format!("/{old}")));
        Ok(())
    }
}
