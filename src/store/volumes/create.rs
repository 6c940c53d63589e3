//! Making a volume.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;

use super::{CreateError, DATA, LOCK, LookupError, RECORD, Volumes};
use crate::spec::event::Happening;
use crate::spec::volume::{NewVolume, Volume};
use crate::store::fs::{self, Durability};
use crate::store::staging::Staging;

/// Gives the directory of a new volume's files to somebody, in the user namespace.
pub type Owner<'a> = &'a dyn Fn(&Path) -> anyhow::Result<()>;

/// What became of a request.
#[derive(Debug)]
pub enum Created {
    New(Volume),
    /// There was one that is as good.
    Existing(Volume),
}

impl Created {
    /// The volume.
    pub fn volume(self) -> Volume {
        match self {
            Self::New(volume) | Self::Existing(volume) => volume,
        }
    }
}

impl Volumes<'_> {
    /// Makes a volume, or finds the one of that name if its options are the same or none were asked for. `owner`
    /// is called before anybody sees it.
    pub fn create(
        &self,
        new: NewVolume,
        durability: Durability,
        owner: Option<Owner<'_>>,
    ) -> Result<Created, CreateError> {
        new.check()?;
        let (name, wanted) = (new.name.clone(), new.options.clone());
        let record = new.into_record(Timestamp::now());
        loop {
            match self.get(&name) {
                Ok(volume) if wanted.is_empty() || volume.options == wanted => return Ok(Created::Existing(volume)),
                Ok(_) => return Err(CreateError::Conflict(name)),
                Err(LookupError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let made = self.make(&record, durability, owner).with_context(|| format!("create volume {name}"))?;
            if made {
                self.store.happened(Happening::of_volume(&name, "create"));
                return Ok(Created::New(record));
            }
            // Another was faster: look what that one is.
        }
    }

    /// False when there is one of that name by now.
    fn make(&self, record: &Volume, durability: Durability, owner: Option<Owner<'_>>) -> anyhow::Result<bool> {
        let staged = Staging::create(self.store)?;
        let directory = staged.path();
        fs::create_file(&directory.join(RECORD), &serde_json::to_vec(record)?, durability)?;
        // It exists from the start so that removing needs no space.
        fs::create_file(&directory.join(LOCK), b"", Durability::Volatile)?;
        make_data(directory)?;
        if let Some(give) = owner {
            give(&directory.join(DATA))?;
        }
        if durability == Durability::Durable {
            fs::sync_dir(directory)?;
        }
        let volumes = self.store.path("volumes");
        fs::create_private_dir(&volumes)?;
        // A directory takes the place of an empty one only, and no volume is empty.
        match std::fs::rename(directory, volumes.join(&record.name)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                return Ok(false);
            }
            renamed => renamed?,
        }
        if durability == Durability::Durable {
            fs::sync_dir(&volumes)?;
        }
        Ok(true)
    }
}

/// Makes the directory of a volume's files, as docker has it: its owner's, and open to others.
pub(super) fn make_data(directory: &Path) -> io::Result<()> {
    let data = directory.join(DATA);
    std::fs::create_dir(&data)?;
    std::fs::set_permissions(&data, Permissions::from_mode(0o755))
}
