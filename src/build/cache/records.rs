//! The records of steps that were done.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DIRECTORY, Key};
use crate::build::step::Below;
use crate::build::step::worker::{Layer, Report};
use crate::spec::digest::Digest;
use crate::store::layers::chain_id;
use crate::store::lock::FileLock;
use crate::store::{Store, fs};

const RECORD_LIMIT: usize = 1 << 20;

/// What a step made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    pub key: Digest,
    /// `run`, `copy`, `add`, `workdir`.
    pub kind: String,
    /// The step as the display shows it.
    pub description: String,
    /// The chain id below.
    pub parent: Option<Digest>,
    /// None when nothing changed.
    pub layer: Option<Layer>,
    /// RFC 3339.
    pub created: String,
}

impl StepRecord {
    /// What must not be collected while it is used.
    pub fn digests(&self) -> Vec<Digest> {
        self.layer.iter().flat_map(|layer| [layer.chain_id, layer.blob]).collect()
    }

    /// What the step has come to.
    pub fn report(self, cached: bool) -> Report {
        Report { layer: self.layer, cached, created: Some(self.created), key: Some(self.key), ..Report::default() }
    }

    /// The same on top of these layers. Only a linked step has been done on others.
    pub fn on(mut self, below: &Below) -> Self {
        if let Some(layer) = &mut self.layer {
            layer.chain_id = chain_id(&below.diff_ids, layer.diff_id);
        }
        self
    }
}

/// The records of a store.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    store: &'a Store,
}

impl<'a> Records<'a> {
    /// Those of `store`.
    pub fn of(store: &'a Store) -> Self {
        Self { store }
    }

    /// What a step with this key made, wherever that is now. It counts as used.
    pub fn find(&self, key: Key) -> Option<StepRecord> {
        let record = self.read(key)?;
        // When it was used last decides what is pruned first, no more.
        if let Ok(file) = OpenOptions::new().write(true).open(self.path(key)) {
            let _ = file.set_modified(SystemTime::now());
        }
        Some(record)
    }

    /// The record as it is written; a damaged one is none.
    fn read(&self, key: Key) -> Option<StepRecord> {
        let bytes = fs::read_limited(&self.path(key), RECORD_LIMIT).ok()?;
        let record: StepRecord = serde_json::from_slice(&bytes).ok()?;
        (record.key == key.0).then_some(record)
    }

    /// Records what a step made. Its layer is in the store and leased.
    pub fn write(&self, record: &StepRecord) -> Result<()> {
        let write = || -> io::Result<()> {
            fs::create_private_dir(&self.directory("records"))?;
            // What is lost with the power is made again.
            fs::write_volatile(&self.path(Key(record.key)), &serde_json::to_vec(record)?)
        };
        write().context("record a step in the build cache")
    }

    /// A record for what was made just now.
    pub fn new_record(
        key: Key,
        kind: &str,
        description: &str,
        parent: Option<Digest>,
        layer: Option<Layer>,
    ) -> StepRecord {
        let created = Timestamp::now().to_string();
        StepRecord { key: key.0, kind: kind.to_owned(), description: description.to_owned(), parent, layer, created }
    }

    /// Waits for the right to do the step.
    pub fn lock(&self, key: Key) -> Result<FileLock> {
        let lock = || -> io::Result<FileLock> {
            let directory = self.directory("locks");
            fs::create_private_dir(&directory)?;
            FileLock::exclusive(&directory.join(key.hex()))
        };
        lock().context("lock a step of the build cache")
    }

    /// All that can be read, with when each was used last.
    pub fn list(&self) -> Result<Vec<(StepRecord, SystemTime)>> {
        let entries = match std::fs::read_dir(self.directory("records")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.context("list the build cache")?,
        };
        let mut records = Vec::new();
        for entry in entries {
            let entry = entry.context("list the build cache")?;
            let name = entry.file_name();
            let Some(hex) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            let Ok(digest) = Digest::from_hex(hex) else { continue };
            if let Some(record) = self.read(Key(digest)) {
                let used = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                records.push((record, used));
            }
        }
        records.sort_by(|(a, _), (b, _)| (&a.created, a.key).cmp(&(&b.created, b.key)));
        Ok(records)
    }

    /// Those of the keys that are there, each once.
    pub fn of_keys(&self, keys: &[Digest]) -> Vec<StepRecord> {
        let mut seen = HashSet::new();
        keys.iter().filter(|key| seen.insert(**key)).filter_map(|key| self.read(Key(*key))).collect()
    }

    /// Forgets a step.
    pub fn remove(&self, key: Key) -> Result<()> {
        fs::remove_if_present(&self.path(key)).context("remove a record of the build cache")?;
        // Somebody may be waiting for it: a lock file that is held stays.
        let lock = self.directory("locks").join(key.hex());
        if fs::exists(&lock)
            && let Ok(Some(_held)) = FileLock::try_exclusive(&lock)
        {
            let _ = fs::remove_if_present(&lock);
        }
        Ok(())
    }

    fn path(&self, key: Key) -> PathBuf {
        self.directory("records").join(format!("{}.json", key.hex()))
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.store.path(DIRECTORY).join(name)
    }
}
