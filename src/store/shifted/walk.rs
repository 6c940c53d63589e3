//! The walk through a layer that makes its shifted tree. Everything is reached by descriptors of its
//! directory; the layer does not change.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, ioctl_ficlone,
};
use rustix::io::Errno;

use super::{Way, acl};
use crate::spec::digest::Digest;
use crate::spec::identity::{Maps, look_up};

/// Mark a stub, and say where its content is (overlayfs with `userxattr`).
const METACOPY: &CStr = c"user.overlay.metacopy";
const REDIRECT: &CStr = c"user.overlay.redirect";
const OPAQUE: &[u8] = b"user.overlay.opaque";
const OF_OVERLAYS: &[u8] = b"user.overlay.";
/// Longer redirections are not tried: a file system may have less room for them.
const REDIRECT_MAX: usize = 2048;
/// What the kernel allows (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const XATTR_MAX: usize = 64 << 10;

/// A tree to make.
#[derive(Clone, Debug)]
pub struct Job {
    pub chain_id: Digest,
    /// The layer's tree.
    pub from: PathBuf,
    /// What is made, in an existing directory.
    pub to: PathBuf,
    pub maps: Maps,
    /// Who owns what the map has no id for: somebody who is not in the container.
    pub nobody: (Option<u32>, Option<u32>),
    pub way: Way,
}

/// Makes the tree; `progress` hears of each entry.
pub fn shift(job: &Job, progress: &mut dyn FnMut()) -> Result<()> {
    let open = |path: &Path| {
        rustix::fs::openat(CWD, path, directory_flags(), Mode::empty())
            .with_context(|| format!("open {}", path.display()))
    };
    let from = open(&job.from)?;
    rustix::fs::mkdirat(CWD, &job.to, Mode::RWXU).with_context(|| format!("make {}", job.to.display()))?;
    let to = open(&job.to)?;
    let mut walk =
        Walk { job, top: to.as_fd(), path: Vec::new(), links: HashMap::new(), buffer: Buffer::new(), progress };
    walk.directory(from.as_fd(), to.as_fd())?;
    walk.settle(from.as_fd(), to.as_fd(), &rustix::fs::fstat(&from)?)
}

struct Walk<'a> {
    job: &'a Job,
    top: BorrowedFd<'a>,
    /// Of what is looked at, relative to the tree's top.
    path: Vec<u8>,
    /// The first path of each file that has several.
    links: HashMap<u64, CString>,
    buffer: Buffer,
    progress: &'a mut dyn FnMut(),
}

