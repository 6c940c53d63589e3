//! Containers: `containers/ID/` with `config.json` (what was asked; `rename`, `update` and networks
//! change it), `state.json`, `lock` and `alive`; the sandbox adds `spec.json`, `upper/`, `work/`,
//! the log and the files it binds.
//!
//! A container is made in `staging` and renamed into place, so a half one is never visible.
//! Liveness is the `alive` lock, never a remembered number. The records of a `--rm` container are
//! not synced: after a power loss there is no container to return to, at worst a directory with empty
//! records, which counts as nothing and is removed by the next tidying up.

mod create;
mod health;
mod keeping;
mod lookup;
pub(super) mod names;
mod peek;
mod process;
mod remove;
mod rename;
mod requirements;
mod state;
#[cfg(test)]
mod tests;
mod update;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;

pub use create::CreateError;
pub use keeping::Affairs;
pub use lookup::LookupError;
pub use process::{ProcessIdentity, boot_id};
pub use remove::RemoveError;
pub use rename::RenameError;
pub use state::{Paused, State, Status};

use super::fs::Durability;
use super::lock::{AliveLock, FileLock};
use super::record::{self, Quarantined, RecordError};
use super::secrets::Payload;
use super::{Store, fs};
use crate::spec::config::{ContainerConfig, ContainerId, RootSource};
use crate::spec::digest::Digest;
use crate::spec::env::EnvChange;
use crate::spec::log::LogDriver;
use crate::spec::port::PublishedPort;
use crate::spec::secret::{SecretForm, SecretUse};

/// The directory of a container's copies of secrets, each named by its place in the configuration.
pub const SECRETS: &str = "secrets";

/// The containers of a store.
#[derive(Clone, Copy, Debug)]
pub struct Containers<'a> {
    store: &'a Store,
}

/// One container as it was when it was read.
#[derive(Clone, Debug)]
pub struct Container {
    pub config: ContainerConfig,
    /// What is true, not just what was written last: see [`State`].
    pub state: State,
    directory: PathBuf,
}

impl Store {
    /// The store's containers.
    pub fn containers(&self) -> Containers<'_> {
        Containers { store: self }
    }
}

