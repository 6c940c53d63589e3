//! U: the one user namespace that all of a user's supervisors share.
//!
//! It exists as long as any process in it lives. A new invocation joins it through
//! /proc/PID/ns/user of a member, or makes it under a lock: newuidmap and newgidmap run only then.
//! Who joins holds that lock shared until the new supervisor is a member itself, so there is never a
//! second U beside a live one. For root U is the namespace rbox was started in.

mod members;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::libc;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};

pub use self::members::leave;
use self::members::{Member, find, register};
use super::idmap::{self, IdMaps};
use crate::explain::{self, helpers, subordinate, user_namespaces};
use crate::store::Store;
use crate::store::lock::FileLock;
use crate::sys::accounts;
use crate::sys::process::{self, Fork};

/// A process forked into U.
#[derive(Debug)]
pub struct Forked {
    pub pid: Pid,
    /// Something the person should hear once, such as missing subordinate ids.
    pub warning: Option<String>,
}

/// The lock that is held shared to join U and exclusively to make it.
const LOCK: &str = "userns.lock";

/// Clones a child into U, with the namespaces of `flags` made new, and runs `work` there: a
/// supervisor, which is a member until it calls [`members::leave`]. The caller has one thread.
/// Returns what the person should hear once, such as missing subordinate ids.
pub fn clone_supervisor(store: &Store, flags: libc::c_int, work: impl FnOnce()) -> Result<Option<String>> {
    if rustix::process::geteuid().is_root() {
        clone_running(flags, (), work)?;
        return Ok(None);
    }
    match join_or_lock(store)? {
        Way::Join(joined) => {
            // A pid namespace can be made only from inside of U, so one goes in, makes the supervisor
            // as its sibling, and ends. It shares our memory meanwhile: nothing is copied for it.
            let go = || -> Result<()> {
                join(&joined.member.user).context("enter the user namespace")?;
                clone_member(store, flags, joined, work)
            };
            process::with_shared_child(go).context("fork")??;
            Ok(None)
        }
        Way::Make(lock) => {
            let forked = create(store, lock, || clone_member(store, flags, (), work).map_or(125, |()| 0))?;
            let status = waitpid(Some(forked.pid), WaitOptions::empty()).context("wait for the fork")?;
            if status.is_none_or(|(_, status)| status.exit_status() != Some(0)) {
                let text = "cannot start a supervisor in the user namespace";
                bail!(explain::with_cause(text, explain::shortage::processes_used_up()));
            }
            Ok(forked.warning)
        }
    }
}

/// A member found, and the lock that keeps U from being made anew meanwhile.
struct Joined {
    member: Member,
    _lock: FileLock,
}

/// How to get into U.
enum Way {
    Join(Joined),
    Make(FileLock),
}

fn join_or_lock(store: &Store) -> Result<Way> {
    let path = store.runtime_path(LOCK)?;
    let lock = FileLock::shared(&path).context("lock the user namespace")?;
    if let Some(member) = find(store)? {
        return Ok(Way::Join(Joined { member, _lock: lock }));
    }
    drop(lock);
    let lock = FileLock::exclusive(&path).context("lock the user namespace")?;
    Ok(match find(store)? {
        Some(member) => Way::Join(Joined { member, _lock: lock }),
        None => Way::Make(lock),
    })
}

/// In a process in U: makes a sibling that runs `work`, and puts it on record before `held`, which
/// keeps U findable, is let go of.
fn clone_member(store: &Store, flags: libc::c_int, held: impl Sized, work: impl FnOnce()) -> Result<()> {
    let (supervisor, held) = clone_running(libc::CLONE_PARENT | flags, held, work)?;
    // Without a record the containers' states still say who is in U.
    let _ = members::register(store, supervisor);
    drop(held);
    Ok(())
}

/// Clones a process that runs `work`, without `held`, and ends.
fn clone_running<H>(flags: libc::c_int, held: H, work: impl FnOnce()) -> Result<(Pid, H)> {
    match process::clone(flags).context("fork")? {
        Some(child) => Ok((child.pid, held)),
        None => {
            drop(held);
            work();
            process::exit_now(0)
        }
    }
}

