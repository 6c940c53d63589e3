//! The default seccomp profile as data: docker's rules, tightened where rootless containers lose
//! nothing by it (native ABI only, socket families by list, no bpf, perf or modules ever).
//!
//! Self-contained on purpose: build.rs includes this file to compile the embedded filter.
//!
//! Two kinds of refusal: a call this table knows and denies gives EPERM; one it doesn't know gives
//! [`DEFAULT_ERRNO`], so that a libc newer than this table falls back to older calls.

/// Errno of calls that no rule mentions: ENOSYS.
pub const DEFAULT_ERRNO: i32 = 38;
/// Errno of calls that are known and denied: EPERM.
pub const DENIED_ERRNO: i32 = 1;
/// Errno of audit sockets: EINVAL, which libaudit takes for a kernel without audit, so that PAM
/// carries on (the kernel refuses audit messages from a user namespace anyway).
const AUDIT_ERRNO: i32 = 22;

/// What happens to a call that a [`Rule`] matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Allow,
    /// Fails with this errno.
    Errno(i32),
}

/// A comparison of a 64-bit call argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Equal(u64),
    Greater(u64),
    /// `argument & mask == value`
    MaskedEqual {
        mask: u64,
        value: u64,
    },
}

/// A condition on the argument at `index`. A rule has at most one per index (a limit of libseccomp).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    pub index: u32,
    pub compare: Compare,
}

/// When the calls of a [`Group`] are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// The container's bounding set has any of these capabilities (`CAP_…`).
    AnyCap(&'static [&'static str]),
    /// The image is of one of these architectures (`amd64`, `386`, `arm64`, …); elsewhere the calls
    /// don't exist and get no rule at all.
    Arch(&'static [&'static str]),
}

/// Calls allowed, whatever their arguments, under one condition.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub names: &'static [&'static str],
    pub when: When,
}

/// One rule of the resolved profile. Rules of the same call never overlap with different actions,
/// so their order has no meaning. No rule's action is the default action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub names: Vec<&'static str>,
    /// All must hold; empty matches always.
    pub args: Vec<Arg>,
    pub action: Action,
}

#[rustfmt::skip]
const FILES: &[&str] = &[
    "access", "chdir", "chmod", "chown", "chown32", "close", "close_range", "copy_file_range", "creat", "dup", "dup2",
    "dup3", "faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate", "fanotify_mark", "fchdir", "fchmod",
    "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat", "fcntl", "fcntl64", "fdatasync", "flock", "fstat",
    "fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futimesat", "getcwd",
    "getdents", "getdents64", "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "ioctl",
    "lchown", "lchown32", "link", "linkat", "listmount", "_llseek", "lseek", "lstat", "lstat64", "mkdir", "mkdirat",
    "mknod", "mknodat", "name_to_handle_at", "newfstatat", "open", "openat", "openat2", "pread64", "preadv", "preadv2",
    "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "rename", "renameat",
    "renameat2", "rmdir", "sendfile", "sendfile64", "splice", "stat", "stat64", "statfs", "statfs64", "statmount",
    "statx", "symlink", "symlinkat", "sync", "sync_file_range", "syncfs", "tee", "truncate", "truncate64", "umask",
    "unlink", "unlinkat", "utime", "utimensat", "utimensat_time64", "utimes", "vmsplice", "write", "writev",
];

#[rustfmt::skip]
const XATTRS: &[&str] = &[
    "fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "getxattrat", "lgetxattr", "listxattr",
    "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "removexattr", "removexattrat", "setxattr", "setxattrat",
];

#[rustfmt::skip]
const MEMORY: &[&str] = &[
    "brk", "cachestat", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "memfd_secret", "mincore", "mlock",
    "mlock2", "mlockall", "mmap", "mmap2", "mprotect", "mremap", "mseal", "msync", "munlock", "munlockall", "munmap",
    "pkey_alloc", "pkey_free", "pkey_mprotect", "process_mrelease", "remap_file_pages",
];