impl Containers<'_> {
    /// All containers but those of builds, newest first, and those whose records cannot be read; but not what a
    /// power loss left of `--rm` ones. Takes no lock.
    pub fn list(&self) -> Result<(Vec<Container>, Vec<Quarantined>)> {
        let (mut containers, damaged) = self.list_all()?;
        containers.retain(|container| !container.config.build);
        Ok((containers, damaged))
    }

    /// All containers, those of builds too.
    pub fn list_all(&self) -> Result<(Vec<Container>, Vec<Quarantined>)> {
        let (mut containers, mut damaged) = (Vec::new(), Vec::new());
        let mut quick = QuickReader::open(&self.store.path("containers"));
        for id in self.ids()? {
            let loaded = match quick.as_mut().and_then(|quick| quick.load(&id)) {
                Some((config, state)) => Ok(Container { directory: self.directory(&id), config, state }),
                None => self.load(&id),
            };
            match loaded {
                Ok(container) => containers.push(container),
                // Removed while we looked.
                Err(_) if !fs::exists(&self.directory(&id)) => {}
                Err(RecordError::Read { file, error }) => {
                    return Err(error).with_context(|| format!("read {file} of container {id}"));
                }
                Err(_) if self.was_lost(&id).unwrap_or(false) => {}
                Err(error) => damaged.push(Quarantined { id: id.to_string(), why: error.to_string() }),
            }
        }
        containers.sort_by(|a, b| (&b.config.created, &b.config.id).cmp(&(&a.config.created, &a.config.id)));
        Ok((containers, damaged))
    }

    /// Containers that were to be removed at their end, and whose records a power loss took: these
    /// records are never synced.
    pub fn lost_in_power_loss(&self) -> Result<Vec<ContainerId>> {
        Ok(self.ids()?.into_iter().filter(|id| self.was_lost(id).unwrap_or(false)).collect())
    }

    fn was_lost(&self, id: &ContainerId) -> io::Result<bool> {
        let directory = self.directory(id);
        // A file whose content never came to the disk is empty, and older than this boot.
        let lost = |name: &str| -> io::Result<bool> {
            let file = std::fs::metadata(directory.join(name))?;
            if file.len() != 0 {
                return Ok(false);
            }
            let uptime = Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Boottime));
            Ok(file.modified()? < SystemTime::now() - uptime.map_err(io::Error::other)?)
        };
        let any = lost("config.json")? || lost("state.json")?;
        Ok(any && read_config(&directory, id).map_or(true, |config| config.auto_remove))
    }

    /// The processes of all live supervisors.
    pub fn supervisors(&self) -> Result<Vec<ProcessIdentity>> {
        let mut supervisors = Vec::new();
        for id in self.ids()? {
            let directory = self.directory(&id);
            let Ok(state) = record::read::<State>(&directory.join("state.json")) else { continue };
            if let Some(supervisor) = state.supervisor()
                && is_alive(&directory)?
            {
                supervisors.push(supervisor);
            }
        }
        Ok(supervisors)
    }

    /// Waits for the lock that guards a container's state. An error of kind NotFound: it is gone.
    pub fn lock(&self, id: &ContainerId) -> io::Result<FileLock> {
        FileLock::exclusive(&self.directory(id).join("lock"))
    }

    /// Frees the names of containers that crashes left without one.
    pub fn free_dangling_names(&self) -> io::Result<()> {
        names::remove_all_dangling(self.store)
    }

    /// The ids of all container directories, readable or not.
    pub fn ids(&self) -> Result<Vec<ContainerId>> {
        let path = self.store.path("containers");
        let list = || -> io::Result<Vec<ContainerId>> {
            let mut ids = Vec::new();
            for entry in std::fs::read_dir(&path)? {
                ids.extend(entry?.file_name().to_str().and_then(|name| name.parse().ok()));
            }
            Ok(ids)
        };
        list().with_context(|| format!("list {}", path.display()))
    }

    /// Where a container lies.
    pub fn directory(&self, id: &ContainerId) -> PathBuf {
        self.store.path("containers").join(id.as_str())
    }

    fn load(&self, id: &ContainerId) -> Result<Container, RecordError> {
        let directory = self.directory(id);
        let config = read_config(&directory, id)?;
        let state = read_state(&directory)?;
        if state.status == Status::Exited && state.finished_at.is_none() && !config.is_kept() {
            // On a full disk the next reader says so.
            let _ = self.tell_death(&config);
        }
        Ok(Container { config, state, directory })
    }
}

/// Reads containers that do not run with few system calls each: lists may have thousands.
struct QuickReader {
    containers: OwnedFd,
    buffer: Vec<u8>,
}

impl QuickReader {
    /// Records of this size or more are read the slow way.
    const USUAL: usize = 32 << 10;

    fn open(containers: &Path) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let containers = rustix::fs::open(containers, flags, Mode::empty()).ok()?;
        Some(Self { containers, buffer: vec![0; Self::USUAL] })
    }

    /// None when it runs, or when anything at all is unusual.
    fn load(&mut self, id: &ContainerId) -> Option<(ContainerConfig, State)> {
        let state: State = self.read(&format!("{id}/state.json"))?;
        if matches!(state.status, Status::Running | Status::Restarting) {
            return None;
        }
        let config: ContainerConfig = self.read(&format!("{id}/config.json"))?;
        (config.id == *id).then_some((config, state))
    }

    fn read<T: DeserializeOwned>(&mut self, path: &str) -> Option<T> {
        record::read_quickly(self.containers.as_fd(), path, &mut self.buffer)
    }
}

impl Container {
    pub fn id(&self) -> &ContainerId {
        &self.config.id
    }

