//! Who requires a container (`--requires`): an empty file for each in its directory `required`, which says
//! something as long as that container is there.

use std::io;
use std::path::Path;

use super::Containers;
use crate::spec::config::ContainerId;
use crate::store::fs::{self, Durability};

const REQUIRED: &str = "required";

/// Notes that a container is required by another. The caller holds the lock of the first.
pub(super) fn mark(directory: &Path, by: &ContainerId, durability: Durability) -> io::Result<()> {
    let marks = directory.join(REQUIRED);
    match std::fs::create_dir(&marks) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::create_file(&marks.join(by.as_str()), b"", durability)?;
    if durability == Durability::Durable {
        fs::sync_dir(&marks)?;
        fs::sync_dir(directory)?;
    }
    Ok(())
}

impl Containers<'_> {
    /// The containers that require this one, and keep it from being removed.
    pub fn requiring(&self, id: &ContainerId) -> io::Result<Vec<ContainerId>> {
        let entries = match std::fs::read_dir(self.directory(id).join(REQUIRED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut requiring = Vec::new();
        for entry in entries {
            let by = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            requiring.extend(by.filter(|by| fs::exists(&self.directory(by))));
        }
        Ok(requiring)
    }
}