#[rustfmt::skip]
const PROCESSES: &[&str] = &[
    "capget", "capset", "execve", "execveat", "exit", "exit_group", "fork", "getcpu", "getpgid", "getpgrp", "getpid",
    "getppid", "getpriority", "getrandom", "getrlimit", "get_robust_list", "getrusage", "getsid", "get_thread_area",
    "gettid", "ioprio_get", "ioprio_set", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self",
    "pidfd_open", "prctl", "prlimit64", "process_vm_readv", "process_vm_writev", "ptrace", "restart_syscall", "rseq",
    "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_get_priority_max", "sched_get_priority_min",
    "sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr",
    "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "setpgid", "setpriority", "setrlimit",
    "set_robust_list", "setsid", "set_thread_area", "set_tid_address", "sysinfo", "ugetrlimit", "uname", "uretprobe",
    "vfork", "wait4", "waitid", "waitpid",
];

#[rustfmt::skip]
const IDENTITY: &[&str] = &[
    "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups", "getgroups32", "getresgid",
    "getresgid32", "getresuid", "getresuid32", "getuid", "getuid32", "setfsgid", "setfsgid32", "setfsuid", "setfsuid32",
    "setgid", "setgid32", "setgroups", "setgroups32", "setregid", "setregid32", "setresgid", "setresgid32", "setresuid",
    "setresuid32", "setreuid", "setreuid32", "setuid", "setuid32",
];

#[rustfmt::skip]
const SIGNALS: &[&str] = &[
    "kill", "pause", "pidfd_send_signal", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo",
    "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sigaltstack",
    "signalfd", "signalfd4", "sigprocmask", "sigreturn", "tgkill", "tkill",
];

#[rustfmt::skip]
const TIME: &[&str] = &[
    "adjtimex", "alarm", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64", "clock_gettime",
    "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "getitimer", "gettimeofday", "nanosleep",
    "setitimer", "time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64",
    "timer_settime", "timer_settime64", "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime",
    "timerfd_settime64", "times",
];

#[rustfmt::skip]
const WAITING: &[&str] = &[
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait",
    "epoll_wait_old", "eventfd", "eventfd2", "futex", "futex_requeue", "futex_time64", "futex_wait", "futex_waitv",
    "futex_wake", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup",
    "io_submit", "_newselect", "pipe", "pipe2", "poll", "ppoll", "ppoll_time64", "pselect6", "pselect6_time64",
    "select",
];

#[rustfmt::skip]
const IPC: &[&str] = &[
    "ipc", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend",
    "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop",
    "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt", "shmget",
];

/// Without `socket` and `socketpair`, whose family is checked: see [`SOCKETS`].
#[rustfmt::skip]
const SOCKET_CALLS: &[&str] = &[
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recv", "recvfrom",
    "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
];

/// The calls that need a capability. In a user namespace most of them stay refused by the kernel.
#[rustfmt::skip]
const NAMESPACES_AND_MOUNTS: &[&str] = &[
    "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "lsm_get_self_attr",
    "lsm_list_modules", "lsm_set_self_attr", "mount", "mount_setattr", "move_mount", "open_tree", "open_tree_attr",
    "quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns", "umount", "umount2", "unshare",
];

const fn always(names: &'static [&'static str]) -> Group {
    Group { names, when: When::Always }
}

const fn with_cap(caps: &'static [&'static str], names: &'static [&'static str]) -> Group {
    Group { names, when: When::AnyCap(caps) }
}

const fn on(arches: &'static [&'static str], names: &'static [&'static str]) -> Group {
    Group { names, when: When::Arch(arches) }
}

