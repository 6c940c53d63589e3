//! Extracted layers: `layers/HEX/{diff/,layer.json}`, HEX being the chain id. A cache of the blobs:
//! a visible layer is complete and on disk, and a lost one can be extracted again.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::gc;
use super::record::{self, RecordError};
use super::staging::{Cleanup, Staging, Trash};
use super::{Store, fs};
use crate::spec::digest::Digest;

/// The layers of a store.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    store: &'a Store,
}

/// `layer.json`: what a layer is and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Names this layer on top of those below it.
    pub chain_id: Digest,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Digest of the compressed blob.
    pub blob: Digest,
    /// Bytes of file content.
    pub size: u64,
    /// Entries of the tar.
    pub entries: u64,
}

impl Store {
    /// The store's layers.
    pub fn layers(&self) -> Layers<'_> {
        Layers { store: self }
    }
}

/// The chain ids of a stack of layers, lowest first (OCI image-spec, config.md#layer-chainid).
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut below: Option<Digest> = None;
    let chain = |diff_id: &Digest| {
        let chain_id = match below {
            None => *diff_id,
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        };
        below = Some(chain_id);
        chain_id
    };
    diff_ids.iter().map(chain).collect()
}

/// The chain id of a layer on top of those with the diff ids `below`.
pub fn chain_id(below: &[Digest], diff_id: Digest) -> Digest {
    let mut diff_ids = below.to_vec();
    diff_ids.push(diff_id);
    chain_ids(&diff_ids).pop().unwrap_or(diff_id)
}

impl Layers<'_> {
    /// The directory that overlayfs uses as a lower one.
    pub fn diff_path(&self, chain_id: Digest) -> PathBuf {
        self.path(chain_id).join("diff")
    }

    /// Whether the layer is here, record and tree; a damaged one is not.
    pub fn contains(&self, chain_id: Digest) -> bool {
        self.get(chain_id).is_ok() && fs::exists(&self.diff_path(chain_id))
    }

    /// The layer's record.
    pub fn get(&self, chain_id: Digest) -> Result<LayerRecord, RecordError> {
        let record: LayerRecord = record::read(&self.path(chain_id).join("layer.json"))?;
        if record.chain_id != chain_id {
            let why = format!("it describes {}", record.chain_id);
            return Err(RecordError::Damaged { file: "layer.json".to_owned(), why });
        }
        Ok(record)
    }

    /// The chain ids of all layer directories, whole or not, sorted.
    pub fn list(&self) -> io::Result<Vec<Digest>> {
        fs::digests_in(&self.store.path("layers"))
    }

    /// Makes a layer of `staged`, whose child `diff` is its tree: everything is on disk before it
    /// is visible. If another process was faster, that is success. A damaged layer is replaced,
    /// unless a running container uses it.
    pub fn commit(&self, staged: Staging, record: &LayerRecord) -> Result<()> {
        let context = || format!("store layer {}", record.chain_id);
        let bytes = serde_json::to_vec(record).with_context(context)?;
        let path = staged.path().join("layer.json");
        fs::create_file(&path, &bytes, fs::Durability::Volatile).with_context(context)?;
        // One call for the tree and the record: what follows only names what is on disk.
        fs::sync_file_system(staged.path()).with_context(context)?;
        if !self.rename_in(staged.path(), record.chain_id).with_context(context)? {
            self.replace_damaged(staged.path(), record.chain_id).with_context(context)?;
        }
        Ok(())
    }

    /// Takes a layer out of the store; its files are in the returned trash.
    pub(super) fn discard(&self, chain_id: Digest) -> io::Result<Trash> {
        Trash::take(self.store, &self.path(chain_id))
    }

    /// Where a layer lies, or would: its tree and its record.
    pub(super) fn path(&self, chain_id: Digest) -> PathBuf {
        self.store.path("layers").join(chain_id.hex())
    }

    /// False when a damaged layer is in the way.
    fn rename_in(&self, staged: &Path, chain_id: Digest) -> io::Result<bool> {
        match fs::rename_durable(staged, &self.path(chain_id)) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                Ok(self.contains(chain_id))
            }
            Err(error) => Err(error),
        }
    }

    fn replace_damaged(&self, staged: &Path, chain_id: Digest) -> Result<()> {
        let _gc = gc::exclusive(self.store)?;
        // Another process may have mended it since.
        if self.rename_in(staged, chain_id)? {
            return Ok(());
        }
        if let Some(id) = self.running_user(chain_id)? {
            bail!("the damaged layer is in use by running container {id}: stop it and try again");
        }
        let trash = self.discard(chain_id)?;
        fs::rename_durable(staged, &self.path(chain_id))?;
        // Files of mapped ids stay in the trash until a sweep in the user namespace.
        let (Cleanup::Complete | Cleanup::NeedsUserNamespace) = trash.delete()?;
        Ok(())
    }

    fn running_user(&self, chain_id: Digest) -> Result<Option<String>> {
        let (containers, _) = self.store.containers().list_all()?;
        let user = containers.iter().find(|container| container.is_running() && container.layers().contains(&chain_id));
        Ok(user.map(|container| container.id().short().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::staging;
    use crate::store::testing::{self, TestStore};

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    #[test]
    fn chain_ids_are_those_of_the_specification() {
        let (a, b) = (digest("a"), digest("b"));
        let chains = chain_ids(&[a, b, a]);
        assert_eq!(chains[0], a);
        assert_eq!(chains[1], Digest::of(format!("{a} {b}").as_bytes()));
        assert_eq!(chains[2], Digest::of(format!("{} {a}", chains[1]).as_bytes()));
        assert!(chain_ids(&[]).is_empty());
    }

    #[test]
    fn a_committed_layer_is_whole_and_the_slower_maker_succeeds_too() {
        let store = TestStore::new();
        let (chain, diff, blob) = (digest("chain"), digest("diff"), digest("blob"));
        assert!(!store.layers().contains(chain));
        testing::layer(&store, chain, diff, blob);
        testing::layer(&store, chain, diff, blob);
        assert!(store.layers().contains(chain));
        assert!(store.layers().diff_path(chain).join("file").exists());
        assert_eq!(store.layers().get(chain).unwrap().diff_id, diff);
        assert_eq!(store.layers().list().unwrap(), [chain]);
        assert_eq!(staging::count_abandoned(&store).unwrap(), 0);
    }

    #[test]
    fn a_damaged_layer_is_replaced() {
        let store = TestStore::new();
        let (chain, diff, blob) = (digest("chain"), digest("diff"), digest("blob"));
        testing::layer(&store, chain, diff, blob);
        std::fs::remove_file(store.layers().diff_path(chain).join("file")).unwrap();
        std::fs::write(store.path("layers").join(chain.hex()).join("layer.json"), "{").unwrap();
        assert!(matches!(store.layers().get(chain), Err(RecordError::Damaged { .. })));
        testing::layer(&store, chain, diff, blob);
        assert!(store.layers().get(chain).is_ok());
        assert!(store.layers().diff_path(chain).join("file").exists());
    }

    #[test]
    fn a_layer_that_was_never_renamed_is_invisible() {
        let store = TestStore::new();
        std::fs::create_dir_all(store.path("staging/77/diff")).unwrap();
        std::fs::write(store.path("staging/77/layer.json"), "{}").unwrap();
        assert!(store.layers().list().unwrap().is_empty());
    }
}
