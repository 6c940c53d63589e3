//! Where a container's output is kept: `--log-driver`, `--log-opt` and the settings behind them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::size::{self, InvalidSize};
use super::text::printable;

/// More files than this make each rotation slow.
const FILES_MAX: u32 = 1000;

/// The log drivers of this release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// docker's json-file, one object a line, in the container's directory.
    #[default]
    JsonFile,
    /// Nothing is kept.
    None,
}

/// How a container logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    pub driver: LogDriver,
    /// Bytes at which a file is full and the next one begun; None never.
    pub max_size: Option<u64>,
    /// How many files are kept, the current one counted; at least 1.
    pub max_file: u32,
}

/// Why log options can't be used; docker's words where it has them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLog {
    #[error("error looking up logging plugin {0}: plugin {0:?} not found: this release has json-file and none")]
    Driver(String),
    #[error("invalid logging opts for driver none")]
    OptionsOfNone,
    #[error("invalid log opt {0:?}: expected KEY=VALUE")]
    Form(String),
    #[error("unknown log opt '{0}' for json-file log driver: this release has max-size and max-file")]
    Option(String),
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
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { driver: LogDriver::default(), max_size: None, max_file: 1 }
    }
}

impl LogConfig {
    /// What `--log-driver` and the `--log-opt` values make of the defaults; the last of an option
    /// counts.
    pub fn with_flags(&self, driver: Option<&str>, options: &[String]) -> Result<Self, InvalidLog> {
        let mut config = Self { driver: driver.map_or(Ok(self.driver), str::parse)?, ..self.clone() };
        if config.driver == LogDriver::None && !options.is_empty() {
            return Err(InvalidLog::OptionsOfNone);
        }
        for option in options {
            let (key, value) = option.split_once('=').ok_or_else(|| InvalidLog::Form(printable(option)))?;
            match key {
                "max-size" => config.max_size = parse_max_size(value)?,
                "max-file" => config.max_file = parse_max_file(value)?,
                other => return Err(InvalidLog::Option(printable(other))),
            }
        }
        Ok(config)
    }

    /// The options in force, as `inspect` shows them.
    pub fn options(&self) -> BTreeMap<&'static str, String> {
        let mut options = BTreeMap::new();
        if self.driver == LogDriver::JsonFile {
            options.extend(self.max_size.map(|bytes| ("max-size", size::short_decimal(bytes))));
            options.extend((self.max_file != 1).then(|| ("max-file", self.max_file.to_string())));
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

impl FromStr for LogDriver {
    type Err = InvalidLog;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json-file" => Ok(Self::JsonFile),
            "none" => Ok(Self::None),
            other => Err(InvalidLog::Driver(printable(other))),
        }
    }
}

impl fmt::Display for LogDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JsonFile => "json-file",
            Self::None => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(driver: Option<&str>, options: &[&str]) -> Result<LogConfig, String> {
        let defaults = LogConfig { max_size: Some(5), max_file: 2, ..LogConfig::default() };
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        defaults.with_flags(driver, &options).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_replace_defaults_one_by_one() {
        let json = |max_size, max_file| Ok(LogConfig { driver: LogDriver::JsonFile, max_size, max_file });
        assert_eq!(flags(None, &[]), json(Some(5), 2));
        assert_eq!(flags(None, &["max-size=10m"]), json(Some(10_000_000), 2));
        assert_eq!(flags(Some("json-file"), &["max-size=1k", "max-file=3", "max-size=-1"]), json(None, 3));
        assert_eq!(flags(Some("none"), &[]).unwrap().driver, LogDriver::None);
    }

    #[test]
    fn refusals_are_dockers() {
        for (driver, options, expected) in [
            (Some("journald"), &[][..], "error looking up logging plugin journald: plugin \"journald\" not found"),
            (Some("none"), &["max-size=1m"], "invalid logging opts for driver none"),
            (None, &["compress=true"], "unknown log opt 'compress' for json-file log driver"),
            (None, &["max-size"], "invalid log opt \"max-size\": expected KEY=VALUE"),
            (None, &["max-size=0"], "max-size must be a positive number"),
            (None, &["max-size=ten"], "invalid max-size \"ten\": invalid size: 'ten'"),
            (None, &["max-file=0"], "max-file cannot be less than 1"),
            (None, &["max-file=1001"], "max-file cannot be more than 1000"),
            (None, &["max-file=99999999999"], "max-file cannot be more than 1000"),
            (None, &["max-file=x"], "invalid max-file \"x\": expected a whole number"),
        ] {
            let error = flags(driver, options).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn inspect_shows_what_is_in_force() {
        let config = flags(None, &["max-size=10m"]).unwrap();
        assert_eq!(config.options(), BTreeMap::from([("max-size", "10m".to_owned()), ("max-file", "2".to_owned())]));
        assert!(LogConfig::default().options().is_empty());
        assert!(LogConfig { driver: LogDriver::None, ..config }.options().is_empty());
    }
}
