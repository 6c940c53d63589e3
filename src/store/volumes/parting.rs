//! The anonymous volumes of a container that goes: they go with it where that was asked for (`rm -v`, `--rm`).
//!
//! The wish is in the container's directory when that is renamed into the trash. Whoever finds it there after a
//! crash does what is left to do.

use std::io;
use std::path::Path;

use super::{RemoveError, Volumes};
use crate::spec::config::ContainerConfig;
use crate::store::staging::Trash;
use crate::store::{Store, record};

/// In the directory of a container whose anonymous volumes are to go with it.
const WISH: &str = "volumes-too";

/// The anonymous volumes of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parting {
    names: Vec<String>,
}

impl Parting {
    /// Notes in the directory of a container that is not running that its volumes are to go with it. Needs no
    /// space: a spare file takes another name.
    pub(in crate::store) fn wish(directory: &Path) -> io::Result<()> {
        let wish = directory.join(WISH);
        match std::fs::rename(directory.join("state.spare"), &wish) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::File::create(wish).map(drop),
            renamed => renamed,
        }
    }

    /// The volumes that are to go with a container whose directory is in the trash.
    pub(in crate::store) fn left_in(directory: &Path, config: &ContainerConfig) -> Self {
        if !config.auto_remove && !directory.join(WISH).exists() {
            return Self::default();
        }
        let anonymous = config.volume_uses().filter(|(_, volume)| volume.anonymous);
        Self { names: anonymous.filter_map(|(_, volume)| volume.name.clone()).collect() }
    }

    /// The same for what a crash left there, which need not have been a container.
    pub(in crate::store) fn found_in(directory: &Path) -> Self {
        let config: Option<ContainerConfig> = record::read(&directory.join("config.json")).ok();
        config.map_or_else(Self::default, |config| Self::left_in(directory, &config))
    }

    /// Takes the volumes that nobody else uses out of sight, now that their container is gone.
    pub(in crate::store) fn retire(self, store: &Store) -> io::Result<Vec<Trash>> {
        let volumes: Volumes<'_> = store.volumes();
        let mut trash = Vec::new();
        for name in self.names {
            match volumes.retire_now(&name) {
                Ok(taken) => trash.push(taken),
                // Another container has it by --volumes-from, or it never came to be.
                Err(RemoveError::InUse { .. } | RemoveError::Unknown { .. } | RemoveError::NotFound(_)) => {}
                Err(RemoveError::Other(error)) => return Err(io::Error::other(format!("{error:#}"))),
            }
        }
        Ok(trash)
    }
}
