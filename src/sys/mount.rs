//! mount_setattr(2), Linux 5.12, which rustix lacks.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;

/// Mount attributes (`MOUNT_ATTR_*` of linux/mount.h).
pub mod attr {
    pub const RDONLY: u64 = 0x01;
    pub const NOSUID: u64 = 0x02;
    pub const NODEV: u64 = 0x04;
    pub const NOEXEC: u64 = 0x08;
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Sets and clears attributes of the mount behind `mount`, with all mounts below it if `recursive`.
pub fn set_attributes(mount: impl AsFd, set: u64, clear: u64, recursive: bool) -> io::Result<()> {
    change(mount, MountAttr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 }, recursive)
}

/// Changes the propagation (`MS_PRIVATE`, `MS_SLAVE`, ...) of the mount behind `mount`.
pub fn set_propagation(mount: impl AsFd, propagation: u64, recursive: bool) -> io::Result<()> {
    change(mount, MountAttr { attr_set: 0, attr_clr: 0, propagation, userns_fd: 0 }, recursive)
}

/// Shows the files of the detached mount behind `mount` with the owners that `namespace` maps theirs to.
pub fn map_ids(mount: impl AsFd, namespace: BorrowedFd<'_>) -> io::Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let userns_fd = namespace.as_raw_fd() as u64;
    change(mount, MountAttr { attr_set: MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd }, false)
}

fn change(mount: impl AsFd, attributes: MountAttr, recursive: bool) -> io::Result<()> {
    const AT_RECURSIVE: libc::c_int = 0x8000;
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, `attributes` outlives the call and its size is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &attributes,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
