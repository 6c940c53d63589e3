//! Image names: `images/HEX.json`, HEX being the SHA-256 of the canonical name, says which manifest
//! and config (whose digest is the image's id) the name means. An image exists while a name, or a
//! mark in place of one, refers to it.

mod cache;
mod content;
mod remove;
mod summary;
#[cfg(test)]
mod tests;
mod untagged;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use cache::ImageList;
pub use content::ImageLayer;
pub use remove::{Removal, RemoveError, Removed, Remover};
pub use summary::{Summaries, Summary};

use super::record::{self, Quarantined, RecordError};
use super::{Store, fs, gc};
use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;

/// How many candidates an ambiguity names.
const CANDIDATES_SHOWN: usize = 10;

/// Records of this size or more are read the slow way.
const RECORD_USUAL: usize = 8 << 10;

/// The images of a store.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    store: &'a Store,
}

/// One name on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    pub name: ImageRef,
    /// The digest of the platform's manifest.
    pub manifest: Digest,
    /// The digest of the image's config: its id.
    pub config: Digest,
    /// When the name was given.
    pub tagged: Timestamp,
}

impl NameRecord {
    /// The digits that name the record's file.
    pub(super) fn file_digest(&self) -> Digest {
        file_digest(&self.name)
    }
}

/// An image with all its names, which may be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of its config.
    pub id: Digest,
    /// The manifest that was named last.
    pub manifest: Digest,
    /// `repo:tag` names, sorted.
    pub tags: Vec<ImageRef>,
    /// `repo@sha256:...` names, sorted.
    pub digests: Vec<ImageRef>,
    /// When it was named last.
    pub tagged: Timestamp,
}

/// Why a text names no image. The texts are docker's.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("No such image: {0}")]
    NotFound(String),
    #[error("multiple IDs found with provided prefix: {prefix} ({})", shown(candidates))]
    Ambiguous {
        prefix: String,
        /// Sorted.
        candidates: Vec<Digest>,
    },
    #[error("the record of image name {name} cannot be read: {why}: pull the image again")]
    Damaged { name: String, why: String },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

fn shown(candidates: &[Digest]) -> String {
    let mut ids: Vec<String> = candidates.iter().take(CANDIDATES_SHOWN).map(Digest::short).collect();
    ids.extend((candidates.len() > CANDIDATES_SHOWN).then(|| "...".to_owned()));
    ids.join(", ")
}

impl Store {
    /// The store's images.
    pub fn images(&self) -> Images<'_> {
        Images { store: self }
    }
}

