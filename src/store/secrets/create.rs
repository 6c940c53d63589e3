//! Making and replacing a secret.

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::{ID_LENGTH, LookupError, PAYLOAD, Payload, RECORD, Secrets, hex};
use crate::spec::event::{Happening, Subject};
use crate::spec::secret::{InvalidSecret, Secret, secret_name};
use crate::spec::text::printable;
use crate::store::fs::{self, Durability};
use crate::store::record::RecordError;
use crate::store::staging::Staging;

/// Why a secret was not made. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// podman's words.
    #[error("{}: secret name in use", printable(.0))]
    Exists(String),
    #[error(transparent)]
    Invalid(#[from] InvalidSecret),
    #[error("create secret {name:?}: {error}", name = printable(.name))]
    Io { name: String, error: io::Error },
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

impl Secrets<'_> {
    /// Makes a secret, on disk when this returns. `replace`: one of this name gives way to it, keeping
    /// the day it was made.
    pub fn create(
        &self,
        name: &str,
        payload: &Payload,
        labels: BTreeMap<String, String>,
        replace: bool,
    ) -> Result<Secret, CreateError> {
        secret_name(name)?;
        let io_error = |error| CreateError::Io { name: name.to_owned(), error };
        let directory = self.directory(&hex(name));
        // Known before anything is written; who comes first is decided by the rename.
        if !replace && fs::exists(&directory) {
            return Err(CreateError::Exists(name.to_owned()));
        }
        let now = format!("{:.9}", Timestamp::now());
        let mut secret = Secret {
            id: new_id().map_err(io_error)?,
            name: name.to_owned(),
            created: now.clone(),
            updated: now,
            labels,
        };
        match self.record(&hex(name)) {
            Ok(before) => secret.created = before.created,
            Err(RecordError::Read { error, .. }) => return Err(io_error(error)),
            // What is damaged is replaced too.
            Err(_) => {}
        }
        fs::create_private_dir(&self.store.path("secrets")).map_err(io_error)?;
        let staged = Staging::create(self.store).map_err(io_error)?;
        let write = |file: &str, bytes: &[u8]| fs::create_file(&staged.path().join(file), bytes, Durability::Durable);
        write(PAYLOAD, payload.as_bytes()).map_err(io_error)?;
        let record = serde_json::to_vec(&secret).map_err(|error| io_error(error.into()))?;
        write(RECORD, &record).map_err(io_error)?;
        fs::sync_dir(staged.path()).map_err(io_error)?;
        loop {
            let rename = |flags| renameat_with(CWD, staged.path(), CWD, &directory, flags);
            match rename(RenameFlags::NOREPLACE) {
                Ok(()) => break,
                Err(Errno::EXIST) if !replace => return Err(CreateError::Exists(name.to_owned())),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(io_error(error.into())),
            }
            // The old one takes the place in staging and is deleted there.
            match rename(RenameFlags::EXCHANGE) {
                Ok(()) => break,
                // Removed meanwhile.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(io_error(error.into())),
            }
        }
        fs::sync_dir(&self.store.path("secrets")).map_err(io_error)?;
        self.store.happened(Happening::new(Subject::Secret, "create", secret.id.as_str()).with("name", name));
        Ok(secret)
    }
}

fn new_id() -> io::Result<String> {
    let bytes: [u8; 13] = fs::random_bytes()?;
    let mut id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    id.truncate(ID_LENGTH);
    Ok(id)
}
