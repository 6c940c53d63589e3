//! Whether the kernel has a system call: each is made with arguments that it must refuse, so that
//! nothing comes of it, and the errno tells.

use std::io;

use nix::libc;

/// A system call that a start needs and that old kernels lack or seccomp filters hide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Clone3,
    CloseRange,
    Execveat,
    Faccessat2,
    Fsopen,
    Fsmount,
    MemfdCreate,
    MountSetattr,
    MoveMount,
    OpenTree,
    Openat2,
    PidfdOpen,
    PidfdSendSignal,
    Seccomp,
    Statx,
}

impl Call {
    pub const ALL: [Self; 15] = [
        Self::Clone3,
        Self::CloseRange,
        Self::Execveat,
        Self::Faccessat2,
        Self::Fsopen,
        Self::Fsmount,
        Self::MemfdCreate,
        Self::MountSetattr,
        Self::MoveMount,
        Self::OpenTree,
        Self::Openat2,
        Self::PidfdOpen,
        Self::PidfdSendSignal,
        Self::Seccomp,
        Self::Statx,
    ];

    /// Its name, and the Linux release that brought it (man 2).
    pub fn since(self) -> (&'static str, (u32, u32)) {
        match self {
            Self::Clone3 => ("clone3", (5, 3)),
            Self::CloseRange => ("close_range", (5, 9)),
            Self::Execveat => ("execveat", (3, 19)),
            Self::Faccessat2 => ("faccessat2", (5, 8)),
            Self::Fsopen => ("fsopen", (5, 2)),
            Self::Fsmount => ("fsmount", (5, 2)),
            Self::MemfdCreate => ("memfd_create", (3, 17)),
            Self::MountSetattr => ("mount_setattr", (5, 12)),
            Self::MoveMount => ("move_mount", (5, 2)),
            Self::OpenTree => ("open_tree", (5, 2)),
            Self::Openat2 => ("openat2", (5, 6)),
            Self::PidfdOpen => ("pidfd_open", (5, 3)),
            Self::PidfdSendSignal => ("pidfd_send_signal", (5, 1)),
            Self::Seccomp => ("seccomp", (3, 17)),
            Self::Statx => ("statx", (4, 11)),
        }
    }

    /// Whether rbox can do without it ([`super::beneath`]).
    pub fn has_substitute(self) -> bool {
        self == Self::Openat2
    }

    /// Makes the call with arguments that it refuses; the errno is the kernel's answer. ENOSYS means
    /// that it is not there, EPERM may be a filter or want of capabilities.
    pub fn answer(self) -> io::Error {
        // -1 as a descriptor, a pointer, a size or flags: valid for none of these calls.
        const BAD: libc::c_long = -1;
        let number = match self {
            Self::Clone3 => libc::SYS_clone3,
            Self::CloseRange => libc::SYS_close_range,
            Self::Execveat => libc::SYS_execveat,
            Self::Faccessat2 => libc::SYS_faccessat2,
            Self::Fsopen => libc::SYS_fsopen,
            Self::Fsmount => libc::SYS_fsmount,
            Self::MemfdCreate => libc::SYS_memfd_create,
            Self::MountSetattr => libc::SYS_mount_setattr,
            Self::MoveMount => libc::SYS_move_mount,
            Self::OpenTree => libc::SYS_open_tree,
            Self::Openat2 => libc::SYS_openat2,
            Self::PidfdOpen => libc::SYS_pidfd_open,
            Self::PidfdSendSignal => libc::SYS_pidfd_send_signal,
            Self::Seccomp => libc::SYS_seccomp,
            Self::Statx => libc::SYS_statx,
        };
        // clone3 gets a size of zero, below the smallest it takes.
        let arguments = if self == Self::Clone3 { [0; 6] } else { [BAD; 6] };
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: no argument is valid memory, and every call checks its flags, sizes, descriptors or
        // pointers before it acts: the kernel copies from user memory with checks and refuses.
        match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
            -1 => io::Error::last_os_error(),
            _ => io::Error::from_raw_os_error(0),
        }
    }
}

/// Whether the kernel can hand a filtered process's calls to another process
/// (SECCOMP_RET_USER_NOTIF, Linux 5.0).
pub fn seccomp_notifies() -> bool {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_uint = 2;
    const SECCOMP_RET_USER_NOTIF: u32 = 0x7fc0_0000;
    let action = SECCOMP_RET_USER_NOTIF;
    // SAFETY: the kernel reads one u32, which outlives the call.
    unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_them() {
        for call in Call::ALL {
            let errno = call.answer().raw_os_error();
            assert!(errno != Some(libc::ENOSYS) && errno != Some(0), "{call:?}: {errno:?}");
        }
    }
}