impl Images<'_> {
    /// Makes `name` mean an image, whatever it meant before: that image stays, if need be untagged.
    /// The image's manifest and config are in the store.
    pub fn tag(&self, name: &ImageRef, manifest: Digest, config: Digest) -> Result<()> {
        let context = || format!("record image name {name}");
        // A damaged record is no obstacle: it is replaced.
        let former = || self.by_name(name).ok().flatten().filter(|former| former.config != config);
        // A collection that is about to delete these blobs is waited for; then they must be here.
        let mut lock = gc::shared(self.store).with_context(context)?;
        if former().is_some() {
            drop(lock);
            lock = gc::exclusive(self.store).with_context(context)?;
        }
        self.require(&[manifest, config]).with_context(context)?;
        if let Some(former) = former() {
            self.keep_former(&former).with_context(context)?;
        }
        self.write(&NameRecord { name: name.clone(), manifest, config, tagged: Timestamp::now() })?;
        self.drop_mark(config);
        drop(lock);
        Ok(())
    }

    /// An error that names the first of the blobs that is not here.
    fn require(&self, blobs: &[Digest]) -> Result<()> {
        match blobs.iter().find(|digest| !self.store.blobs().contains(**digest)) {
            None => Ok(()),
            Some(missing) => bail!("blob {missing} is missing from the store"),
        }
    }

    fn write(&self, record: &NameRecord) -> Result<()> {
        let context = || format!("record image name {}", record.name);
        let bytes = serde_json::to_vec(record).with_context(context)?;
        fs::write_atomic(&self.path(&record.name), &bytes).with_context(context)
    }

    /// Removes a name; false when it was absent. Needs no space. What it meant stays until
    /// [`gc::collect`].
    pub fn untag(&self, name: &ImageRef) -> Result<bool> {
        let context = || format!("remove image name {name}");
        let path = self.path(name);
        let removed = fs::remove_if_present(&path).with_context(context)?;
        if removed {
            fs::sync_parent(&path).with_context(context)?;
        }
        Ok(removed)
    }

    /// All images, sorted by id, and the name records that cannot be read.
    pub fn list(&self) -> Result<(Vec<Image>, Vec<Quarantined>)> {
        let (names, damaged) = self.names()?;
        Ok((group(names), damaged))
    }

    /// All names on record, marks of untagged images too, in the order of their files, and those
    /// that cannot be read.
    pub fn names(&self) -> Result<(Vec<NameRecord>, Vec<Quarantined>)> {
        let (mut names, mut damaged) = (Vec::new(), Vec::new());
        let directory = self.store.path("images");
        let context = || format!("list {}", directory.display());
        let open = File::open(&directory).with_context(context)?;
        let mut buffer = vec![0; RECORD_USUAL];
        for entry in std::fs::read_dir(&directory).with_context(context)? {
            let Some(file) = record_file(entry.with_context(context)?.file_name()) else { continue };
            match self.read_one(open.as_fd(), &file, &mut buffer)? {
                Some(Ok(record)) => names.push(record),
                Some(Err(bad)) => damaged.push(bad),
                None => {}
            }
        }
        Ok((names, damaged))
    }

    /// Reads a record below the open directory of records, quickly if it is as usual; None if it is gone.
    fn read_one(
        &self,
        directory: BorrowedFd<'_>,
        file: &str,
        buffer: &mut [u8],
    ) -> Result<Option<Result<NameRecord, Quarantined>>> {
        let quick = record::read_quickly(directory, file, buffer).filter(|found| is_record_of(found, file));
        match quick.map_or_else(|| self.read(file), Ok) {
            Ok(record) => Ok(Some(Ok(record))),
            Err(RecordError::Missing { .. }) => Ok(None),
            Err(RecordError::Read { error, .. }) => Err(error).with_context(|| format!("read {file}")),
            Err(error) => Ok(Some(Err(Quarantined { id: file.to_owned(), why: error.to_string() }))),
        }
    }

    /// The names that can be read, marks too, in no order: for who types them. What cannot be read is
    /// left out.
    pub fn peek_names(&self) -> Vec<NameRecord> {
        let Ok(entries) = std::fs::read_dir(self.store.path("images")) else { return Vec::new() };
        let files = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        files.filter(|file| file.ends_with(".json")).filter_map(|file| self.read(&file).ok()).collect()
    }

    /// Finds an image with all its names: full id, exact reference, unique id prefix, in this order.
    pub fn find(&self, text: &str) -> Result<Image, LookupError> {
        let id = self.resolve(text)?.config;
        let image = self.list()?.0.into_iter().find(|image| image.id == id);
        image.ok_or_else(|| not_found(text))
    }

    /// Like [`Self::find`] with one record, which for an exact reference costs one read.
    pub fn resolve(&self, text: &str) -> Result<NameRecord, LookupError> {
        match self.resolve_plainly(text) {
            Err(error @ LookupError::NotFound(_)) => self.by_other_meaning(text)?.ok_or(error),
            found => found,
        }
    }

    /// The same where a short name is one of the default registry and nothing else.
    pub fn resolve_plainly(&self, text: &str) -> Result<NameRecord, LookupError> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if let Ok(id) = Digest::from_hex(hex) {
            return self.names()?.0.into_iter().find(|record| record.config == id).ok_or_else(|| not_found(text));
        }
        if let Ok(reference) = text.parse::<ImageRef>()
            && !untagged::is_mark(&reference)
            && let Some(record) = self.by_name(&reference)?
        {
            return Ok(record);
        }
        self.by_prefix(text, hex)
    }

    /// The record of exactly this name. With a tag and a digest the digest decides.
    pub fn by_name(&self, reference: &ImageRef) -> Result<Option<NameRecord>, LookupError> {
        let name = reference.digest().map_or_else(|| reference.clone(), |digest| reference.at_digest(digest));
        match self.read(&file_name(&name)) {
            Ok(record) => Ok(Some(record)),
            Err(RecordError::Missing { .. }) => Ok(None),
            Err(error @ RecordError::Read { .. }) => Err(LookupError::Other(error.into())),
            Err(error) => Err(LookupError::Damaged { name: name.familiar(), why: error.to_string() }),
        }
    }

    /// The image that is here under the reference `text`, or under what else it means.
    pub fn by_typed_name(&self, text: &str) -> Result<Option<NameRecord>, LookupError> {
        let Ok(reference) = text.parse::<ImageRef>() else { return Ok(None) };
        match self.by_name(&reference)?.filter(|record| !record.is_untagged()) {
            None => self.by_other_meaning(text),
            found => Ok(found),
        }
    }

    /// The image that is here under what else a short name means.
    fn by_other_meaning(&self, text: &str) -> Result<Option<NameRecord>, LookupError> {
        for reference in ImageRef::other_meanings(text) {
            if let Some(record) = self.by_name(&reference)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn by_prefix(&self, text: &str, hex: &str) -> Result<NameRecord, LookupError> {
        if hex.is_empty() || !hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return Err(not_found(text));
        }
        let mut records = self.names()?.0;
        records.retain(|record| record.config.hex().starts_with(hex));
        let mut candidates: Vec<Digest> = records.iter().map(|record| record.config).collect();
        candidates.sort_unstable();
        candidates.dedup();
        if candidates.len() > 1 {
            return Err(LookupError::Ambiguous { prefix: text.to_owned(), candidates });
        }
        records.into_iter().next().ok_or_else(|| not_found(text))
    }

    fn read(&self, file: &str) -> Result<NameRecord, RecordError> {
        let record: NameRecord = record::read(&self.store.path("images").join(file))?;
        if !is_record_of(&record, file) {
            let why = format!("it describes {}", record.name);
            return Err(RecordError::Damaged { file: file.to_owned(), why });
        }
        Ok(record)
    }

    /// Where the records of an image's names are, and its mark if it has one.
    pub(super) fn record_paths(&self, image: &Image) -> Result<Vec<PathBuf>> {
        let mark = untagged::mark(image.id)?;
        Ok(image.tags.iter().chain(&image.digests).chain([&mark]).map(|name| self.path(name)).collect())
    }

    fn path(&self, name: &ImageRef) -> PathBuf {
        self.store.path("images").join(file_name(name))
    }
}

