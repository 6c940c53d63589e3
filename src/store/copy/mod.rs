//! Copying a tree of files: by descriptors, never by path, so that nobody who moves files about
//! meanwhile leads the copy out of either tree. A tree of any depth costs a bounded number of
//! descriptors and no stack.
//!
//! Regular files (shared blocks where the file system can, else copied in the kernel, else through a
//! buffer; holes stay holes), directories, symbolic links, fifos, hard links within the tree, extended
//! attributes, permissions, owners through a map, times to the nanosecond. Sockets and devices are left
//! out and counted.

mod content;
mod links;
mod metadata;
mod open;
mod place;
#[cfg(test)]
mod tests;
mod walk;

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;

pub use content::Files;
pub use links::Links;
pub use metadata::{Attributes, attributes, settle, settle_link};

use crate::explain::reason;

/// How a tree is copied. The default is an exact copy into places where nothing is yet.
#[derive(Clone, Copy, Default)]
pub struct CopyOptions<'a> {
    pub owners: Owners<'a>,
    pub existing: Existing,
    pub contents: Contents<'a>,
    pub overlay: OverlayMarks,
    /// [`copy_tree`]: the target directory itself gets the source's owner, permissions, attributes and
    /// times. (That of [`copy_entry`] always does.)
    pub top: bool,
    /// A file has its name only when it is whole, and one that it replaces is there until then.
    pub whole: bool,
    /// Called before files of the other side are touched: takes on the rights to use there.
    pub rights: Option<&'a dyn Fn(Side)>,
    /// Ends the copy with [`CopyError::Stopped`] soon after it becomes true.
    pub stop: Option<&'a AtomicBool>,
}

/// Whose the copies are.
#[derive(Clone, Copy, Default)]
pub enum Owners<'a> {
    /// The source's owners, as the copying process sees them.
    #[default]
    Keep,
    /// The copying process's user. Set-user-id and set-group-id bits are dropped, as they would lend
    /// another one's rights than they did, and access lists, as they are about others.
    Copier,
    /// These ids, a user's and a group's. Access lists are dropped.
    One(u32, u32),
    /// Another id for each, in access lists too; None ends the copy with [`CopyError::NoOwner`].
    Map { uid: &'a dyn Fn(u32) -> Option<u32>, gid: &'a dyn Fn(u32) -> Option<u32> },
}

/// What becomes of what the target has by a name already. Directories always come together.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// It ends the copy.
    #[default]
    Refuse,
    /// Replaced, but no directory by a file and no file by a directory.
    ReplaceSameKind,
    /// Replaced, whatever it is.
    Replace,
}

/// What a copied file holds.
#[derive(Clone, Copy, Default)]
pub enum Contents<'a> {
    /// What the source holds.
    #[default]
    Copy,
    /// Nothing: a hole of the source's size. Called with each such file and its path in the tree, as
    /// long as the copying process owns it.
    Hollow(&'a dyn Fn(BorrowedFd<'_>, &[u8]) -> io::Result<()>),
}

/// What marks of an overlay's layers (whiteouts, `user.overlay.` attributes) mean.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum OverlayMarks {
    /// Nothing: they are left out.
    #[default]
    Drop,
    /// They are copied too: the target is to be a layer.
    Keep,
    /// What they hide is deleted from the target: the layer is laid over it.
    Apply,
}

/// One of the two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Copied {
    /// Files, directories, links...: all but the top of a tree.
    pub entries: u64,
    /// Bytes that files hold, holes and further hard links not counted.
    pub bytes: u64,
    /// Sizes of the files, hard links as often as they occur.
    pub size: u64,
    /// Left out.
    pub sockets: u64,
    /// Left out.
    pub devices: u64,
    /// Extended attributes that the target's file system or the rights there did not take.
    pub attributes_lost: u64,
}

/// Why a copy ended early. Paths are relative to the top of the tree.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{doing} {}: {}", show(path), reason(&io::Error::from(*error)))]
    Io { doing: &'static str, side: Side, path: PathBuf, error: Errno },
    /// [`Existing::ReplaceSameKind`]; docker's words.
    #[error("cannot overwrite directory {} with non-directory", show(.0))]
    DirectoryInTheWay(PathBuf),
    /// [`Existing::ReplaceSameKind`]; docker's words.
    #[error("cannot overwrite non-directory {} with directory", show(.0))]
    FileInTheWay(PathBuf),
    #[error("{}: its owner {id} has no id there", show(path))]
    NoOwner { path: PathBuf, id: u32 },
    /// The source moved directories about under the copy.
    #[error("{} was moved while it was copied", show(.0))]
    Moved(PathBuf),
    /// From [`Contents::Hollow`].
    #[error("{}: {error}", show(path))]
    Hook { path: PathBuf, error: io::Error },
    #[error("interrupted")]
    Stopped,
}

impl CopyError {
    /// The system's error, if it is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Io { error, .. } => Some(*error),
            Self::Hook { error, .. } => Errno::from_io_error(error),
            _ => None,
        }
    }

    /// The same for a tree that lies at `base`.
    pub fn below(mut self, base: &OsStr) -> Self {
        match &mut self {
            Self::Io { path, .. }
            | Self::NoOwner { path, .. }
            | Self::Hook { path, .. }
            | Self::DirectoryInTheWay(path)
            | Self::FileInTheWay(path)
            | Self::Moved(path) => {
                let mut whole = base.as_bytes().to_vec();
                if !path.as_os_str().is_empty() {
                    if whole.last().is_some_and(|&last| last != b'/') {
                        whole.push(b'/');
                    }
                    whole.extend_from_slice(path.as_os_str().as_bytes());
                }
                *path = PathBuf::from(OsStr::from_bytes(&whole));
            }
            Self::Stopped => {}
        }
        self
    }
}

impl From<CopyError> for io::Error {
    fn from(error: CopyError) -> Self {
        let kind = error.errno().map_or(io::ErrorKind::Other, |errno| io::Error::from(errno).kind());
        Self::new(kind, error)
    }
}

/// A path of foreign origin, without control bytes and of bounded length.
fn show(path: &std::path::Path) -> String {
    const SHOWN: usize = 400;
    let bytes = path.as_os_str().as_bytes();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(SHOWN)..]);
    match bytes.len() {
        0 => ".".to_owned(),
        length if length > SHOWN => format!("...{}", text.escape_debug()),
        _ => text.escape_debug().to_string(),
    }
}

/// Copies what the directory `from` holds into the existing directory `to`. `progress` hears of bytes
/// as they are copied. Descriptors may be of the kind that only names a file (O_PATH).
pub fn copy_tree(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    options: &CopyOptions<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Copied, CopyError> {
    walk::Copier::new(options, progress).tree(from, to)
}

/// Copies the entry `name` of the directory `from`, a directory with all that it holds, into the
/// directory `to` as `new_name`. A last symbolic link is copied as such.
pub fn copy_entry(
    from: BorrowedFd<'_>,
    name: &CStr,
    to: BorrowedFd<'_>,
    new_name: &CStr,
    options: &CopyOptions<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Copied, CopyError> {
    walk::Copier::new(options, progress).single(from, name, to, new_name)
}
