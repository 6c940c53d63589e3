//! From our code to the user's command: terminal, limits, identity, capabilities, seccomp, exec.
//! Shared by a container's init and by `exec`.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::libc;
use oci_spec::runtime::{PosixRlimitType, Process};
use rustix::fs::{Access, AtFlags, CWD, FileType, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::process::Signal;

use super::channel::Channel;
use super::inherited::Inherited;
use super::seccomp::Filter;
use super::setup::{Doing, Report, ResolvedUser, SetupError};
use super::{caps, devices, stage};
use crate::explain;
use crate::sys::process;

/// Where descriptors of ours lie while the last others are closed: behind those that the process gets.
#[derive(Clone, Copy)]
struct Slots {
    channel: i32,
    sealed: i32,
}

impl Slots {
    fn behind(inherited: &Inherited) -> Self {
        let channel = inherited.end();
        Self { channel, sealed: channel.saturating_add(1) }
    }
}

/// Who the process is to be.
pub struct Identity<'a> {
    pub process: &'a Process,
    pub user: &'a ResolvedUser,
    /// None when unconfined.
    pub seccomp: Option<&'a Filter>,
    /// What it gets besides the standard streams.
    pub inherited: &'a Inherited,
}

/// How our code leaves the process.
pub struct Executable {
    /// A sealed copy of our executable to run first.
    pub sealed: Option<OwnedFd>,
    /// Stay as the reaping init, with the command as its child.
    pub as_init: bool,
}

/// Becomes the command. Returns only a failure, with docker's exit code for it.
pub fn run(
    identity: Identity<'_>,
    executable: Executable,
    terminal: Option<OwnedFd>,
    stdio: [Option<OwnedFd>; 3],
    reports: &Channel,
) -> Result<(), SetupError> {
    let spec = identity.process;
    process::new_session_keyring().doing("leave the session keyring")?;
    arrange_stdio(terminal, stdio, identity.user.uid)?;
    rustix::process::umask(Mode::from_raw_mode(spec.user().umask().unwrap_or(0o022)));
    set_limits(spec)?;
    let entered_as_root = rustix::process::chdir(spec.cwd());

    let no_new_privileges = spec.no_new_privileges().unwrap_or(false);
    // Loading a filter needs either CAP_SYS_ADMIN, which is about to go, or no_new_privs.
    if !no_new_privileges {
        load_filter(&identity)?;
    }
    assume_identity(&identity)?;
    // Whoever died before that call cannot have been noticed by it.
    if reports.is_closed().doing("ask for the supervisor")? {
        return Err(SetupError::new("the supervisor is gone"));
    }
    if entered_as_root.is_err() {
        let cwd = spec.cwd().display().to_string();
        rustix::process::chdir(spec.cwd()).map_err(|error| SetupError {
            code: 126,
            text: format!("cannot enter the working directory {cwd}: {error}"),
        })?;
    }
    check_working_directory()?;
    if no_new_privileges {
        rustix::thread::set_no_new_privs(true).doing("set no_new_privs")?;
        load_filter(&identity)?;
    }
    execute(&identity, executable, reports)
}

fn load_filter(identity: &Identity<'_>) -> Result<(), SetupError> {
    match identity.seccomp {
        Some(filter) => filter.load().doing("load the seccomp filter"),
        None => Ok(()),
    }
}

/// A new session; the terminal, or the pipes, as descriptors 0 to 2.
fn arrange_stdio(terminal: Option<OwnedFd>, stdio: [Option<OwnedFd>; 3], uid: u32) -> Result<(), SetupError> {
    let what = "arrange the standard streams";
    rustix::process::setsid()
        .or_else(|error| if error == Errno::PERM { Ok(rustix::process::getpid()) } else { Err(error) })
        .doing("start a session")?;
    if let Some(terminal) = terminal {
        rustix::process::ioctl_tiocsctty(&terminal).doing("take the terminal")?;
        rustix::stdio::dup2_stdin(&terminal).doing(what)?;
        rustix::stdio::dup2_stdout(&terminal).doing(what)?;
        return rustix::stdio::dup2_stderr(&terminal).doing(what);
    }
    for (slot, stream) in stdio.into_iter().enumerate() {
        let stream = match stream {
            Some(stream) => {
                // So that /dev/stdout can be opened again by its user. A stream that is not ours to give stays, and
                // so does a file or a terminal of the invocation's that is passed on.
                if is_pipe(&stream) {
                    let _ = rustix::fs::fchown(&stream, Some(Uid::from_raw(uid)), None);
                }
                stream
            }
            None => devices::open_null().doing("open /dev/null")?,
        };
        match slot {
            0 => rustix::stdio::dup2_stdin(&stream),
            1 => rustix::stdio::dup2_stdout(&stream),
            _ => rustix::stdio::dup2_stderr(&stream),
        }
        .doing(what)?;
    }
    Ok(())
}

