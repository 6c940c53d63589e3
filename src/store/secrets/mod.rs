//! Secrets: a directory `secrets/HEX/` each, where HEX is the SHA-256 of the name, with what is known
//! about it (`secret.json`) and its bytes (`payload`), both for the user alone.
//!
//! A directory is made in `staging` and renamed into place, exchanged with another when it replaces
//! one, and renamed away to be removed: there is never half a secret, and no lock.

mod create;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::record::{self, Quarantined, RecordError};
use super::staging::Trash;
use super::{Store, fs};
use crate::spec::digest::Digest;
use crate::spec::event::{Happening, Subject};
use crate::spec::secret::{InvalidSecret, SIZE_LIMIT, Secret, secret_name};
use crate::spec::text::printable;

pub use create::CreateError;

const RECORD: &str = "secret.json";
const PAYLOAD: &str = "payload";

/// A secret's bytes, which no message shows.
#[derive(Clone)]
pub struct Payload(Vec<u8>);

impl Payload {
    /// Reads all there is, which must be something and not too much.
    pub fn read(from: impl Read) -> io::Result<Result<Self, InvalidSecret>> {
        let mut bytes = Vec::new();
        from.take(SIZE_LIMIT as u64).read_to_end(&mut bytes)?;
        Ok(Self::new(bytes))
    }

    /// Takes bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self, InvalidSecret> {
        if bytes.is_empty() || bytes.len() >= SIZE_LIMIT { Err(InvalidSecret::Size) } else { Ok(Self(bytes)) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// Why a text names no secret. podman's words.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("no secret with name or id {0:?}: no such secret")]
    NotFound(String),
    #[error("more than one result secret with prefix {prefix} ({})", candidates.join(", "))]
    Ambiguous {
        prefix: String,
        /// Names, sorted.
        candidates: Vec<String>,
    },
    #[error("secret {name:?} cannot be used: {why}; remove it and create it again")]
    Damaged { name: String, why: String },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// The secrets of a store.
#[derive(Clone, Copy, Debug)]
pub struct Secrets<'a> {
    store: &'a Store,
}

impl Store {
    /// The store's secrets.
    pub fn secrets(&self) -> Secrets<'_> {
        Secrets { store: self }
    }
}

impl Secrets<'_> {
    /// All secrets by name, and those whose records cannot be read (by their directory's name).
    pub fn list(&self) -> Result<(Vec<Secret>, Vec<Quarantined>)> {
        let (mut secrets, mut damaged) = (Vec::new(), Vec::new());
        let directory = self.store.path("secrets");
        let entries = match fs::digests_in(&directory) {
            // A store of an rbox that had no secrets.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries.with_context(|| format!("list {}", directory.display()))?,
        };
        for entry in entries {
            let hex = entry.hex();
            match self.record(&hex) {
                Ok(secret) => secrets.push(secret),
                // Removed while we looked, or damaged.
                Err(RecordError::Missing { .. }) if !fs::exists(&directory.join(&hex)) => {}
                Err(RecordError::Read { file, error }) => return Err(error).with_context(|| format!("read {file}")),
                Err(error) => damaged.push(Quarantined { id: hex, why: error.to_string() }),
            }
        }
        secrets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((secrets, damaged))
    }

    /// Finds a secret: name, full id, unique id prefix, in this order.
    pub fn find(&self, text: &str) -> Result<Secret, LookupError> {
        if secret_name(text).is_ok() {
            match self.record(&hex(text)) {
                Ok(secret) => return Ok(secret),
                Err(RecordError::Missing { .. }) if !fs::exists(&self.directory(&hex(text))) => {}
                Err(error) => return Err(LookupError::Damaged { name: printable(text), why: error.to_string() }),
            }
        }
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.is_empty() || !text.bytes().all(is_hex) {
            return Err(LookupError::NotFound(printable(text)));
        }
        let (mut secrets, _) = self.list()?;
        secrets.retain(|secret| secret.id.starts_with(text));
        match secrets.len() {
            0 => Err(LookupError::NotFound(printable(text))),
            1 => Ok(secrets.remove(0)),
            _ => {
                let candidates = secrets.into_iter().map(|secret| printable(&secret.name)).collect();
                Err(LookupError::Ambiguous { prefix: text.to_owned(), candidates })
            }
        }
    }

    /// A secret with its bytes. One that is replaced meanwhile is the old one or the new one.
    pub fn read(&self, text: &str) -> Result<(Secret, Payload), LookupError> {
        loop {
            let secret = self.find(text)?;
            let path = self.directory(&hex(&secret.name)).join(PAYLOAD);
            let read = std::fs::File::open(&path).and_then(Payload::read);
            // Its id says whether the bytes are those of the record.
            let now = self.record(&hex(&secret.name));
            if now.as_ref().is_ok_and(|now| now.id != secret.id) {
                continue;
            }
            let damaged = |why: String| LookupError::Damaged { name: printable(&secret.name), why };
            return match (read, now) {
                (Ok(payload), Ok(secret)) => {
                    Ok((secret, payload.map_err(|error| damaged(format!("its payload: {error}")))?))
                }
                (_, Err(RecordError::Missing { .. })) => Err(LookupError::NotFound(printable(text))),
                (Err(error), _) => Err(damaged(format!("its payload: {error}"))),
                (_, Err(error)) => Err(damaged(error.to_string())),
            };
        }
    }

    /// Removes a secret. Containers that have a copy keep it.
    pub fn remove(&self, secret: &Secret) -> Result<(), LookupError> {
        self.discard(&hex(&secret.name), &secret.name)?;
        self.store.happened(Happening::new(Subject::Secret, "remove", secret.id.as_str()).with("name", &secret.name));
        Ok(())
    }

    /// Removes one whose record cannot be read, by name.
    pub fn remove_damaged(&self, name: &str) -> Result<(), LookupError> {
        self.discard(&hex(name), name)
    }

    fn discard(&self, hex: &str, name: &str) -> Result<(), LookupError> {
        let directory = self.directory(hex);
        let trash = match Trash::take(self.store, &directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LookupError::NotFound(printable(name)));
            }
            trash => trash.with_context(|| format!("remove secret {:?}", printable(name)))?,
        };
        fs::sync_dir(&self.store.path("secrets")).with_context(|| format!("remove secret {:?}", printable(name)))?;
        // Its owner's own files: nothing of it needs the user namespace.
        let _cleanup = trash.delete().with_context(|| format!("delete secret {:?}", printable(name)))?;
        Ok(())
    }

    fn directory(&self, hex: &str) -> PathBuf {
        self.store.path("secrets").join(hex)
    }

    fn record(&self, of: &str) -> Result<Secret, RecordError> {
        let secret: Secret = record::read(&self.directory(of).join(RECORD))?;
        let is_id = secret.id.len() == ID_LENGTH && secret.id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex(&secret.name) != of || !is_id {
            let why = "it describes another secret".to_owned();
            return Err(RecordError::Damaged { file: format!("{of}/{RECORD}"), why });
        }
        Ok(secret)
    }
}

/// Digits of an id, as podman's.
const ID_LENGTH: usize = 25;

fn hex(name: &str) -> String {
    Digest::of(name.as_bytes()).hex()
}
