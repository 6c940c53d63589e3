//! What a tree holds, as it was when it was looked at.

use std::ffi::{CStr, CString};

use rustix::fs::{FileType, Stat};

use crate::spec::digest::Digest;

/// A file or directory of a tree.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: CString,
    pub kind: Kind,
    pub stat: Stat,
    /// Whether it has extended attributes that a copy has too; None as long as nobody looked.
    pub attributes: Option<bool>,
}

/// What it is, with what belongs to that.
#[derive(Clone, Debug)]
pub enum Kind {
    Directory {
        /// Sorted by name.
        entries: Vec<Entry>,
        /// False for one that is only on the way to what was asked for.
        wanted: bool,
        /// Digest of its extended attributes.
        attributes: Option<Digest>,
    },
    File {
        /// Of content and extended attributes, once it is known.
        digest: Option<Digest>,
        /// The file changed so shortly before it was read that its times may not show the next change.
        racy: bool,
    },
    Link(CString),
    Fifo,
    Device,
}

/// What changes when a file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub size: u64,
    /// Seconds and nanoseconds.
    pub modified: (i64, u32),
    pub changed: (i64, u32),
    pub mode: u32,
}

impl Stamp {
    pub fn of(stat: &Stat) -> Self {
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, stat.st_mtime_nsec as u32),
            changed: (stat.st_ctime, stat.st_ctime_nsec as u32),
            mode: stat.st_mode,
        }
    }
}

impl Entry {
    /// Its name as bytes.
    pub fn name(&self) -> &[u8] {
        self.name.to_bytes()
    }

    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory { .. })
    }

    /// It and all below.
    pub fn count(&self) -> usize {
        match &self.kind {
            Kind::Directory { entries, .. } => 1 + entries.iter().map(Self::count).sum::<usize>(),
            _ => 1,
        }
    }
}

/// Device and inode.
pub fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Whether it is a directory.
pub fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// `parent/name`, where the parent may be the top.
pub fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

/// A name from bytes, which never holds a zero.
pub fn c_name(bytes: &[u8]) -> Result<CString, rustix::io::Errno> {
    CString::new(bytes).map_err(|_| rustix::io::Errno::INVAL)
}

/// For messages: no control bytes.
pub fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
}

/// The same of a C string.
pub fn show_name(name: &CStr) -> String {
    show(name.to_bytes())
}