/// The name of a file that should be a record.
fn record_file(name: OsString) -> Option<String> {
    name.into_string().ok().filter(|name| name.ends_with(".json") && !name.starts_with('.'))
}

fn file_name(name: &ImageRef) -> String {
    format!("{}.json", file_digest(name).hex())
}

fn file_digest(name: &ImageRef) -> Digest {
    Digest::of(name.to_string().as_bytes())
}

fn is_record_of(record: &NameRecord, file: &str) -> bool {
    file_name(&record.name) == file
}

/// Docker shows the reference it would have taken the text for.
fn not_found(text: &str) -> LookupError {
    LookupError::NotFound(text.parse::<ImageRef>().map_or_else(|_| text.to_owned(), |reference| reference.familiar()))
}

fn group(names: Vec<NameRecord>) -> Vec<Image> {
    let mut images: BTreeMap<Digest, Image> = BTreeMap::new();
    for NameRecord { name, manifest, config, tagged } in names {
        let image = images.entry(config).or_insert_with(|| Image {
            id: config,
            manifest,
            tags: Vec::new(),
            digests: Vec::new(),
            tagged,
        });
        if tagged > image.tagged {
            (image.manifest, image.tagged) = (manifest, tagged);
        }
        if untagged::is_mark(&name) {
            continue;
        }
        if name.digest().is_some() { image.digests.push(name) } else { image.tags.push(name) }
    }
    let mut images: Vec<Image> = images.into_values().collect();
    for image in &mut images {
        image.tags.sort_unstable();
        image.digests.sort_unstable();
    }
    images
}
