//! Owners, extended attributes, permissions and times, through descriptors.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{OverlayMarks, Owners};

/// Attributes that belong to overlays, not to files.
const OF_OVERLAYS: [&[u8]; 3] = [b"user.overlay.", b"user.fuseoverlayfs.", b"user.containers."];
const ACCESS_LIST: &[u8] = b"system.posix_acl_";
const KEPT: [&[u8]; 3] = [b"user.", b"security.capability", ACCESS_LIST];
/// What the kernel allows (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const XATTR_MAX: usize = 64 << 10;
const SET_ID: u32 = 0o6000;

/// An id that has no counterpart.
pub struct Unmapped(pub u32);

/// Names and values.
pub type Attributes = Vec<(CString, Vec<u8>)>;

impl Owners<'_> {
    /// The copy's owner; None when it is whose it is.
    pub(super) fn of(&self, stat: &Stat) -> Result<Option<(Uid, Gid)>, Unmapped> {
        let (uid, gid) = match self {
            Self::Copier => return Ok(None),
            Self::Keep => (stat.st_uid, stat.st_gid),
            Self::One(uid, gid) => (*uid, *gid),
            Self::Map { uid, gid } => {
                (uid(stat.st_uid).ok_or(Unmapped(stat.st_uid))?, gid(stat.st_gid).ok_or(Unmapped(stat.st_gid))?)
            }
        };
        Ok(Some((Uid::from_raw(uid), Gid::from_raw(gid))))
    }

    /// The copy's permissions.
    pub(super) fn mode(&self, stat: &Stat) -> Mode {
        let dropped = if matches!(self, Self::Copier) { SET_ID } else { 0 };
        Mode::from_raw_mode(stat.st_mode & 0o7777 & !dropped)
    }
}

/// Sets attributes, permissions and times of an open file or directory that has its owner; returns how
/// many attributes were not taken.
pub fn settle(file: BorrowedFd<'_>, stat: &Stat, owners: &Owners<'_>, attributes: &Attributes) -> Result<u64, Errno> {
    let mut lost = 0;
    for (name, value) in attributes {
        match rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()) {
            Ok(()) => {}
            // A file system or a kind of file that cannot have it, or want of rights.
            Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => lost += 1,
            Err(error) => return Err(error),
        }
    }
    rustix::fs::fchmod(file, owners.mode(stat))?;
    rustix::fs::futimens(file, &times(stat))?;
    Ok(lost)
}

/// Whether a layer's directory hides what is below it.
pub(super) fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut value = [0u8; 1];
    rustix::fs::fgetxattr(directory, c"user.overlay.opaque", &mut value[..]) == Ok(1) && value == *b"y"
}

/// Gives a symbolic link behind a handle its owner and times.
pub fn settle_link(link: BorrowedFd<'_>, stat: &Stat, owner: Option<(Uid, Gid)>) -> Result<(), Errno> {
    if let Some((uid, gid)) = owner {
        rustix::fs::chownat(link, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    rustix::fs::utimensat(link, c"", &times(stat), AtFlags::EMPTY_PATH)
}

fn times(stat: &Stat) -> Timestamps {
    let stamp = |sec: i64, nsec: u64| Timespec { tv_sec: sec, tv_nsec: nsec as _ };
    Timestamps {
        last_access: stamp(stat.st_atime, stat.st_atime_nsec),
        last_modification: stamp(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// The attributes of an open file or directory that a copy has too.
pub fn attributes(file: BorrowedFd<'_>, marks: OverlayMarks, owners: &Owners<'_>) -> Result<Attributes, Errno> {
    let mut names = [0u8; 1024];
    let listed = match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(length) => names[..length].to_vec(),
        Err(Errno::RANGE) => {
            let mut names = vec![0; XATTR_MAX];
            let length = rustix::fs::flistxattr(file, &mut names[..])?;
            names.truncate(length);
            names
        }
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for name in listed.split(|&byte| byte == 0).filter(|name| is_kept(name, marks)) {
        let Ok(name) = CString::new(name) else { continue };
        let mut value = vec![0; XATTR_MAX];
        match rustix::fs::fgetxattr(file, &name, &mut value[..]) {
            Ok(length) => value.truncate(length),
            // Removed since it was listed, one whose ids are unknown here, one that only its owner reads.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::OVERFLOW | Errno::ACCESS | Errno::PERM) => continue,
            Err(error) => return Err(error),
        }
        if name.to_bytes().starts_with(ACCESS_LIST) {
            if matches!(owners, Owners::Copier | Owners::One(..)) {
                continue;
            }
            translate_access_list(&mut value, owners);
        }
        found.push((name, value));
    }
    Ok(found)
}

fn is_kept(name: &[u8], marks: OverlayMarks) -> bool {
    KEPT.iter().any(|kept| name.starts_with(kept))
        && (marks == OverlayMarks::Keep || !OF_OVERLAYS.iter().any(|other| name.starts_with(other)))
}

/// Entries for named users and groups (linux/posix_acl_xattr.h: a version, then tag, permissions, id)
/// get the copy's ids; one that has none there stays without a meaning.
fn translate_access_list(value: &mut [u8], owners: &Owners<'_>) {
    const USER: u16 = 2;
    const GROUP: u16 = 8;
    let Owners::Map { uid, gid } = owners else { return };
    for entry in value.get_mut(4..).into_iter().flat_map(|entries| entries.chunks_exact_mut(8)) {
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let translated = match u16::from_le_bytes([entry[0], entry[1]]) {
            USER => uid(id),
            GROUP => gid(id),
            _ => continue,
        };
        entry[4..8].copy_from_slice(&translated.unwrap_or(u32::MAX).to_le_bytes());
    }
}
