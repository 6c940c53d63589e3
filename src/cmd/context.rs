//! What every command shares: the global options, the configuration and the store, each read or
//! opened when first needed.

use std::cell::{Cell, OnceCell};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::error;
use super::settings::{self, Loaded};
use crate::doctor::Places;
use crate::sandbox::inherited::Inherited;
use crate::sandbox::userns::{self, Preparation};
use crate::spec::reference::{self, ImageRef};
use crate::spec::registries::{Domain, Registries};
use crate::spec::settings::{Origin, Settings};
use crate::store::Store;
use crate::store::pull::UnpackLimits;
use crate::sys::accounts;

/// Options before the command's name.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct GlobalOptions {
    /// Look for CDI specifications of devices here instead of /etc/cdi and /var/run/cdi
    #[arg(long, global = true, help_heading = "Global options", value_name = "DIR")]
    pub cdi_spec_dir: Vec<PathBuf>,
    /// Read this configuration file in place of the user's; none if empty (RBOX_CONFIG)
    #[arg(long, global = true, help_heading = "Global options", value_name = "FILE")]
    pub config: Option<OsString>,
    /// Directory of images, layers and containers (RBOX_ROOT)
    #[arg(long, global = true, help_heading = "Global options", value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Directory of run-time files, which vanish at boot (RBOX_RUNROOT)
    #[arg(long, global = true, help_heading = "Global options", value_name = "DIR")]
    pub runroot: Option<PathBuf>,
    /// Set a key of the configuration (RBOX_KEY)
    #[arg(long, global = true, help_heading = "Global options", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The invocation: where state lies.
pub struct Context {
    options: GlobalOptions,
    loaded: OnceCell<Loaded>,
    store: OnceCell<Store>,
    preparation: Cell<Option<Preparation>>,
    inherited: Cell<Inherited>,
}

impl Context {
    /// Wraps the global options; touches nothing yet.
    pub fn new(options: GlobalOptions) -> Self {
        Self {
            options,
            loaded: OnceCell::new(),
            store: OnceCell::new(),
            preparation: Cell::new(None),
            inherited: Cell::default(),
        }
    }

    /// Keeps descriptors for the process that is to be started.
    pub fn keep_inherited(&self, inherited: Inherited) {
        self.inherited.set(inherited);
    }

    /// What was kept; the first process gets it.
    pub fn take_inherited(&self) -> Inherited {
        self.inherited.take()
    }

    /// The configuration in force.
    pub fn settings(&self) -> Result<&Settings> {
        Ok(&self.loaded()?.settings)
    }

    /// Where a layer that is unpacked is stopped.
    pub fn layer_limits(&self) -> Result<UnpackLimits> {
        let settings = self.settings()?;
        let (bytes, entries) = (settings.layer_max_size.value, settings.layer_max_entries.value);
        Ok(UnpackLimits { bytes, entries, ..UnpackLimits::default() })
    }

    /// The configuration and the files it was looked for in; read on first use.
    pub fn loaded(&self) -> Result<&Loaded> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let loaded = settings::load(&self.options)?;
        // Who says what short names mean means all of them. Files that cannot be used are the affair
        // of who asks a registry.
        if loaded.settings.registry.origin == Origin::Default {
            let meanings =
                |name: &str| settings::registries_conf().map_or_else(|_| Vec::new(), |conf| conf.meanings(name));
            reference::set_other_meanings(meanings);
        }
        reference::set_default_registry(loaded.settings.registry.value.clone());
        Ok(self.loaded.get_or_init(|| loaded))
    }

    /// What is known about registries: the user's settings, then `registries.conf`.
    pub fn registries(&self) -> Result<Registries> {
        let rules = settings::registries_conf()?.rules.values().cloned().collect();
        Ok(Registries { rules, ..self.settings()?.registries() })
    }

    /// The registry to ask where none is named.
    pub fn default_registry(&self) -> Result<Domain> {
        let own = &self.settings()?.registry;
        let conf = if own.origin == Origin::Default { settings::registries_conf()?.default_registry() } else { None };
        Ok(conf.unwrap_or(&own.value).clone())
    }

    /// A name for an image, read as the configuration has short names.
    pub fn image_name(&self, text: &str) -> Result<ImageRef> {
        self.settings()?;
        Ok(text.parse()?)
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

    /// Begins to make the user namespace if none is there, for a command that is going to start a
    /// container: it takes as long as what the command has to do before.
    pub fn prepare_user_namespace(&self) -> Result<()> {
        let preparation = match self.preparation.take() {
            Some(preparation) => preparation,
            None => userns::prepare(self.store()?)?,
        };
        self.preparation.set(Some(preparation));
        Ok(())
    }

    /// The user namespace, as far as it was prepared.
    pub fn user_namespace(&self) -> Result<Preparation> {
        self.preparation.take().map_or_else(|| userns::prepare(self.store()?), Ok)
    }

    /// Takes back a way into the user namespace, for who is going to need it.
    pub fn keep_user_namespace(&self, preparation: Preparation) {
        self.preparation.set(Some(preparation));
    }

    /// Where state lies, for `doctor`, which also looks at what cannot be used.
    pub fn places(&self) -> Result<Places> {
        let runtime = self.runtime().map_err(|error| format!("{error:#}"));
        Ok(Places { root: self.root()?, runtime, runtime_given: self.settings()?.runroot.value.is_some() })
    }

    /// The store at `root`, or where it is without that flag, to be looked at only. None without one.
    pub fn existing_store(&self, root: Option<&str>) -> Option<Store> {
        // Asked in any case: image names are shown as the configuration has them.
        let own = self.root().ok();
        let typed = root.map(std::path::absolute).transpose().ok()?;
        Store::existing(typed.or(own)?)
    }

    /// Where images, layers and containers lie.
    pub fn root(&self) -> Result<PathBuf> {
        if let Some(root) = &self.settings()?.root.value {
            return Ok(std::path::absolute(root)?);
        }
        if rustix::process::geteuid().is_root() {
            return Ok(PathBuf::from("/var/lib/rbox"));
        }
        Ok(data_home()?.join("rbox"))
    }

    /// Where files lie that vanish at boot.
    pub fn runtime(&self) -> Result<PathBuf> {
        if let Some(runroot) = &self.settings()?.runroot.value {
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
