//! Processes: fork and clone3, namespaces by pidfd, descriptors before exec.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;
pub use rustix::process::Pid;

/// Which side of a fork this is.
pub enum Fork {
    /// The child's process id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// fork(2) for a process that has one thread, so that ordinary code may run in the child.
pub fn fork() -> io::Result<Fork> {
    debug_assert!(is_single_threaded(), "fork with threads alive");
    // SAFETY: the program is single-threaded wherever it forks (docs/architecture.md), so no lock
    // of the C library or of ours can be held by a thread that does not exist in the child.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Fork::Parent(pid(child.as_raw())?)),
        nix::unistd::ForkResult::Child => Ok(Fork::Child),
    }
}

/// fork(2) out of a unit test, whose process has other threads.
#[cfg(test)]
pub fn fork_for_tests() -> io::Result<Fork> {
    // SAFETY: the C library keeps its allocator usable in the child; tests use little else, and a
    // deadlock would be a failed test.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Fork::Parent(pid(child.as_raw())?)),
        nix::unistd::ForkResult::Child => Ok(Fork::Child),
    }
}

fn pid(raw: i32) -> io::Result<Pid> {
    Pid::from_raw(raw).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() == 1)
}

/// clone3(2), Linux 5.3.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A child made by [`clone`]: its id and a descriptor that can only ever mean this process.
pub struct Cloned {
    /// In the caller's pid namespace.
    pub pid: Pid,
    pub pidfd: OwnedFd,
}

/// Like fork, with new namespaces (`CLONE_NEW*`) or CLONE_PARENT. None in the child.
pub fn clone(flags: libc::c_int) -> io::Result<Option<Cloned>> {
    clone_into(flags, None)
}

/// [`clone`], with the child born in the cgroup behind a descriptor of its directory (CLONE_INTO_CGROUP,
/// Linux 5.7).
pub fn clone_into(flags: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<Cloned>> {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut raw_pidfd: libc::c_int = -1;
    let flags = flags as u64 | libc::CLONE_PIDFD as u64;
    // With CLONE_PARENT the exit signal is the parent's own (clone3 wants zero then).
    let exit_signal = if flags & libc::CLONE_PARENT as u64 != 0 { 0 } else { libc::SIGCHLD as u64 };
    let mut args = CloneArgs { flags, pidfd: &raw mut raw_pidfd as u64, exit_signal, ..Default::default() };
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM and no stack, so the child gets a copy of this single-threaded process
    // as with fork; `args` and `raw_pidfd` outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &mut args, size_of::<CloneArgs>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        // SAFETY: the kernel stored a fresh descriptor that nobody else owns.
        child => Ok(Some(Cloned { pid: pid(child as i32)?, pidfd: unsafe { OwnedFd::from_raw_fd(raw_pidfd) } })),
    }
}

/// A stack as large as a main thread's, of which only what is touched takes memory, above a page
/// that catches an overflow.
struct Stack(*mut libc::c_void);

impl Stack {
    const SIZE: usize = 8 << 20;
    const GUARD: usize = 64 << 10;

    fn new() -> io::Result<Self> {
        use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::STACK;
        // SAFETY: a fresh mapping at an address of the kernel's choice, nobody's yet; the second call
        // changes its lowest pages only.
        unsafe {
            let bottom = mmap_anonymous(std::ptr::null_mut(), Self::SIZE, protection, flags)?;
            mprotect(bottom, Self::GUARD, MprotectFlags::empty())?;
            Ok(Self(bottom))
        }
    }