fn is_pipe(stream: &OwnedFd) -> bool {
    rustix::fs::fstat(stream).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

fn set_limits(spec: &Process) -> Result<(), SetupError> {
    for limit in spec.rlimits().iter().flatten() {
        let name = limit.typ().to_string();
        let what = format!("set the limit {name} to {}:{}", limit.soft(), limit.hard());
        let resource = resource(limit.typ());
        let set = process::set_rlimit(resource, limit.soft(), limit.hard());
        let refused = set.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
        // No limit is as much as the caller may give (podman).
        let set = match process::hard_rlimit(resource) {
            Ok(most) if refused && limit.hard() == u64::MAX => {
                process::set_rlimit(resource, limit.soft().min(most), most)
            }
            _ => set,
        };
        set.doing(what)?;
    }
    Ok(())
}

fn resource(kind: PosixRlimitType) -> libc::c_uint {
    match kind {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

/// Bounding set, groups, ids, then the remaining capability sets.
fn assume_identity(identity: &Identity<'_>) -> Result<(), SetupError> {
    let sets = capability_sets(identity)?;
    let user = identity.user;
    caps::drop_bounding(sets.bounding).doing("drop bounding capabilities")?;
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    let set = if user.keep_groups { Ok(()) } else { rustix::thread::set_thread_groups(&groups) };
    match set {
        Ok(()) => {}
        // With a single mapped id the kernel denies setgroups; there is nothing to choose then.
        Err(Errno::PERM) if user.groups == [user.gid] => {}
        Err(error) => return Err(SetupError::new(format!("cannot set the supplementary groups: {error}"))),
    }
    rustix::thread::set_keep_capabilities(true).doing("keep capabilities")?;
    let (gid, uid) = (Gid::from_raw(user.gid), Uid::from_raw(user.uid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).doing(format_args!("become group {}", user.gid))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).doing(format_args!("become user {}", user.uid))?;
    rustix::thread::set_keep_capabilities(false).doing("keep capabilities")?;
    // Tied to its supervisor; changed ids made the process forget it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing("tie the process")?;
    sets.apply().doing("set capabilities")
}

/// The Spec's sets, fitted to the user that was looked up only now: root holds the whole bounding
/// set, anybody else only what was explicitly added (the ambient set).
fn capability_sets(identity: &Identity<'_>) -> Result<caps::Sets, SetupError> {
    let Some(capabilities) = identity.process.capabilities() else {
        return Err(SetupError::new("the Spec has no capabilities"));
    };
    let sets = caps::Sets::from_oci(capabilities).doing("read the Spec's capabilities")?;
    let none = rustix::thread::CapabilitySet::empty();
    Ok(if identity.user.uid == 0 {
        caps::Sets { effective: sets.bounding, permitted: sets.bounding, inheritable: none, ambient: none, ..sets }
    } else {
        let added = sets.ambient;
        caps::Sets { effective: added, permitted: added, inheritable: added, ambient: added, ..sets }
    })
}

/// A directory outside the container's root must never be reachable (CVE-2024-21626).
fn check_working_directory() -> Result<(), SetupError> {
    let cwd = rustix::process::getcwd(Vec::new()).doing("find the working directory")?;
    if cwd.as_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(SetupError::new("the working directory is outside the container's root"))
}

fn execute(identity: &Identity<'_>, executable: Executable, reports: &Channel) -> Result<(), SetupError> {
    let arguments = identity.process.args().clone().unwrap_or_default();
    let environment = environment(identity);
    let slots = Slots::behind(identity.inherited);
    let command = arguments.first().ok_or_else(|| SetupError::new("no command specified"))?;
    let path = find_executable(command, &environment)?;
    let c_strings = |texts: &[String]| -> Result<Vec<CString>, SetupError> {
        texts.iter().map(|text| CString::new(text.as_str()).doing("pass an argument with a NUL byte")).collect()
    };
    let (argv, envp) = (c_strings(&arguments)?, c_strings(&environment)?);
    let path = CString::new(path.as_os_str().as_bytes()).doing("use a path with a NUL byte")?;

    process::reset_signals();
    match executable.sealed {
        None => {
            close_all_but(identity.inherited, reports, None)?;
            let error = nix::unistd::execve(&path, &argv, &envp).err().map(io::Error::from);
            let error = error.unwrap_or_else(|| io::ErrorKind::Other.into());
            fail_late(&exec_error(command, c_path(&path), error), slots)
        }
        Some(sealed) => {
            close_all_but(identity.inherited, reports, Some(&sealed))?;
            let first = stage::arguments(executable.as_init, slots.channel, &path);
            let all: Vec<&CStr> = first.iter().chain(&argv).map(CString::as_c_str).collect();
            let envp: Vec<&CStr> = envp.iter().map(CString::as_c_str).collect();
            let slot = process::inherited_descriptor(slots.sealed).doing("use the sealed executable");
            let kept = stage::keep_channel(slots.channel, true).doing("keep the report channel");
            match slot.and_then(|slot| kept.map(|()| slot)) {
                // The kernel weighs arguments and environment here already, so this is a failure of the
                // command's own.
                Ok(slot) => {
                    let error = process::exec_descriptor(slot.as_fd(), &all, &envp);
                    fail_late(&exec_error(command, c_path(&path), error), slots)
                }
                Err(error) => fail_late(&error, slots),
            }
        }
    }
}

/// Reports a failure after descriptors were closed beneath their owners: nothing may be dropped any
/// more, and only the slot still leads to the supervisor.
fn fail_late(error: &SetupError, slots: Slots) -> ! {
    report_failure(slots.channel, error);
    process::exit_now(i32::from(error.code))
}

/// The Spec's environment, with HOME last where it names none, and what is said of inherited sockets.
fn environment(identity: &Identity<'_>) -> Vec<String> {
    let mut environment = identity.process.env().clone().unwrap_or_default();
    if !environment.iter().any(|entry| entry.starts_with("HOME=")) {
        environment.push(format!("HOME={}", identity.user.home));
    }
    identity.inherited.tell(&mut environment, std::process::id());
    environment
}

/// Gives the inherited descriptors their numbers, moves the report channel (and the sealed executable)
/// behind them and closes all the rest for real: nothing else of the host's can be inherited
/// (invariant I6).
fn close_all_but(inherited: &Inherited, reports: &Channel, sealed: Option<&OwnedFd>) -> Result<(), SetupError> {
    let what = "close descriptors";
    let slots = Slots::behind(inherited);
    // Duplicates above all slots first, so that no slot overwrites a source.
    let above = |descriptor: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(descriptor, slots.sealed + 1);
    let reports = above(reports.as_fd()).doing(what)?;
    let sealed = sealed.map(|sealed| above(sealed.as_fd())).transpose().doing(what)?;
    let mut kept = vec![slots.channel];
    let mut given = Vec::new();
    for (number, descriptor) in inherited.descriptors() {
        given.push((number, above(descriptor).doing("pass on descriptors")?));
    }
    for (number, descriptor) in &given {
        process::duplicate_to(descriptor.as_raw_fd(), *number, false).doing("pass on descriptors")?;
        kept.push(*number);
    }
    stage::place(reports.as_raw_fd(), slots.channel).doing(what)?;
    if let Some(sealed) = &sealed {
        stage::place(sealed.as_raw_fd(), slots.sealed).doing(what)?;
        kept.push(slots.sealed);
    }
    std::mem::forget((reports, sealed, given));
    process::close_all_but(&kept).doing(what)
}

/// Finds `command` as execvp would, along the container's PATH.
fn find_executable(command: &str, environment: &[String]) -> Result<PathBuf, SetupError> {
    if command.contains('/') {
        return match check_executable(Path::new(command)) {
            Ok(()) => Ok(PathBuf::from(command)),
            Err(error) => Err(exec_error(command, Path::new(command), error)),
        };
    }
    const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let path = environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let mut denied = None;
    for directory in path.split(':') {
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(command);
        match check_executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some((candidate, error)),
            Err(_) => {}
        }
    }
    match denied {
        Some((candidate, error)) => Err(exec_error(command, &candidate, error)),
        None => Err(SetupError { code: 127, text: format!("exec: {command:?}: executable file not found in $PATH") }),
    }
}

fn check_executable(path: &Path) -> io::Result<()> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "is a directory"));
    }
    Ok(rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// docker's words and exit codes: 127 when there is no such file, else 126. Then the cause, found by
/// looking at `path`, the file that `command` stands for.
pub fn exec_error(command: &str, path: &Path, error: io::Error) -> SetupError {
    let (code, reason) = match error.raw_os_error() {
        Some(libc::ENOENT) => (127, "no such file or directory".to_owned()),
        Some(libc::ENOTDIR) => (127, "not a directory".to_owned()),
        Some(libc::EACCES) => (126, "permission denied".to_owned()),
        Some(libc::ENOEXEC) => (126, "exec format error".to_owned()),
        _ => (126, error.to_string()),
    };
    let cause = Errno::from_io_error(&error).and_then(|errno| explain::exec::failure(path, errno));
    SetupError { code, text: explain::with_cause(format_args!("exec: {command:?}: {reason}"), cause) }
}

/// A path as it was given to the kernel.
pub fn c_path(path: &CStr) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()))
}

/// Tells the supervisor of a failure after the last closing of descriptors, by the channel at `slot`.
pub fn report_failure(slot: i32, error: &SetupError) {
    if let Ok(channel) = process::inherited_descriptor(slot) {
        let _ = Channel::from_descriptor(channel).send(&Report::failed(error.clone()), &[]);
    }
}
