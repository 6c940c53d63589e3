//! Options about the environment of the process: variables, proxies, the time zone.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cmd::{docker_config, settings};
use crate::spec::create::{EnvironmentRequest, parse_merge};
use crate::spec::env::{self, Caller, EnvChange};
use crate::sys::timezone;

/// The variables that tell programs of proxies; each is known in capitals and in small letters.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Options of `run` and `create`, as typed.
#[derive(clap::Args, Clone, Debug)]
pub struct EnvironmentOptions {
    #[command(flatten)]
    variables: VariableOptions,
    /// Pass on the whole environment of the caller
    #[arg(long)]
    env_host: bool,
    /// Set a variable to a text in which ${NAME} is a variable of the image
    #[arg(long, value_name = "NAME=TEXT", value_parser = parse_merge)]
    env_merge: Vec<String>,
    /// Pass on the caller's proxy variables (http_proxy and its like)
    #[arg(long)]
    http_proxy: bool,
    /// Time zone: local is the host's, container the image's own, or a name as in Europe/Berlin
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Leave out a variable of the image or of rbox
    #[arg(long, value_name = "NAME")]
    unsetenv: Vec<String>,
    /// Leave out all variables of the image and of rbox
    #[arg(long)]
    unsetenv_all: bool,
}

/// Options of everything that runs a process, as typed.
#[derive(clap::Args, Clone, Debug)]
pub struct VariableOptions {
    /// Set an environment variable; without a value, pass on the caller's, and with NAME* all that begin so
    #[arg(short = 'e', long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Read in a file of environment variables; with - before its path it may be missing
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
}

impl VariableOptions {
    /// Files first, then `-e`, each in order, as docker has it.
    pub fn changes(&self) -> Result<Vec<EnvChange>> {
        if self.env.is_empty() && self.env_file.is_empty() {
            return Ok(Vec::new());
        }
        let caller = Caller::new(std::env::vars_os());
        let mut changes = Vec::new();
        for file in &self.env_file {
            let Some((file, content)) = read_env_file(file)? else { continue };
            changes.extend(env::parse_env_file(&file.to_string_lossy(), &content, &caller)?);
        }
        for variable in &self.env {
            changes.extend(env::parse_env(variable, &caller)?);
        }
        Ok(changes)
    }
}

/// A file of variables with its content; None for one that need not be there (`-PATH`, as in systemd's
/// EnvironmentFile=) and is not.
fn read_env_file(file: &Path) -> Result<Option<(&Path, Vec<u8>)>> {
    let optional = file.as_os_str().as_bytes().strip_prefix(b"-").filter(|path| !path.is_empty());
    let file = match optional.map(|path| Path::new(OsStr::from_bytes(path))) {
        Some(path) if !path.exists() => return Ok(None),
        Some(path) => path,
        None => file,
    };
    Ok(Some((file, super::read_file(file)?)))
}

impl EnvironmentOptions {
    /// What the options ask for; reads the files they name and docker's configuration.
    pub fn request(&self) -> Result<EnvironmentRequest> {
        let timezone = self.tz.as_deref().filter(|zone| !zone.is_empty() && *zone != "container");
        if let Some(zone) = timezone {
            timezone::read(zone)?;
        }
        Ok(EnvironmentRequest {
            changes: self.variables.changes()?,
            merge: self.env_merge.clone(),
            unset: self.unsetenv.clone(),
            unset_all: self.unsetenv_all,
            borrowed: self.borrowed()?,
            timezone: timezone.map(str::to_owned),
        })
    }

    fn borrowed(&self) -> Result<Vec<EnvChange>> {
        let mut borrowed = Vec::new();
        for (name, value) in docker_config::proxies(settings::home().as_deref())? {
            let change = |name: String| EnvChange { name, value: Some(value.clone()) };
            borrowed.extend([change(name.to_owned()), change(name.to_ascii_lowercase())]);
        }
        if self.env_host || self.http_proxy {
            let caller = Caller::new(std::env::vars_os());
            let is_proxy = |name: &str| PROXIES.contains(&&*name.to_ascii_uppercase());
            borrowed.extend(caller.all().filter(|change| self.env_host || is_proxy(&change.name)));
        }
        Ok(borrowed)
    }
}
