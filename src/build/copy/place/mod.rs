//! Puts a selection into a root: links are followed within that root only, and what is there already is
//! replaced by BuildKit's rules.

mod file;
mod tree;
mod unpack;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicBool;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::{Chmod, Destination, Pick, Selected};
use crate::build::context::entry::{is_directory, show};
use crate::build::context::resolve::{Last, Resolved, resolve};
use crate::explain::reason;
use tree::Writer;

/// How files are put.
#[derive(Clone, Debug, Default)]
pub struct PlaceOptions<'a> {
    /// `COPY` or `ADD`, for messages.
    pub instruction: &'static str,
    /// Whose everything is, made directories included; None keeps what the tree says.
    pub chown: Option<(u32, u32)>,
    pub chmod: Option<Chmod>,
    /// Archives are extracted instead of copied.
    pub unpack: bool,
    /// The user namespace maps one id only: everything stays its property.
    pub single_id: bool,
    /// Ends the work soon after it becomes true.
    pub stop: Option<&'a AtomicBool>,
}

/// What was put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    pub entries: u64,
    /// Bytes that files hold.
    pub bytes: u64,
    /// Device nodes that could not be made.
    pub skipped_devices: u64,
    /// Files that are not what the selection's digest says, as they changed meanwhile.
    pub changed: Vec<String>,
}

/// Why not all was put. Paths are as seen from the root.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// docker's words.
    #[error("When using {0} with more than one source file, the destination must be a directory and end with a /")]
    Several(&'static str),
    /// BuildKit's words.
    #[error("cannot replace to directory {} with file", show(.0))]
    DirectoryInTheWay(Vec<u8>),
    /// BuildKit's words.
    #[error("cannot copy to non-directory: {}", show(.0))]
    FileInTheWay(Vec<u8>),
    #[error("{doing} {}: {}", show(path), reason(&std::io::Error::from(*error)))]
    Io { doing: &'static str, path: Vec<u8>, error: Errno },
    /// The source is not any more what it was.
    #[error("/{} changed while it was copied", show(.0))]
    Changed(Vec<u8>),
    #[error("extract {}: {error:#}", show(path))]
    Archive { path: Vec<u8>, error: anyhow::Error },
    #[error("interrupted")]
    Stopped,
}

impl PlaceError {
    /// The system's error, if it is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Io { error, .. } => Some(*error),
            Self::Archive { error, .. } => {
                error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).and_then(Errno::from_io_error)
            }
            _ => None,
        }
    }
}

/// Puts what was selected to `destination` in `root`. `progress` hears of bytes. May start a thread, which
/// ends before this does.
pub fn place(
    selected: &Selected,
    root: BorrowedFd<'_>,
    destination: &Destination,
    options: &PlaceOptions<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Placed, PlaceError> {
    let mut placed = Placed::default();
    let target = Target { root, destination, options };
    for pick in &selected.picks {
        if pick.entry.is_directory() {
            let at = target.directory(None)?;
            Writer::new(selected, options, &mut placed, progress).contents(pick, &at)?;
            continue;
        }
        if options.unpack && unpack::attempt(selected, pick, &target, &mut placed)? {
            continue;
        }
        let at = target.file(pick, selected.picks.len() > 1)?;
        Writer::new(selected, options, &mut placed, progress).file(pick, &at)?;
    }
    if selected.picks.is_empty() {
        target.directory_above()?;
    }
    Ok(placed)
}

/// Writes a file with this content and permissions 0644, as a heredoc of COPY and ADD makes one.
/// `several`: it is not the only source.
pub fn place_inline(
    name: &str,
    content: &[u8],
    several: bool,
    root: BorrowedFd<'_>,
    destination: &Destination,
    options: &PlaceOptions<'_>,
) -> Result<(), PlaceError> {
    let target = Target { root, destination, options };
    let name = name.rsplit('/').next().unwrap_or(name);
    let at = target.file_named(name.as_bytes(), several)?;
    let failed = |error| PlaceError::Io { doing: "create", path: at.path.clone(), error };
    let mode = options.chmod.as_ref().map_or(0o644, |chmod| chmod.apply(0o644, false));
    let file = file::create(&at.directory, &at.name, 0o600, &at.path)?;
    let mut written = 0;
    while written < content.len() {
        written += rustix::io::retry_on_intr(|| rustix::io::write(&file, &content[written..])).map_err(failed)?;
    }
    target.own(file.as_fd()).and_then(|()| rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))).map_err(failed)
}