    fn top(&self) -> *mut libc::c_void {
        self.0.wrapping_byte_add(Self::SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever ran on it has ended.
        let _ = unsafe { rustix::mm::munmap(self.0, Self::SIZE) };
    }
}

/// Runs `work` in a child that shares memory and descriptors while this process sleeps, and
/// returns its result. The child lies in the namespaces set for children (pid_for_children). A
/// process that `work` makes by [`clone`] goes on running on the child's stack, in its own copy.
pub fn with_shared_child<T, F: FnOnce() -> T>(work: F) -> io::Result<T> {
    struct Job<T, F> {
        work: Option<F>,
        result: Option<T>,
    }
    extern "C" fn run<T, F: FnOnce() -> T>(job: *mut libc::c_void) -> libc::c_int {
        // SAFETY: `job` points to the parent's Job, which sleeps (CLONE_VFORK) until we exit.
        let job = unsafe { &mut *job.cast::<Job<T, F>>() };
        job.result = job.work.take().map(|work| work());
        0
    }
    let stack = Stack::new()?;
    let mut job = Job { work: Some(work), result: None };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: the stack is aligned, large enough and lives until the child has ended; CLONE_VFORK
    // keeps this process asleep while the child uses the shared memory.
    let child = unsafe { libc::clone(run::<T, F>, stack.top(), flags, (&raw mut job).cast()) };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    rustix::process::waitpid(Some(pid(child)?), rustix::process::WaitOptions::empty())?;
    job.result.ok_or_else(|| io::Error::other("the helper process died"))
}

/// Enters the namespaces named by `flags` of the process behind `pidfd` (setns(2), Linux 5.8).
pub fn join_namespaces(pidfd: BorrowedFd<'_>, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: plain system call on an owned descriptor; no memory is passed.
    match unsafe { libc::setns(pidfd.as_raw_fd(), flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The namespace that a user or pid namespace lies in (ioctl_ns(2)); EPERM beyond the caller's own.
pub fn parent_namespace(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const NS_GET_PARENT: libc::c_ulong = 0xb702;
    // SAFETY: the request takes no argument; on success the result is a fresh descriptor of ours.
    unsafe {
        match libc::ioctl(namespace.as_raw_fd(), NS_GET_PARENT) {
            -1 => Err(io::Error::last_os_error()),
            parent => Ok(OwnedFd::from_raw_fd(parent)),
        }
    }
}

/// What `ps` shows of this process instead of its arguments, which may hold secrets and stay for as
/// long as it runs. Cut to the room the arguments have.
pub fn set_title(title: &str) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    // Fields 48 and 49 of proc_pid_stat(5): where the arguments lie.
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let mut fields =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace().skip(45)).into_iter().flatten();
    let mut address = || fields.next().and_then(|field| field.parse::<u64>().ok());
    let (Some(start), Some(end)) = (address(), address()) else { return Err(io::ErrorKind::InvalidData.into()) };
    let room = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
    let mut text = title.as_bytes().to_vec();
    text.resize(room.saturating_sub(1), 0);
    text.resize(room, 0);
    // The strings that began there are gone for this process: nothing reads its arguments any more.
    std::fs::OpenOptions::new().write(true).open("/proc/self/mem")?.write_all_at(&text, start)
}

/// unshare(2).
pub fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: plain system call; CLONE_FILES and friends that affect memory are not used with it.
    match unsafe { libc::unshare(flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes every descriptor from `first` up (close_range(2), Linux 5.9).
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: the callers exec or exit right after; no owned descriptor is used again.
    match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes every descriptor but the standard streams and those of `kept` (close_range(2), Linux 5.9).
pub fn close_all_but(kept: &[i32]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|descriptor| u32::try_from(*descriptor).ok()).collect();
    kept.sort_unstable();
    let mut first = 3u32;
    for last in kept.into_iter().chain([u32::MAX]) {
        if last > first {
            let end = if last == u32::MAX { last } else { last - 1 };
            // SAFETY: the caller has opened nothing yet, or is a process of its own that ends without running
            // the destructors of what it was cloned with: no owned descriptor is used or closed again.
            if unsafe { libc::syscall(libc::SYS_close_range, first, end, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = last.saturating_add(1).max(first);
    }
    Ok(())
}

/// Marks every descriptor from `first` up close-on-exec (Linux 5.11).
pub fn cloexec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: changes descriptor flags only.
    match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Joins a fresh anonymous session keyring, so that the caller's keys are out of reach
/// (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING). A kernel without keys has nothing to hide.
pub fn new_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    match result {
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
            error => Err(error),
        },
        _ => Ok(()),
    }
}

/// fexecve: executes the file behind `file` (execveat(2) with AT_EMPTY_PATH). Returns on failure.
pub fn exec_descriptor(file: BorrowedFd<'_>, arguments: &[&CStr], environment: &[&CStr]) -> io::Error {
    let list = |strings: &[&CStr]| -> Vec<*const libc::c_char> {
        strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (list(arguments), list(environment));
    // SAFETY: both lists are null-terminated arrays of valid C strings that outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Gives free memory of the heap back to the kernel (malloc_trim(3)), for a process that is about to
/// wait for long.
pub fn release_free_memory() {
    // SAFETY: touches the allocator's own free memory only.
    unsafe { libc::malloc_trim(0) };
}

/// Lets go of the program's own pages in memory, code and constants: what is needed from now on comes
/// back from the page cache at a touch. For processes that have done most of what they ever do.
pub fn release_code() {
    extern "C" fn release(info: *mut libc::dl_phdr_info, _size: usize, _data: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the C library passes one valid record with that many headers. Segments that are never
        // written hold nothing but the file's bytes, so dropping their pages loses nothing.
        unsafe {
            let headers = std::slice::from_raw_parts((*info).dlpi_phdr, usize::from((*info).dlpi_phnum));
            for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & 2 == 0) {
                let start = (*info).dlpi_addr + header.p_vaddr;
                let first = start & !(PAGE - 1);
                let length = (start + header.p_memsz - first) as usize;
                libc::madvise(first as *mut libc::c_void, length, libc::MADV_DONTNEED);
            }
        }
        // The program itself is the first; there is nothing else in a static one.
        1
    }
    const PAGE: u64 = 4096;
    // SAFETY: the callback keeps nothing and unwinds never.
    unsafe { libc::dl_iterate_phdr(Some(release), std::ptr::null_mut()) };
}

/// Hears of the end of children, whatever our own parent ignored.
pub fn expect_children() {
    // SAFETY: installing SIG_DFL cannot run code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Sets a resource limit of this process; `u64::MAX` means unlimited.
pub fn set_rlimit(resource: libc::c_uint, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` outlives the call; the kernel checks the resource number.
    match unsafe { libc::setrlimit(resource, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The hard limit of this process; `u64::MAX` means unlimited.
pub fn hard_rlimit(resource: libc::c_uint) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is written to and outlives the call; the kernel checks the resource number.
    match unsafe { libc::getrlimit(resource, &mut limit) } {
        0 => Ok(limit.rlim_max),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Becomes another process's memory owner no more: exits at once, running no destructors.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes no memory and does not return.
    unsafe { libc::_exit(code) }
}

/// Takes ownership of a descriptor number inherited on purpose (a stage's channel).
pub fn inherited_descriptor(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: fcntl fails on a number that is not open; the caller is the stage that was given it
    // and nothing else in this fresh process owns it.
    unsafe {
        if libc::fcntl(number, libc::F_GETFD) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(number))
    }
}

/// When a process started, in clock ticks since boot (/proc/PID/stat field 22): with the pid it
/// names a process that no later one can be mistaken for.
pub fn start_time(pid: Pid) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    // The command name may hold spaces and parentheses; fields count from behind its last one.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace());
    let start = fields.and_then(|mut fields| fields.nth(19)?.parse().ok());
    start.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// dup3(2) onto a fixed number, whose former descriptor is closed.
pub fn duplicate_to(from: i32, slot: i32, close_on_exec: bool) -> io::Result<()> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: only the caller's last steps before exec use this, after every owner of `slot` is
    // done with it; descriptors are plain numbers to the kernel.
    match unsafe { libc::dup3(from, slot, flags) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Sets the flags of a descriptor known by number.
pub fn set_descriptor_flags(number: i32, flags: rustix::io::FdFlags) -> io::Result<()> {
    // SAFETY: changes flags only; fails on a number that is not open.
    match unsafe { libc::fcntl(number, libc::F_SETFD, flags.bits() as libc::c_int) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Any signal the kernel knows, real-time ones too.
pub fn signal_from_number(number: i32) -> Option<rustix::process::Signal> {
    // SAFETY: the kernel checks the number; 1 to 64 are all valid for kill-like calls, and no signal
    // is installed or handled by the value itself.
    (1..=64).contains(&number).then(|| unsafe { rustix::process::Signal::from_raw_unchecked(number) })
}

/// Gives every signal its default action and unblocks all, as a fresh program expects: neither our
/// ignored SIGPIPE nor what our own parent ignored may leak into a container.
pub fn reset_signals() {
    for number in 1..=64 {
        // SAFETY: installing SIG_DFL cannot run code of ours; SIGKILL and SIGSTOP refuse, which is fine.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}
