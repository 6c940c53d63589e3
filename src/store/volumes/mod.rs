//! Volumes: `volumes/NAME/` with `volume.json`, `_data`, `lock`, and `filled` once an image was looked into
//! for what the volume begins with.
//!
//! A volume is made in `staging` and renamed into place, and renamed into the trash to be removed, so a half one
//! is never visible. Which containers use it is what their configurations say: a container is made before the
//! volumes it names, so nothing can be removed between.

mod create;
mod error;
mod fill;
mod parting;
mod remove;
#[cfg(test)]
mod tests;
mod users;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};

pub use create::{Created, Owner};
pub use error::{CreateError, LookupError, RemoveError};
pub use fill::Filled;
pub use parting::Parting;
pub use users::Users;

use super::Store;
use super::lock::FileLock;
use super::record::{self, Quarantined, RecordError};
use crate::spec::text::printable;
use crate::spec::volume::{Volume, check_volume_name};

const RECORD: &str = "volume.json";
const DATA: &str = "_data";
const LOCK: &str = "lock";

/// Room for a usual record; larger ones are read the slow way.
const USUAL: usize = 16 << 10;

/// The volumes of a store.
#[derive(Clone, Copy, Debug)]
pub struct Volumes<'a> {
    store: &'a Store,
}

impl Store {
    /// The store's volumes.
    pub fn volumes(&self) -> Volumes<'_> {
        Volumes { store: self }
    }
}

impl Volumes<'_> {
    /// All volumes by name, and those whose records cannot be read. Takes no lock.
    pub fn list(&self) -> Result<(Vec<Volume>, Vec<Quarantined>)> {
        let (mut volumes, mut damaged) = (Vec::new(), Vec::new());
        let names = self.names()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top: Option<OwnedFd> = rustix::fs::open(self.store.path("volumes"), flags, Mode::empty()).ok();
        let mut buffer = vec![0; USUAL];
        for name in names {
            let quick = top.as_ref().and_then(|top| {
                let volume: Volume = record::read_quickly(top.as_fd(), &format!("{name}/{RECORD}"), &mut buffer)?;
                flaw(&volume, &name).is_none().then_some(volume)
            });
            match quick.map_or_else(|| self.read(&name), Ok) {
                Ok(volume) => volumes.push(volume),
                // Removed while we looked.
                Err(_) if !self.exists(&name) => {}
                Err(RecordError::Read { file, error }) => {
                    return Err(error).with_context(|| format!("read {file} of volume {name}"));
                }
                Err(error) => damaged.push(Quarantined { id: name, why: error.to_string() }),
            }
        }
        Ok((volumes, damaged))
    }

    /// The names of all volumes, readable or not, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        let path = self.store.path("volumes");
        let entries = match std::fs::read_dir(&path) {
            // A store of an rbox that had no volumes.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries,
        };
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in entries? {
                names.extend(entry?.file_name().into_string().ok().filter(|name| check_volume_name(name).is_ok()));
            }
            names.sort_unstable();
            Ok(names)
        };
        list().with_context(|| format!("list {}", path.display()))
    }

    /// The volume of this name.
    pub fn get(&self, name: &str) -> Result<Volume, LookupError> {
        let missing = || LookupError::NotFound(printable(name));
        if check_volume_name(name).is_err() {
            return Err(missing());
        }
        match self.read(name) {
            Ok(volume) => Ok(volume),
            Err(_) if !self.exists(name) => Err(missing()),
            Err(error @ RecordError::Read { .. }) => {
                Err(LookupError::Other(anyhow::Error::new(error).context(format!("volume {name}"))))
            }
            Err(error) => Err(LookupError::Damaged { name: name.to_owned(), why: error.to_string() }),
        }
    }

    /// Whether there is a volume of this name, readable or not.
    pub fn exists(&self, name: &str) -> bool {
        check_volume_name(name).is_ok() && super::fs::exists(&self.directory(name))
    }

    /// Where a volume lies.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.store.path("volumes").join(name)
    }

    /// Where its files are, unless it has another backing than the store.
    pub fn data_path(&self, name: &str) -> PathBuf {
        self.directory(name).join(DATA)
    }

    /// Waits for the lock of a volume. An error of kind NotFound: it is gone.
    pub fn lock(&self, name: &str) -> io::Result<FileLock> {
        FileLock::exclusive(&self.directory(name).join(LOCK))
    }

    fn read(&self, name: &str) -> Result<Volume, RecordError> {
        let volume: Volume = record::read(&self.record_path(name))?;
        match flaw(&volume, name) {
            None => Ok(volume),
            Some(why) => Err(RecordError::Damaged { file: RECORD.to_owned(), why }),
        }
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.directory(name).join(RECORD)
    }

    /// Puts a record in the place of one that cannot be read, which is moved to `aside`; the files stay.
    pub(super) fn reset_record(&self, name: &str, aside: &Path) -> Result<()> {
        let context = || format!("write the record of volume {name} anew");
        let _lock = self.lock(name).with_context(context)?;
        let path = self.record_path(name);
        if super::fs::exists(&path) {
            std::fs::rename(&path, aside).with_context(context)?;
        }
        let record = crate::spec::volume::NewVolume::named(name).into_record(jiff::Timestamp::now());
        super::fs::write_atomic(&path, &serde_json::to_vec(&record)?).with_context(context)
    }

    /// Volumes whose directory of files is missing.
    pub(super) fn without_data(&self) -> Result<Vec<String>> {
        let mut names = self.names()?;
        names.retain(|name| !self.data_path(name).is_dir() && self.exists(name));
        Ok(names)
    }

    /// Makes the directory of files of such a volume.
    pub(super) fn make_data(&self, name: &str) -> Result<()> {
        let _lock = self.lock(name).with_context(|| format!("lock volume {name}"))?;
        create::make_data(&self.directory(name)).with_context(|| format!("make volume {name} anew"))
    }
}

/// What is wrong with a record that parses, if anything.
fn flaw(volume: &Volume, name: &str) -> Option<String> {
    if volume.name != name {
        return Some(format!("it describes volume {}", printable(&volume.name)));
    }
    volume.backing().err().map(|error| error.to_string())
}
