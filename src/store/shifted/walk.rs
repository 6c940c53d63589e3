//! The walk through layers, as they show when they lie on one another, that makes their shifted tree.
//! Everything is reached by descriptors; the layers do not change.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Way, acl};
use crate::spec::digest::Digest;
use crate::spec::identity::{Maps, look_up};
use crate::store::copy::Files;
use crate::store::pack::level::{Dialect, Found, Layer, Level};

/// Mark a stub, and say where its content is (overlayfs with `userxattr`).
const METACOPY: &CStr = c"user.overlay.metacopy";
const REDIRECT: &CStr = c"user.overlay.redirect";
const OF_OVERLAYS: &[u8] = b"user.overlay.";
/// Longer redirections are not tried: a file system may have less room for them.
const REDIRECT_MAX: usize = 2048;
/// What the kernel allows (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const XATTR_MAX: usize = 64 << 10;

/// A tree to make.
#[derive(Clone, Debug)]
pub struct Job {
    /// The layers with their trees, lowest first.
    pub layers: Vec<(Digest, PathBuf)>,
    /// What is made, in an existing directory.
    pub to: PathBuf,
    pub maps: Maps,
    /// Who owns what the map has no id for: somebody who is not in the container.
    pub nobody: (Option<u32>, Option<u32>),
    pub way: Way,
}

/// Makes the tree; `progress` hears of each entry.
pub fn shift(job: &Job, progress: &mut dyn FnMut()) -> Result<()> {
    let open = |(number, (_, path)): (usize, &(Digest, PathBuf))| {
        Layer::open(path, Dialect::Kernel, None).map(|layer| layer.numbered(number))
    };
    let level = Level::of(job.layers.iter().enumerate().rev().map(open).collect::<Result<_>>()?);
    rustix::fs::mkdirat(CWD, &job.to, Mode::RWXU).with_context(|| format!("make {}", job.to.display()))?;
    let to = rustix::fs::openat(CWD, &job.to, directory_flags(), Mode::empty())
        .with_context(|| format!("open {}", job.to.display()))?;
    let mut walk = Walk {
        job,
        top: to.as_fd(),
        path: Vec::new(),
        links: HashMap::new(),
        buffer: Buffer::new(),
        files: Files::default(),
        progress,
    };
    walk.directory(&level, to.as_fd())
}

struct Walk<'a> {
    job: &'a Job,
    top: BorrowedFd<'a>,
    /// Of what is looked at, relative to the tree's top.
    path: Vec<u8>,
    /// The first path of each file that has several.
    links: HashMap<(u64, u64), CString>,
    buffer: Buffer,
    files: Files,
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
    /// What is in a directory, and then the directory itself.
    fn directory(&mut self, level: &Level, to: BorrowedFd<'_>) -> Result<()> {
        let length = self.path.len();
        for name in level.names()? {
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            self.entry(level, to, &name).with_context(|| format!("shift /{}", self.path.escape_ascii()))?;
            (self.progress)();
            self.path.truncate(length);
        }
        match level.top() {
            Some(top) => self.settle(top.fd(), to, &rustix::fs::fstat(top.fd())?),
            None => Ok(()),
        }
    }

    fn entry(&mut self, level: &Level, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let Some(Found { stat, layer }) = level.look(name)? else { return Ok(()) };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let target = rustix::fs::openat(to, name, directory_flags(), Mode::empty())?;
                self.directory(&level.descend(name)?, target.as_fd())
            }
            FileType::RegularFile => self.regular(layer, to, name, &stat),
            FileType::Symlink => {
                rustix::fs::symlinkat(rustix::fs::readlinkat(layer.fd(), name, Vec::new())?, to, name)?;
                self.settle_named(to, name, &stat)
            }
            kind @ (FileType::Fifo | FileType::Socket) => {
                rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), 0)?;
                self.settle_named(to, name, &stat)
            }
            // Layers hold no devices.
            _ => Ok(()),
        }
    }

    fn regular(&mut self, layer: &Layer, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
        if stat.st_nlink > 1 {
            let file = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&file) {
                return Ok(rustix::fs::linkat(self.top, first.as_c_str(), to, name, AtFlags::empty())?);
            }
            self.links.insert(file, CString::new(self.path.clone())?);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::openat(layer.fd(), name, flags, Mode::empty())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        if stat.st_size > 0 && !self.stub(layer, &target, stat)? {
            self.files.copy(&source, &target, stat)?;
        }
        self.settle(source.as_fd(), target.as_fd(), stat)
    }

    /// Makes a stub of a file; false where it must have content of its own.
    fn stub(&self, layer: &Layer, target: &OwnedFd, stat: &Stat) -> Result<bool> {
        let Some((chain_id, _)) = self.job.layers.get(layer.number()) else { return Ok(false) };
        let redirect = [b"/", chain_id.hex().as_bytes(), b"/diff/", &self.path[..]].concat();
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
            if name.starts_with(OF_OVERLAYS) {
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

fn times(stat: &Stat) -> Timestamps {
    let stamp = |sec: i64, nsec: u64| Timespec { tv_sec: sec, tv_nsec: nsec as _ };
    Timestamps {
        last_access: stamp(stat.st_atime, stat.st_atime_nsec),
        last_modification: stamp(stat.st_mtime, stat.st_mtime_nsec),
    }
}
