//! The log options that only some drivers have.

use std::collections::BTreeMap;
use std::path::{Component, PathBuf};

use regex::Regex;

use super::syslog::SyslogOptions;
use super::{InvalidLog, LogConfig, LogDriver};
use crate::spec::size;
use crate::spec::text::printable;

/// docker's bytes of messages that wait for a slow receiver.
const BUFFER: u64 = 1 << 20;

/// Options that every driver has which may have to wait.
const FLOW: [&str; 2] = ["max-buffer-size", "mode"];
/// Options of files.
const FILES: [&str; 3] = ["compress", "max-file", "max-size"];
/// Options that add attributes.
const ATTRIBUTES: [&str; 5] = ["env", "env-regex", "labels", "labels-regex", "tag"];
const SYSLOG: [&str; 7] = [
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
];

/// What `--log-opt` asks for beyond the sizes of files.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Files that are no longer written to are compressed.
    pub compress: bool,
    /// Where the log is instead of in the container's directory.
    pub path: Option<PathBuf>,
    /// A Go template.
    pub tag: Option<String>,
    pub labels: Chosen,
    pub env: Chosen,
    /// Messages are lost at once, rather than late, when their receiver is slow.
    pub non_blocking: bool,
    /// Bytes of messages that may wait.
    pub buffer: u64,
    /// No copy is kept for `logs` of what goes to a server that cannot be asked.
    pub cache_disabled: bool,
    pub syslog: SyslogOptions,
}

/// Which labels or variables become attributes.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    names: Vec<String>,
    pattern: Option<Regex>,
}

impl Chosen {
    fn of(given: &BTreeMap<String, String>, names: &str, pattern: &'static str) -> Result<Self, InvalidLog> {
        let list = given.get(names).map(String::as_str).unwrap_or_default().split(',');
        let names = list.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let text = given.get(pattern).filter(|text| !text.is_empty());
        let compile = |text: &String| {
            Regex::new(text).map_err(|error| {
                // The last line says what, those before show where.
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
                InvalidLog::Pattern(pattern, printable(text), why.to_owned())
            })
        };
        let pattern = text.map(compile).transpose()?;
        Ok(Self { names, pattern })
    }

    /// Whether the one of this name is chosen.
    pub fn contains(&self, name: &str) -> bool {
        self.names.iter().any(|one| one == name) || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(name))
    }
}

impl LogDriver {
    /// The names of the options it has, sorted.
    pub(super) fn options(self) -> Vec<&'static str> {
        let mut all: Vec<&str> = match self {
            Self::JsonFile => [&FILES[..], &ATTRIBUTES, &FLOW, &["path"]].concat(),
            Self::K8sFile => [&FILES[..], &FLOW, &["path", "tag"]].concat(),
            Self::Local => [&FILES[..], &FLOW].concat(),
            Self::Journald => [&ATTRIBUTES[..], &FLOW].concat(),
            Self::Syslog => [&ATTRIBUTES[..], &FLOW, &SYSLOG, &["cache-disabled"]].concat(),
            Self::None | Self::Passthrough | Self::PassthroughTty => Vec::new(),
        };
        all.sort_unstable();
        all
    }
}

impl LogOptions {
    pub(super) fn of(config: &LogConfig) -> Result<Self, InvalidLog> {
        let given = &config.given;
        let compress = boolean(given, "compress")?;
        if compress == Some(true) && (config.max_file < 2 || config.max_size.is_none()) {
            return Err(InvalidLog::CompressOfNothing);
        }
        let non_blocking = match given.get("mode").map(String::as_str) {
            None | Some("" | "blocking") => false,
            Some("non-blocking") => true,
            Some(other) => return Err(InvalidLog::Mode(printable(other))),
        };
        let buffer = match given.get("max-buffer-size") {
            None => BUFFER,
            Some(_) if !non_blocking => return Err(InvalidLog::BufferOfBlocking),
            Some(text) => size::parse_bytes(text).map_err(InvalidLog::Buffer)?,
        };
        let local = config.driver == LogDriver::Local && config.max_file > 1 && config.max_size.is_some();
        Ok(Self {
            compress: compress.unwrap_or(local),
            path: path(given)?,
            tag: given.get("tag").cloned(),
            labels: Chosen::of(given, "labels", "labels-regex")?,
            env: Chosen::of(given, "env", "env-regex")?,
            non_blocking,
            buffer,
            cache_disabled: boolean(given, "cache-disabled")?.unwrap_or(false),
            syslog: SyslogOptions::of(given)?,
        })
    }
}

/// As Go reads booleans.
pub(super) fn boolean(given: &BTreeMap<String, String>, name: &'static str) -> Result<Option<bool>, InvalidLog> {
    match given.get(name).map(String::as_str) {
        None => Ok(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(other) => Err(InvalidLog::Boolean(name, printable(other))),
    }
}

fn path(given: &BTreeMap<String, String>) -> Result<Option<PathBuf>, InvalidLog> {
    let Some(text) = given.get("path").filter(|text| !text.is_empty()) else { return Ok(None) };
    let path = PathBuf::from(text);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    match path.is_absolute() && plain && path.file_name().is_some() && !text.contains('\0') {
        true => Ok(Some(path)),
        false => Err(InvalidLog::Path(printable(text))),
    }
}
