//! Everything on disk. One directory per user, guarded by file locks; every file appears by
//! write-to-temp, fsync, rename, fsync of the directory.
//!
//! Lock order, outermost first (never wait for the network or a container under any of them but
//! `staging` and `alive`):
//! staging entry, `gc`, `names`, container `lock`, container `alive`, image `lock`, layer lock.

pub mod blobs;
pub mod check;
pub mod containers;
pub mod fs;
pub mod gc;
pub mod images;
pub mod layers;
pub mod lock;
pub mod logs;
pub mod pull;
pub mod registry;
pub mod remove;
pub mod staging;
pub mod unpack;

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The store's format. A newer one is refused, an older one migrated.
pub const VERSION: u32 = 1;

const DIRECTORIES: &[&str] = &["blobs/sha256", "layers", "images", "containers", "names", "staging", "leases", "quarantine"];

/// An opened store: its durable root and its runtime directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    runtime: PathBuf,
}

impl Store {
    /// Opens the store at `root`, creating it (mode 0700) when absent.
    pub fn open(root: PathBuf, runtime: PathBuf) -> Result<Self> {
        let store = Self { root, runtime };
        match std::fs::read_to_string(store.path("version")) {
            Ok(text) => store.check_version(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => store.create()?,
            Err(error) => return Err(error).with_context(|| format!("open the store {}", store.root.display())),
        }
        Ok(store)
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
        let context = || format!("create the store {}", self.root.display());
        for directory in DIRECTORIES {
            fs::create_private_dir(&self.path(directory)).with_context(context)?;
        }
        fs::write_atomic(&self.path("version"), format!("{VERSION}\n").as_bytes()).with_context(context)
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
