//! Resource limits of a container's processes: `--ulimit name=soft[:hard]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::printable;

/// A limit by docker's name (`nofile`); -1 means unlimited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

/// What one `--ulimit` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UlimitRequest {
    One(Ulimit),
    /// podman's `host`: all as they are where the container is started.
    Host,
}

impl FromStr for UlimitRequest {
    type Err = InvalidUlimit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "host" { Ok(Self::Host) } else { text.parse().map(Self::One) }
    }
}

/// Why a text is not a limit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidUlimit {
    #[error("invalid ulimit argument: {0}")]
    Format(String),
    #[error("invalid ulimit type: {0}")]
    Name(String),
    #[error("invalid ulimit value {value:?} for {name}: expected a number, or -1 for unlimited")]
    Value { name: String, value: String },
    #[error("too many limit value arguments - {0}, can only have up to two, `soft[:hard]`")]
    TooMany(String),
    #[error("conflicting options: --ulimit host, which means all of them, and --ulimit {0}")]
    BesidesHost(String),
    #[error("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")]
    Order { soft: String, hard: String },
}

/// The names docker accepts; each upper-cased behind `RLIMIT_` is the kernel's.
pub const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl FromStr for Ulimit {
    type Err = InvalidUlimit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, values) = text.split_once('=').ok_or_else(|| InvalidUlimit::Format(printable(text)))?;
        if !NAMES.contains(&name) {
            return Err(InvalidUlimit::Name(printable(name)));
        }
        let limit = |value: &str| parse_limit(name, value);
        let (soft, hard) = match values.split(':').collect::<Vec<_>>()[..] {
            [both] => (limit(both)?, limit(both)?),
            [soft, hard] => (limit(soft)?, limit(hard)?),
            _ => return Err(InvalidUlimit::TooMany(printable(values))),
        };
        if hard != -1 && (soft == -1 || soft > hard) {
            let shown = |value: i64| if value == -1 { "unlimited".to_owned() } else { value.to_string() };
            return Err(InvalidUlimit::Order { soft: shown(soft), hard: shown(hard) });
        }
        Ok(Self { name: name.to_owned(), soft, hard })
    }
}

fn parse_limit(name: &str, value: &str) -> Result<i64, InvalidUlimit> {
    let invalid = || InvalidUlimit::Value { name: name.to_owned(), value: value.to_owned() };
    match value.parse::<i64>() {
        Ok(number) if number >= -1 && !value.starts_with('+') => Ok(number),
        _ => Err(invalid()),
    }
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.name, self.soft, self.hard)
    }
}

impl TryFrom<String> for Ulimit {
    type Error = InvalidUlimit;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Ulimit> for String {
    fn from(limit: Ulimit) -> Self {
        limit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grammar() {
        for (text, soft, hard) in
            [("nofile=1024", 1024, 1024), ("nofile=1024:4096", 1024, 4096), ("core=-1", -1, -1), ("core=0:-1", 0, -1)]
        {
            let limit: Ulimit = text.parse().unwrap();
            assert_eq!((limit.soft, limit.hard), (soft, hard), "{text}");
        }
        for (text, error) in [
            ("nofile", "invalid ulimit argument: nofile"),
            ("as=1", "invalid ulimit type: as"),
            ("NOFILE=1", "invalid ulimit type: NOFILE"),
            ("nofile=2:1", "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
            ("nofile=-1:1", "ulimit soft limit must be less than or equal to hard limit: unlimited > 1"),
            ("nofile=1:2:3", "too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`"),
        ] {
            assert_eq!(text.parse::<Ulimit>().unwrap_err().to_string(), error);
        }
        for text in
            ["nofile=", "nofile=a", "nofile=1:", "nofile=-2", "nofile=+1", "nofile=1.5", "nofile=99999999999999999999"]
        {
            assert!(matches!(text.parse::<Ulimit>(), Err(InvalidUlimit::Value { .. })), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_round_trips(name in 0..NAMES.len(), soft in -1i64.., hard in -1i64..) {
            let text = format!("{}={soft}:{hard}", NAMES[name]);
            if let Ok(limit) = text.parse::<Ulimit>() {
                prop_assert_eq!(limit.to_string(), text);
            }
        }
    }
}
