//! Giving new files their names.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Existing;
use crate::store::{fs, remove};

/// Why a name could not be given.
pub(super) enum PlaceError {
    System(Errno),
    DirectoryInTheWay,
    FileInTheWay,
}

impl From<Errno> for PlaceError {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

/// Calls `make` with `name`, and where that exists with another that is renamed over it, so that
/// the name is never missing.
pub(super) fn put(
    directory: BorrowedFd<'_>,
    name: &CStr,
    existing: Existing,
    make: &mut dyn FnMut(&CStr) -> Result<(), Errno>,
) -> Result<(), PlaceError> {
    match make(name) {
        Err(Errno::EXIST) => {}
        result => return Ok(result?),
    }
    match kind_of(directory, name)? {
        _ if existing == Existing::Refuse => return Err(Errno::EXIST.into()),
        None => return Ok(make(name)?),
        Some(FileType::Directory) if existing == Existing::ReplaceSameKind => {
            return Err(PlaceError::DirectoryInTheWay);
        }
        Some(FileType::Directory) => {
            remove_all(directory, name)?;
            return Ok(make(name)?);
        }
        Some(_) => {}
    }
    let temporary = temporary_name()?;
    make(&temporary)?;
    rename(directory, &temporary, name)
}

/// Renames `temporary` over `name`, or removes it.
fn rename(directory: BorrowedFd<'_>, temporary: &CStr, name: &CStr) -> Result<(), PlaceError> {
    rustix::fs::renameat(directory, temporary, directory, name).map_err(|error| {
        let _ = rustix::fs::unlinkat(directory, temporary, AtFlags::empty());
        match error {
            Errno::ISDIR => PlaceError::DirectoryInTheWay,
            error => error.into(),
        }
    })
}

/// Makes the directory `name`, which the caller may enter; true when it was there.
pub(super) fn make_directory(directory: BorrowedFd<'_>, name: &CStr, existing: Existing) -> Result<bool, PlaceError> {
    match rustix::fs::mkdirat(directory, name, Mode::RWXU) {
        Err(Errno::EXIST) => {}
        result => return Ok(result.map(|()| false)?),
    }
    match (kind_of(directory, name)?, existing) {
        (Some(FileType::Directory), _) => return Ok(true),
        (_, Existing::Refuse) => return Err(Errno::EXIST.into()),
        (Some(_), Existing::ReplaceSameKind) => return Err(PlaceError::FileInTheWay),
        (Some(_), Existing::Replace) => rustix::fs::unlinkat(directory, name, AtFlags::empty())?,
        (None, _) => {}
    }
    Ok(rustix::fs::mkdirat(directory, name, Mode::RWXU).map(|()| false)?)
}

fn kind_of(directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<FileType>, Errno> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file, or a directory with all that it holds.
pub(super) fn remove_all(directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    remove::remove_at(directory, name).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn temporary_name() -> Result<CString, Errno> {
    let suffix = fs::random_suffix().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    CString::new(format!(".rbox-copy-{suffix}")).map_err(|_| Errno::INVAL)
}

/// A file that is being filled.
pub(super) struct Draft {
    pub file: OwnedFd,
    name: DraftName,
}

enum DraftName {
    /// None yet; what is not given one goes with its descriptor.
    None,
    /// One that it keeps.
    Last,
    /// One that others take for ours.
    Temporary(CString),
}

/// Makes drafts; remembers what the file system can do.
pub(super) struct Drafts {
    nameless: bool,
}

impl Drafts {
    pub fn new() -> Self {
        Self { nameless: true }
    }

    /// A new file that is to be `name` in the end. With `whole` it has that name only when it is kept.
    pub fn start(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        existing: Existing,
        whole: bool,
    ) -> Result<Draft, PlaceError> {
        let create = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        if !whole {
            let mut file = None;
            put_in_place(directory, name, existing, &mut || {
                file = Some(rustix::fs::openat(directory, name, create, mode)?);
                Ok(())
            })?;
            let file = file.ok_or(Errno::IO)?;
            return Ok(Draft { file, name: DraftName::Last });
        }
        if self.nameless {
            match rustix::fs::openat(directory, c".", OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC, mode) {
                Ok(file) => return Ok(Draft { file, name: DraftName::None }),
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => {
                    self.nameless = false;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let temporary = temporary_name()?;
        let file = rustix::fs::openat(directory, &temporary, create, mode)?;
        Ok(Draft { file, name: DraftName::Temporary(temporary) })
    }

    /// Gives the file its name for good. False when this file system cannot name what has no name, or
    /// not for us: the draft is lost, and the next one has one from the start.
    pub fn keep(
        &mut self,
        draft: Draft,
        directory: BorrowedFd<'_>,
        name: &CStr,
        existing: Existing,
    ) -> Result<bool, PlaceError> {
        match &draft.name {
            DraftName::Last => Ok(true),
            DraftName::None => {
                let mut link = |name: &CStr| rustix::fs::linkat(&draft.file, c"", directory, name, AtFlags::EMPTY_PATH);
                match put(directory, name, existing, &mut link) {
                    Err(PlaceError::System(Errno::NOENT | Errno::OPNOTSUPP | Errno::XDEV | Errno::PERM)) => {
                        self.nameless = false;
                        Ok(false)
                    }
                    result => result.map(|()| true),
                }
            }
            DraftName::Temporary(temporary) => {
                let refused = match kind_of(directory, name)? {
                    None => None,
                    Some(_) if existing == Existing::Refuse => Some(Errno::EXIST.into()),
                    Some(FileType::Directory) if existing == Existing::ReplaceSameKind => {
                        Some(PlaceError::DirectoryInTheWay)
                    }
                    Some(FileType::Directory) => remove_all(directory, name).err().map(PlaceError::from),
                    Some(_) => None,
                };
                if let Some(error) = refused {
                    draft.discard(directory);
                    return Err(error);
                }
                rename(directory, temporary, name).map(|()| true)
            }
        }
    }
}

impl Draft {
    /// Leaves no name behind that is not the file's own.
    pub fn discard(&self, directory: BorrowedFd<'_>) {
        if let DraftName::Temporary(temporary) = &self.name {
            let _ = rustix::fs::unlinkat(directory, temporary, AtFlags::empty());
        }
    }
}

/// Like [`put`], for what is made under its own name at once: what exists goes before.
fn put_in_place(
    directory: BorrowedFd<'_>,
    name: &CStr,
    existing: Existing,
    make: &mut dyn FnMut() -> Result<(), Errno>,
) -> Result<(), PlaceError> {
    match make() {
        Err(Errno::EXIST) => {}
        result => return Ok(result?),
    }
    match kind_of(directory, name)? {
        _ if existing == Existing::Refuse => return Err(Errno::EXIST.into()),
        Some(FileType::Directory) if existing == Existing::ReplaceSameKind => {
            return Err(PlaceError::DirectoryInTheWay);
        }
        Some(FileType::Directory) => remove_all(directory, name)?,
        Some(_) => rustix::fs::unlinkat(directory, name, AtFlags::empty())?,
        None => {}
    }
    Ok(make()?)
}

/// Opens a file that cannot be replaced, as something is mounted on it, to be written anew.
pub(super) fn open_mounted(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(file.as_fd())?.st_mode) {
        FileType::RegularFile => {
            rustix::fs::ftruncate(&file, 0)?;
            Ok(file)
        }
        _ => Err(Errno::BUSY),
    }
}
