//! Removing a container: one rename makes it gone, which works on a full disk; then its files are
//! deleted, then its name is freed.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Containers, Status, health, is_alive, names, read_config, read_state};
use crate::spec::config::ContainerId;
use crate::spec::event::Happening;
use crate::store::fs;
use crate::store::lock::{AliveLock, FileLock};
use crate::store::staging::{Cleanup, Trash};
use crate::store::volumes::Parting;

/// How long to wait for a supervisor that is starting or leaving.
pub(super) const PARTING: Duration = Duration::from_secs(5);

/// Why a container was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("No such container: {0}")]
    NotFound(ContainerId),
    /// Docker's text.
    #[error(
        "cannot remove container \"/{name}\": container is running: stop the container before removing or force remove"
    )]
    Running { name: String },
    #[error(
        "cannot remove container \"/{name}\": container is restarting: stop the container before removing or force \
         remove"
    )]
    Restarting { name: String },
    #[error(
        "cannot remove container \"/{name}\": container {by} requires it: remove that first, or both with rbox rm \
         --depend"
    )]
    Required { name: String, by: String },
    #[error("remove container {id}: {error}")]
    Io { id: ContainerId, error: io::Error },
}

impl Containers<'_> {
    /// Removes a container that has no live supervisor, readable or not, with its name. Of a `--rm` one the
    /// anonymous volumes go, too, that nobody else has.
    pub fn remove(&self, id: &ContainerId) -> Result<Cleanup, RemoveError> {
        self.remove_as(id, false)
    }

    /// The same with such volumes of any container.
    pub fn remove_with_volumes(&self, id: &ContainerId) -> Result<Cleanup, RemoveError> {
        self.remove_as(id, true)
    }

    fn remove_as(&self, id: &ContainerId, volumes: bool) -> Result<Cleanup, RemoveError> {
        let Some(alive) = self.wait_for_supervisor(id).map_err(|error| self.remove_error(id, error))? else {
            return Err(RemoveError::Running { name: self.name_of(id) });
        };
        let directory = self.directory(id);
        if read_state(&directory).is_ok_and(|state| state.status == Status::Restarting) {
            return Err(RemoveError::Restarting { name: self.name_of(id) });
        }
        let lock = self.lock(id).map_err(|error| self.remove_error(id, error))?;
        self.refuse_required(id)?;
        if volumes {
            Parting::wish(&directory).map_err(|error| self.remove_error(id, error))?;
        }
        let trash = self.retire_locked(id, lock)?;
        drop(alive);
        trash.delete().map_err(|error| RemoveError::Io { id: id.clone(), error })
    }

    /// For who holds the container's `alive` lock: when this returns the container is gone and its
    /// name free, and so are the volumes that go with it; their files are still to be deleted.
    pub fn retire(&self, id: &ContainerId, _alive: &AliveLock) -> Result<Trash, RemoveError> {
        let lock = self.lock(id).map_err(|error| self.remove_error(id, error))?;
        self.retire_locked(id, lock)
    }

    fn retire_locked(&self, id: &ContainerId, lock: FileLock) -> Result<Trash, RemoveError> {
        let io_error = |error| RemoveError::Io { id: id.clone(), error };
        let directory = self.directory(id);
        let config = read_config(&directory, id);
        let trash = Trash::take(self.store, &directory).map_err(io_error)?;
        drop(lock);
        // What survives of a --rm container after a power loss is no loss.
        if !config.as_ref().is_ok_and(|config| config.auto_remove || config.build) {
            fs::sync_dir(&self.store.path("containers")).map_err(io_error)?;
        }
        let gone = config.ok();
        let freed = match &gone {
            Some(config) if config.build => Ok(()),
            Some(config) => names::lock(self.store).and_then(|names| names.release(&config.name, id)),
            None => names::remove_all_dangling(self.store),
        };
        let parting = gone.as_ref().map_or_else(Parting::default, |config| Parting::left_in(trash.path(), config));
        if let Some(config) = gone {
            health::remove_copy(&config);
            self.store.happened(Happening::of_container(&config, "destroy"));
        }
        let parted = freed.and_then(|()| parting.retire(self.store));
        match parted {
            Ok(volumes) => Ok(trash.with(volumes)),
            Err(error) => {
                let _ = trash.delete();
                Err(io_error(error))
            }
        }
    }

    /// Fails while another container requires this one.
    pub fn refuse_required(&self, id: &ContainerId) -> Result<(), RemoveError> {
        match self.requiring(id).map_err(|error| self.remove_error(id, error))?.first() {
            Some(by) => Err(RemoveError::Required { name: self.name_of(id), by: self.name_of(by) }),
            None => Ok(()),
        }
    }

    /// The name, or the id where it cannot be read.
    fn name_of(&self, id: &ContainerId) -> String {
        read_config(&self.directory(id), id).map_or_else(|_| id.to_string(), |config| config.name)
    }

    fn remove_error(&self, id: &ContainerId, error: io::Error) -> RemoveError {
        match error.kind() {
            io::ErrorKind::NotFound if !fs::exists(&self.directory(id)) => RemoveError::NotFound(id.clone()),
            _ => RemoveError::Io { id: id.clone(), error },
        }
    }

    /// Takes the alive lock; None while the container runs.
    fn wait_for_supervisor(&self, id: &ContainerId) -> io::Result<Option<AliveLock>> {
        let directory = self.directory(id);
        let deadline = Instant::now() + PARTING;
        loop {
            if let Some(alive) = AliveLock::try_acquire(&directory.join("alive"))? {
                return Ok(Some(alive));
            }
            if is_running(&directory) || Instant::now() > deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether the supervisor has work to do. Before it says so it is starting, and will say so soon;
/// after it has recorded an exit or a failed start, it has only its own end before it.
fn is_running(directory: &Path) -> bool {
    match read_state(directory) {
        Ok(state) => state.status == Status::Running,
        Err(_) => is_alive(directory).unwrap_or(true),
    }
}
