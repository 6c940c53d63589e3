//! Deleting a tree by descriptors: no symbolic link is followed, no mount is crossed, and a tree of
//! any depth costs a bounded number of descriptors.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::sys::beneath;

/// Levels whose descriptors stay open while the walk is below them.
const OPEN_LEVELS: usize = 32;
/// How often a directory that refills while it is emptied is emptied again.
const REFILLS: u32 = 64;

/// Deletes `path` and everything below it; a missing path is success. Directories the caller owns
/// but may not enter are opened up first. A mount point at or below `path` is an error (`ResourceBusy` or
/// `CrossesDevices`) and stays untouched.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let name = CString::new(name.as_bytes())?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match rustix::fs::openat(CWD, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(parent) => remove_at(parent.as_fd(), &name),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Deletes the entry `name` of the directory `parent` and everything below it.
pub(crate) fn remove_at(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // The parent is not part of the tree: its mode is left alone, so no `permitted` here.
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let Some(directory) = open_directory(parent, name)? else { return Ok(()) };
    let mut walk = Walk { levels: vec![Level::new(directory, name.to_owned())?] };
    while let Some(finished) = walk.empty_deepest()? {
        match walk.levels.last().and_then(|level| level.directory.as_ref()) {
            Some(above) => remove_emptied(above.fd()?, &finished)?,
            None => return remove_emptied(parent, &finished),
        }
    }
    Ok(())
}

/// Removes a directory that was just emptied, emptying it again while others refill it.
fn remove_emptied(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    for _ in 0..REFILLS {
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => empty_again(parent, name)?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::NOTEMPTY.into())
}

/// A descent: the levels from the tree's top to the directory being emptied.
struct Walk {
    levels: Vec<Level>,
}

/// One directory on the way down.
struct Level {
    name: CString,
    /// Device and inode, to know the directory again when it is reached through `..`.
    identity: (u64, u64),
    /// None while the level is too far above the bottom to stay open.
    directory: Option<Dir>,
}

impl Level {
    fn new(fd: OwnedFd, name: CString) -> io::Result<Self> {
        let identity = identity(fd.as_fd())?;
        Ok(Self { name, identity, directory: Some(Dir::new(fd)?) })
    }
}

impl Walk {
    /// Empties the deepest directory, going deeper where needed, and leaves it: returns its name,
    /// its parent being the deepest level now. None at the end of the walk.
    fn empty_deepest(&mut self) -> io::Result<Option<CString>> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(open) = level.directory.as_mut() else { return Err(Errno::BADF.into()) };
            match next_directory(open)? {
                Some((fd, name)) => self.descend(Level::new(fd, name)?),
                None => return self.ascend(),
            }
        }
    }

    fn descend(&mut self, level: Level) {
        if let Some(above) = self.levels.len().checked_sub(OPEN_LEVELS) {
            self.levels[above].directory = None;
        }
        self.levels.push(level);
    }

    fn ascend(&mut self) -> io::Result<Option<CString>> {
        let Some(left) = self.levels.pop() else { return Ok(None) };
        if let (Some(parent), Some(open)) = (self.levels.last_mut(), left.directory.as_ref())
            && parent.directory.is_none()
        {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(open.fd()?, "..", flags, Mode::empty())?;
            // Somebody moved the directory: what is above it now is none of our business.
            if identity(fd.as_fd())? != parent.identity {
                return Err(Errno::STALE.into());
            }
            parent.directory = Some(Dir::new(fd)?);
        }
        Ok(Some(left.name))
    }
}