/// Forks a child into U and runs `work` there; the child exits with the code it returns. The
/// caller has one thread. The child's `work` runs with all capabilities over U.
pub fn fork_into(store: &Store, work: impl FnOnce() -> i32) -> Result<Forked> {
    if rustix::process::geteuid().is_root() {
        return Ok(Forked { pid: fork_running(|| Ok(()), work)?, warning: None });
    }
    match join_or_lock(store)? {
        Way::Join(Joined { member, .. }) => {
            Ok(Forked { pid: fork_running(|| join(&member.user), work)?, warning: None })
        }
        Way::Make(lock) => create(store, lock, work),
    }
}

/// Whether U maps one id only, for want of subordinate ids. Known while a process in it lives.
pub fn is_single(store: &Store) -> Result<bool> {
    if rustix::process::geteuid().is_root() {
        return Ok(IdMaps::of_self()?.is_single());
    }
    match find(store)? {
        Some(member) => Ok(IdMaps::of(member.pid)?.is_single()),
        None => Ok(false),
    }
}

/// Runs `work` in U and waits for it. Errors cross as text.
pub fn run_inside(store: &Store, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let (ours, theirs) = pair()?;
    let child_end = theirs.try_clone()?;
    let forked = fork_into(store, move || match work() {
        Ok(()) => 0,
        Err(error) => {
            let _ = File::from(child_end).write_all(format!("{error:#}").as_bytes());
            1
        }
    })?;
    drop(theirs);
    let status = waitpid(Some(forked.pid), WaitOptions::empty())?;
    if status.is_some_and(|(_, status)| status.exit_status() == Some(0)) {
        return Ok(());
    }
    rustix::io::ioctl_fionbio(&ours, true)?;
    let mut text = String::new();
    let _ = File::from(ours).take(1 << 16).read_to_string(&mut text);
    bail!("{}", if text.is_empty() { "a process in the user namespace died" } else { &text });
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

fn fork_running(enter: impl FnOnce() -> io::Result<()>, work: impl FnOnce() -> i32) -> Result<Pid> {
    match process::fork().context("fork")? {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => {
            let code = match enter() {
                Ok(()) => work(),
                Err(_) => 125,
            };
            process::exit_now(code)
        }
    }
}

fn join(namespace: &File) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(rustix::thread::LinkNameSpaceType::User))?;
    be_dumpable()
}

/// Entering a user namespace makes a process non-dumpable, and then its /proc files and its
/// children's belong to the host's root. What must stay hidden is hidden again before exec.
fn be_dumpable() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?)
}

/// Makes U: the child unshares, this process has its ids mapped, then the child goes on. `lock` is
/// held until a process that is in U is on record.
fn create(store: &Store, lock: FileLock, work: impl FnOnce() -> i32) -> Result<Forked> {
    let (ours, theirs) = pair()?;
    let child_end = theirs.try_clone()?;
    let enter = move || {
        process::unshare(libc::CLONE_NEWUSER)?;
        be_dumpable()?;
        let mut channel = File::from(child_end);
        channel.write_all(b"u")?;
        channel.read_exact(&mut [0])
    };
    let pid = match process::fork().context("fork")? {
        Fork::Parent(pid) => {
            // Its end of the channel must be the child's only, or a refusal would never be heard of.
            drop(enter);
            pid
        }
        Fork::Child => {
            // A lock that a supervisor inherits would be held for as long as its container runs.
            drop((ours, theirs, lock));
            let code = match enter() {
                Ok(()) => work(),
                Err(error) => error.raw_os_error().unwrap_or(125),
            };
            process::exit_now(code)
        }
    };
    drop(theirs);
    let mut channel = File::from(ours);
    if channel.read_exact(&mut [0]).is_err() {
        let status = waitpid(Some(pid), WaitOptions::empty())?;
        // A filter that kills is told like one that says no.
        let errno = status.and_then(|(_, status)| status.exit_status()).unwrap_or(libc::EPERM);
        let refusal = user_namespaces::refusal(Errno::from_raw_os_error(errno));
        bail!("cannot create a user namespace: {refusal}");
    }
    let warning = map_ids(pid)?;
    register(store, pid)?;
    drop(lock);
    channel.write_all(b"g").context("start the process in the user namespace")?;
    Ok(Forked { pid, warning })
}

/// The subordinate ids granted to this user: (start, count).
#[derive(Clone, Debug)]
pub struct Ranges {
    pub uids: Vec<(u32, u32)>,
    pub gids: Vec<(u32, u32)>,
}