/// Every call that is allowed whatever its arguments. `clone`, `personality`, `socket` and
/// `socketpair` depend on their arguments and are not here.
pub const GROUPS: &[Group] = &[
    always(FILES),
    always(XATTRS),
    always(MEMORY),
    always(PROCESSES),
    always(IDENTITY),
    always(SIGNALS),
    always(TIME),
    always(WAITING),
    always(IPC),
    always(SOCKET_CALLS),
    with_cap(&["CAP_DAC_READ_SEARCH"], &["open_by_handle_at"]),
    with_cap(&["CAP_SYS_ADMIN"], NAMESPACES_AND_MOUNTS),
    with_cap(&["CAP_SYS_ADMIN", "CAP_SYSLOG"], &["syslog"]),
    with_cap(&["CAP_SYS_BOOT"], &["reboot"]),
    with_cap(&["CAP_SYS_CHROOT"], &["chroot"]),
    with_cap(&["CAP_SYS_NICE"], &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    with_cap(&["CAP_SYS_PACCT"], &["acct"]),
    with_cap(&["CAP_SYS_PTRACE"], &["kcmp", "pidfd_getfd", "process_madvise"]),
    with_cap(&["CAP_SYS_RAWIO"], &["ioperm", "iopl"]),
    with_cap(&["CAP_SYS_TIME"], &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    with_cap(&["CAP_SYS_TTY_CONFIG"], &["vhangup"]),
    on(&["amd64"], &["arch_prctl", "modify_ldt"]),
    // BPF can't read socketcall's arguments, so its families go unchecked: only where old libcs need it.
    on(&["386"], &["arch_prctl", "modify_ldt", "socketcall"]),
    on(
        &["arm", "arm64"],
        &["arm_fadvise64_64", "arm_sync_file_range", "breakpoint", "cacheflush", "set_tls", "sync_file_range2"],
    ),
    on(&["ppc64le"], &["swapcontext", "sync_file_range2"]),
    on(&["riscv64"], &["riscv_flush_icache", "riscv_hwprobe"]),
    on(&["s390x"], &["s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr"]),
];

/// Calls that no capability enables: kernel attack surface without a namespaced use, the keyring
/// (shared by all containers of a user), and calls long dead.
#[rustfmt::skip]
pub const KNOWN_DENIED: &[&str] = &[
    "_sysctl", "add_key", "afs_syscall", "bdflush", "bpf", "create_module", "delete_module", "finit_module",
    "get_kernel_syms", "getpmsg", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup",
    "kexec_file_load", "kexec_load", "keyctl", "migrate_pages", "move_pages", "nfsservctl", "nice", "oldfstat",
    "oldlstat", "oldolduname", "oldstat", "olduname", "perf_event_open", "pivot_root", "putpmsg", "query_module",
    "readdir", "request_key", "security", "sgetmask", "sigaction", "signal", "sigpending", "sigsuspend", "ssetmask",
    "swapoff", "swapon", "sysfs", "tuxcall", "ulimit", "uselib", "userfaultfd", "ustat", "vm86", "vm86old", "vserver",
];

/// A socket family that may be opened.
struct Socket {
    family: u64,
    /// Protocols allowed; None for all.
    protocols: Option<&'static [u64]>,
    /// The capability it takes.
    cap: Option<&'static str>,
}

/// Stands among the capabilities of a container that boots a whole system.
pub const FULL_SYSTEM: &str = "full system";

const AF_NETLINK: u64 = 16;
const NETLINK_AUDIT: u64 = 9;
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

const SOCKETS: &[Socket] = &[
    // AF_UNIX, AF_INET, AF_INET6
    Socket { family: 1, protocols: None, cap: None },
    Socket { family: 2, protocols: None, cap: None },
    Socket { family: 10, protocols: None, cap: None },
    // NETLINK_ROUTE; with power over the network also SOCK_DIAG, XFRM, NETFILTER, GENERIC
    Socket { family: AF_NETLINK, protocols: Some(&[0]), cap: None },
    Socket { family: AF_NETLINK, protocols: Some(&[4, 6, 12, 16]), cap: Some("CAP_NET_ADMIN") },
    // NETLINK_KOBJECT_UEVENT: systemd's services listen for devices, of which a container hears nothing
    Socket { family: AF_NETLINK, protocols: Some(&[15]), cap: Some(FULL_SYSTEM) },
    // AF_PACKET
    Socket { family: 17, protocols: None, cap: Some("CAP_NET_RAW") },
];

/// libseccomp's names of the ABIs a container of an image of architecture `arch` may use. Only the
/// image's own: a second one is a second set of kernel entry points, with its own holes.
pub fn architectures(arch: &str) -> &'static [&'static str] {
    match arch {
        // A 32-bit image still starts through a 64-bit execve.
        "386" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "arm" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "amd64" => &["SCMP_ARCH_X86_64"],
        "arm64" => &["SCMP_ARCH_AARCH64"],
        "ppc64le" => &["SCMP_ARCH_PPC64LE"],
        "riscv64" => &["SCMP_ARCH_RISCV64"],
        "s390x" => &["SCMP_ARCH_S390X"],
        _ => &[],
    }
}

/// The profile for one container: `has` says whether its bounding set has a capability (`CAP_…`),
/// `arch` is the image's architecture (`amd64`). The default action is [`DEFAULT_ERRNO`].
pub fn resolve(has: &dyn Fn(&str) -> bool, arch: &str) -> Vec<Rule> {
    let mut allowed: Vec<&'static str> = Vec::new();
    let mut denied: Vec<&'static str> = KNOWN_DENIED.to_vec();
    for group in GROUPS {
        match group.when {
            When::Always => allowed.extend(group.names),
            When::AnyCap(caps) if caps.iter().any(|cap| has(cap)) => allowed.extend(group.names),
            When::AnyCap(_) => denied.extend(group.names),
            When::Arch(arches) if arches.contains(&arch) => allowed.extend(group.names),
            When::Arch(_) => {}
        }
    }
    // ENOSYS makes libcs fall back to clone, whose flags can be read; that is the default action.
    denied.retain(|name| *name != "clone3");
    let mut rules = vec![rule(allowed, vec![], Action::Allow), rule(denied, vec![], DENY)];
    clone_rules(has("CAP_SYS_ADMIN"), arch, &mut rules);
    personality_rules(&mut rules);
    socket_rules(has, &mut rules);
    rules
}

const DENY: Action = Action::Errno(DENIED_ERRNO);

fn rule(names: Vec<&'static str>, args: Vec<Arg>, action: Action) -> Rule {
    Rule { names, args, action }
}

fn equal(index: u32, value: u64) -> Arg {
    Arg { index, compare: Compare::Equal(value) }
}

fn masked(index: u32, mask: u64, value: u64) -> Arg {
    Arg { index, compare: Compare::MaskedEqual { mask, value } }
}

/// No new namespaces without CAP_SYS_ADMIN. s390x has clone's first two arguments swapped.
fn clone_rules(admin: bool, arch: &str, rules: &mut Vec<Rule>) {
    if admin {
        rules.push(rule(vec!["clone"], vec![], Action::Allow));
        return;
    }
    let index = if arch == "s390x" { 1 } else { 0 };
    rules.push(rule(vec!["clone"], vec![masked(index, CLONE_NAMESPACES, 0)], Action::Allow));
    let bits = (0..32).map(|shift| 1 << shift).filter(|bit| CLONE_NAMESPACES & bit != 0);
    rules.extend(bits.map(|bit| rule(vec!["clone"], vec![masked(index, bit, bit)], DENY)));
}

/// PER_LINUX and PER_LINUX32, each with or without UNAME26, and the query.
fn personality_rules(rules: &mut Vec<Rule>) {
    const QUERY: u64 = 0xffff_ffff;
    for persona in [0, 8, 0x2_0000, 0x2_0008, QUERY] {
        rules.push(rule(vec!["personality"], vec![equal(0, persona)], Action::Allow));
    }
    // The flags (FDPIC_FUNCPTRS, ADDR_NO_RANDOMIZE … ADDR_LIMIT_3GB) are denied by name, so that
    // debuggers read EPERM; the top bit tells them from the query. Nonsense gets the default.
    const TOP: u64 = 1 << 31;
    let flags = (18..=27).map(|shift| 1u64 << shift);
    rules.extend(flags.map(|flag| rule(vec!["personality"], vec![masked(0, flag | TOP, flag)], DENY)));
}

/// Allows the families of [`SOCKETS`] and denies each other value, so that the kinds never overlap.
fn socket_rules(has: &dyn Fn(&str) -> bool, rules: &mut Vec<Rule>) {
    let usable: Vec<&Socket> = SOCKETS.iter().filter(|socket| socket.cap.is_none_or(has)).collect();
    let whole: Vec<u64> = usable.iter().filter(|s| s.protocols.is_none()).map(|s| s.family).collect();
    let netlink: Vec<u64> = usable.iter().filter_map(|s| s.protocols).flatten().copied().collect();
    let mut add = |args: Vec<Arg>, action| rules.push(rule(vec!["socket"], args, action));

    let last_family = SOCKETS.iter().map(|socket| socket.family).max().unwrap_or(AF_NETLINK);
    for family in (0..=last_family).filter(|family| *family != AF_NETLINK) {
        add(vec![equal(0, family)], if whole.contains(&family) { Action::Allow } else { DENY });
    }
    add(vec![Arg { index: 0, compare: Compare::Greater(last_family) }], DENY);

    let last_protocol = netlink.iter().copied().max().unwrap_or(0).max(NETLINK_AUDIT);
    for protocol in 0..=last_protocol {
        let action = match protocol {
            NETLINK_AUDIT => Action::Errno(AUDIT_ERRNO),
            protocol if netlink.contains(&protocol) => Action::Allow,
            _ => DENY,
        };
        add(vec![equal(0, AF_NETLINK), equal(2, protocol)], action);
    }
    add(vec![equal(0, AF_NETLINK), Arg { index: 2, compare: Compare::Greater(last_protocol) }], DENY);

    // Pairs are of AF_UNIX; the kernel would also make (and load the module for) pairs of AF_TIPC.
    let mut add = |arg: Arg, action| rules.push(rule(vec!["socketpair"], vec![arg], action));
    add(equal(0, 0), DENY);
    add(equal(0, 1), Action::Allow);
    add(Arg { index: 0, compare: Compare::Greater(1) }, DENY);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn matches(arg: &Arg, values: &[u64; 6]) -> bool {
        let value = values[arg.index as usize];
        match arg.compare {
            Compare::Equal(wanted) => value == wanted,
            Compare::Greater(limit) => value > limit,
            Compare::MaskedEqual { mask, value: wanted } => value & mask == wanted,
        }
    }

    /// What the profile says of a call; panics when two rules disagree.
    fn verdict(caps: &[&str], name: &str, args: [u64; 6]) -> Action {
        let rules = resolve(&|cap| caps.contains(&cap), "amd64");
        let hits: Vec<Action> = rules
            .iter()
            .filter(|rule| rule.names.contains(&name) && rule.args.iter().all(|arg| matches(arg, &args)))
            .map(|rule| rule.action)
            .collect();
        assert!(hits.windows(2).all(|pair| pair[0] == pair[1]), "{name} {args:?}: {hits:?}");
        hits.first().copied().unwrap_or(Action::Errno(DEFAULT_ERRNO))
    }

    fn args(first: u64, third: u64) -> [u64; 6] {
        [first, 0, third, 0, 0, 0]
    }

    const EPERM: Action = Action::Errno(1);
    const ENOSYS: Action = Action::Errno(38);

    #[test]
    fn names_are_listed_once() {
        for (caps, arch) in [(true, "amd64"), (false, "amd64"), (false, "386"), (true, "arm64"), (false, "s390x")] {
            let rules = resolve(&|_| caps, arch);
            let whole: Vec<&str> = rules.iter().filter(|r| r.args.is_empty()).flat_map(|r| r.names.clone()).collect();
            let unique: BTreeSet<&str> = whole.iter().copied().collect();
            assert_eq!(unique.len(), whole.len());
            let partial: BTreeSet<&str> =
                rules.iter().filter(|r| !r.args.is_empty()).flat_map(|r| r.names.clone()).collect();
            assert!(unique.is_disjoint(&partial));
            assert!(rules.iter().all(|r| r.action != ENOSYS), "a rule repeats the default action");
        }
    }

    #[test]
    fn capabilities_open_calls() {
        for (name, cap) in [
            ("mount", "CAP_SYS_ADMIN"),
            ("setns", "CAP_SYS_ADMIN"),
            ("syslog", "CAP_SYSLOG"),
            ("chroot", "CAP_SYS_CHROOT"),
            ("settimeofday", "CAP_SYS_TIME"),
        ] {
            assert_eq!(verdict(&[], name, args(0, 0)), EPERM, "{name}");
            assert_eq!(verdict(&[cap], name, args(0, 0)), Action::Allow, "{name}");
        }
        for name in ["bpf", "perf_event_open", "init_module", "keyctl", "io_uring_setup", "userfaultfd"] {
            assert_eq!(verdict(&["CAP_SYS_ADMIN", "CAP_BPF", "CAP_SYS_MODULE"], name, args(0, 0)), EPERM, "{name}");
        }
        assert_eq!(verdict(&[], "some_future_call", args(0, 0)), ENOSYS);
        assert_eq!(verdict(&[], "socketcall", args(0, 0)), ENOSYS);
    }

    #[test]
    fn clone_makes_no_namespaces() {
        const SIGCHLD: u64 = 17;
        assert_eq!(verdict(&[], "clone", args(SIGCHLD, 0)), Action::Allow);
        for shift in 0..32 {
            let flag = 1u64 << shift;
            let expected = if CLONE_NAMESPACES & flag != 0 { EPERM } else { Action::Allow };
            assert_eq!(verdict(&[], "clone", args(SIGCHLD | flag, 0)), expected, "{flag:#x}");
            assert_eq!(verdict(&["CAP_SYS_ADMIN"], "clone", args(flag, 0)), Action::Allow);
        }
        assert_eq!(verdict(&[], "clone3", args(0, 0)), ENOSYS);
        assert_eq!(verdict(&["CAP_SYS_ADMIN"], "clone3", args(0, 0)), Action::Allow);
    }

    #[test]
    fn sockets_by_family_and_protocol() {
        for family in 0..64 {
            let allowed = [1, 2, 10].contains(&family);
            let expected = if allowed || family == 16 { Action::Allow } else { EPERM };
            assert_eq!(verdict(&[], "socket", args(family, 0)), expected, "family {family}");
            // The kernel looks at the low 32 bits only.
            assert_eq!(verdict(&[], "socket", args(family | 1 << 32, 0)), EPERM, "family {family}");
        }
        assert_eq!(verdict(&[], "socketpair", args(1, 0)), Action::Allow);
        assert_eq!(verdict(&[], "socketpair", args(30, 0)), EPERM);
        assert_eq!(verdict(&["CAP_NET_RAW"], "socket", args(17, 768)), Action::Allow);
        assert_eq!(verdict(&["CAP_NET_RAW"], "socket", args(38, 0)), EPERM);
        for (protocol, plain, admin) in [
            (0, Action::Allow, Action::Allow),
            (9, Action::Errno(22), Action::Errno(22)),
            (12, EPERM, Action::Allow),
            (15, EPERM, EPERM),
            (99, EPERM, EPERM),
            (1 << 32, EPERM, EPERM),
        ] {
            assert_eq!(verdict(&[], "socket", args(16, protocol)), plain, "protocol {protocol}");
            assert_eq!(verdict(&["CAP_NET_ADMIN"], "socket", args(16, protocol)), admin, "protocol {protocol}");
        }
    }

    #[test]
    fn personalities() {
        for allowed in [0, 8, 0x20000, 0x20008, 0xffff_ffff] {
            assert_eq!(verdict(&[], "personality", args(allowed, 0)), Action::Allow);
        }
        assert_eq!(verdict(&[], "personality", args(0x40000, 0)), EPERM);
        assert_eq!(verdict(&[], "personality", args(0x20000 | 0x400000, 0)), EPERM);
        assert_eq!(verdict(&[], "personality", args(0x1_0000_0000, 0)), ENOSYS);
    }
}