fn identity(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Deletes entries until one is a directory that has content; returns it opened.
fn next_directory(open: &mut Dir) -> io::Result<Option<(OwnedFd, CString)>> {
    while let Some(entry) = open.read() {
        let entry = match entry {
            Err(Errno::NOENT) => return Ok(None),
            entry => entry?,
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let gone = match entry.file_type() {
            FileType::Directory => remove_directory(open.fd()?, name)?,
            _ => unlink(open.fd()?, name)? || remove_directory(open.fd()?, name)?,
        };
        if gone {
            continue;
        }
        if let Some(fd) = open_directory(open.fd()?, name)? {
            return Ok(Some((fd, name.to_owned())));
        }
    }
    Ok(None)
}

/// Removes a name that is no directory; false when it is one.
fn unlink(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match permitted(parent, || rustix::fs::unlinkat(parent, name, AtFlags::empty())) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes an empty directory, or what was put in its place; false when it has content.
fn remove_directory(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match permitted(parent, || rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(Errno::NOTDIR) => unlink(parent, name),
        Err(error) => Err(error.into()),
    }
}

/// Empties a directory that refilled, one level deep at a time.
fn empty_again(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let Some(fd) = open_directory(parent, name)? else { return Ok(()) };
    match next_directory(&mut Dir::new(fd)?)? {
        None => Ok(()),
        Some(_) => Err(Errno::NOTEMPTY.into()),
    }
}

/// Opens the directory `name` itself: never a link, never what is mounted on it. None when it is
/// gone, or was replaced by something else, which is removed.
fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match open_here(parent, name, flags) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            Ok(None)
        }
        Err(Errno::ACCESS) => {
            open_up(parent, name)?;
            Ok(Some(open_here(parent, name, flags)?))
        }
        Err(error) => Err(error.into()),
    }
}

fn open_here(parent: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    beneath::open(parent, name, flags, resolve)
}

/// Gives the owner all rights on a directory that may not even be opened. A chmod by name would
/// follow a link swapped in, so the directory is pinned and reached through its descriptor.
fn open_up(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let pinned = open_here(parent, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
    chmod_pinned(pinned.as_fd())?;
    Ok(())
}

fn chmod_pinned(pinned: BorrowedFd<'_>) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", pinned.as_raw_fd());
    rustix::fs::chmodat(CWD, path, Mode::RWXU, AtFlags::empty())
}

/// Runs `change` on the directory `parent`, giving its owner the right to when that is all that lacks.
fn permitted(parent: BorrowedFd<'_>, change: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    match change() {
        Err(Errno::ACCESS) if chmod_pinned(parent).is_ok() => change(),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn missing_paths_files_and_links_are_removed_without_following() {
        let top = directory();
        remove_tree(&top.path().join("absent")).unwrap();
        remove_tree(&top.path().join("absent/below")).unwrap();
        let canary = top.path().join("canary");
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("kept"), "x").unwrap();
        symlink(&canary, top.path().join("link")).unwrap();
        remove_tree(&top.path().join("link")).unwrap();
        let tree = top.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        symlink(&canary, tree.join("a/b/out")).unwrap();
        symlink("../../../canary", tree.join("a/relative")).unwrap();
        fs::write(tree.join("a/file"), "x").unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && fs::symlink_metadata(top.path().join("link")).is_err());
        assert!(canary.join("kept").exists());
    }

    #[test]
    fn directories_without_permission_are_opened_up() {
        let top = directory();
        let tree = top.path().join("tree");
        fs::create_dir_all(tree.join("work/inner")).unwrap();
        fs::write(tree.join("work/inner/file"), "x").unwrap();
        fs::create_dir(tree.join("empty")).unwrap();
        for (name, mode) in [("work/inner", 0o500), ("work", 0), ("empty", 0), ("", 0o400)] {
            fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn a_tree_deeper_than_the_open_levels_is_removed() {
        let top = directory();
        let tree = top.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut at = rustix::fs::open(&tree, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for level in 0..3000 {
            if level % 100 == 0 {
                rustix::fs::mkdirat(&at, "sibling", Mode::RWXU).unwrap();
                rustix::fs::mkdirat(&at, "sibling/child", Mode::RWXU).unwrap();
            }
            rustix::fs::mkdirat(&at, "deeper", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "deeper", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn what_is_swapped_in_during_the_walk_is_not_followed() {
        let top = directory();
        let canary = top.path().join("canary");
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("kept"), "x").unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let racer = top.path().join("tree/victim");
            let lure = top.path().join("lure");
            symlink(&canary, &lure).unwrap();
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let flags = rustix::fs::RenameFlags::EXCHANGE;
                    let _ = rustix::fs::renameat_with(CWD, &racer, CWD, &lure, flags);
                }
            });
            for _ in 0..500 {
                fs::create_dir_all(top.path().join("tree")).unwrap();
                let _ = fs::create_dir(top.path().join("tree/victim"));
                let _ = fs::write(top.path().join("tree/victim/inside"), "x");
                // A racer may make a run fail; it must never make it reach outside.
                let _ = remove_tree(&top.path().join("tree"));
                assert!(canary.is_dir());
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(fs::read(canary.join("kept")).unwrap(), b"x");
    }
}
