//! Opening the entries of directories: never through a link, and never what may not be touched.

use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// A name of the source with what the directory says that it is.
pub(super) struct Listed {
    pub name: CString,
    pub kind: FileType,
}

/// The directory `name` itself, not where a link leads.
pub(super) fn open_directory(at: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// A directory to write to, which need not be readable.
pub(super) fn open_target(at: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    match open_directory(at, name) {
        Err(Errno::ACCESS) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(at, name, flags, Mode::empty())
        }
        result => result,
    }
}

/// Opens a regular file for reading; None when it is something else.
pub(super) fn open_file(at: BorrowedFd<'_>, name: &CStr) -> Result<Option<(OwnedFd, Stat)>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(at, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Ok(regular.then_some((file, stat)))
}

/// Opens what must be of this kind.
pub(super) fn open_kind(at: BorrowedFd<'_>, name: &CStr, flags: OFlags, kind: FileType) -> Result<OwnedFd, Errno> {
    let file = rustix::fs::openat(at, name, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        found if found == kind => Ok(file),
        _ => Err(Errno::STALE),
    }
}

/// The names in a directory. All at once, so that the directory need not stay open and what is made
/// in it meanwhile is not met.
pub(super) fn names(directory: BorrowedFd<'_>) -> Result<Vec<Listed>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = match entry {
            // The directory was deleted.
            Err(Errno::NOENT) => break,
            entry => entry?,
        };
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(Listed { name: name.to_owned(), kind: entry.file_type() });
        }
    }
    Ok(names)
}