/// Where something goes.
struct At {
    directory: OwnedFd,
    /// In that directory; empty for the directory itself.
    name: Vec<u8>,
    /// From the root, without links.
    path: Vec<u8>,
}

struct Target<'a> {
    root: BorrowedFd<'a>,
    destination: &'a Destination,
    options: &'a PlaceOptions<'a>,
}

impl Target<'_> {
    fn resolve(&self, path: &[u8]) -> Result<Resolved, PlaceError> {
        let mut make = |directory: BorrowedFd<'_>, name: &[u8]| self.make_directory(directory, name).map(drop);
        resolve(self.root, path, Last::Follow, Some(&mut make)).map_err(|error| self.failed(path, error))
    }

    fn failed(&self, path: &[u8], error: Errno) -> PlaceError {
        PlaceError::Io { doing: "mkdir", path: path.to_vec(), error }
    }

    /// A directory that leads to the destination: for all to enter, and theirs whose the copies are.
    fn make_directory(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
        rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
        let made = open_directory(parent, name)?;
        self.own(made.as_fd())?;
        rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
        Ok(made)
    }

    fn own(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        if self.options.single_id {
            return Ok(());
        }
        let (uid, gid) = self.options.chown.unwrap_or((0, 0));
        let stat = rustix::fs::fstat(file)?;
        if (stat.st_uid, stat.st_gid) == (uid, gid) {
            return Ok(());
        }
        rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }

    /// The destination as a directory, made where it is missing.
    fn directory(&self, path: Option<&[u8]>) -> Result<At, PlaceError> {
        let path = path.unwrap_or(&self.destination.path);
        let found = self.resolve(path)?;
        let shown = [b"/", found.path.as_slice()].concat();
        let opened = match &found.stat {
            None => self.make_directory(found.parent.as_fd(), &found.name),
            Some(stat) if is_directory(stat) => open_directory(found.parent.as_fd(), &found.name),
            Some(_) => return Err(PlaceError::FileInTheWay(shown)),
        };
        let directory = opened.map_err(|error| self.failed(&shown, error))?;
        Ok(At { directory, name: Vec::new(), path: shown })
    }

    /// What is made even when nothing is copied.
    fn directory_above(&self) -> Result<(), PlaceError> {
        if self.destination.directory {
            self.directory(None).map(drop)
        } else {
            self.resolve(&self.destination.path).map(drop)
        }
    }

    fn file(&self, pick: &Pick, several: bool) -> Result<At, PlaceError> {
        self.file_named(&pick.name, several)
    }

    /// Where a file of this name goes.
    fn file_named(&self, name: &[u8], several: bool) -> Result<At, PlaceError> {
        let found = self.resolve(&self.destination.path)?;
        let leads_to_directory = found.stat.as_ref().is_some_and(is_directory);
        if self.destination.directory || leads_to_directory {
            let At { directory, mut path, .. } = match self.directory(None) {
                Err(PlaceError::FileInTheWay(path)) => return Err(self.failed(&path, Errno::NOTDIR)),
                found => found?,
            };
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            return Ok(At { directory, name: name.to_vec(), path });
        }
        if several {
            return Err(PlaceError::Several(self.options.instruction));
        }
        let path = [b"/", found.path.as_slice()].concat();
        let directory = open_directory(found.parent.as_fd(), b".").map_err(|error| self.failed(&path, error))?;
        Ok(At { directory, name: found.name, path })
    }
}

/// The directory `name` itself.
fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Removes what has a name, unless it is a directory.
fn vacate(directory: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), PlaceError> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(PlaceError::DirectoryInTheWay(path.to_vec())),
        Err(error) => Err(PlaceError::Io { doing: "remove", path: path.to_vec(), error }),
    }
}
