//! What every command shares: the global options and the store, opened when first needed.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::error;
use crate::doctor::Places;
use crate::store::Store;
use crate::sys::accounts;

/// Options before the command's name.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct GlobalOptions {
    /// Directory of images, layers and containers
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "DIR",
        env = "RBOX_ROOT",
        hide_env_values = true
    )]
    pub root: Option<PathBuf>,
    /// Directory of run-time files, which vanish at boot
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "DIR",
        env = "RBOX_RUNROOT",
        hide_env_values = true
    )]
    pub runroot: Option<PathBuf>,
}

/// The invocation: where state lies.
#[derive(Debug)]
pub struct Context {
    options: GlobalOptions,
    store: OnceCell<Store>,
}

impl Context {
    /// Wraps the global options; touches nothing yet.
    pub fn new(options: GlobalOptions) -> Self {
        Self { options, store: OnceCell::new() }
    }

    /// The store, opened (and made, the first time ever) on first use.
    pub fn store(&self) -> Result<&Store> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let (root, runtime) = (self.root()?, self.runtime()?);
        error::writes_to([root.clone(), runtime.clone()]);
        let store = Store::open(root, runtime)?;
        Ok(self.store.get_or_init(|| store))
    }

    /// Where state lies, for `doctor`, which also looks at what cannot be used.
    pub fn places(&self) -> Result<Places> {
        let runtime = self.runtime().map_err(|error| format!("{error:#}"));
        Ok(Places { root: self.root()?, runtime, runtime_given: self.options.runroot.is_some() })
    }

    fn root(&self) -> Result<PathBuf> {
        if let Some(root) = &self.options.root {
            return Ok(std::path::absolute(root)?);
        }
        if rustix::process::geteuid().is_root() {
            return Ok(PathBuf::from("/var/lib/rbox"));
        }
        Ok(data_home()?.join("rbox"))
    }

    fn runtime(&self) -> Result<PathBuf> {
        if let Some(runroot) = &self.options.runroot {
            return Ok(std::path::absolute(runroot)?);
        }
        let uid = rustix::process::geteuid();
        if uid.is_root() {
            return Ok(PathBuf::from("/run/rbox"));
        }
        match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| is_own_directory(path, uid)) {
            Some(directory) => Ok(directory.join("rbox")),
            None => private_fallback(uid),
        }
    }
}

fn is_own_directory(path: &Path, uid: rustix::process::Uid) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == uid.as_raw())
}

/// Without a usable XDG_RUNTIME_DIR: a private directory in /tmp that nobody else could have made.
fn private_fallback(uid: rustix::process::Uid) -> Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let path = PathBuf::from(format!("/tmp/rbox-{}", uid.as_raw()));
    let _ = std::fs::DirBuilder::new().mode(0o700).create(&path);
    let metadata = std::fs::symlink_metadata(&path)?;
    if !metadata.is_dir() || metadata.uid() != uid.as_raw() || metadata.mode() & 0o077 != 0 {
        bail!("{} is not a private directory of yours: remove it or set XDG_RUNTIME_DIR", path.display());
    }
    Ok(path)
}

/// `$XDG_DATA_HOME`, by default `~/.local/share`. The directories crate asks the C library for the
/// home directory when HOME is unset, which a static binary must not.
fn data_home() -> Result<PathBuf> {
    if std::env::var_os("HOME").is_some_and(|home| !home.is_empty())
        && let Some(base) = directories::BaseDirs::new()
    {
        return Ok(base.data_dir().to_owned());
    }
    match accounts::home_directory(rustix::process::getuid().as_raw()) {
        Some(home) => Ok(home.join(".local/share")),
        None => bail!("no home directory: set HOME, or --root"),
    }
}
