//! Owners, permissions, extended attributes and times: always through a descriptor, never through
//! a name that could be a link.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::path::show;
use super::pax::Moment;
use crate::spec::identity::{Extent, Maps, look_up};

/// Marks a directory that hides everything below it in lower layers (overlayfs with `userxattr`).
const OPAQUE: &str = "user.overlay.opaque";
const CAPABILITY: &[u8] = b"security.capability";
const POSIX_ACL: &[u8] = b"system.posix_acl_";
/// Setuid and setgid.
const SET_ID: u32 = 0o6000;

/// How owners are applied.
#[derive(Clone)]
pub(super) struct Owners {
    /// Only one id is mapped: everything stays its property.
    pub single_id: bool,
    /// Whose everything is, whatever the archive says.
    pub one: Option<(u32, u32)>,
    /// The map of the container whose ids the archive has.
    pub maps: Option<Rc<Maps>>,
}

impl Owners {
    /// Gives an open file or directory its owner, extended attributes and permissions, in this
    /// order: a change of owner drops setuid and capabilities, an access list changes permissions.
    pub fn settle(
        &self,
        file: BorrowedFd<'_>,
        uid: u64,
        gid: u64,
        mode: u32,
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<()> {
        let stat = rustix::fs::fstat(file)?;
        if let Some((owner, group)) = self.ids(uid, gid)?
            && (stat.st_uid, stat.st_gid) != (owner.as_raw(), group.as_raw())
        {
            rustix::fs::fchown(file, Some(owner), Some(group)).or_else(|error| refused(error, uid, gid))?;
        }
        let mut access_list = false;
        for (name, value) in xattrs {
            self.set_xattr(file, name, value).with_context(|| format!("extended attribute {}", show(name)))?;
            access_list |= name.starts_with(POSIX_ACL);
        }
        if stat.st_mode & 0o7777 != mode || access_list {
            self.set_mode(file, mode)?;
        }
        Ok(())
    }

    fn set_mode(&self, file: BorrowedFd<'_>, mode: u32) -> Result<()> {
        match rustix::fs::fchmod(file, Mode::from_raw_mode(mode)) {
            // Where all files and processes have one id these bits mean nothing.
            Err(Errno::PERM) if mode & SET_ID != 0 && self.single_id => {
                rustix::fs::fchmod(file, Mode::from_raw_mode(mode & !SET_ID)).context("set permissions")
            }
            Err(error @ Errno::PERM) if mode & SET_ID != 0 => Err(error).context(
                "set the setuid or setgid bit, which a seccomp filter may forbid, as systemd's RestrictSUIDSGID= does",
            ),
            result => result.context("set permissions"),
        }
    }

    /// Gives a symbolic link its owner.
    pub fn settle_link(&self, directory: &OwnedFd, name: &[u8], uid: u64, gid: u64) -> Result<()> {
        if let Some((owner, group)) = self.ids(uid, gid)? {
            rustix::fs::chownat(directory, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
                .or_else(|error| refused(error, uid, gid))?;
        }
        Ok(())
    }

    fn ids(&self, uid: u64, gid: u64) -> Result<Option<(Uid, Gid)>> {
        if self.single_id {
            return Ok(None);
        }
        if let Some((uid, gid)) = self.one {
            return Ok(Some((Uid::from_raw(uid), Gid::from_raw(gid))));
        }
        let (uid, gid) = match &self.maps {
            Some(maps) => (outside(&maps.uids, uid)?, outside(&maps.gids, gid)?),
            None => (uid, gid),
        };
        // The highest id means 'no change' to chown(2).
        match (u32::try_from(uid), u32::try_from(gid)) {
            (Ok(owner), Ok(group)) if owner != u32::MAX && group != u32::MAX => {
                Ok(Some((Uid::from_raw(owner), Gid::from_raw(group))))
            }
            _ => bail!("owner {uid}:{gid} is beyond any user id"),
        }
    }

    fn set_xattr(&self, file: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> Result<()> {
        if !is_kept(name) {
            return Ok(());
        }
        if name == CAPABILITY {
            check_capability(value)?;
        }
        match rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()) {
            Ok(()) => Ok(()),
            // Without a namespace of several ids capabilities may be out of reach.
            Err(Errno::PERM) if name == CAPABILITY && self.single_id => Ok(()),
            // A file system or a kind of file that cannot hold them; docker drops them too.
            Err(Errno::OPNOTSUPP | Errno::PERM) if name != CAPABILITY => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The id on disk of one inside the container.
fn outside(map: &[Extent], id: u64) -> Result<u64> {
    let found = u32::try_from(id).ok().and_then(|id| look_up(map, id));
    found.map(u64::from).with_context(|| format!("its owner {id} has no id in the container"))
}

/// Which attributes of an archive count: the overlay's own would forge layers, `trusted.` and the
/// other `security.` ones belong to the host.
fn is_kept(name: &[u8]) -> bool {
    let user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    (user || name == CAPABILITY || name.starts_with(POSIX_ACL)) && !name.contains(&0)
}

/// capabilities(7): version 2 is 20 bytes, version 3 has a root id more. The kernel turns the
/// former into the latter inside a user namespace.
fn check_capability(value: &[u8]) -> Result<()> {
    const REVISION: u32 = 0xff00_0000;
    let magic = value.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) & REVISION);
    match (magic, value.len()) {
        (Some(0x0200_0000), 20) | (Some(0x0300_0000), 24) => Ok(()),
        _ => bail!("malformed file capability of {} bytes", value.len()),
    }
}

fn refused(error: Errno, uid: u64, gid: u64) -> Result<()> {
    match error {
        Errno::INVAL => bail!(
            "owner {uid}:{gid} is not mapped in the user namespace: give the user a larger range in /etc/subuid and /etc/subgid"
        ),
        error => Err(error).with_context(|| format!("set the owner {uid}:{gid}")),
    }
}

/// Hides what lower layers have in this directory.
pub(super) fn make_opaque(directory: BorrowedFd<'_>) -> Result<()> {
    rustix::fs::fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())
        .context("mark a directory opaque: the store's file system must have user extended attributes")
}

/// Sets access and modification time of an open file.
pub(super) fn set_times(file: BorrowedFd<'_>, mtime: Moment) -> Result<(), Errno> {
    rustix::fs::futimens(file, &both(mtime))
}

/// Sets the times of a symbolic link itself.
pub(super) fn set_link_times(directory: &OwnedFd, name: &[u8], mtime: Moment) -> Result<(), Errno> {
    rustix::fs::utimensat(directory.as_fd(), name, &both(mtime), AtFlags::SYMLINK_NOFOLLOW)
}

fn both(mtime: Moment) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
