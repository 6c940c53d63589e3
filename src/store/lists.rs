//! Manifest lists made here (`manifest create`): `lists/HEX.json` by the digest of the list's name.
//!
//! An entry is a descriptor. Its manifest is in the store (then garbage collection keeps it and its
//! blobs), or at a registry, which the list remembers.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::lock::FileLock;
use super::record::{self, Quarantined, RecordError};
use super::{Store, fs, gc};
use crate::spec::digest::Digest;
use crate::spec::image::Index;
use crate::spec::reference::ImageRef;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A manifest list being made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct List {
    pub name: ImageRef,
    /// As it will be pushed.
    pub index: Index,
    /// Where manifests that are not in the store can be had: `REPOSITORY@DIGEST`.
    #[serde(default)]
    pub sources: BTreeMap<Digest, ImageRef>,
}

impl List {
    /// An empty list.
    pub fn new(name: ImageRef) -> Self {
        let index = Index {
            schema_version: 2,
            media_type: Some(OCI_INDEX.to_owned()),
            manifests: Vec::new(),
            rest: serde_json::Map::new(),
        };
        Self { name, index, sources: BTreeMap::new() }
    }
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("No such manifest: {0}")]
    NotFound(String),
    #[error("refusing to amend an existing manifest list with no --amend flag: {0}")]
    Exists(String),
    #[error("the record of manifest list {name} cannot be read: {why}: make it again")]
    Damaged { name: String, why: String },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// The lists of a store.
#[derive(Clone, Copy, Debug)]
pub struct Lists<'a> {
    store: &'a Store,
}

impl Store {
    /// The manifest lists made here.
    pub fn lists(&self) -> Lists<'_> {
        Lists { store: self }
    }
}

