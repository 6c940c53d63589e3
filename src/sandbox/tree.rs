//! Paths inside a container's root, resolved within that root (RESOLVE_IN_ROOT of
//! openat2(2)) and used through descriptors only: invariants I1 and I2.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

use crate::sys::beneath;

/// As many links as the kernel follows (path_resolution(7)).
const LINKS_MAX: u32 = 40;

/// The root directory of a container.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Pins the directory at `path` as a root.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Takes an open directory for a root.
    pub fn of(directory: OwnedFd) -> Self {
        Self(directory)
    }

    /// Opens `path` within the root.
    pub fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(beneath::open(&self.0, relative, flags, resolve)?)
    }

    /// A handle of `path` that only names it.
    pub fn handle(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_at(path, OFlags::PATH)
    }

    /// The directory `path`, made with its parents (mode 0755) where it is missing. A link to what is
    /// missing leads to where that is made, within the root.
    pub fn ensure_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        if path.components().any(|component| component == Component::ParentDir) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "path must not contain '..'"));
        }
        let mut built = PathBuf::from("/");
        let mut directory = self.handle(&built)?;
        let mut rest: VecDeque<OsString> = normal(path).collect();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            let next = built.join(&name);
            match self.handle(&next) {
                Ok(found) => (directory, built) = (found, next),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Err(_) => match rustix::fs::mkdirat(&directory, &name, Mode::from_raw_mode(0o755)) {
                    Ok(()) => (directory, built) = (self.handle(&next)?, next),
                    Err(Errno::EXIST) => {
                        links += 1;
                        if links > LINKS_MAX {
                            return Err(Errno::LOOP.into());
                        }
                        let target = match rustix::fs::readlinkat(&directory, &name, Vec::new()) {
                            Ok(target) => PathBuf::from(OsString::from_vec(target.into_bytes())),
                            // It came to be in between.
                            Err(Errno::INVAL) => PathBuf::from(&name),
                            Err(error) => return Err(error.into()),
                        };
                        if target.is_absolute() {
                            built = PathBuf::from("/");
                            directory = self.handle(&built)?;
                        }
                        normal(&target).rev().for_each(|part| rest.push_front(part));
                    }
                    Err(error) => return Err(error.into()),
                },
            }
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

/// The parts of a path but for its root, `..` among them: the kernel resolves these within the root.
fn normal(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().filter_map(part)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn directories_are_made_where_links_lead_within_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("root");
        std::fs::create_dir_all(top.join("var")).unwrap();
        for (target, link) in [
            ("/run", "var/run"),
            ("../../../../lib/x", "var/lib"),
            ("/loop", "loop"),
            ("/outside", "out"),
            ("deep/er", "var/relative"),
        ] {
            symlink(target, top.join(link)).unwrap();
        }
        let root = Root::open(&top).unwrap();
        for (path, made) in [
            ("/var/run/app", "run/app"),
            ("/var/lib/y", "lib/x/y"),
            ("/out/a", "outside/a"),
            ("/var/relative", "var/deep/er"),
            ("/new/a/b", "new/a/b"),
        ] {
            root.ensure_directory(Path::new(path)).unwrap();
            assert!(top.join(made).is_dir(), "{path}");
        }
        symlink("../run/resolve/stub", top.join("var/file")).unwrap();
        root.ensure_file(Path::new("/var/file")).unwrap();
        assert!(top.join("run/resolve/stub").is_file());
        assert!(root.ensure_file(Path::new("/loop")).is_err());
        assert!(root.ensure_directory(Path::new("/loop/x")).is_err());
        assert!(root.ensure_directory(Path::new("/a/../b")).is_err());
        assert!(!Path::new("/outside/a").exists());
        std::fs::write(top.join("file"), "").unwrap();
        let error = root.ensure_directory(Path::new("/file/x")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
