//! COPY and ADD: what the sources name, a digest of it for the cache, and its place in a root.

pub mod chmod;
pub mod chown;
pub mod destination;
mod digest;
pub mod pattern;
mod place;
mod select;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;

use super::context::entry::{self, show};
use super::context::scan::LeftOut;
use super::context::{Entry, TreeOwners};
pub use chmod::Chmod;
pub use destination::Destination;
pub use place::{PlaceError, PlaceOptions, Placed, place, place_inline};

/// What an instruction names of a tree, variables expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Paths and wildcards, relative to the tree.
    pub sources: Vec<String>,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`.
    pub exclude: Vec<String>,
}

/// What was found.
#[derive(Debug)]
pub struct Selected {
    pub(in crate::build) root: Rc<OwnedFd>,
    pub(in crate::build) owners: TreeOwners,
    pub(in crate::build) picks: Vec<Pick>,
    pub left_out: LeftOut,
}

/// One source, or one match of a wildcard.
#[derive(Debug)]
pub(in crate::build) struct Pick {
    /// Where the entry is, relative to the tree; no links.
    pub directory: Vec<u8>,
    /// What a file is called in a directory that it is copied to: the last part of the source as it was
    /// written, which may be a link.
    pub name: Vec<u8>,
    pub entry: Entry,
}

impl Pick {
    /// The entry's own path in the tree.
    pub fn path(&self) -> Vec<u8> {
        match self.entry.name() {
            b"." => Vec::new(),
            name => entry::join(&self.directory, name),
        }
    }
}

impl Selected {
    /// Whether nothing matched.
    pub fn is_empty(&self) -> bool {
        self.picks.is_empty()
    }

    /// Files, directories, links...
    pub fn count(&self) -> usize {
        self.picks.iter().map(|pick| pick.entry.count()).sum()
    }

    /// How many sources there are once wildcards were resolved.
    pub fn sources(&self) -> usize {
        self.picks.len()
    }
}

/// Why nothing can be copied. BuildKit's words.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    #[error("\"/{}\": not found", show(.0))]
    NotFound(Vec<u8>),
    #[error("\"/{}\": not found: excluded by .dockerignore", show(.0))]
    Ignored(Vec<u8>),
    #[error("no source files were specified")]
    NoSources,
    #[error("{doing} /{}: {}", show(path), crate::explain::reason(&std::io::Error::from(*error)))]
    Io { doing: &'static str, path: Vec<u8>, error: Errno },
    /// Go's words.
    #[error("invalid pattern {0:?}: syntax error in pattern")]
    Pattern(String),
    /// It changed whenever it was read.
    #[error("/{} changed while it was read", show(.0))]
    Changed(Vec<u8>),
}
