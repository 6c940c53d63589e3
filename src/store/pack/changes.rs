//! The list of changes that `diff` prints.

use std::ffi::{CStr, CString};
use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::level::{Level, is_directory};
use super::walk::{Entry, Visitor, is_made_for_mounts, is_mount_point, push, same, same_owner_and_mode};

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    Changed,
    Added,
    Deleted,
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "C",
            Self::Added => "A",
            Self::Deleted => "D",
        })
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub kind: ChangeKind,
    /// Absolute, in the container; any bytes but NUL.
    pub path: Vec<u8>,
}

/// Collects changes.
#[derive(Default)]
pub(super) struct List(Vec<Change>);

impl List {
    pub fn into_changes(self) -> Vec<Change> {
        self.0
    }

    fn add(&mut self, kind: ChangeKind, path: &[u8]) {
        // docker names no change of the root itself.
        if !path.is_empty() {
            self.0.push(Change { kind, path: [b"/", path].concat() });
        }
    }
}

impl Visitor for List {
    fn entry(&mut self, entry: &Entry<'_>, existed: bool) -> Result<()> {
        self.add(if existed { ChangeKind::Changed } else { ChangeKind::Added }, entry.path);
        Ok(())
    }

    fn deleted(&mut self, path: &[u8]) -> Result<()> {
        self.add(ChangeKind::Deleted, path);
        Ok(())
    }

    fn opaque(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// The differences between two merged trees.
#[derive(Default)]
pub(super) struct Comparison {
    list: List,
    path: Vec<u8>,
    /// Lengths of the path at directories that are told of when there is something in them, and as what.
    pending: Vec<(usize, ChangeKind)>,
}

impl Comparison {
    /// What `to` has and lacks of `from`.
    pub fn of(to: &Level, from: &Level) -> Result<Vec<Change>> {
        let mut comparison = Self::default();
        comparison.directory(to, from)?;
        Ok(comparison.list.into_changes())
    }

    fn directory(&mut self, to: &Level, from: &Level) -> Result<()> {
        let mut names: Vec<CString> = to.names()?;
        names.extend(from.names()?);
        names.sort_unstable();
        names.dedup();
        let length = self.path.len();
        for name in &names {
            push(&mut self.path, name)?;
            self.name(to, from, name)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn name(&mut self, to: &Level, from: &Level, name: &CStr) -> Result<()> {
        let (now, before) = (to.look(name)?.map(|found| found.stat), from.look(name)?.map(|found| found.stat));
        let kind = match (&now, &before) {
            (None, None) => return Ok(()),
            (None, Some(_)) => ChangeKind::Deleted,
            (Some(_), None) => ChangeKind::Added,
            (Some(_), Some(_)) => ChangeKind::Changed,
        };
        if now.xor(before).is_some_and(|only| is_mount_point(&self.path, &only)) {
            return Ok(());
        }
        let Some(now) = now.filter(is_directory) else {
            if before.is_some_and(|before| is_directory(&before)) && now.is_none() && is_made_for_mounts(&self.path) {
                return Ok(());
            }
            if !now.zip(before).is_some_and(|(now, before)| same(&now, &before)) {
                self.tell(kind);
            }
            return Ok(());
        };
        let depth = self.pending.len();
        let like = before.is_some_and(|before| same_owner_and_mode(&now, &before));
        match like || before.is_none() && is_made_for_mounts(&self.path) {
            true => self.pending.push((self.path.len(), kind)),
            false => self.tell(kind),
        }
        self.directory(&to.descend(name)?, &from.descend(name)?)?;
        self.pending.truncate(depth);
        Ok(())
    }

    fn tell(&mut self, kind: ChangeKind) {
        for (length, kind) in self.pending.drain(..) {
            self.list.add(kind, &self.path[..length]);
        }
        self.list.add(kind, &self.path);
    }
}
