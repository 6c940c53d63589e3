//! Making U: a holder process unshares, newuidmap and newgidmap map its ids, and it keeps U alive
//! until whoever asked for U has joined.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::libc;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::{be_dumpable, write_proc};
use crate::explain::{self, helpers, shortage, subordinate, user_namespaces};
use crate::sandbox::idmap::{self, IdMaps};
use crate::sys::accounts;
use crate::sys::process::{self, Fork};

/// A process that lives in U for as long as this is held by anybody.
#[derive(Debug)]
pub struct Holder {
    pub pid: Pid,
    channel: File,
}

impl Holder {
    /// Forks it. Its ids are not mapped yet.
    fn new() -> Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let pid = match process::fork().context("fork")? {
            Fork::Parent(pid) => pid,
            Fork::Child => {
                drop(ours);
                let mut channel = File::from(theirs);
                let entered = process::unshare(libc::CLONE_NEWUSER).and_then(|()| be_dumpable());
                if let Err(error) = entered.and_then(|()| channel.write_all(b"u")) {
                    process::exit_now(error.raw_os_error().unwrap_or(libc::EPERM));
                }
                // Until nobody has the other end.
                let _ = channel.read(&mut [0]);
                process::exit_now(0)
            }
        };
        drop(theirs);
        let mut holder = Self { pid, channel: File::from(ours) };
        if holder.channel.read_exact(&mut [0]).is_err() {
            let status = waitpid(Some(pid), WaitOptions::empty())?;
            // A filter that kills is told like one that says no.
            let errno = status.and_then(|(_, status)| status.exit_status()).unwrap_or(libc::EPERM);
            let refusal = user_namespaces::refusal(Errno::from_raw_os_error(errno));
            bail!("cannot create a user namespace: {refusal}");
        }
        Ok(holder)
    }

    /// For the process that made it: lets it end and reaps it.
    pub fn release(self) {
        drop(self.channel);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// U on its way: the helpers are at work.
pub struct Making {
    holder: Holder,
    helpers: Option<[io::Result<Helper>; 2]>,
    warning: Option<String>,
}

impl Making {
    /// Starts it; the caller has one thread.
    pub fn start() -> Result<Self> {
        let holder = Holder::new()?;
        let (uid, gid) = own_ids();
        let (subuids, subgids) = granted(uid);
        if subuids.is_empty() || subgids.is_empty() {
            map_single(holder.pid, uid, gid)?;
            let warning = Some(format!("only one user exists in containers: {}", subordinate::none()));
            return Ok(Self { holder, helpers: None, warning });
        }
        let uids = start_helper("newuidmap", holder.pid, &idmap::with_ranges(uid, &subuids));
        let gids = start_helper("newgidmap", holder.pid, &idmap::with_ranges(gid, &subgids));
        Ok(Self { holder, helpers: Some([uids, gids]), warning: None })
    }

    /// Waits for the helpers. With the holder comes what the person should hear once: without helpers
    /// only the caller's own id is mapped.
    pub fn finish(self) -> Result<(Holder, Option<String>)> {
        let Self { holder, helpers, warning } = self;
        let Some(started) = helpers else { return Ok((holder, warning)) };
        match started.map(finish_helper) {
            [Ok(()), Ok(())] => Ok((holder, None)),
            [Err(reason), Err(_)] => {
                map_single(holder.pid, rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())?;
                let cause = helpers::blame(&reason.to_string());
                Ok((holder, Some(format!("only one user exists in containers: {cause}"))))
            }
            [Err(error), _] | [_, Err(error)] => {
                holder.release();
                bail!("cannot map the ids of containers: {}", helpers::blame(&error.to_string()))
            }
        }
    }
}

fn own_ids() -> (u32, u32) {
    (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
}

type Ranges = Vec<(u32, u32)>;

/// The subordinate uids and gids of a user.
fn granted(uid: u32) -> (Ranges, Ranges) {
    let name = accounts::login_name(uid);
    let ranges = |file: &str| accounts::subordinate_ranges(Path::new(file), uid, name.as_deref());
    (ranges("/etc/subuid"), ranges("/etc/subgid"))
}

/// The maps that it will have if its helpers succeed.
pub fn expected() -> IdMaps {
    let (uid, gid) = own_ids();
    match granted(uid) {
        (subuids, subgids) if subuids.is_empty() || subgids.is_empty() => IdMaps::single(uid, gid),
        (subuids, subgids) => {
            IdMaps { uids: idmap::with_ranges(uid, &subuids), gids: idmap::with_ranges(gid, &subgids) }
        }
    }
}

fn map_single(pid: Pid, uid: u32, gid: u32) -> Result<()> {
    let maps = IdMaps::single(uid, gid);
    // Without a privileged helper the kernel wants setgroups given up first.
    write_proc(pid, "setgroups", "deny")?;
    write_proc(pid, "gid_map", &idmap::format_map(&maps.gids))?;
    write_proc(pid, "uid_map", &idmap::format_map(&maps.uids))
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
        let null = crate::sandbox::devices::open_null()?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(errors)?;
        nix::unistd::execvp(&arguments[0], arguments)?;
        Ok(())
    };
    run().err().unwrap_or_else(|| io::ErrorKind::Other.into())
}

fn finish_helper(helper: io::Result<Helper>) -> Result<()> {
    let Helper { name, pid, mut errors } = helper
        .map_err(|error| anyhow!(explain::with_cause(format!("fork: {error}"), shortage::processes_used_up())))?;
    let mut text = String::new();
    let _ = errors.read_to_string(&mut text);
    let status = waitpid(Some(pid), WaitOptions::empty()).with_context(|| format!("wait for {name}"))?;
    if status.is_none_or(|(_, status)| status.exit_status() != Some(0)) {
        bail!("{name} failed: {}", text.trim());
    }
    Ok(())
}
