//! What a user mounts into a container: bind mounts and tmpfs, from `-v`, `--mount` and `--tmpfs`.
//!
//! A [`Mount`] prints as the value of the flag it came from and parses back to itself.

mod option;
mod tmpfs;
mod volume;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::text::printable;

pub use option::parse_mount;
pub use tmpfs::{Tmpfs, parse_tmpfs};
pub use volume::parse_volume;

/// One mount asked for on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container, without `.`, `..` or doubled slashes; never `/` or `/proc…`.
    pub target: String,
    pub read_only: bool,
    pub kind: MountKind,
    /// The flag it came from, which decides how it is printed and where inspect shows it.
    pub flag: Flag,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    Bind(Bind),
    Tmpfs(Tmpfs),
}

/// A directory or file of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute, as given (symlinks unresolved).
    pub source: PathBuf,
    pub propagation: Propagation,
    pub recursion: Recursion,
    /// `z` (shared) or `Z` (private): SELinux relabelling asked for.
    pub relabel: Option<char>,
    /// Restrictions beyond read-only, from `noexec`, `nosuid`, `nodev`.
    pub restrictions: Vec<Restriction>,
}

/// Whether mounts below the source come along, and how read-only reaches them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recursion {
    /// They do, and are read-only with it where the kernel can do that (5.12).
    #[default]
    Enabled,
    /// They don't.
    Disabled,
    /// They do, and stay writable.
    Writable,
    /// They do, and must be read-only.
    Readonly,
}

/// Mount propagation between host and container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    #[default]
    Rprivate,
    Private,
    Rshared,
    Shared,
    Rslave,
    Slave,
}

/// A mount flag that takes something away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restriction {
    Noexec,
    Nosuid,
    Nodev,
}

/// The three ways to ask for a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    Volume,
    Mount,
    Tmpfs,
}

/// Why a value is not a mount; docker's words where it has them. Values are escaped for printing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidMount {
    #[error("invalid empty volume spec")]
    Empty,
    #[error("invalid spec: {0}: empty section between colons")]
    EmptySection(String),
    #[error("invalid spec: {0}: too many colons")]
    TooManyColons(String),
    #[error("invalid volume specification: '{spec}': {reason}")]
    Volume { spec: String, reason: Box<InvalidMount> },
    #[error("invalid mount config for type \"{kind}\": {reason}")]
    Config { kind: &'static str, reason: Target },
    #[error("invalid mode: {0}")]
    Mode(String),
    #[error("named volume {0:?} can't be used: this release has no volumes, only host paths that begin with / or .")]
    NamedVolume(String),
    #[error("anonymous volume at {0:?} can't be used: this release has no volumes, only host paths and --tmpfs")]
    AnonymousVolume(String),
    #[error("mount type {0:?} can't be used: this release has bind and tmpfs")]
    Kind(String),
    #[error("invalid --mount {spec:?}: {reason}")]
    Option { spec: String, reason: String },
    #[error("invalid tmpfs option {0:?}")]
    TmpfsOption(String),
    #[error("Duplicate mount point: {0}")]
    Duplicate(String),
}

/// Why a path can't be mounted or mounted on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Target {
    #[error("invalid mount path: '{0}' mount path must be absolute")]
    Relative(String),
    #[error("invalid specification: destination can't be '/'")]
    Root,
    #[error("invalid specification: destination '{0}' is inside /proc, which is always the container's own")]
    Proc(String),
    #[error("invalid mount path: '{0}' holds a NUL byte")]
    Nul(String),
    #[error("field {0} must not be empty")]
    Missing(&'static str),
    #[error("field {0} must not be specified")]
    Unwanted(&'static str),
}

/// Checks and normalises a path in the container.
fn target(kind: &'static str, text: &str) -> Result<String, InvalidMount> {
    let fail = |reason| Err(InvalidMount::Config { kind, reason });
    if text.contains('\0') {
        return fail(Target::Nul(printable(text)));
    }
    if !text.starts_with('/') {
        return fail(Target::Relative(printable(text)));
    }
    let path = clean(text);
    if path == "/" {
        return fail(Target::Root);
    }
    if path == "/proc" || path.starts_with("/proc/") {
        return fail(Target::Proc(printable(&path)));
    }
    Ok(path)
}

/// Makes a bind source absolute; only `.`-paths are relative to `cwd`.
fn source(text: &str, cwd: &Path) -> Result<PathBuf, InvalidMount> {
    let fail = |reason| Err(InvalidMount::Config { kind: "bind", reason });
    if text.contains('\0') {
        return fail(Target::Nul(printable(text)));
    }
    match text.as_bytes().first() {
        None => fail(Target::Missing("Source")),
        Some(b'/') => Ok(PathBuf::from(clean(text))),
        Some(b'.') => Ok(PathBuf::from(clean(&format!("{}/{text}", cwd.display())))),
        Some(_) => fail(Target::Relative(printable(text))),
    }
}

/// The lexical normal form of an absolute path (Go's path.Clean).
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Refuses two mounts on one target.
pub fn check_duplicates(mounts: &[Mount]) -> Result<(), InvalidMount> {
    let repeats =
        |(index, mount): (usize, &Mount)| mounts[..index].iter().any(|earlier| earlier.target == mount.target);
    match mounts.iter().enumerate().find(|pair| repeats(*pair)) {
        Some((_, mount)) => Err(InvalidMount::Duplicate(printable(&mount.target))),
        None => Ok(()),
    }
}

impl Propagation {
    /// The word in flags and in the Spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rprivate => "rprivate",
            Self::Private => "private",
            Self::Rshared => "rshared",
            Self::Shared => "shared",
            Self::Rslave => "rslave",
            Self::Slave => "slave",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Rprivate, Self::Private, Self::Rshared, Self::Shared, Self::Rslave, Self::Slave];
        all.into_iter().find(|propagation| propagation.as_str() == text)
    }
}

impl Restriction {
    /// The word in flags and in the Spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Noexec => "noexec",
            Self::Nosuid => "nosuid",
            Self::Nodev => "nodev",
        }
    }
}

impl Mount {
    /// How deep the target lies, for mounting parents before children.
    pub fn depth(&self) -> usize {
        self.target.split('/').count() - 1
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.flag, &self.kind) {
            (Flag::Volume, MountKind::Bind(bind)) => volume::print(self, bind, f),
            (Flag::Tmpfs, MountKind::Tmpfs(tmpfs)) => tmpfs::print(self, tmpfs, f),
            _ => option::print(self, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!(target("bind", "//a/./b/../c/").as_deref(), Ok("/a/c"));
        for (text, reason) in [
            ("/", Target::Root),
            ("/a/..", Target::Root),
            ("/proc", Target::Proc("/proc".into())),
            ("/sys/../proc//self", Target::Proc("/proc/self".into())),
            ("rel", Target::Relative("rel".into())),
            ("/a\0", Target::Nul("/a\\u{0}".into())),
        ] {
            assert_eq!(target("bind", text), Err(InvalidMount::Config { kind: "bind", reason }));
        }
        assert_eq!(target("bind", "/procs").as_deref(), Ok("/procs"));
    }

    #[test]
    fn duplicates_are_named() {
        let cwd = Path::new("/");
        let mounts = [parse_volume("/a:/x", cwd).unwrap(), parse_tmpfs("/x/").unwrap()];
        assert_eq!(check_duplicates(&mounts).unwrap_err().to_string(), "Duplicate mount point: /x");
        assert_eq!(check_duplicates(&mounts[..1]), Ok(()));
    }
}
