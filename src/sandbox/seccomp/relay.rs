//! What an anchor does once its network is set up: sockets, pipes, and reading names. It starts no
//! process, executes nothing, enters and mounts nothing. Shared with the build script.

use libseccomp::ScmpAction;

use super::compile::{Rule, Stage, Syscall};

/// The errno of everything else: EPERM.
const DENIED: i32 = 1;

const CALLS: &[&str] = &[
    // bytes
    "read",
    "readv",
    "write",
    "writev",
    "close",
    "splice",
    "tee",
    "pipe2",
    "fcntl",
    "ioctl",
    "dup",
    "dup3",
    "lseek",
    // sockets
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "accept4",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "shutdown",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "sendmmsg",
    "recvmmsg",
    "socketpair",
    // waiting
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "poll",
    "ppoll",
    "eventfd2",
    "futex",
    "clock_gettime",
    "clock_nanosleep",
    "nanosleep",
    "sched_yield",
    "restart_syscall",
    // names and the host's resolvers
    "open",
    "openat",
    "fstat",
    "stat",
    "lstat",
    "newfstatat",
    "statx",
    "getdents64",
    "readlink",
    "readlinkat",
    "flock",
    "unlink",
    "unlinkat",
    "rmdir",
    "openat2",
    "fchmod",
    "fchmodat",
    "mkdir",
    "mkdirat",
    "inotify_add_watch",
    "inotify_rm_watch",
    "access",
    "faccessat",
    "faccessat2",
    // memory and the process itself
    "mmap",
    "munmap",
    "mprotect",
    "mremap",
    "madvise",
    "brk",
    "getrandom",
    "exit",
    "exit_group",
    "rt_sigreturn",
    "rt_sigprocmask",
    "rt_sigaction",
    "sigaltstack",
    "gettid",
    "getpid",
    "geteuid",
    "getuid",
    "set_robust_list",
    "rseq",
    "membarrier",
    "sched_getaffinity",
    "prctl",
    "prlimit64",
    "getrlimit",
];

/// The filter's rules; a call that this architecture never had is left out.
pub fn stages() -> Vec<Stage> {
    let rule = |name: &&str| {
        Syscall::named(name).map(|syscall| Rule { syscall, action: ScmpAction::Allow, compare: Vec::new() })
    };
    vec![Stage { default: ScmpAction::Errno(DENIED), rules: CALLS.iter().filter_map(rule).collect() }]
}
