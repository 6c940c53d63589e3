//! Paths inside a container's root, resolved by the kernel within that root (openat2(2),
//! RESOLVE_IN_ROOT) and used through descriptors only: invariants I1 and I2.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

/// openat2 reports EAGAIN when a rename races with the walk; more tries than any honest race needs.
pub const TRIES: usize = 128;

/// Links that lead to each other before they count as a loop.
const LINKS_MAX: u32 = 8;

/// The root directory of a container.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Pins the directory at `path` as a root.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Opens `path` within the root.
    pub fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..TRIES {
            match openat2(&self.0, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                result => return Ok(result?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// A handle of `path` that only names it.
    pub fn handle(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_at(path, OFlags::PATH)
    }

    /// The directory `path`, made with its parents (mode 0755) where it is missing.
    pub fn ensure_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut built = std::path::PathBuf::from("/");
        let mut directory = self.handle(&built)?;
        for component in path.components() {
            let Component::Normal(name) = component else {
                if matches!(component, Component::ParentDir) {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "path must not contain '..'"));
                }
                continue;
            };
            built.push(name);
            directory = match self.handle(&built) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => self.handle(&built)?,
                        Err(error) => return Err(error.into()),
                    }
                }
                result => result?,
            };
        }
        match rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&directory)?.st_mode) {
            rustix::fs::FileType::Directory => Ok(directory),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    /// Like [`Self::ensure_directory`] for a directory right below the root that must be no symbolic
    /// link.
    pub fn ensure_real_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        match rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.0, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOTDIR | Errno::LOOP => io::Error::other("it is not a directory in this image"),
            error => error.into(),
        })
    }

    /// The non-directory `path`, made as an empty file (mode 0644) where it is missing.
    pub fn ensure_file(&self, path: &Path) -> io::Result<OwnedFd> {
        self.ensure_file_at(path, LINKS_MAX)
    }

    /// A link that leads nowhere has its target made, within the root as always.
    fn ensure_file_at(&self, path: &Path, links: u32) -> io::Result<OwnedFd> {
        match self.handle(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::ISDIR.into());
        };
        let directory = self.ensure_directory(parent)?;
        if let Ok(target) = rustix::fs::readlinkat(&directory, name, Vec::new()) {
            let target = std::ffi::OsString::from_vec(target.into_bytes());
            let target = lexical(&parent.join(target));
            return match links.checked_sub(1) {
                Some(left) => self.ensure_file_at(&target, left),
                None => Err(Errno::LOOP.into()),
            };
        }
        let parent = directory;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) | Err(Errno::EXIST) => self.handle(path),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The path without `.` and `..`, which never leave the root.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

/// Attaches a detached mount onto the file or directory behind `target`.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, c"", target, c"", flags)?)
}

/// Whether the file behind `handle` lies in a procfs.
pub fn is_procfs(handle: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(handle)?.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// Whether the file behind `handle` is a directory.
pub fn is_directory(handle: BorrowedFd<'_>) -> io::Result<bool> {
    let stat = rustix::fs::statat(handle, c"", AtFlags::EMPTY_PATH)?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory)
}
