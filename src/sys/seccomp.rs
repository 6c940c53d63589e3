//! Loading a compiled filter: seccomp(2), which neither rustix nor nix offers.

use std::io;

use nix::libc;

/// Bytes of one instruction (struct sock_filter).
const INSTRUCTION: usize = 8;

/// Puts the classic BPF `program` (struct sock_filter, native byte order) in force for this
/// thread and all it will start. Neither allocates nor locks, so it may run between fork and
/// exec. Needs no_new_privs or CAP_SYS_ADMIN in the thread's user namespace (else EACCES);
/// EINVAL for what the kernel does not take as a program.
///
/// The filter does not force the speculative store bypass mitigation on its processes: kernels
/// before 5.16 would, at a high cost, and docker's and podman's runtimes switch it off as well.
pub fn load(program: &[u8]) -> io::Result<()> {
    if !program.len().is_multiple_of(INSTRUCTION) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let length = u16::try_from(program.len() / INSTRUCTION).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let description = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel reads `len` instructions of 8 bytes from `filter`, which is exactly the
    // live slice `program`; it copies from user memory, so alignment does not matter, and it never
    // writes there.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const description,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{alone, assert_passed};

    /// The errno of a raw system call, 0 for success.
    fn errno_of(number: libc::c_long, first: libc::c_long, second: libc::c_long) -> i32 {
        // SAFETY: the probes pass integers only, to calls that fail or return descriptors.
        match unsafe { libc::syscall(number, first, second, 0, 0, 0) } {
            -1 => io::Error::last_os_error().raw_os_error().unwrap_or(0),
            _ => 0,
        }
    }

    /// Filters bind the thread for good.
    fn filter() {
        rustix::thread::set_no_new_privs(true).unwrap();
        crate::sandbox::seccomp::default_filter().unwrap().load().unwrap();
    }

    #[test]
    #[ignore = "run by the_default_filter_holds"]
    fn native_calls() {
        filter();
        let (stream, user_namespace) = (libc::SOCK_STREAM.into(), libc::CLONE_NEWUSER.into());
        assert_eq!(errno_of(libc::SYS_socket, libc::AF_UNIX.into(), stream), 0);
        assert_eq!(errno_of(libc::SYS_socket, libc::AF_INET.into(), stream), 0);
        assert_eq!(errno_of(libc::SYS_socket, libc::AF_ALG.into(), libc::SOCK_SEQPACKET.into()), libc::EPERM);
        assert_eq!(errno_of(libc::SYS_socket, libc::AF_VSOCK.into(), stream), libc::EPERM);
        assert_eq!(errno_of(libc::SYS_unshare, user_namespace, 0), libc::EPERM);
        assert_eq!(errno_of(libc::SYS_clone, user_namespace, 0), libc::EPERM);
        assert_eq!(errno_of(libc::SYS_clone3, 0, 0), libc::ENOSYS);
        assert_eq!(errno_of(libc::SYS_io_uring_setup, 1, 0), libc::EPERM);
        assert_eq!(errno_of(libc::SYS_keyctl, 0, 0), libc::EPERM);
        assert_eq!(errno_of(libc::SYS_ioctl, 0, libc::TIOCSTI as libc::c_long), libc::EPERM);
        assert_eq!(errno_of(libc::SYS_ioctl, 0, libc::TIOCSTI as libc::c_long | 1 << 32), libc::EPERM);
        assert_eq!(errno_of(1000, 0, 0), libc::ENOSYS);
        assert_eq!(errno_of(0x4000_0000 | libc::SYS_getpid, 0, 0), libc::ENOSYS);
        assert_eq!(errno_of(libc::SYS_getpid, 0, 0), 0);
    }

    /// Enters the kernel as a 32-bit program would, to ask for its process id and for a socket.
    #[test]
    #[ignore = "run by there_is_no_32_bit_entry"]
    #[cfg(target_arch = "x86_64")]
    fn int80() {
        const GETPID: i32 = 20;
        const SOCKETCALL: i32 = 102;
        filter();
        for number in [GETPID, SOCKETCALL] {
            let mut result = number;
            // SAFETY: the instruction reads and writes registers only; rbx, which the compiler
            // keeps for itself, is left as it was.
            unsafe { std::arch::asm!("int 0x80", inout("eax") result, in("ecx") 0, in("edx") 0) };
            assert_eq!(result, -libc::ENOSYS, "32-bit call {number}");
        }
    }

    #[test]
    fn the_default_filter_holds() {
        assert_passed(&alone(module_path!(), "native_calls").output().unwrap());
    }

    /// ENOSYS, or a fault on a kernel without 32-bit emulation.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn there_is_no_32_bit_entry() {
        use std::os::unix::process::ExitStatusExt;
        let output = alone(module_path!(), "int80").output().unwrap();
        if output.status.signal() != Some(libc::SIGSEGV) {
            assert_passed(&output);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(load(&[0; 7]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(load(&[]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
