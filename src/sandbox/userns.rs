//! U: the one user namespace that all of a user's supervisors share.
//!
//! It exists as long as any process in it lives. A new invocation joins it through
//! /proc/PID/ns/user of a member, or makes it under a lock: newuidmap and newgidmap run only then.
//! Who joins holds that lock shared until the new process is a member itself, so there is never a
//! second U beside a live one. It is taken before any lock of the store. For root U is the namespace
//! rbox was started in.

mod making;
mod members;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use nix::libc;
use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, WaitOptions, waitpid};

use self::making::{Holder, Making};
use self::members::{Member, find, register};
pub use self::members::{leave, pids};
use super::idmap::IdMaps;
use crate::explain;
use crate::store::Store;
use crate::store::lock::FileLock;
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

/// U, there or on its way while the caller does other work, but not wait for anybody.
pub struct Preparation(Way);

enum Way {
    /// Root needs none.
    Stay,
    Join(Member, FileLock),
    Make(Making, FileLock),
}

/// A way into U, valid while it is held.
struct Entry {
    member: Member,
    holder: Option<Holder>,
    warning: Option<String>,
    _lock: FileLock,
}

/// Finds U or begins to make it. The caller has one thread.
pub fn prepare(store: &Store) -> Result<Preparation> {
    if rustix::process::geteuid().is_root() {
        return Ok(Preparation(Way::Stay));
    }
    let path = store.runtime_path(LOCK)?;
    let lock = FileLock::shared(&path).context("lock the user namespace")?;
    if let Some(member) = find(store)? {
        return Ok(Preparation(Way::Join(member, lock)));
    }
    drop(lock);
    let lock = FileLock::exclusive(&path).context("lock the user namespace")?;
    Ok(Preparation(match find(store)? {
        Some(member) => Way::Join(member, lock),
        None => Way::Make(Making::start()?, lock),
    }))
}

impl Preparation {
    /// None for root, who stays where he is.
    fn finish(self) -> Result<Option<Entry>> {
        match self.0 {
            Way::Stay => Ok(None),
            Way::Join(member, _lock) => Ok(Some(Entry { member, holder: None, warning: None, _lock })),
            Way::Make(making, _lock) => {
                let (holder, warning) = making.finish()?;
                let member = Member::open(holder.pid).context("find the new user namespace")?;
                Ok(Some(Entry { member, holder: Some(holder), warning, _lock }))
            }
        }
    }
}

impl Entry {
    fn join(&self) -> io::Result<()> {
        enter(&self.member)
    }

    /// For the process that prepared it, when another one is a member.
    fn release(self) -> Option<String> {
        if let Some(holder) = self.holder {
            holder.release();
        }
        self.warning
    }
}

/// Clones a child into U, with the namespaces of `flags` made new, and runs `work` there: a
/// supervisor, which is a member until it calls [`leave`]. Before it, each of `companions` gets a process
/// of its own there, in our other namespaces. The caller has one thread. Returns what the person
/// should hear once, such as missing subordinate ids.
pub fn clone_supervisor(
    store: &Store,
    preparation: Preparation,
    flags: libc::c_int,
    companions: Vec<Box<dyn FnOnce()>>,
    work: impl FnOnce(),
) -> Result<Option<String>> {
    let Some(entry) = preparation.finish()? else {
        for companion in companions {
            clone_running(0, (), companion)?;
        }
        clone_running(flags, (), work)?;
        return Ok(None);
    };
    // A pid namespace can be made only from inside of U, so one goes in, makes the supervisor as its
    // sibling, and ends. It shares our memory meanwhile: nothing is copied for it.
    let go = || -> Result<Entry> {
        entry.join().context("enter the user namespace")?;
        for companion in companions {
            clone_running(libc::CLONE_PARENT, (), companion)?;
        }
        let (supervisor, entry) = clone_running(libc::CLONE_PARENT | flags, entry, work)?;
        // Without a record the containers' states still say who is in U.
        let _ = register(store, supervisor);
        Ok(entry)
    };
    let entry = process::with_shared_child(go).context("fork")??;
    Ok(entry.release())
}

/// A user namespace beside U, made as U is, to try things in.
#[derive(Debug)]
pub struct Trial {
    holder: Holder,
    /// Why only one id is mapped, if that is so.
    pub warning: Option<String>,
}

impl Trial {
    /// Makes it; the caller has one thread.
    pub fn make() -> Result<Self> {
        let (holder, warning) = Making::start()?.finish()?;
        Ok(Self { holder, warning })
    }

    /// How many users it maps.
    pub fn users(&self) -> io::Result<u64> {
        Ok(IdMaps::of(self.holder.pid)?.uids.iter().map(|extent| u64::from(extent.count)).sum())
    }

    /// Takes this process, which should be a child made for it, into the namespace.
    pub fn join(&self) -> io::Result<()> {
        enter(&Member::open(self.holder.pid)?)
    }

    /// Lets it go.
    pub fn release(self) {
        self.holder.release();
    }
}

fn enter(member: &Member) -> io::Result<()> {
    let kind = rustix::thread::LinkNameSpaceType::User;
    rustix::thread::move_into_link_name_space(member.user.as_fd(), Some(kind))?;
    be_dumpable()
}