    /// Its directory in the store.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file in its directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.join(name)
    }

    /// The file that its log is written to, if it is in files: as asked for, or in its directory.
    pub fn log_path(&self) -> Option<PathBuf> {
        let log = &self.config.log;
        let given = log.given.get("path").filter(|path| !path.is_empty());
        let named = |form: &str| Some(self.path(format!("{}-{form}.log", self.config.id)));
        match log.driver {
            LogDriver::JsonFile | LogDriver::K8sFile if given.is_some() => given.map(PathBuf::from),
            LogDriver::JsonFile => named("json"),
            LogDriver::K8sFile => named("k8s"),
            LogDriver::Local => named("local"),
            // What is kept for those who ask: the server cannot be asked.
            LogDriver::Syslog if !log.options().is_ok_and(|options| options.cache_disabled) => named("local"),
            LogDriver::Syslog
            | LogDriver::Journald
            | LogDriver::None
            | LogDriver::Passthrough
            | LogDriver::PassthroughTty => None,
        }
    }

    /// Says how much of its log was lost; there only if there was any.
    pub fn log_loss_path(&self) -> PathBuf {
        self.path("log-lost.json")
    }

    pub fn status(&self) -> Status {
        self.state.status
    }

    pub fn is_running(&self) -> bool {
        self.state.status == Status::Running
    }

    /// The ports that are published now.
    pub fn published_ports(&self) -> &[PublishedPort] {
        if self.is_running() { &self.state.ports } else { &[] }
    }

    /// The secrets that are variables of its processes.
    pub fn secret_variables(&self) -> Result<Vec<EnvChange>> {
        let mut variables = Vec::new();
        for (index, secret) in self.config.secrets.iter().enumerate() {
            let SecretForm::Env { variable } = &secret.form else { continue };
            let path = self.path(SECRETS).join(index.to_string());
            let value = std::fs::read_to_string(&path)
                .with_context(|| format!("read the container's copy of secret {:?}", secret.name))?;
            variables.push(EnvChange { name: variable.clone(), value: Some(value) });
        }
        Ok(variables)
    }

    /// Its copies of secrets, in the order of its configuration.
    pub fn secrets(&self) -> Result<Vec<Payload>> {
        let read = |(index, secret): (usize, &SecretUse)| -> Result<Payload> {
            let bytes = std::fs::read(self.path(SECRETS).join(index.to_string()));
            let context = || format!("read the container's copy of secret {:?}", secret.name);
            Payload::new(bytes.with_context(context)?).with_context(context)
        };
        self.config.secrets.iter().enumerate().map(read).collect()
    }

    /// The id of the image it was made from, if any.
    pub fn image_id(&self) -> Option<Digest> {
        match &self.config.root {
            RootSource::Image { id, .. } => Some(*id),
            RootSource::Directory(_) => None,
        }
    }

    /// The chain ids of the layers below it, lowest first.
    pub fn layers(&self) -> &[Digest] {
        match &self.config.root {
            RootSource::Image { layers, .. } => layers,
            RootSource::Directory(_) => &[],
        }
    }

    /// The ids of all images that it uses: the one it was made from, and those it mounts.
    pub fn images(&self) -> impl Iterator<Item = Digest> {
        self.image_id().into_iter().chain(self.config.mounted_images().map(|found| found.id))
    }

    /// The chain ids of all layers that it uses.
    pub fn used_layers(&self) -> impl Iterator<Item = &Digest> {
        self.config.used_layers()
    }

    /// Whether its records must survive a power loss.
    pub fn durability(&self) -> Durability {
        create::durability(&self.config)
    }

    /// Becomes its supervisor: takes the lock that means 'running', to be held until after the last
    /// state is written. None while another supervisor lives.
    pub fn take_alive(&self) -> io::Result<Option<AliveLock>> {
        AliveLock::try_acquire(&self.path("alive"))
    }

    /// Whether a supervisor holds the container's `alive` lock now.
    pub fn is_supervised(&self) -> Result<bool> {
        is_alive(&self.directory).with_context(|| format!("ask for the lock of container {}", self.config.id))
    }

    /// Reads the state again.
    pub fn refresh(&mut self) -> Result<()> {
        self.state = read_state(&self.directory).with_context(|| format!("container {}", self.config.id))?;
        Ok(())
    }

    /// Held by whoever has its processes stand still or go on, so that they and the record agree.
    pub fn pausing(&self) -> Result<FileLock> {
        FileLock::directory(&self.directory).with_context(|| format!("lock container {}", self.config.id))
    }

    /// Changes the state on disk under the container's lock, which the caller must not hold. Works
    /// on a full disk. `change` sees what was written last.
    pub fn update_state(&mut self, change: impl FnOnce(&mut State)) -> Result<()> {
        let context = || format!("record the state of container {}", self.config.id);
        let _lock = FileLock::exclusive(&self.path("lock")).with_context(context)?;
        let mut state: State = record::read(&self.path("state.json")).with_context(context)?;
        change(&mut state);
        write_state(&self.directory, &state, self.durability()).with_context(context)?;
        self.state = state;
        Ok(())
    }
}

