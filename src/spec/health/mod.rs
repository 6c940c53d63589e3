//! Health checks: what is to be run how often, as images and `--health-*` say it, and in `course` what
//! becomes of a container's health. docker's rules and words, and podman's additions.

mod course;
mod request;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use course::{CheckResult, Health, Status, Verdict};
pub use request::{
    HealthRequest, Interval, InvalidHealth, StartupRequest, parse_command, parse_interval, resolve, update,
};

/// docker's default of the time between checks, and of what a check may take.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// What docker keeps of results: how many, and how many bytes of output each.
const RESULTS: usize = 5;
const OUTPUT: usize = 4096;
/// docker's shell where the image names none.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// docker's `Healthcheck`, as image configurations and `inspect` have it. What is zero is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Probe {
    /// `NONE`, `CMD` and words, or `CMD-SHELL` and a line.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    #[serde(with = "nanoseconds", skip_serializing_if = "Duration::is_zero")]
    pub interval: Duration,
    #[serde(with = "nanoseconds", skip_serializing_if = "Duration::is_zero")]
    pub timeout: Duration,
    #[serde(with = "nanoseconds", skip_serializing_if = "Duration::is_zero")]
    pub start_period: Duration,
    #[serde(with = "nanoseconds", skip_serializing_if = "Duration::is_zero")]
    pub start_interval: Duration,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub retries: u32,
}

/// What a container's health is found out by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    pub probe: Probe,
    /// What runs the line of `CMD-SHELL`: the image's SHELL, or nothing for docker's.
    pub shell: Vec<String>,
    /// `--health-interval disable`: checks are run by `healthcheck run` only.
    pub manual: bool,
    pub on_failure: OnFailure,
    /// Must succeed before the others begin.
    pub startup: Option<StartupCheck>,
    pub results: Results,
}

/// podman's check that comes before all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartupCheck {
    /// As in [`Probe`]; `retries` failures restart the container, 0 never does.
    pub probe: Probe,
    /// How many must succeed.
    pub successes: u32,
}

/// What is done about a container that has become unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    #[default]
    None,
    Kill,
    Restart,
    Stop,
}

/// What is kept of results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    pub destination: Destination,
    /// How many; 0 for all.
    pub count: usize,
    /// Bytes of output of each; 0 for all.
    pub size: usize,
}

/// Where results are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// The container's directory.
    #[default]
    Local,
    /// There, and each result in an event too.
    Events,
    /// `ID-healthcheck.log` in this directory.
    Directory(PathBuf),
}

impl Default for Results {
    fn default() -> Self {
        Self { destination: Destination::default(), count: RESULTS, size: OUTPUT }
    }
}

impl Probe {
    /// Whether there is something to run.
    fn is_set(&self) -> bool {
        matches!(self.test.first().map(String::as_str), Some("CMD" | "CMD-SHELL")) && self.test.len() > 1
    }

    fn interval(&self) -> Duration {
        or(self.interval, INTERVAL)
    }

    fn start_interval(&self) -> Duration {
        or(self.start_interval, START_INTERVAL)
    }

    fn retries(&self) -> u32 {
        if self.retries == 0 { RETRIES } else { self.retries }
    }

    /// What a check may take.
    pub fn timeout(&self) -> Duration {
        or(self.timeout, TIMEOUT)
    }
}

impl HealthCheck {
    /// Whether there is a check at all.
    pub fn is_set(&self) -> bool {
        self.probe.is_set()
    }

    /// Whether a failure may restart the container.
    pub fn restarts(&self) -> bool {
        let startup = self.startup.as_ref().is_some_and(|startup| startup.probe.retries > 0);
        self.is_set() && (startup || self.on_failure == OnFailure::Restart)
    }

    /// The words to execute for a check.
    pub fn command(&self, probe: &Probe) -> Vec<String> {
        match probe.test.split_first() {
            Some((kind, line)) if kind == "CMD-SHELL" => {
                let docker = SHELL.map(str::to_owned);
                let shell = if self.shell.is_empty() { &docker[..] } else { &self.shell };
                shell.iter().chain(line).cloned().collect()
            }
            Some((_, words)) => words.to_vec(),
            None => Vec::new(),
        }
    }
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Stop => "stop",
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Events => f.write_str("events_logger"),
            Self::Directory(path) => write!(f, "{}", path.display()),
        }
    }
}

fn or(value: Duration, default: Duration) -> Duration {
    if value.is_zero() { default } else { value }
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Go's durations in JSON.
mod nanoseconds {
    use super::*;

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let nanoseconds = Option::<i64>::deserialize(deserializer)?.unwrap_or_default();
        u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| serde::de::Error::custom("a negative time"))
    }
}
