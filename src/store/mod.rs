//! Everything on disk. One directory per user, guarded by file locks; every file appears by
//! write-to-temp, fsync, rename, fsync of the directory.
//!
//! Lock order, outermost first: container `alive`, a volume's `lock`, its `mounted`, staging entry, `gc.lock`,
//! `names.lock`, container `lock`, `networks.lock`, a network's `lock`, the directory `events`. Nobody waits for the
//! network or a container under any of them but the first two. A directory on its way to the trash is locked last,
//! and only its maker can be holding it.
//!
//! A record that cannot be read never stops what does not need it: lists return it beside the good
//! ones as [`record::Quarantined`], and `system check --repair` moves it to `quarantine/`.

pub mod archive;
pub mod blobs;
pub mod check;
pub mod compress;
pub mod containers;
pub mod copy;
pub mod events;
pub mod fs;
pub mod gc;
pub mod images;
pub mod intake;
pub mod layers;
pub mod lists;
pub mod lock;
pub mod logs;
pub mod metered;
pub mod networks;
pub mod pack;
pub mod pull;
pub mod push;
pub mod record;
pub mod registry;
pub mod remove;
pub mod secrets;
pub mod shifted;
pub mod staging;
#[cfg(test)]
pub(crate) mod testing;
pub mod unpack;
pub mod usage;
pub mod variants;
pub mod volumes;

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::Access;

use crate::explain;

/// The store's format. A newer one is refused, an older one migrated.
pub const VERSION: u32 = 1;

const DIRECTORIES: &[&str] = &[
    "blobs",
    "blobs/sha256",
    "layers",
    "images",
    "containers",
    "names",
    "staging",
    "leases",
    "quarantine",
    "networks",
    "events",
    "secrets",
];

/// The store-wide locks exist from the start, so that taking one needs no space.
const LOCKS: &[&str] = &["gc.lock", "names.lock", "networks.lock"];

/// An opened store: its durable root and its runtime directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    runtime: PathBuf,
}

impl Store {
    /// Opens the store at `root`, creating it (mode 0700) when absent. Others' access to an existing
    /// one is taken away; a store of another user or of a newer format is refused.
    pub fn open(root: PathBuf, runtime: PathBuf) -> Result<Self> {
        let store = Self { root, runtime };
        match std::fs::read_to_string(store.path("version")) {
            Ok(text) => {
                store.check_version(&text)?;
                store.check_owner()?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => store.create()?,
            Err(error) => return Err(error).with_context(|| store.unusable("open")),
        }
        Ok(store)
    }

    /// The store at `root` to be looked at only: nothing is made or changed. None without one that
    /// is this user's and of a format that this program knows.
    pub fn existing(root: PathBuf) -> Option<Self> {
        // Nothing that only looks needs the runtime directory.
        let store = Self { root, runtime: PathBuf::new() };
        store.check_version(&std::fs::read_to_string(store.path("version")).ok()?).ok()?;
        let owner = std::fs::metadata(&store.root).ok()?.uid();
        (owner == rustix::process::geteuid().as_raw()).then_some(store)
    }

    /// The durable root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// A path below the runtime directory, which is created on first use and vanishes at boot.
    pub fn runtime_path(&self, relative: impl AsRef<Path>) -> Result<PathBuf> {
        fs::create_private_dir(&self.runtime)
            .with_context(|| format!("create the runtime directory {}", self.runtime.display()))?;
        Ok(self.runtime.join(relative))
    }

    fn create(&self) -> Result<()> {
        let context = || self.unusable("create");
        for directory in DIRECTORIES {
            fs::create_private_dir(&self.path(directory)).with_context(context)?;
        }
        self.check_owner()?;
        for lock in LOCKS {
            lock::FileLock::shared(&self.path(lock)).with_context(context)?;
        }
        fs::sync_dir(&self.path("blobs")).with_context(context)?;
        fs::write_atomic(&self.path("version"), format!("{VERSION}\n").as_bytes()).with_context(context)
    }

    /// What was tried, and which directory on the way forbids it, if one does.
    fn unusable(&self, doing: &str) -> String {
        let rights = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        let text = format!("{doing} the store {}", self.root.display());
        explain::with_cause(text, explain::path::barred(&self.root, rights))
    }

    fn check_owner(&self) -> Result<()> {
        let root = self.root.display();
        let metadata = std::fs::metadata(&self.root).with_context(|| format!("open the store {root}"))?;
        let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
        if owner != user {
            bail!(
                "the store {root} belongs to uid {owner}, not to uid {user}: set HOME or --root to a directory of your own"
            );
        }
        if metadata.mode() & 0o077 != 0 {
            std::fs::set_permissions(&self.root, Permissions::from_mode(0o700))
                .with_context(|| format!("close the store {root} to other users: chmod 0700 it"))?;
        }
        Ok(())
    }

    fn check_version(&self, text: &str) -> Result<()> {
        match text.trim().parse::<u32>() {
            Ok(VERSION) => Ok(()),
            Ok(newer) if newer > VERSION => bail!(
                "the store {} has format {newer}, this rbox knows {VERSION}: use the newer rbox that wrote it",
                self.root.display()
            ),
            _ => bail!("the store {} has an unreadable version file: {:?}", self.root.display(), text.trim()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path) -> Result<Store> {
        Store::open(directory.join("store"), directory.join("run"))
    }

    #[test]
    fn a_store_is_private_and_opens_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).unwrap();
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(store.path("")), 0o700);
        assert_eq!([mode(store.path("gc.lock")), mode(store.path("version"))], [0o600, 0o600]);
        std::fs::set_permissions(store.root(), Permissions::from_mode(0o755)).unwrap();
        open(directory.path()).unwrap();
        assert_eq!(mode(store.path("")), 0o700);
    }

    #[test]
    fn looking_makes_and_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        assert!(Store::existing(root.clone()).is_none());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        open(directory.path()).unwrap();
        std::fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(Store::existing(root.clone()).unwrap().root(), root);
        assert_eq!(std::fs::metadata(&root).unwrap().mode() & 0o777, 0o755);
        std::fs::write(root.join("version"), "2\n").unwrap();
        assert!(Store::existing(root).is_none());
    }

    #[test]
    fn a_creation_that_was_killed_is_finished() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("store/blobs")).unwrap();
        let store = open(directory.path()).unwrap();
        assert!(DIRECTORIES.iter().all(|name| store.path(name).is_dir()));
    }

    #[test]
    fn a_newer_or_damaged_version_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).unwrap();
        for (text, expected) in [("2\n", "has format 2, this rbox knows 1"), ("", "unreadable"), ("x", "unreadable")] {
            std::fs::write(store.path("version"), text).unwrap();
            let message = open(directory.path()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            assert_eq!(std::fs::read_to_string(store.path("version")).unwrap(), text);
        }
    }
}
