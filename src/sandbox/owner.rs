//! Giving a tree to a user (`-v SOURCE:TARGET:U`), by descriptors: no link is followed and no mount
//! is crossed.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Dir, FileType, Gid, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

use crate::sys::beneath;

/// Directories within one another; deeper ones end the walk with an error.
const DEPTH_MAX: usize = 512;

/// Makes `uid` and `gid` the owner of the file behind `top` and of all below it. The error names the
/// path within it.
pub fn give(top: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    let walk = Walk { uid, gid };
    let stat = rustix::fs::statat(top, c"", AtFlags::EMPTY_PATH)?;
    walk.change(top, c"", &stat).map_err(|error| at(&PathBuf::from("."), error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(());
    }
    // It may be a handle that only names the directory.
    let directory = open(top, c".").map_err(|error| at(&PathBuf::from("."), error))?;
    walk.below(directory, &mut PathBuf::new(), 0)
}

struct Walk {
    uid: u32,
    gid: u32,
}

impl Walk {
    fn below(&self, directory: OwnedFd, path: &mut PathBuf, depth: usize) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(io::Error::other(format!("more than {DEPTH_MAX} directories within one another")));
        }
        // The names first: what is changed below must not disturb the reading.
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(directory.as_fd()).map_err(|error| at(path, error))? {
            let entry = entry.map_err(|error| at(path, error))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        for name in names {
            path.push(OsStr::from_bytes(name.to_bytes()));
            self.entry(directory.as_fd(), &name, path, depth)?;
            path.pop();
        }
        Ok(())
    }

    fn entry(&self, directory: BorrowedFd<'_>, name: &CString, path: &mut PathBuf, depth: usize) -> io::Result<()> {
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Gone meanwhile.
            Err(Errno::NOENT) => return Ok(()),
            result => result.map_err(|error| at(path, error))?,
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            match open(directory, name) {
                // Another file system's, or no directory any more.
                Err(Errno::XDEV | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
                Err(error) => return Err(at(path, error)),
                Ok(inner) => {
                    self.change(inner.as_fd(), c"", &stat).map_err(|error| at(path, error))?;
                    return self.below(inner, path, depth + 1);
                }
            }
        }
        match self.change(directory, name, &stat) {
            Err(Errno::NOENT) => Ok(()),
            result => result.map_err(|error| at(path, error)),
        }
    }

    fn change(&self, at: BorrowedFd<'_>, name: &std::ffi::CStr, stat: &Stat) -> Result<(), Errno> {
        if (stat.st_uid, stat.st_gid) == (self.uid, self.gid) {
            return Ok(());
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        rustix::fs::chownat(at, name, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)), flags)
    }
}

fn open(directory: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    beneath::open(directory, name, flags, resolve)
}

fn at(path: &std::path::Path, error: Errno) -> io::Error {
    let hint = if error == Errno::PERM { ": its owner or its group is none of this user's ids" } else { "" };
    let error = io::Error::from(error);
    let path = if path.as_os_str().is_empty() { std::path::Path::new(".") } else { path };
    io::Error::new(error.kind(), format!("{}: {error}{hint}", path.to_string_lossy().escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn nothing_outside_is_touched() {
        let directory = tempfile::tempdir().unwrap();
        let (tree, outside) = (directory.path().join("tree"), directory.path().join("outside"));
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::write(&outside, "").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        symlink("/", tree.join("a/root")).unwrap();
        let top = std::fs::File::open(&tree).unwrap();
        let own = std::fs::metadata(&tree).unwrap();
        // Nobody but root may give files away; to oneself it is no change.
        give(top.as_fd(), own.uid(), own.gid()).unwrap();
        assert_eq!(std::fs::metadata(&outside).unwrap().uid(), own.uid());
        if rustix::process::geteuid().is_root() {
            give(top.as_fd(), 1234, 1235).unwrap();
            assert_eq!(std::fs::symlink_metadata(tree.join("a/link")).unwrap().uid(), 1234);
            assert_eq!(std::fs::metadata(tree.join("a/b")).unwrap().gid(), 1235);
            assert_eq!(std::fs::metadata(&outside).unwrap().uid(), own.uid());
        }
    }
}
