//! U: the one user namespace that all of a user's supervisors share.
//!
//! It exists as long as any process in it lives. A new invocation joins it through
//! /proc/PID/ns/user of a process known to be inside, or makes it under a lock: newuidmap and
//! newgidmap run only then. For root U is the namespace rbox was started in.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::libc;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Pid;

use super::idmap::{self, IdMaps};
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

/// Forks a child into U and runs `work` there; the child exits with the code it returns. The
/// caller has one thread. The child's `work` runs with all capabilities over U.
pub fn fork_into(store: &Store, work: impl FnOnce() -> i32) -> Result<Forked> {
    if rustix::process::geteuid().is_root() {
        return Ok(Forked { pid: fork_running(|| Ok(()), work)?, warning: None });
    }
    if let Some(member) = find(store)? {
        return Ok(Forked { pid: fork_running(|| join(&member.user), work)?, warning: None });
    }
    let lock = FileLock::exclusive(&store.runtime_path("userns.lock")?).context("lock the user namespace")?;
    if let Some(member) = find(store)? {
        drop(lock);
        return Ok(Forked { pid: fork_running(|| join(&member.user), work)?, warning: None });
    }
    create(store, lock, work)
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
    let status = rustix::process::waitpid(Some(forked.pid), rustix::process::WaitOptions::empty())?;
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
        Fork::Parent(pid) => pid,
        Fork::Child => {
            // A lock that a supervisor inherits would be held for as long as its container runs.
            drop((ours, theirs, lock));
            let code = match enter() {
                Ok(()) => work(),
                Err(_) => 125,
            };
            process::exit_now(code)
        }
    };
    drop(theirs);
    let mut channel = File::from(ours);
    if channel.read_exact(&mut [0]).is_err() {
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        bail!(
            "cannot create a user namespace: the kernel refused; check 'sysctl user.max_user_namespaces \
             kernel.unprivileged_userns_clone kernel.apparmor_restrict_unprivileged_userns'"
        );
    }
    let warning = map_ids(pid)?;
    record(store, pid)?;
    drop(lock);
    channel.write_all(b"g").context("start the process in the user namespace")?;
    Ok(Forked { pid, warning })
}

/// Gives the namespace of `pid` its maps; a warning when only the caller's own id could be mapped.
fn map_ids(pid: Pid) -> Result<Option<String>> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let name = accounts::login_name(uid);
    let ranges = |file: &str| accounts::subordinate_ranges(Path::new(file), uid, name.as_deref());
    let (subuids, subgids) = (ranges("/etc/subuid"), ranges("/etc/subgid"));
    if subuids.is_empty() || subgids.is_empty() {
        let name = name.unwrap_or_else(|| uid.to_string());
        map_single(pid, uid, gid)?;
        return Ok(Some(format!(
            "no subordinate ids for {name} in /etc/subuid and /etc/subgid: only one user exists in containers; \
             an administrator adds them with 'usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}'"
        )));
    }
    let uids = start_helper("newuidmap", pid, &idmap::with_ranges(uid, &subuids));
    let gids = start_helper("newgidmap", pid, &idmap::with_ranges(gid, &subgids));
    match (finish_helper("newuidmap", uids), finish_helper("newgidmap", gids)) {
        (Ok(()), Ok(())) => Ok(None),
        (Err(reason), Err(_)) => {
            map_single(pid, uid, gid)?;
            Ok(Some(format!(
                "{reason}: only one user exists in containers; install the package 'uidmap' (newuidmap must be setuid root)"
            )))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

fn map_single(pid: Pid, uid: u32, gid: u32) -> Result<()> {
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

fn start_helper(name: &str, pid: Pid, extents: &[idmap::Extent]) -> io::Result<Child> {
    let numbers = extents.iter().flat_map(|e| [e.inside, e.outside, e.count]).map(|n| n.to_string());
    Command::new(name)
        .arg(pid.as_raw_nonzero().to_string())
        .args(numbers)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

fn finish_helper(name: &str, child: io::Result<Child>) -> Result<()> {
    let output = child.and_then(Child::wait_with_output).with_context(|| format!("run {name}"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A process said to be in U, by facts that a reused pid cannot match.
struct Record {
    pid: Pid,
    start: u64,
    namespace: u64,
}

/// A process that is in U, and U.
struct Member {
    pid: Pid,
    user: File,
}

/// Makes `pid` the process that later invocations find U by, unless another that lives on is known.
pub fn hand_over(store: &Store, pid: Pid) -> Result<()> {
    match recorded(store) {
        Some(known) if known.pid != rustix::process::getpid() && open_member(&known).is_some() => Ok(()),
        _ => record(store, pid),
    }
}

/// Makes `pid`, a process in U, the one that later invocations find U by.
fn record(store: &Store, pid: Pid) -> Result<()> {
    let path = store.runtime_path("userns")?;
    let namespace = std::fs::metadata(format!("/proc/{}/ns/user", pid.as_raw_nonzero()))?.ino();
    let start = process::start_time(pid)?;
    let temporary = path.with_extension(format!("{}", std::process::id()));
    // Only a hint that is verified on use and void after a boot: no fsync.
    std::fs::write(&temporary, format!("{} {start} {namespace}\n", pid.as_raw_nonzero()))?;
    std::fs::rename(&temporary, &path).with_context(|| format!("write {}", path.display()))
}

fn recorded(store: &Store) -> Option<Record> {
    let text = std::fs::read_to_string(store.runtime_path("userns").ok()?).ok()?;
    let mut fields = text.split_ascii_whitespace();
    Some(Record {
        pid: Pid::from_raw(fields.next()?.parse().ok()?)?,
        start: fields.next()?.parse().ok()?,
        namespace: fields.next()?.parse().ok()?,
    })
}

/// U, if some process in it lives.
fn find(store: &Store) -> Result<Option<Member>> {
    if let Some(member) = recorded(store).and_then(|record| open_member(&record)) {
        return Ok(Some(member));
    }
    for supervisor in store.containers().supervisors()? {
        let Ok(user) = open_namespace(supervisor.pid) else { continue };
        if process::start_time(supervisor.pid).ok() == Some(supervisor.start) {
            record(store, supervisor.pid)?;
            return Ok(Some(Member { pid: supervisor.pid, user }));
        }
    }
    Ok(None)
}

fn open_member(record: &Record) -> Option<Member> {
    let user = open_namespace(record.pid).ok()?;
    let same = user.metadata().ok()?.ino() == record.namespace && process::start_time(record.pid).ok()? == record.start;
    same.then_some(Member { pid: record.pid, user })
}

fn open_namespace(pid: Pid) -> io::Result<File> {
    File::open(format!("/proc/{}/ns/user", pid.as_raw_nonzero()))
}
