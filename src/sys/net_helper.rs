//! What a helper program must be told before it is executed.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;

/// Has the program killed when the thread that starts it ends (PR_SET_PDEATHSIG, prctl(2)), however that
/// happens. The caller has one thread, so that is when the process ends.
pub fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let request = move || {
        // SAFETY: prctl with PR_SET_PDEATHSIG takes a number and touches no memory.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // The parent may have ended before.
        if std::os::unix::process::parent_id() != parent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec only prctl and getppid are called; neither allocates nor locks.
    unsafe { command.pre_exec(request) };
}
