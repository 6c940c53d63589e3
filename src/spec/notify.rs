//! sd_notify(3): who tells systemd that a container is ready, and which of a container's messages are
//! passed on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::printable;

/// `--sdnotify`, podman's words. Means something only where NOTIFY_SOCKET is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyMode {
    /// The container, by a socket of its own.
    #[default]
    Container,
    /// rbox, once the command was executed.
    Conmon,
    /// rbox, once the container is healthy.
    Healthy,
    /// Nobody.
    Ignore,
}

/// Why a word is no mode.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid sdnotify value {0:?}: must be container, conmon, healthy or ignore")]
pub struct InvalidMode(String);

impl FromStr for NotifyMode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "container" => Self::Container,
            "conmon" => Self::Conmon,
            "healthy" => Self::Healthy,
            "ignore" => Self::Ignore,
            other => return Err(InvalidMode(printable(other))),
        })
    }
}

impl fmt::Display for NotifyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::Conmon => "conmon",
            Self::Healthy => "healthy",
            Self::Ignore => "ignore",
        })
    }
}

/// What a container may say. Not who the main process is, nor descriptors to keep, nor who else may talk.
const KEYS: [&str; 10] = [
    "READY",
    "RELOADING",
    "STOPPING",
    "MONOTONIC_USEC",
    "STATUS",
    "ERRNO",
    "BUSERROR",
    "WATCHDOG",
    "WATCHDOG_USEC",
    "EXTEND_TIMEOUT_USEC",
];
/// The longest line that is passed on, in bytes.
const LINE_MAX: usize = 2048;

/// The part of a container's message that is passed on; empty where nothing is.
pub fn relayed(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let known = |line: &&str| {
        let key = line.split_once('=').map_or(*line, |(key, _)| key);
        line.len() <= LINE_MAX && KEYS.contains(&key)
    };
    let clean = |line: &str| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    text.split('\n').filter(known).map(clean).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_podmans_words() {
        for mode in ["container", "conmon", "healthy", "ignore"] {
            assert_eq!(mode.parse::<NotifyMode>().unwrap().to_string(), mode);
        }
        let error = "Container".parse::<NotifyMode>().unwrap_err().to_string();
        assert_eq!(error, "invalid sdnotify value \"Container\": must be container, conmon, healthy or ignore");
    }

    #[test]
    fn only_what_is_the_containers_to_say_is_passed_on() {
        assert_eq!(relayed(b"READY=1\nMAINPID=1\nSTATUS=all well"), "READY=1\nSTATUS=all well");
        assert_eq!(relayed(b"FDSTORE=1\nFDNAME=x\nBARRIER=1\nNOTIFYACCESS=all\nX_READY=1\n\n"), "");
        assert_eq!(relayed(b"STATUS=\x1b[31mred\nWATCHDOG=1\n"), "STATUS= [31mred\nWATCHDOG=1");
        assert_eq!(relayed(b"STATUS=\xff"), "STATUS=\u{fffd}");
        assert_eq!(relayed(&[b"STATUS=", &b"x".repeat(5000)[..]].concat()), "");
    }
}