/// Reads this user's ranges.
pub fn own_ranges() -> Ranges {
    let uid = rustix::process::getuid().as_raw();
    let name = accounts::login_name(uid);
    let ranges = |file: &str| accounts::subordinate_ranges(Path::new(file), uid, name.as_deref());
    Ranges { uids: ranges("/etc/subuid"), gids: ranges("/etc/subgid") }
}

/// Gives the namespace of `pid` its maps; a warning when only the caller's own id could be mapped.
fn map_ids(pid: Pid) -> Result<Option<String>> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let ranges = own_ranges();
    if ranges.uids.is_empty() || ranges.gids.is_empty() {
        map_single(pid, uid, gid)?;
        return Ok(Some(format!("only one user exists in containers: {}", subordinate::none())));
    }
    match map_with_helpers(pid, &ranges) {
        (Ok(()), Ok(())) => Ok(None),
        (Err(reason), Err(_)) => {
            map_single(pid, uid, gid)?;
            Ok(Some(format!("only one user exists in containers: {}", helpers::blame(&format!("{reason:#}")))))
        }
        (Err(error), _) | (_, Err(error)) => bail!("{}", helpers::blame(&format!("{error:#}"))),
    }
}

/// Has newuidmap and newgidmap map the user's own ids and `ranges`, side by side.
pub fn map_with_helpers(pid: Pid, ranges: &Ranges) -> (Result<()>, Result<()>) {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let uids = start_helper("newuidmap", pid, &idmap::with_ranges(uid, &ranges.uids));
    let gids = start_helper("newgidmap", pid, &idmap::with_ranges(gid, &ranges.gids));
    (finish_helper(uids), finish_helper(gids))
}

/// Maps the user's own id only, which needs no helper.
pub fn map_single(pid: Pid, uid: u32, gid: u32) -> Result<()> {
    let maps = IdMaps::single(uid, gid);
    // Without a privileged helper the kernel wants setgroups given up first.
    write_proc(pid, "setgroups", "deny")?;
    write_proc(pid, "gid_map", &idmap::format_map(&maps.gids))?;
    write_proc(pid, "uid_map", &idmap::format_map(&maps.uids))
}

/// Writes a map file of a process in a child namespace.
pub fn write_proc(pid: Pid, name: &str, text: &str) -> Result<()> {
    let path = PathBuf::from(format!("/proc/{}/{name}", pid.as_raw_nonzero()));
    // One write(2) with the whole map, as the kernel demands; std::fs::write truncates, procfs allows it.
    let mut file =
        std::fs::OpenOptions::new().write(true).open(&path).with_context(|| format!("open {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {text:?} to {}", path.display()))
}

/// newuidmap or newgidmap at work.
struct Helper {
    name: &'static str,
    pid: Pid,
    errors: File,
}

/// Forks by hand: posix_spawn would keep us waiting until the program is executed, and there are two
/// to start.
fn start_helper(name: &'static str, pid: Pid, extents: &[idmap::Extent]) -> io::Result<Helper> {
    let numbers = extents.iter().flat_map(|e| [e.inside, e.outside, e.count]).map(|n| n.to_string());
    let words = [name.to_owned(), pid.as_raw_nonzero().to_string()].into_iter().chain(numbers);
    let arguments = words.map(CString::new).collect::<Result<Vec<_>, _>>()?;
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    match process::fork()? {
        Fork::Parent(pid) => Ok(Helper { name, pid, errors: File::from(read) }),
        Fork::Child => {
            let error = exec_helper(&arguments, &write);
            let _ = File::from(write).write_all(format!("cannot execute it: {error}").as_bytes());
            process::exit_now(127)
        }
    }
}

fn exec_helper(arguments: &[CString], errors: &OwnedFd) -> io::Error {
    let run = || -> io::Result<()> {
        let null = super::devices::open_null()?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(errors)?;
        nix::unistd::execvp(&arguments[0], arguments)?;
        Ok(())
    };
    run().err().unwrap_or_else(|| io::ErrorKind::Other.into())
}

fn finish_helper(helper: io::Result<Helper>) -> Result<()> {
    let Helper { name, pid, mut errors } = helper.context("fork")?;
    let mut text = String::new();
    let _ = errors.read_to_string(&mut text);
    let status = waitpid(Some(pid), WaitOptions::empty()).with_context(|| format!("wait for {name}"))?;
    if status.is_none_or(|(_, status)| status.exit_status() != Some(0)) {
        bail!("{name} failed: {}", text.trim());
    }
    Ok(())
}
