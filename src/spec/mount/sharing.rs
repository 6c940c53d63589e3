//! How a directory from outside the container is shown in it: what binds and volumes have in common.

use serde::{Deserialize, Serialize};

use super::{IdMapping, OverlayDirs};

/// Options of a bind or a volume besides read-only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sharing {
    pub propagation: Propagation,
    pub recursion: Recursion,
    /// `z` (shared) or `Z` (private): SELinux relabelling asked for.
    pub relabel: Option<char>,
    /// Restrictions beyond read-only, from `noexec`, `nosuid`, `nodev`.
    pub restrictions: Vec<Restriction>,
    /// `U`: everything in it is given to the container's user.
    pub chown: bool,
    /// `O`: changes go to directories of the container's run, or to those named.
    pub overlay: Option<OverlayDirs>,
    pub idmap: Option<IdMapping>,
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
    Runbindable,
    Unbindable,
}

/// A mount flag that takes something away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restriction {
    Noexec,
    Nosuid,
    Nodev,
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
            Self::Runbindable => "runbindable",
            Self::Unbindable => "unbindable",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::Rprivate,
            Self::Private,
            Self::Rshared,
            Self::Shared,
            Self::Rslave,
            Self::Slave,
            Self::Runbindable,
            Self::Unbindable,
        ];
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

    /// `exec`, `noexec` and their like: what it is about, and whether it restricts.
    pub(super) fn parse(text: &str) -> Option<(Self, bool)> {
        match text {
            "noexec" | "exec" => Some((Self::Noexec, text == "noexec")),
            "nosuid" | "suid" => Some((Self::Nosuid, text == "nosuid")),
            "nodev" | "dev" => Some((Self::Nodev, text == "nodev")),
            _ => None,
        }
    }
}