impl Lists<'_> {
    /// The list of this name.
    pub fn get(&self, name: &ImageRef) -> Result<List, ListError> {
        let unusable = |why| ListError::Damaged { name: name.familiar(), why };
        match record::read::<List>(&self.path(name)) {
            Ok(list) if list.name == *name => Ok(list),
            Ok(list) => Err(unusable(format!("it describes {}", list.name))),
            Err(RecordError::Missing { .. }) => Err(ListError::NotFound(name.familiar())),
            Err(RecordError::Damaged { why, .. }) => Err(unusable(why)),
            Err(error) => Err(ListError::Other(error.into())),
        }
    }

    /// Makes a list that is not there yet.
    pub fn create(&self, list: &List) -> Result<(), ListError> {
        let _lock = self.lock()?;
        match self.get(&list.name) {
            // A damaged one is what is made again.
            Err(ListError::NotFound(_) | ListError::Damaged { .. }) => Ok(self.write(list)?),
            Ok(_) => Err(ListError::Exists(list.name.familiar())),
            Err(error) => Err(error),
        }
    }

    /// Changes a list; nobody else changes any meanwhile.
    pub fn change(
        &self,
        name: &ImageRef,
        change: impl FnOnce(&mut List) -> Result<(), ListError>,
    ) -> Result<List, ListError> {
        let _lock = self.lock()?;
        let mut list = self.get(name)?;
        change(&mut list)?;
        self.write(&list)?;
        Ok(list)
    }

    /// Removes a list, damaged ones too; false when there is none.
    pub fn remove(&self, name: &ImageRef) -> Result<bool> {
        let context = || format!("remove manifest list {name}");
        let path = self.path(name);
        let removed = fs::remove_if_present(&path).with_context(context)?;
        if removed {
            fs::sync_parent(&path).with_context(context)?;
        }
        Ok(removed)
    }

    /// All lists by name, and the records that cannot be read.
    pub fn list(&self) -> Result<(Vec<List>, Vec<Quarantined>)> {
        let (mut lists, mut damaged) = (Vec::new(), Vec::new());
        let entries = match std::fs::read_dir(self.store.path("lists")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((lists, damaged)),
            entries => entries.context("list manifest lists")?,
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') || !name.ends_with(".json") {
                continue;
            }
            match record::read::<List>(&path) {
                Ok(list) => lists.push(list),
                Err(RecordError::Missing { .. }) => {}
                Err(RecordError::Read { error, .. }) => return Err(error).with_context(|| format!("read {name}")),
                Err(error) => damaged.push(Quarantined { id: name, why: error.to_string() }),
            }
        }
        lists.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((lists, damaged))
    }

    /// What lists refer to in the store: manifests, configs and layers' blobs.
    pub(super) fn add_roots(&self, roots: &mut HashSet<Digest>) -> Result<Vec<Quarantined>> {
        let (lists, damaged) = self.list()?;
        for digest in lists.iter().flat_map(|list| &list.index.manifests).map(|entry| entry.digest) {
            roots.insert(digest);
            // One that is not here or no image has no blobs here either.
            if let Ok(manifest) = self.store.images().manifest(digest) {
                roots.insert(manifest.config.digest);
                roots.extend(manifest.layers.iter().map(|layer| layer.digest));
            }
        }
        Ok(damaged)
    }

    fn lock(&self) -> Result<FileLock> {
        let directory = self.store.path("lists");
        let lock = || -> io::Result<FileLock> {
            fs::create_private_dir(&directory)?;
            FileLock::exclusive(&directory.join("lock"))
        };
        lock().context("lock the manifest lists")
    }

    fn write(&self, list: &List) -> Result<()> {
        let context = || format!("record manifest list {}", list.name);
        // What is about to be referred to must not be collected under our hands.
        let _gc = gc::shared(self.store).with_context(context)?;
        fs::write_atomic(&self.path(&list.name), &serde_json::to_vec(list)?).with_context(context)
    }

    fn path(&self, name: &ImageRef) -> PathBuf {
        self.store.path("lists").join(format!("{}.json", Digest::of(name.to_string().as_bytes()).hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::image::Descriptor;
    use crate::store::testing::{self, TestStore, reference};

    fn entry(digest: Digest) -> Descriptor {
        Descriptor::new("application/vnd.oci.image.manifest.v1+json", digest, 1)
    }

    #[test]
    fn a_list_is_made_changed_and_removed() {
        let store = TestStore::new();
        let name = reference("multi:1");
        assert!(matches!(store.lists().get(&name), Err(ListError::NotFound(_))));
        store.lists().create(&List::new(name.clone())).unwrap();
        assert!(matches!(store.lists().create(&List::new(name.clone())), Err(ListError::Exists(_))));
        let add = |list: &mut List| {
            list.index.manifests.push(entry(Digest::of(b"m")));
            Ok(())
        };
        store.lists().change(&name, add).unwrap();
        let (lists, damaged) = store.lists().list().unwrap();
        assert_eq!((lists.len(), lists[0].index.manifests.len(), damaged.len()), (1, 1, 0));
        std::fs::write(store.lists().path(&name), "{").unwrap();
        assert!(matches!(store.lists().get(&name), Err(ListError::Damaged { .. })));
        assert_eq!(store.lists().list().unwrap().1.len(), 1);
        assert!(store.lists().remove(&name).unwrap() && !store.lists().remove(&name).unwrap());
    }

    #[test]
    fn what_a_list_names_is_not_collected() {
        let store = TestStore::new();
        let image = testing::image(&store, &["a:1"], &["base"]);
        store.lists().create(&List::new(reference("multi:1"))).unwrap();
        let add = |list: &mut List| {
            list.index.manifests.push(entry(image.manifest));
            Ok(())
        };
        store.lists().change(&reference("multi:1"), add).unwrap();
        store.images().untag(&reference("a:1")).unwrap();
        assert_eq!(gc::collect(&store).unwrap().blobs, []);
        assert!(store.lists().remove(&reference("multi:1")).unwrap());
        assert_eq!(gc::collect(&store).unwrap().blobs.len(), 3);
    }
}
