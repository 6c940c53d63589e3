//! Why something failed and what mends it: from an errno and the object it is about to the true
//! cause, under the stable codes of docs/doctor.md. Used where errors are raised and by `doctor`.
//!
//! Only what was looked at is said. Where several causes remain they are named as suspects.

mod code;
pub mod distribution;
mod elf;
pub mod exec;
pub mod facts;
pub mod helpers;
pub mod path;
pub mod ports;
pub mod shortage;
pub mod subordinate;
pub mod user_namespaces;

use std::{fmt, io};

use serde::{Deserialize, Serialize};

pub use code::Code;

/// The system's text of an error as Go has it: without its number, and the first letter small.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Who can mend it, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mend {
    /// A line for the user's own shell.
    You(String),
    /// A line for root's shell.
    Administrator(String),
    /// Not one line: what to do, in words that complete a sentence.
    Advice(String),
}

impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::You(line) => write!(f, "run: {line}"),
            Self::Administrator(line) => write!(f, "an administrator runs: {line}"),
            Self::Advice(words) => f.write_str(words),
        }
    }
}

/// A cause that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    pub code: Code,
    /// What is so, as a clause.
    pub cause: String,
    pub mend: Vec<Mend>,
}

impl Explained {
    /// A cause with nothing to mend it yet.
    pub fn new(code: Code, cause: impl Into<String>) -> Self {
        Self { code, cause: cause.into(), mend: Vec::new() }
    }

    /// Adds a line for the user.
    pub fn you(mut self, line: impl Into<String>) -> Self {
        self.mend.push(Mend::You(line.into()));
        self
    }

    /// Adds a line for root.
    pub fn administrator(mut self, line: impl Into<String>) -> Self {
        self.mend.push(Mend::Administrator(line.into()));
        self
    }

    /// Adds advice in words.
    pub fn advice(mut self, words: impl Into<String>) -> Self {
        self.mend.push(Mend::Advice(words.into()));
        self
    }
}

/// The end of an error line: cause, code, and the first way to mend it.
impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.cause, self.code)?;
        match self.mend.first() {
            Some(mend) => write!(f, "; {mend}"),
            None => Ok(()),
        }
    }
}

/// `text`, with what was found out behind it.
pub fn with_cause(text: impl fmt::Display, explained: Option<Explained>) -> String {
    match explained {
        Some(explained) => format!("{text}: {explained}"),
        None => text.to_string(),
    }
}

/// A /proc that cannot be mounted, with its cause: the kernel demands one in sight of which nothing
/// is covered.
pub fn proc_mount(error: rustix::io::Errno) -> String {
    let cause = (error == rustix::io::Errno::PERM).then(|| covered_proc("parts of the /proc here are covered"));
    with_cause(error, cause)
}

/// The /proc of an outer container, which covers parts of it.
pub fn covered_proc(cause: &str) -> Explained {
    Explained::new(Code::ProcMount, cause).advice(
        "start the outer container with --security-opt systempaths=unconfined (docker) or --security-opt unmask=ALL (podman)",
    )
}

/// A word as a POSIX shell takes it, for lines that are to be copied.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A path as a POSIX shell takes it.
pub fn shell_path(path: &std::path::Path) -> String {
    shell_word(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_line_ends_with_cause_code_and_mend() {
        let explained =
            Explained::new(Code::UserNamespaces, "x is 0").administrator("sysctl -w x=1").you("never shown");
        assert_eq!(
            with_cause("cannot do it", Some(explained)),
            "cannot do it: x is 0 [user-namespaces]; an administrator runs: sysctl -w x=1"
        );
        assert_eq!(with_cause("cannot do it", None), "cannot do it");
    }

    #[test]
    fn lines_can_be_copied() {
        assert_eq!(shell_word("/home/me/.local"), "/home/me/.local");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(shell_word(""), "''");
    }
}