struct Buffer {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Buffer {
    fn new() -> Self {
        Self { names: vec![0; XATTR_MAX], value: vec![0; XATTR_MAX] }
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

impl Walk<'_> {
    fn directory(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
        let length = self.path.len();
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            self.entry(from, to, name)
                .with_context(|| format!("shift /{} of layer {}", self.path.escape_ascii(), self.job.chain_id))?;
            (self.progress)();
            self.path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let source = rustix::fs::openat(from, name, directory_flags(), Mode::empty())?;
                let target = rustix::fs::openat(to, name, directory_flags(), Mode::empty())?;
                self.directory(source.as_fd(), target.as_fd())?;
                self.settle(source.as_fd(), target.as_fd(), &stat)
            }
            FileType::RegularFile => self.regular(from, to, name, &stat),
            FileType::Symlink => {
                rustix::fs::symlinkat(rustix::fs::readlinkat(from, name, Vec::new())?, to, name)?;
                self.settle_named(to, name, &stat)
            }
            // A whiteout, or what an image may hold besides.
            kind @ (FileType::CharacterDevice | FileType::Fifo | FileType::Socket) => {
                if kind == FileType::CharacterDevice && stat.st_rdev != 0 {
                    return Ok(());
                }
                rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), 0)?;
                self.settle_named(to, name, &stat)
            }
            _ => Ok(()),
        }
    }

    fn regular(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&stat.st_ino) {
                return Ok(rustix::fs::linkat(self.top, first.as_c_str(), to, name, AtFlags::empty())?);
            }
            self.links.insert(stat.st_ino, CString::new(self.path.clone())?);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        if stat.st_size > 0 && !self.stub(&target, stat)? {
            copy(&source, &target)?;
        }
        self.settle(source.as_fd(), target.as_fd(), stat)
    }

    /// Makes a stub of a file; false where it must have content of its own.
    fn stub(&self, target: &OwnedFd, stat: &Stat) -> Result<bool> {
        let redirect = [b"/", self.job.chain_id.hex().as_bytes(), b"/diff/", &self.path[..]].concat();
        if self.job.way == Way::Content || redirect.len() > REDIRECT_MAX {
            return Ok(false);
        }
        match rustix::fs::fsetxattr(target, REDIRECT, &redirect, XattrFlags::empty()) {
            Ok(()) => {}
            // No room for it there.
            Err(Errno::NOSPC | Errno::RANGE | Errno::TOOBIG) => return Ok(false),
            Err(error) => return Err(error).context("mark a stub"),
        }
        rustix::fs::fsetxattr(target, METACOPY, b"", XattrFlags::empty()).context("mark a stub")?;
        rustix::fs::ftruncate(target, u64::try_from(stat.st_size).unwrap_or(0))?;
        Ok(true)
    }

    fn owner(&self, stat: &Stat) -> Result<(Uid, Gid)> {
        let Some(uid) = look_up(&self.job.maps.uids, stat.st_uid).or(self.job.nobody.0) else {
            bail!("the id map has no place for files of user {}", stat.st_uid)
        };
        let Some(gid) = look_up(&self.job.maps.gids, stat.st_gid).or(self.job.nobody.1) else {
            bail!("the id map has no place for files of group {}", stat.st_gid)
        };
        Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    /// Owner first, which drops setuid and capabilities, then attributes, permissions (which an access
    /// list changes), times.
    fn settle(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
        let (uid, gid) = self.owner(stat)?;
        rustix::fs::fchown(to, Some(uid), Some(gid))?;
        self.xattrs(from, to)?;
        rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        Ok(rustix::fs::futimens(to, &times(stat))?)
    }

    /// For what is no file or directory.
    fn settle_named(&self, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
        let (uid, gid) = self.owner(stat)?;
        rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn xattrs(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
        let length = match rustix::fs::flistxattr(from, &mut self.buffer.names[..]) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
            length => length.context("list extended attributes")?,
        };
        for name in self.buffer.names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            if name.starts_with(OF_OVERLAYS) && name != OPAQUE {
                continue;
            }
            let c_name = CString::new(name)?;
            let value = match rustix::fs::fgetxattr(from, &c_name, &mut self.buffer.value[..]) {
                Ok(length) => &self.buffer.value[..length],
                // The host's, which are not for us.
                Err(Errno::NODATA | Errno::PERM | Errno::OPNOTSUPP) => continue,
                Err(error) => return Err(error).context("read an extended attribute"),
            };
            let (nobody_uid, nobody_gid) = (self.job.nobody.0.unwrap_or(0), self.job.nobody.1.unwrap_or(0));
            let uid = |id| look_up(&self.job.maps.uids, id).unwrap_or(nobody_uid);
            let gid = |id| look_up(&self.job.maps.gids, id).unwrap_or(nobody_gid);
            match rustix::fs::fsetxattr(to, &c_name, &acl::mapped(name, value, uid, gid), XattrFlags::empty()) {
                Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error).context("set an extended attribute"),
            }
        }
        Ok(())
    }
}

/// Shares the blocks where the file system can.
fn copy(source: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    if ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    let (mut source, mut target) = (File::from(source.try_clone()?), File::from(target.try_clone()?));
    io::copy(&mut source, &mut target).map(drop)
}

fn times(stat: &Stat) -> Timestamps {
    let stamp = |sec: i64, nsec: u64| Timespec { tv_sec: sec, tv_nsec: nsec as _ };
    Timestamps {
        last_access: stamp(stat.st_atime, stat.st_atime_nsec),
        last_modification: stamp(stat.st_mtime, stat.st_mtime_nsec),
    }
}
