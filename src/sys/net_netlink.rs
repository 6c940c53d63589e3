//! Options of netlink sockets (netlink(7)) that neither rustix nor nix names.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// Turns on one boolean option of a netlink socket (`NETLINK_EXT_ACK`, `NETLINK_CAP_ACK`, ...).
pub fn enable(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: setsockopt reads `length` bytes of `on`, which outlives the call.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
