//! Trees become tar streams: what a container changed as a layer (OCI image-spec, layer.md), its
//! whole root as one tree, and the list of its changes.
//!
//! Runs in a process inside the user namespace, where the ids of files are those the container sees.
//! A container may change everything underneath meanwhile: files are reached only through descriptors
//! of their directories, links are never followed, and what vanishes or shrinks during the walk is
//! left out or padded with zeros, as GNU tar does.

mod archive;
mod changes;
mod content;
pub(super) mod level;
#[cfg(test)]
mod tests;
mod walk;

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::spec::identity::Maps;

pub use changes::{Change, ChangeKind};

use archive::Archive;
use changes::{Comparison, List};
use level::{Dialect, Ids, Layer, Level};
use walk::{Rules, Walk};

/// What a container's root consists of.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Its writable directory; None before it was ever started.
    pub upper: Option<PathBuf>,
    /// The layers below, lowest first.
    pub lowers: Vec<PathBuf>,
    pub form: Form,
    /// The map of who lives in it: its writable directory has other ids than the layers.
    pub ids: Option<Maps>,
}

/// How the writable directory says what it hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// overlayfs with `userxattr`: devices 0:0 and `user.overlay.opaque`.
    Overlay,
    /// fuse-overlayfs: the same, or names that begin with `.wh.`.
    FuseOverlay,
    /// It holds the whole tree: what it lacks is deleted.
    Copy,
}

impl Form {
    /// The form that a driver of root file systems leaves.
    pub fn of_driver(name: &str) -> Self {
        match name {
            "fuse-overlayfs" => Self::FuseOverlay,
            "copy" => Self::Copy,
            _ => Self::Overlay,
        }
    }
}

/// How entries are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct PackOptions {
    /// Every entry's time in seconds since the epoch, in place of its own to the nanosecond.
    pub timestamp: Option<i64>,
    /// No entry is younger, in seconds since the epoch.
    pub youngest: Option<i64>,
    /// It is no layer: names that mean a deletion there (`.wh.`) are ordinary ones.
    pub plain: bool,
}

/// Bytes of an archive of no entry, all zero.
pub const EMPTY: u64 = 2 * 512;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// Entries of the archive, whiteouts included.
    pub entries: u64,
    /// Bytes of the archive.
    pub bytes: u64,
    /// Sockets, which no archive holds.
    pub sockets: u64,
    /// Some names that mean a deletion in a layer (`.wh.`), left out.
    pub reserved: Vec<String>,
}

/// Writes what the container changed as a layer. Without a change it is an archive of no entry.
pub fn layer(tree: &Tree, options: PackOptions, out: impl Write) -> Result<Packed> {
    let mut archive = Archive::new(out, options, Ids::root_of(tree.ids.as_ref()));
    if let Some(upper) = &tree.upper {
        let below = tree.below()?;
        let rules = Rules { directory_times: true, names_hidden: false };
        Walk::new(&mut archive, rules, tree.form).run(tree.writable(upper)?, &below)?;
    }
    archive.finish()
}

/// Writes the whole root.
pub fn whole(tree: &Tree, options: PackOptions, out: impl Write) -> Result<Packed> {
    let mut archive = Archive::new(out, options, Ids::root_of(tree.ids.as_ref()));
    walk::whole(&mut archive, &tree.merged()?)?;
    archive.finish()
}

/// Writes what lies at `name` of a directory, with all that is below it; a link as a link. In the
/// archive it is `base`, or the root if that is empty. `ids` is the map of the container it belongs to.
pub fn subtree(
    (directory, name): (BorrowedFd<'_>, &CStr),
    base: &[u8],
    ids: Option<&Maps>,
    options: PackOptions,
    out: impl Write,
) -> Result<Packed> {
    let mut archive = Archive::new(out, options, Ids::root_of(ids));
    walk::subtree(&mut archive, Layer::of(directory.try_clone_to_owned()?, ids.map(Ids::new)), name, base)?;
    archive.finish()
}

/// Writes a directory that is no container's, such as a volume.
pub fn directory(path: &Path, out: impl Write) -> Result<Packed> {
    let options = PackOptions { plain: true, ..PackOptions::default() };
    let mut archive = Archive::new(out, options, Ids::root_of(None));
    walk::whole(&mut archive, &Level::of(vec![Layer::open(path, Dialect::Plain, None)?]))?;
    archive.finish()
}

/// Lists what the container changed, in the order of the walk.
pub fn changes(tree: &Tree) -> Result<Vec<Change>> {
    let mut list = List::default();
    if let Some(upper) = &tree.upper {
        let below = tree.below()?;
        let rules = Rules { directory_times: false, names_hidden: true };
        Walk::new(&mut list, rules, tree.form).run(tree.writable(upper)?, &below)?;
    }
    Ok(list.into_changes())
}

/// Lists what the whole tree `to` has and lacks of `from`.
pub fn differences(from: &Tree, to: &Tree) -> Result<Vec<Change>> {
    Comparison::of(&to.merged()?, &from.merged()?)
}

impl Form {
    fn dialect(self) -> Dialect {
        if self == Self::FuseOverlay { Dialect::Fuse } else { Dialect::Kernel }
    }
}

impl Tree {
    /// The layers below, whose ids are the images'.
    fn below(&self) -> Result<Level> {
        let layers = self.lowers.iter().rev().map(|path| Layer::open(path, Dialect::Kernel, None));
        Ok(Level::of(layers.collect::<Result<_>>()?))
    }

    fn writable(&self, upper: &Path) -> Result<Layer> {
        Layer::open(upper, self.form.dialect(), self.ids.as_ref().map(Ids::new))
    }

    fn merged(&self) -> Result<Level> {
        match &self.upper {
            Some(upper) if self.form == Form::Copy => Ok(Level::of(vec![self.writable(upper)?])),
            Some(upper) => Ok(self.below()?.under(self.writable(upper)?)),
            None => self.below(),
        }
    }
}
