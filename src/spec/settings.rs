//! The configuration: every key, its type and default, and where its value came from.
//!
//! A value comes from the system's file, the user's file, the environment or the command line, the
//! later replacing the earlier whole. This module reads texts; finding them is `cmd`'s.

mod file;
mod given;
mod keys;
mod origin;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use keys::{KEYS, Key, closest};
pub use origin::{InvalidSetting, Origin, Setting};

use given::Given;

use super::create::PullPolicy;
use super::detach_keys::DetachKeys;
use super::log::{LogConfig, LogDriver};
use super::network::DEFAULT_NETWORK;
use super::registries::{Domain, Registries};

/// Every setting with its value and origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// None is the usual place.
    pub root: Setting<Option<PathBuf>>,
    pub runroot: Setting<Option<PathBuf>>,
    /// What names without a registry mean.
    pub registry: Setting<Domain>,
    pub mirrors: Setting<Mirrors>,
    pub insecure_registries: Setting<Insecure>,
    /// Besides those of the registry's own house.
    pub token_servers: Setting<TokenServers>,
    pub log_driver: Setting<LogDriver>,
    /// Bytes; None is no limit.
    pub log_max_size: Setting<Option<u64>>,
    pub log_max_file: Setting<u32>,
    pub detach_keys: Setting<DetachKeys>,
    /// A value of `--network`, whose grammar has been checked.
    pub network: Setting<String>,
    pub pull: Setting<PullPolicy>,
    pub init: Setting<bool>,
    /// Seconds; -1 waits for ever.
    pub stop_timeout: Setting<i64>,
    /// Bytes that one layer may unpack to.
    pub layer_max_size: Setting<u64>,
    /// Entries that one layer's archive may have.
    pub layer_max_entries: Setting<u64>,
    /// A value of `--security-opt seccomp=`.
    pub seccomp_profile: Setting<String>,
    /// Where specifications of devices lie, the later counting more.
    pub cdi_spec_dirs: Setting<Vec<PathBuf>>,
}

/// The value of `mirrors`.
pub type Mirrors = std::collections::BTreeMap<Domain, Vec<super::registries::Mirror>>;
/// The value of `token-servers`.
pub type TokenServers = std::collections::BTreeMap<Domain, Vec<Domain>>;
/// The value of `insecure-registries`.
pub type Insecure = std::collections::BTreeSet<Domain>;

/// What `$HOME` and `$UID` in a file's paths mean.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    pub home: Option<&'a Path>,
    pub uid: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            root: Setting::default(),
            runroot: Setting::default(),
            registry: Setting::default(),
            mirrors: Setting::default(),
            insecure_registries: Setting::default(),
            token_servers: Setting::default(),
            log_driver: Setting::default(),
            log_max_size: Setting::default(),
            log_max_file: Setting::builtin(LogConfig::default().max_file),
            detach_keys: Setting::default(),
            network: Setting::builtin(DEFAULT_NETWORK.to_owned()),
            pull: Setting::default(),
            init: Setting::default(),
            stop_timeout: Setting::builtin(10),
            layer_max_size: Setting::builtin(128_000_000_000),
            layer_max_entries: Setting::builtin(2_000_000),
            seccomp_profile: Setting::builtin("builtin".to_owned()),
            cdi_spec_dirs: Setting::builtin(["/etc/cdi", "/var/run/cdi"].map(PathBuf::from).to_vec()),
        }
    }
}

impl Settings {
    /// Takes what a file's text says; `path` is for origins and messages.
    pub fn read_file(&mut self, path: &str, text: &str, variables: Variables<'_>) -> Result<(), InvalidSetting> {
        file::read(self, path, text, variables)
    }

    /// Takes one key's value from the environment or the command line.
    pub fn read_text(&mut self, name: &str, value: &str, origin: Origin) -> Result<(), InvalidSetting> {
        let key = Key::find(name).ok_or_else(|| InvalidSetting::unknown(origin.to_string(), name))?;
        let assigned = (key.assign)(self, Given::Text(value), origin.clone());
        assigned.map_err(|refusal| InvalidSetting::of(origin.to_string(), key, &format!("{value:?}"), refusal))
    }

    /// Registries by name, for pulls.
    pub fn registries(&self) -> Registries {
        Registries {
            mirrors: self.mirrors.value.clone(),
            insecure: self.insecure_registries.value.clone(),
            token_servers: self.token_servers.value.clone(),
            ..Registries::default()
        }
    }

    /// How containers log unless told.
    pub fn log(&self) -> LogConfig {
        LogConfig {
            driver: self.log_driver.value,
            max_size: self.log_max_size.value,
            max_file: self.log_max_file.value,
            ..LogConfig::default()
        }
    }
}
