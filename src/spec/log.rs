//! Where a container's output is kept: `--log-driver`, `--log-opt` and the settings behind them.

mod options;
pub mod syslog;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::options::{Chosen, LogOptions};
use super::size::{self, InvalidSize};
use super::text::printable;

/// More files than this make each rotation slow.
const FILES_MAX: u32 = 1000;
/// What docker's `local` keeps unless told: files of 20 MB, five of them.
const LOCAL_SIZE: u64 = 20_000_000;
const LOCAL_FILES: u32 = 5;

/// The log drivers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// docker's json-file, one object a line, in the container's directory.
    #[default]
    JsonFile,
    /// podman's and CRI's `TIME STREAM P|F TEXT`, which keeps any byte.
    #[serde(rename = "k8s-file")]
    K8sFile,
    /// docker's choice of a log that stays small: rotated and compressed unless told.
    Local,
    /// The systemd journal.
    Journald,
    /// A syslog server.
    Syslog,
    /// Nothing is kept.
    None,
    /// The container gets the streams of the command that starts it.
    Passthrough,
    /// The same, even where they are a terminal.
    PassthroughTty,
}

/// All of them, by name.
const DRIVERS: [(&str, LogDriver); 8] = [
    ("json-file", LogDriver::JsonFile),
    ("k8s-file", LogDriver::K8sFile),
    ("local", LogDriver::Local),
    ("journald", LogDriver::Journald),
    ("syslog", LogDriver::Syslog),
    ("none", LogDriver::None),
    ("passthrough", LogDriver::Passthrough),
    ("passthrough-tty", LogDriver::PassthroughTty),
];

/// How a container logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    pub driver: LogDriver,
    /// Bytes at which a file is full and the next one begun; None never.
    pub max_size: Option<u64>,
    /// How many files are kept, the current one counted; at least 1.
    pub max_file: u32,
    /// Further options as given, each known to the driver and valid.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub given: BTreeMap<String, String>,
}

/// Why log options can't be used; docker's words where it has them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLog {
    #[error("error looking up logging plugin {0}: plugin {0:?} not found: there are {names}", names = LogDriver::names().join(", "))]
    Driver(String),
    #[error("invalid logging opts for driver {0}")]
    OptionsOf(LogDriver),
    #[error("invalid log opt {0:?}: expected KEY=VALUE")]
    Form(String),
    #[error("unknown log opt '{0}' for {1} log driver: it has {2}")]
    Option(String, LogDriver, String),
    #[error("invalid max-size {0:?}: {1}")]
    Size(String, InvalidSize),
    #[error("max-size must be a positive number")]
    NoSize,
    #[error("invalid max-file {0:?}: expected a whole number")]
    Count(String),
    #[error("max-file cannot be less than 1")]
    NoFile,
    #[error("max-file cannot be more than {FILES_MAX}")]
    TooManyFiles,
    #[error("invalid {0} {1:?}: expected true or false")]
    Boolean(&'static str, String),
    #[error("compress cannot be true when max-file is less than 2 or max-size is not set")]
    CompressOfNothing,
    #[error("logger: logging mode not supported: {0}")]
    Mode(String),
    #[error("logger: max-buffer-size option is only supported with 'mode=non-blocking'")]
    BufferOfBlocking,
    #[error("error parsing option max-buffer-size: {0}")]
    Buffer(InvalidSize),
    #[error("invalid {0} {1:?}: {2}")]
    Pattern(&'static str, String, String),
    #[error("invalid log path {0:?}: it must be an absolute path without '..'")]
    Path(String),
    #[error(transparent)]
    Syslog(#[from] syslog::InvalidSyslog),
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { driver: LogDriver::default(), max_size: None, max_file: 1, given: BTreeMap::new() }
    }
}

impl LogConfig {
    /// What `--log-driver` and the `--log-opt` values make of the defaults; the last of an option
    /// counts.
    pub fn with_flags(&self, driver: Option<&str>, options: &[String]) -> Result<Self, InvalidLog> {
        let mut config = Self {
            driver: driver.filter(|text| !text.is_empty()).map_or(Ok(self.driver), str::parse)?,
            ..self.clone()
        };
        let known = config.driver.options();
        if known.is_empty() && !options.is_empty() {
            return Err(InvalidLog::OptionsOf(config.driver));
        }
        if config.driver == LogDriver::Local && self.max_size.is_none() && self.max_file == 1 {
            (config.max_size, config.max_file) = (Some(LOCAL_SIZE), LOCAL_FILES);
        }
        for option in options {
            let (key, value) = option.split_once('=').ok_or_else(|| InvalidLog::Form(printable(option)))?;
            match key {
                _ if !known.contains(&key) => {
                    return Err(InvalidLog::Option(printable(key), config.driver, known.join(", ")));
                }
                "max-size" => config.max_size = parse_max_size(value)?,
                "max-file" => config.max_file = parse_max_file(value)?,
                _ => drop(config.given.insert(key.to_owned(), value.to_owned())),
            }
        }
        config.options()?;
        Ok(config)
    }

    /// The further options, understood.
    pub fn options(&self) -> Result<LogOptions, InvalidLog> {
        LogOptions::of(self)
    }

    /// The options in force, as `inspect` shows them.
    pub fn shown(&self) -> BTreeMap<String, String> {
        let mut options = self.given.clone();
        if self.driver.writes_files() {
            options.extend(self.max_size.map(|bytes| ("max-size".to_owned(), size::short_decimal(bytes))));
            options.extend((self.max_file != 1).then(|| ("max-file".to_owned(), self.max_file.to_string())));
        }
        options
    }
}

/// A size in powers of 1000, more than nothing; `-1` is no limit.
pub fn parse_max_size(text: &str) -> Result<Option<u64>, InvalidLog> {
    if text == "-1" {
        return Ok(None);
    }
    match size::parse_decimal_bytes(text) {
        Ok(0) => Err(InvalidLog::NoSize),
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) => Err(InvalidLog::Size(printable(text), error)),
    }
}

/// How many files are kept.
pub fn parse_max_file(text: &str) -> Result<u32, InvalidLog> {
    match text.parse::<i64>() {
        Ok(..1) => Err(InvalidLog::NoFile),
        Ok(count) => u32::try_from(count).ok().filter(|count| *count <= FILES_MAX).ok_or(InvalidLog::TooManyFiles),
        Err(_) => Err(InvalidLog::Count(printable(text))),
    }
}

impl LogDriver {
    /// What there is.
    pub fn names() -> [&'static str; DRIVERS.len()] {
        DRIVERS.map(|(name, _)| name)
    }

    /// Whether the log is files that we write.
    pub fn writes_files(self) -> bool {
        matches!(self, Self::JsonFile | Self::K8sFile | Self::Local)
    }

    /// Whether the container gets the streams of the command that starts it.
    pub fn passes_through(self) -> bool {
        matches!(self, Self::Passthrough | Self::PassthroughTty)
    }
}

impl FromStr for LogDriver {
    type Err = InvalidLog;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = DRIVERS.iter().find(|(name, _)| *name == text);
        found.map(|(_, driver)| *driver).ok_or_else(|| InvalidLog::Driver(printable(text)))
    }
}

impl fmt::Display for LogDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DRIVERS.iter().find(|(_, driver)| driver == self).map_or("", |(name, _)| name))
    }
}