/// Whether a supervisor holds the container's `alive` lock.
fn is_alive(directory: &Path) -> io::Result<bool> {
    AliveLock::is_held(&directory.join("alive"))
}

/// Whether a container's config can be used.
pub(super) fn has_config(store: &Store, id: &ContainerId) -> bool {
    read_config(&store.containers().directory(id), id).is_ok()
}

/// The alive lock of a container that nobody supervises.
pub(super) fn stopped(store: &Store, id: &ContainerId) -> io::Result<Option<AliveLock>> {
    AliveLock::try_acquire(&store.containers().directory(id).join("alive"))
}

/// Replaces a state that is lost. The caller holds the container's lock.
pub(super) fn write_lost_state(store: &Store, id: &ContainerId) -> io::Result<()> {
    let error = "its state record was lost".to_owned();
    let state = State { error, ..State::created().crashed() };
    write_state(&store.containers().directory(id), &state, Durability::Durable)
}

fn read_config(directory: &Path, id: &ContainerId) -> Result<ContainerConfig, RecordError> {
    let config: ContainerConfig = record::read(&directory.join("config.json"))?;
    if config.id != *id {
        let why = format!("it describes container {}", config.id);
        return Err(RecordError::Damaged { file: "config.json".to_owned(), why });
    }
    Ok(config)
}

/// The state, with a supervisor that died counted as an exit.
fn read_state(directory: &Path) -> Result<State, RecordError> {
    let path = directory.join("state.json");
    let read_error = |error| RecordError::Read { file: "alive".to_owned(), error };
    let state: State = record::read(&path)?;
    let lives =
        || -> Result<bool, RecordError> { Ok(is_alive(directory).map_err(read_error)? && state.is_of_this_boot()) };
    if !matches!(state.status, Status::Running | Status::Restarting) || state.status == Status::Running && lives()? {
        return Ok(state);
    }
    // It may have recorded its exit and let go of the lock since we read.
    let state: State = record::read(&path)?;
    let state = if state.status == Status::Running { state.crashed() } else { state };
    let is_kept = || AliveLock::is_held(&directory.join(keeping::LOCK)).map_err(read_error);
    let status = match state.status {
        Status::Restarting if !is_kept()? => Status::Exited,
        // Its keeper is about to say so.
        Status::Exited if state.finished_at.is_none() && !state.stopped_by_user && is_kept()? => Status::Restarting,
        status => status,
    };
    Ok(State { status, ..state })
}

fn write_state(directory: &Path, state: &State, durability: Durability) -> io::Result<()> {
    fs::exchange(&directory.join("state.json"), &directory.join("state.spare"), &state.to_record()?, durability)
}
