//! The last resort where no overlay can be had: the layers' merged content as a plain copy.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, makedev,
};
use rustix::io::Errno;

/// Copies the tree `lower` over the tree `upper`, applying overlayfs's whiteouts (character device
/// 0:0) and opaque directories (`user.overlay.opaque`). Owners, modes, times, xattrs and hard links
/// within a directory's files are kept as far as ids are mapped.
pub fn merge(lower: &Path, upper: &Path) -> io::Result<()> {
    let open =
        |path| rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    merge_directory(open(lower)?.as_fd(), open(upper)?.as_fd(), upper)
}

fn merge_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, to_path: &Path) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            merge_entry(from, to, name, to_path)?;
        }
    }
    copy_metadata(from, to, &rustix::fs::fstat(from)?)
}

fn merge_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, to_path: &Path) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let target_path = to_path.join(OsStr::from_bytes(name.to_bytes()));
    let whiteout = kind == FileType::CharacterDevice && stat.st_rdev == makedev(0, 0);
    if kind != FileType::Directory || whiteout {
        crate::store::remove::remove_tree(&target_path)?;
    }
    match kind {
        _ if whiteout => Ok(()),
        FileType::Directory => {
            let source = open_directory(from, name)?;
            if is_opaque(source.as_fd()) {
                crate::store::remove::remove_tree(&target_path)?;
            }
            match rustix::fs::mkdirat(to, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            merge_directory(source.as_fd(), open_directory(to, name)?.as_fd(), &target_path)
        }
        FileType::RegularFile => {
            let source =
                rustix::fs::openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
            io::copy(&mut File::from(source.try_clone()?), &mut File::from(target.try_clone()?))?;
            copy_metadata(source.as_fd(), target.as_fd(), &stat)
        }
        FileType::Symlink => {
            rustix::fs::symlinkat(rustix::fs::readlinkat(from, name, Vec::new())?, to, name)?;
            copy_link_metadata(to, name, &stat)
        }
        FileType::Fifo | FileType::Socket => {
            rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), 0)?;
            copy_link_metadata(to, name, &stat)
        }
        // Devices cannot be made in a user namespace, and layers hold none.
        _ => Ok(()),
    }
}

fn open_directory(at: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut value = [0u8; 1];
    rustix::fs::fgetxattr(directory, c"user.overlay.opaque", &mut value[..]) == Ok(1) && value == *b"y"
}

fn copy_metadata(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_xattrs(from, to)?;
    Ok(rustix::fs::futimens(to, &times(stat))?)
}

fn copy_link_metadata(at: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(rustix::fs::utimensat(at, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(stat: &Stat) -> Timestamps {
    let stamp = |sec: i64, nsec: u64| Timespec { tv_sec: sec, tv_nsec: nsec as _ };
    Timestamps {
        last_access: stamp(stat.st_atime, stat.st_atime_nsec),
        last_modification: stamp(stat.st_mtime, stat.st_mtime_nsec),
    }
}

fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0u8; 64 * 1024];
    let length = match rustix::fs::flistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"user.overlay.") {
            continue;
        }
        let name = CString::new(name)?;
        let mut value = vec![0u8; 64 * 1024];
        let length = rustix::fs::fgetxattr(from, &name, &mut value[..])?;
        rustix::fs::fsetxattr(to, &name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}
