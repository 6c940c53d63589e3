//! What becomes of a container's health, result by result. No clock: whoever asks says how long the
//! container has run.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{HealthCheck, OnFailure, Probe};

/// docker's states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl Status {
    /// docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a check went; docker's JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CheckResult {
    pub start: Timestamp,
    pub end: Timestamp,
    /// 0 is good; -1 where there was none in time.
    pub exit_code: i32,
    pub output: String,
}

/// A container's health: what checks have shown since it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub status: Status,
    /// Failures since the last success.
    pub failing_streak: u32,
    /// Oldest first.
    pub log: Vec<CheckResult>,
    #[serde(default)]
    startup: Startup,
}

/// How far the startup check has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Startup {
    successes: u32,
    failures: u32,
}

/// What follows from a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The status is another one now.
    pub changed: bool,
    /// What is to be done to the container.
    pub action: OnFailure,
}

impl Health {
    /// The health of a container that is started, perhaps again: results of its life before are kept.
    pub fn at_start(before: Option<Self>) -> Self {
        Self { log: before.map(|before| before.log).unwrap_or_default(), ..Self::default() }
    }

    /// What the next check runs.
    pub fn probe<'a>(&self, check: &'a HealthCheck) -> &'a Probe {
        match &check.startup {
            Some(startup) if self.startup.successes < startup.successes => &startup.probe,
            _ => &check.probe,
        }
    }

    /// How long to wait for the next check where the container has run for `age`.
    pub fn pause(&self, check: &HealthCheck, age: Duration) -> Duration {
        let probe = self.probe(check);
        let starts = self.status == Status::Starting && age < probe.start_period;
        if starts { probe.start_interval() } else { probe.interval() }
    }

    /// Takes the result of a check that began when the container had run for `age`.
    pub fn record(&mut self, check: &HealthCheck, result: CheckResult, age: Duration) -> Verdict {
        let (good, before) = (result.exit_code == 0, self.status);
        self.log.push(result);
        if check.results.count > 0 {
            self.log.drain(..self.log.len().saturating_sub(check.results.count));
        }
        if let Some(startup) = &check.startup
            && self.startup.successes < startup.successes
        {
            return self.record_startup(startup.probe.retries, good);
        }
        if good {
            self.failing_streak = 0;
            self.status = Status::Healthy;
        } else if before != Status::Starting || age >= check.probe.start_period {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= check.probe.retries() {
                self.status = Status::Unhealthy;
            }
        }
        let fails = !good && self.status == Status::Unhealthy;
        let action = if fails { check.on_failure } else { OnFailure::None };
        Verdict { changed: self.status != before, action }
    }

    fn record_startup(&mut self, retries: u32, good: bool) -> Verdict {
        let Startup { successes, failures } = &mut self.startup;
        (*successes, *failures) = if good { (*successes + 1, 0) } else { (0, failures.saturating_add(1)) };
        let action = if retries > 0 && *failures >= retries { OnFailure::Restart } else { OnFailure::None };
        Verdict { changed: false, action }
    }
}
