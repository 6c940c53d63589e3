//! How building a container can fail, and what the processes that build it tell each other.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// A failed start: docker's exit code and one line for a person.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct SetupError {
    /// 125, 126 (not executable) or 127 (not found).
    pub code: u8,
    pub text: String,
}

impl SetupError {
    /// A failure of ours or of what was asked for.
    pub fn new(text: impl Into<String>) -> Self {
        Self { code: 125, text: text.into() }
    }

    /// A cgroup that could not be made, or a limit that it does not take.
    pub fn from_cgroup(error: std::io::Error) -> Self {
        Self::new(format!("cannot make the container's cgroup: {error}"))
    }
}

/// A failure's text may quote a command line of any length; the characters that are reported.
const TEXT_MAX: usize = 4096;

impl Report {
    /// The report of a failure, short enough for a message whatever it quotes.
    pub fn failed(mut error: SetupError) -> Self {
        if let Some((end, _)) = error.text.char_indices().nth(TEXT_MAX) {
            error.text.truncate(end);
            error.text.push_str("...");
        }
        Self::Failed(error)
    }
}

/// Names the operation that failed.
pub trait Doing<T> {
    /// `what` completes "cannot ...".
    fn doing(self, what: impl Display) -> Result<T, SetupError>;
}

impl<T, E: Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Display) -> Result<T, SetupError> {
        self.map_err(|error| SetupError::new(format!("cannot {what}: {error}")))
    }
}

/// The user a container's process runs as, looked up in its own account files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedUser {
    pub uid: u32,
    pub gid: u32,
    /// Always holds `gid` too, so that group-negative modes hold.
    pub groups: Vec<u32>,
    pub home: String,
    /// The supplementary groups of who called stay; `groups` are not set.
    #[serde(default)]
    pub keep_groups: bool,
}

/// From the builder or the init to the supervisor. The channel's end means the init was executed.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// The init exists; its pidfd comes along.
    Init,
    /// The terminal's controller and its user side come along.
    Console,
    /// The user was looked up.
    User(ResolvedUser),
    Failed(SetupError),
}

/// From the builder to the init: everything is mounted. The terminal, the sealed copy of our
/// executable, and the secret variables come along in this order, each if there is one.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    pub user: ResolvedUser,
    pub terminal: bool,
    pub sealed: bool,
    pub variables: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fits_a_message_whatever_it_quotes() {
        for text in ["x".repeat(100_000), "\u{1}".repeat(100_000), "\u{1f980}".repeat(100_000)] {
            let report = Report::failed(SetupError::new(text));
            assert!(serde_json::to_vec(&report).unwrap().len() < 64 * 1024);
        }
        let Report::Failed(error) = Report::failed(SetupError::new("short")) else { panic!("no failure") };
        assert_eq!(error.text, "short");
    }
}
