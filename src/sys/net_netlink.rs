//! Options of sockets (netlink(7), ip(7)) and requests about interfaces (netdevice(7)) that neither rustix nor nix
//! names.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// Asks whether an interface has a carrier (linux/ethtool.h).
const ETHTOOL_GLINK: u32 = 0xa;
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// struct ethtool_value
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Turns on one boolean option of a socket (`SOL_NETLINK`, `NETLINK_EXT_ACK`, ...).
pub fn enable(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: setsockopt reads `length` bytes of `on`, which outlives the call.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the interface `name` of the socket's network namespace passes packets (IFF_RUNNING). Kernels since 6.8
/// first finish what a change of its carrier entails, so that the answer is not "not yet".
pub fn is_running(socket: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    let mut value = EthtoolValue { command: ETHTOOL_GLINK, data: 0 };
    let mut request = named(name)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: SIOCETHTOOL reads one ifreq and, by this command, reads and writes one ethtool_value; both outlive the
    // call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut request = named(name)?;
    // SAFETY: SIOCGIFFLAGS reads and writes one ifreq, which outlives the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has filled this member of the union in; any bits are a valid number.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(libc::c_int::from(flags) & libc::IFF_RUNNING != 0)
}

/// A request about an interface.
fn named(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is plain data for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte as libc::c_char;
    }
    Ok(request)
}
