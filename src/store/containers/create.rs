//! Making a container.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::state::State;
use super::{Container, Containers, names, requirements};
use crate::spec::config::{ContainerConfig, ContainerId};
use crate::spec::digest::Digest;
use crate::spec::event::Happening;
use crate::spec::names::{InvalidName, container_name};
use crate::store::fs::Durability;
use crate::store::lock::{AliveLock, FileLock};
use crate::store::secrets::Payload;
use crate::store::staging::Staging;
use crate::store::{fs, gc};

/// Why a container was not made. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Docker's text.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or \
         rename) that container to be able to reuse that name."
    )]
    NameTaken { name: String, holder: ContainerId },
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    #[error("layer {0} of the image is missing: pull the image again")]
    LayerMissing(Digest),
    #[error("container {0}, which it requires, was removed meanwhile")]
    RequirementMissing(ContainerId),
    #[error("create container {id}: {error}")]
    Io { id: ContainerId, error: io::Error },
}

/// Whether a container's records must survive a power loss.
pub(super) fn durability(config: &ContainerConfig) -> Durability {
    if config.auto_remove || config.build { Durability::Volatile } else { Durability::Durable }
}

impl Containers<'_> {
    /// Makes the container that `config` describes, with its name. Unless it is `--rm`, it is on
    /// disk when this returns.
    pub fn create(&self, config: ContainerConfig) -> Result<Container, CreateError> {
        self.create_with(config, &[])
    }

    /// The same with the bytes of the secrets that `config` names, in their order.
    pub fn create_with(&self, config: ContainerConfig, secrets: &[Payload]) -> Result<Container, CreateError> {
        self.create_held(config, secrets).map(|(container, _)| container)
    }

    /// The same for who starts it now, with its alive lock: nobody ever sees it without.
    pub fn create_held(
        &self,
        config: ContainerConfig,
        secrets: &[Payload],
    ) -> Result<(Container, AliveLock), CreateError> {
        container_name(&config.name)?;
        let (id, durability) = (config.id.clone(), durability(&config));
        let io_error = |error| CreateError::Io { id: id.clone(), error };
        let state = State::created();
        let staged = Staging::create(self.store).map_err(io_error)?;
        write_records(staged.path(), &config, &state, durability).map_err(io_error)?;
        write_secrets(staged.path(), secrets, durability).map_err(io_error)?;
        let alive = AliveLock::try_acquire(&staged.path().join("alive")).map_err(io_error)?;
        let alive = alive.ok_or_else(|| io_error(io::ErrorKind::ResourceBusy.into()))?;
        self.publish(&staged, &config)?;
        drop(staged);
        if durability == Durability::Durable
            && let Err(error) = self.sync_names()
        {
            drop(alive);
            let _ = self.remove(&id);
            return Err(io_error(error));
        }
        self.store.happened(Happening::of_container(&config, "create"));
        Ok((Container { directory: self.directory(&id), config, state }, alive))
    }

    fn sync_names(&self) -> io::Result<()> {
        fs::sync_dir(&self.store.path("containers"))?;
        fs::sync_dir(&self.store.path("names"))
    }

    /// Takes the name and renames into place, while the layers cannot be collected.
    fn publish(&self, staged: &Staging, config: &ContainerConfig) -> Result<(), CreateError> {
        let io_error = |error| CreateError::Io { id: config.id.clone(), error };
        let _layers = self.hold_layers(config).map_err(io_error)?;
        if let Some(missing) = config.used_layers().find(|layer| !self.store.layers().contains(**layer)) {
            return Err(CreateError::LayerMissing(*missing));
        }
        if config.build {
            // Nobody asks for it by name.
            return rename_new(staged.path(), &self.directory(&config.id)).map_err(io_error);
        }
        let names = names::lock(self.store).map_err(io_error)?;
        let _required = self.require(config)?;
        // The name first: without its container it is free, a container without its name is not.
        if let Err(holder) = names.claim(&config.name, &config.id).map_err(io_error)? {
            return Err(CreateError::NameTaken { name: config.name.clone(), holder });
        }
        rename_new(staged.path(), &self.directory(&config.id)).map_err(|error| {
            // A name that stays is free: its container does not exist.
            let _ = names.release(&config.name, &config.id);
            io_error(error)
        })
    }

    /// Marks what the container requires, which stays while the locks are held. A mark without its container
    /// counts for nothing.
    fn require(&self, config: &ContainerConfig) -> Result<Vec<FileLock>, CreateError> {
        let mut locks = Vec::new();
        for required in config.lifetime.requires.iter().collect::<BTreeSet<_>>() {
            let lock = self.lock(required).map_err(|_| CreateError::RequirementMissing(required.clone()))?;
            requirements::mark(&self.directory(required), &config.id, durability(config)).map_err(
                |error| match error.kind() {
                    io::ErrorKind::NotFound => CreateError::RequirementMissing(required.clone()),
                    _ => CreateError::Io { id: config.id.clone(), error },
                },
            )?;
            locks.push(lock);
        }
        Ok(locks)
    }

    fn hold_layers(&self, config: &ContainerConfig) -> io::Result<Option<FileLock>> {
        config.used_layers().next().map(|_| gc::shared(self.store)).transpose()
    }
}

fn write_records(directory: &Path, config: &ContainerConfig, state: &State, durability: Durability) -> io::Result<()> {
    fs::create_file(&directory.join("config.json"), &serde_json::to_vec(config)?, durability)?;
    let state = state.to_record()?;
    fs::create_file(&directory.join("state.json"), &state, durability)?;
    // These exist from the start so that stopping and removing need no space. Their content is
    // nothing to lose.
    fs::create_file(&directory.join("state.spare"), &state, Durability::Volatile)?;
    fs::create_file(&directory.join("lock"), b"", Durability::Volatile)?;
    fs::create_file(&directory.join("alive"), b"", Durability::Volatile)?;
    if durability == Durability::Durable { fs::sync_dir(directory) } else { Ok(()) }
}

fn write_secrets(directory: &Path, secrets: &[Payload], durability: Durability) -> io::Result<()> {
    if secrets.is_empty() {
        return Ok(());
    }
    let directory = directory.join(super::SECRETS);
    fs::create_private_dir(&directory)?;
    for (index, payload) in secrets.iter().enumerate() {
        fs::create_file(&directory.join(index.to_string()), payload.as_bytes(), durability)?;
    }
    if durability == Durability::Durable { fs::sync_dir(&directory) } else { Ok(()) }
}

/// Renames without replacing anything.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    if fs::exists(to) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    std::fs::rename(from, to)
}