/// Clones a process that runs `work`, without `held`, and ends.
fn clone_running<H>(flags: libc::c_int, held: H, work: impl FnOnce()) -> Result<(Pid, H)> {
    let cloned = process::clone(flags).map_err(|error| {
        let text = format!("cannot start a supervisor in the user namespace: {error}");
        anyhow!(explain::with_cause(text, explain::shortage::processes_used_up()))
    })?;
    match cloned {
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
    fork_prepared(store, prepare(store)?, work)
}

fn fork_prepared(store: &Store, preparation: Preparation, work: impl FnOnce() -> i32) -> Result<Forked> {
    let entry = preparation.finish()?;
    let (ours, theirs) = pair()?;
    match process::fork().context("fork")? {
        Fork::Parent(pid) => {
            drop(theirs);
            // A member now, or gone.
            let _ = File::from(ours).read(&mut [0]);
            Ok(Forked { pid, warning: entry.and_then(Entry::release) })
        }
        Fork::Child => {
            drop(ours);
            let own = rustix::process::getpid();
            if let Some(entry) = entry {
                if entry.join().is_err() {
                    process::exit_now(125);
                }
                let _ = register(store, own);
            }
            drop(theirs);
            let code = work();
            let _ = leave(store, own);
            process::exit_now(code)
        }
    }
}

/// Takes this process into U for the rest of its life, and so what it executes. The caller has one
/// thread and is not root. Returns what the person should hear once.
pub fn enter_for_good(store: &Store) -> Result<Option<String>> {
    let Some(entry) = prepare(store)?.finish()? else { return Ok(None) };
    entry.join().context("enter the user namespace")?;
    // Whoever looks for a member finds it gone when it has ended.
    register(store, rustix::process::getpid())?;
    Ok(entry.release())
}

/// Starts a process in U that outlives this one.
pub fn start_inside(store: &Store, work: impl FnOnce()) -> Result<()> {
    let started = fork_into(store, || {
        work();
        0
    })?;
    drop(started);
    Ok(())
}

/// The maps of U: its own, or those it will have when it is made.
pub fn maps(store: &Store) -> Result<IdMaps> {
    if rustix::process::geteuid().is_root() {
        return Ok(IdMaps::of_self()?);
    }
    Ok(maps_now(store)?.unwrap_or_else(making::expected))
}

/// The maps of U; None where nobody is in it.
fn maps_now(store: &Store) -> Result<Option<IdMaps>> {
    while let Some(member) = find(store)? {
        if let Some(maps) = member.maps().context("read the maps of the user namespace")? {
            return Ok(Some(maps));
        }
    }
    Ok(None)
}

/// Whether U maps one id only, for want of subordinate ids. Known while a process in it lives.
pub fn is_single(store: &Store) -> Result<bool> {
    if rustix::process::geteuid().is_root() {
        return Ok(IdMaps::of_self()?.is_single());
    }
    Ok(maps_now(store)?.is_some_and(|maps| maps.is_single()))
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

/// Runs `work` in U as it was prepared, tells `progress` what it tells, and waits for it. Gives back a way into U,
/// which has been there all the while. Errors cross as text.
pub fn run_prepared(
    store: &Store,
    preparation: Preparation,
    work: impl FnOnce(&mut dyn FnMut(u64)) -> Result<()>,
    progress: &mut dyn FnMut(u64),
) -> Result<Preparation> {
    let (ours, theirs) = pair()?;
    let (ours, theirs) = (Cell::new(Some(ours)), Cell::new(Some(theirs)));
    let forked = fork_prepared(store, preparation, || {
        drop(ours.take());
        let Some(mut channel) = theirs.take().map(File::from) else { return 125 };
        let done = work(&mut |amount| {
            let _ = channel.write_all(format!("+{amount}\n").as_bytes());
        });
        let word =
            done.map_or_else(|error| format!("!{}\n", format!("{error:#}").replace('\n', " ")), |()| ".\n".to_owned());
        let _ = channel.write_all(word.as_bytes());
        // Being here keeps U.
        let _ = channel.read(&mut [0]);
        0
    })?;
    drop(theirs.take());
    let channel = ours.take().map(File::from).context("the channel to a process is gone")?;
    let mut outcome = Err(anyhow!("a process in the user namespace died"));
    for line in BufReader::new(&channel).lines() {
        let line = line?;
        match line.split_at_checked(1) {
            Some(("+", amount)) => progress(amount.parse().unwrap_or_default()),
            Some(("!", text)) => outcome = Err(anyhow!("{text}")),
            _ => outcome = Ok(()),
        }
        if !line.starts_with('+') {
            break;
        }
    }
    let next = outcome.and_then(|()| prepare(store));
    drop(channel);
    waitpid(Some(forked.pid), WaitOptions::empty())?;
    next
}

/// Runs `work` in U and returns, from its beginning, the file that it wrote its answer to. A pipe could fill
/// up while the other side is waited for.
pub fn answer_from_inside(store: &Store, work: impl FnOnce(&File) -> Result<()>) -> Result<File> {
    let mut answer = File::from(rustix::fs::memfd_create("answer", MemfdFlags::CLOEXEC)?);
    let writer = answer.try_clone()?;
    run_inside(store, move || work(&writer))?;
    answer.seek(SeekFrom::Start(0))?;
    Ok(answer)
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Entering a user namespace makes a process non-dumpable, and then its /proc files and its
/// children's belong to the host's root. What must stay hidden is hidden again before exec.
fn be_dumpable() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?)
}

/// Writes a map file of a process in a child namespace.
pub fn write_proc(pid: Pid, name: &str, text: &str) -> Result<()> {
    let path = PathBuf::from(format!("/proc/{}/{name}", pid.as_raw_nonzero()));
    // One write(2) with the whole map, as the kernel demands; std::fs::write truncates, procfs allows it.
    let mut file =
        std::fs::OpenOptions::new().write(true).open(&path).with_context(|| format!("open {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {text:?} to {}", path.display()))
}
