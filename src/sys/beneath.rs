//! Paths below a directory, opened so that nothing leads out of it: by openat2(2), or, where a seccomp
//! filter takes that away (systemd's `RestrictSUIDSGID=`, which `DynamicUser=` implies), by a walk of
//! our own that answers the same.

mod walk;

#[cfg(test)]
mod tests;

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// openat2 answers EAGAIN when a rename anywhere in the system may have misled it about `..`; more
/// tries than any honest race needs.
const TRIES: u32 = 1024;

/// Whether openat2 is known not to be there. A filter is never taken off again.
static MISSING: AtomicBool = AtomicBool::new(false);

/// Opens `path` below `directory`, with `O_CLOEXEC`. `flags` must not make files, and `resolve` must
/// have `BENEATH` or `IN_ROOT`.
pub fn open(directory: impl AsFd, path: impl Arg, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    debug_assert!(!flags.intersects(OFlags::CREATE | OFlags::TMPFILE.difference(OFlags::DIRECTORY)));
    debug_assert!(resolve.intersects(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT));
    let (directory, flags) = (directory.as_fd(), flags | OFlags::CLOEXEC);
    path.into_with_c_str(|path| {
        if !MISSING.load(Ordering::Relaxed) {
            match kernel(directory, path, flags, resolve) {
                Err(Errno::NOSYS) => MISSING.store(true, Ordering::Relaxed),
                answer => return answer,
            }
        }
        walk::open(directory, path, flags, resolve)
    })
}

fn kernel(directory: BorrowedFd<'_>, path: &CStr, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    for _ in 0..TRIES {
        match rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            answer => return answer,
        }
    }
    Err(Errno::AGAIN)
}
