//! Where a value came from, and what is said of one that can't be used.

use std::fmt;
use std::sync::Arc;

use super::given::Refusal;
use super::keys::{Key, closest};
use crate::spec::text::printable;

/// Where a value came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    #[default]
    Default,
    /// A file, by path, line and column, both from 1.
    File { path: Arc<str>, line: usize, column: usize },
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

/// A value and where it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting<T> {
    pub value: T,
    pub origin: Origin,
}

/// A file, variable or flag that can't be used: where, what, why.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{place}: {what}")]
pub struct InvalidSetting {
    place: String,
    what: String,
}

const SHOWN_MAX: usize = 80;

impl<T> Setting<T> {
    pub(super) fn builtin(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }

    /// The error for a value whose meaning is known elsewhere and that has none there.
    pub fn refuse(&self, key: &str, shown: &str, why: &dyn fmt::Display) -> InvalidSetting {
        let place = match &self.origin {
            Origin::File { path, line, column } => format!("{path}:{line}:{column}"),
            other => other.to_string(),
        };
        InvalidSetting::new(place, format!("invalid value \"{}\" of {key}: {why}", excerpt(shown)))
    }
}

impl InvalidSetting {
    pub(super) fn new(place: String, what: String) -> Self {
        Self { place, what }
    }

    /// A key that does not exist, with the one that was meant if that can be told.
    pub(super) fn unknown(place: String, name: &str) -> Self {
        let hint = closest(name).map_or_else(String::new, |key| format!(": did you mean {key:?}?"));
        Self::new(place, format!("unknown key \"{}\"{hint}", excerpt(name)))
    }

    pub(super) fn of(place: String, key: &Key, shown: &str, Refusal { why, .. }: Refusal) -> Self {
        let why = why.map_or_else(String::new, |why| format!(" ({})", printable(&why)));
        let (shown, name, allowed) = (excerpt(shown), key.name, key.allowed);
        Self::new(place, format!("invalid value {shown} of {name}: it must be {allowed}{why}"))
    }
}

/// Foreign text on one line, and not too much of it.
pub(super) fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    printable(&shown)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, .. } => write!(f, "{path}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}
