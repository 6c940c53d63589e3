//! `wait --condition`: podman's states, and those of docker's API.

use std::str::FromStr;

use crate::cmd::format::text::clean_line;
use crate::spec::health::Status as Health;
use crate::store::containers::{Container, Status};

/// podman's words, in its order.
const WORDS: &[&str] = &[
    "configured",
    "created",
    "exited",
    "healthy",
    "initialized",
    "paused",
    "removing",
    "restarting",
    "running",
    "stopped",
    "stopping",
    "unhealthy",
];

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Created,
    Running,
    Paused,
    Restarting,
    Stopping,
    Stopped,
    Removed,
    Healthy,
    Unhealthy,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "configured" | "created" | "initialized" => Self::Created,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "restarting" => Self::Restarting,
            "stopping" => Self::Stopping,
            // The latter two are docker's.
            "exited" | "stopped" | "not-running" | "next-exit" => Self::Stopped,
            "removing" | "removed" => Self::Removed,
            "healthy" => Self::Healthy,
            "unhealthy" => Self::Unhealthy,
            other => {
                return Err(format!(
                    "invalid container state '{}': use one of {}",
                    clean_line(other),
                    WORDS.join(", ")
                ));
            }
        })
    }
}

impl Condition {
    /// Whether a container is in that state; None is one that is gone.
    pub fn is_met(self, container: Option<&Container>) -> bool {
        let Some(container) = container else { return self == Self::Removed };
        let status = container.status();
        match self {
            Self::Created => status == Status::Created,
            Self::Running => status == Status::Running,
            Self::Restarting => status == Status::Restarting,
            Self::Stopping => status == Status::Running && container.state.stopped_by_user,
            Self::Stopped => status == Status::Exited,
            Self::Paused => container.is_running() && container.state.paused.is_some(),
            Self::Healthy => container.health_status() == Some(Health::Healthy),
            Self::Unhealthy => container.health_status() == Some(Health::Unhealthy),
            Self::Removed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_podmans_words() {
        for word in WORDS {
            word.parse::<Condition>().unwrap();
        }
        assert_eq!("exited".parse(), Ok(Condition::Stopped));
        let error = "gone\u{1b}".parse::<Condition>().unwrap_err();
        assert!(error.starts_with("invalid container state 'gone"), "{error}");
        assert!(!error.contains('\u{1b}'));
    }
}
