//! Control groups of version 2, for containers that boot a whole system: one of its own below the
//! invocation's, which must have been handed to the user. A process may be moved only between cgroups
//! whose common ancestor it may write to, so no other place will do.
//!
//! What is made is recorded in the runtime directory first. The supervisor removes it at the end; that
//! of one that was killed goes with the next command that changes something.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::explain::{Code, Explained};
use crate::spec::config::ContainerId;
use crate::store::Store;
use crate::store::fs;
use crate::store::lock::AliveLock;

/// Where the records lie, one a container.
const RECORDS: &str = "cgroups";
/// What a cgroup is handed over with (Linux Documentation/admin-guide/cgroup-v2.rst, Delegation).
const DELEGATED: [&str; 3] = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];
/// How long the last processes may take to leave a cgroup after their end.
const PARTING: Duration = Duration::from_secs(2);

/// The cgroup to make for a container.
#[derive(Clone, Debug)]
pub struct Place {
    directory: PathBuf,
    record: PathBuf,
    alive: PathBuf,
}

/// A container's cgroup, made.
#[derive(Debug)]
pub struct Cgroup {
    place: Place,
    handle: OwnedFd,
}

/// The directory of our own cgroup, if we may make others below it; else why not, and what to do.
pub fn delegated() -> Result<PathBuf, Explained> {
    let directory = directory_of(None).ok().flatten().ok_or_else(|| {
        Explained::new(Code::Cgroups, "cgroup version 2 is not mounted")
            .advice("boot with cgroup version 2 on /sys/fs/cgroup")
    })?;
    let writable = |name: &str| {
        let access = Access::WRITE_OK | if name.is_empty() { Access::EXEC_OK } else { Access::empty() };
        rustix::fs::accessat(CWD, directory.join(name), access, AtFlags::EACCESS).is_ok()
    };
    if writable("") && writable("cgroup.procs") {
        return Ok(directory);
    }
    let cause = format!("the cgroup {} is not yours to write to", directory.display());
    Err(Explained::new(Code::Cgroups, cause).you("systemd-run --user --scope -p Delegate=yes rbox run ..."))
}

/// The directory of a process's cgroup, our own without one; None where version 2 is not mounted or
/// does not show it.
fn directory_of(pid: Option<Pid>) -> io::Result<Option<PathBuf>> {
    let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.as_raw_nonzero().to_string());
    let groups = std::fs::read(format!("/proc/{process}/cgroup"))?;
    let own = groups.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::"));
    let mounts = std::fs::read("/proc/self/mountinfo")?;
    Ok(own.and_then(|own| mounts.split(|&byte| byte == b'\n').find_map(|line| shown_by(line, own))))
}

/// Where the mount of this line of mountinfo (proc_pid_mountinfo(5)) shows the cgroup.
fn shown_by(line: &[u8], cgroup: &[u8]) -> Option<PathBuf> {
    let mut fields = line.split(|&byte| byte == b' ');
    let (root, target) = (fields.nth(3)?, fields.next()?);
    fields.find(|field| *field == b"-")?;
    if fields.next()? != b"cgroup2" {
        return None;
    }
    let below = Path::new(OsStr::from_bytes(cgroup)).strip_prefix(unescape(root)).ok()?.to_owned();
    // A cgroup beside our cgroup namespace's root is shown with dots.
    if !below.components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    let target = unescape(target);
    Some(if below.as_os_str().is_empty() { target } else { target.join(below) })
}

/// Blanks and the like are octal in mountinfo.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let code = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

impl Place {
    /// Where the cgroup of a container that is about to start is to be made.
    pub fn find(store: &Store, id: &ContainerId, container: &Path) -> Result<Self> {
        let parent = delegated().map_err(refusal)?;
        Ok(Self {
            directory: parent.join(format!("rbox-{id}")),
            record: store.runtime_path(RECORDS)?.join(id.as_str()),
            alive: container.join("alive"),
        })
    }

    /// Makes it, for the user (uid, gid) that is the container's root. For a process in U.
    pub fn make(self, owner: (u32, u32)) -> io::Result<Cgroup> {
        if let Some(records) = self.record.parent() {
            fs::create_private_dir(records)?;
        }
        let paths = [self.alive.as_os_str().as_bytes(), self.directory.as_os_str().as_bytes()];
        std::fs::write(&self.record, paths.join(&0))?;
        // Of a supervisor that was killed a moment ago.
        remove(&self.directory)?;
        std::fs::DirBuilder::new().mode(0o755).create(&self.directory)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let cgroup = Cgroup { handle: rustix::fs::open(&self.directory, flags, Mode::empty())?, place: self };
        cgroup.hand_over(owner)?;
        Ok(cgroup)
    }
}

/// The error line for a container that cannot be given a cgroup.
pub fn refusal(explained: Explained) -> anyhow::Error {
    anyhow::anyhow!("cannot boot a system in a container: {explained}, or --systemd=false if it is not systemd")
}

impl Cgroup {
    fn hand_over(&self, (uid, gid): (u32, u32)) -> io::Result<()> {
        let stat = rustix::fs::statat(&self.handle, c"", AtFlags::EMPTY_PATH)?;
        if (stat.st_uid, stat.st_gid) == (uid, gid) {
            return Ok(());
        }
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&self.handle, c"", uid, gid, AtFlags::EMPTY_PATH)?;
        for file in DELEGATED {
            rustix::fs::chownat(&self.handle, file, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// For `clone_into`: processes are born in the cgroup.
    pub fn handle(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.handle, c".", flags, Mode::empty())?)
    }

    /// Removes it, as soon as the last process has left it.
    pub fn clear(self) {
        let deadline = Instant::now() + PARTING;
        while remove(&self.place.directory).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !self.place.directory.exists() {
            let _ = std::fs::remove_file(&self.place.record);
        }
    }
}

/// Moves this process to the cgroup of `init`, where what is executed in its container belongs. From
/// another session it stays where it is: only root moves it then.
pub fn follow(init: Pid) -> io::Result<()> {
    let Some(directory) = directory_of(Some(init))? else { return Ok(()) };
    match std::fs::OpenOptions::new().write(true).open(directory.join("cgroup.procs"))?.write_all(b"0") {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        written => written,
    }
}

/// How many cgroups killed supervisors left.
pub fn count_abandoned(store: &Store) -> Result<usize> {
    Ok(abandoned(store)?.len())
}

/// Removes them. For a process in U: those of other users inside are ours to remove there only.
pub fn sweep(store: &Store) -> Result<()> {
    for (record, directory) in abandoned(store)? {
        // One that is not empty yet is the next command's.
        if remove(&directory).is_ok() {
            std::fs::remove_file(&record).with_context(|| format!("remove {}", record.display()))?;
        }
    }
    Ok(())
}

/// Records, with the cgroup, of containers without a supervisor.
fn abandoned(store: &Store) -> Result<Vec<(PathBuf, PathBuf)>> {
    let directory = store.runtime_path(RECORDS)?;
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("list {}", directory.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let record = entry.with_context(|| format!("list {}", directory.display()))?.path();
        let Ok(bytes) = std::fs::read(&record) else { continue };
        let mut paths = bytes.split(|&byte| byte == 0).map(|path| Path::new(OsStr::from_bytes(path)));
        let (Some(alive), Some(cgroup)) = (paths.next(), paths.next()) else { continue };
        if !AliveLock::is_held(alive).with_context(|| format!("ask for {}", alive.display()))? {
            found.push((record, cgroup.to_owned()));
        }
    }
    Ok(found)
}

/// Removes a cgroup with those below it, if no process is left in any. What lies below was made by the
/// container: it may be of any depth, so it is walked with two descriptors.
fn remove(top: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut here = match rustix::fs::open(top, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    if is_populated(&here)? {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    let mut names = Vec::new();
    loop {
        if let Some(child) = first_child(&here)? {
            here = rustix::fs::openat(&here, &child, flags, Mode::empty())?;
            names.push(child);
        } else if let Some(name) = names.pop() {
            here = rustix::fs::openat(&here, c"..", flags, Mode::empty())?;
            rustix::fs::unlinkat(&here, &name, AtFlags::REMOVEDIR)?;
        } else {
            return Ok(rustix::fs::rmdir(top)?);
        }
    }
}

fn is_populated(cgroup: &OwnedFd) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let events = File::from(rustix::fs::openat(cgroup, c"cgroup.events", flags, Mode::empty())?);
    Ok(io::read_to_string(events)?.lines().any(|line| line == "populated 1"))
}

fn first_child(cgroup: &OwnedFd) -> io::Result<Option<std::ffi::CString>> {
    for entry in Dir::read_from(cgroup.as_fd())? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_found_where_it_is_mounted() {
        let shown = |line: &str, cgroup: &str| shown_by(line.as_bytes(), cgroup.as_bytes());
        let unified = "31 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(shown(unified, "/user.slice/a b"), Some("/sys/fs/cgroup/user.slice/a b".into()));
        assert_eq!(shown(unified, "/"), Some("/sys/fs/cgroup".into()));
        assert_eq!(shown(unified, "/../other"), None);
        let part = r"31 24 0:27 /user.slice /mnt/a\040b rw shared:1 master:2 - cgroup2 none rw";
        assert_eq!(shown(part, "/user.slice/x"), Some("/mnt/a b/x".into()));
        assert_eq!(shown(part, "/system.slice"), None);
        assert_eq!(shown("31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", "/"), None);
        assert_eq!(shown("", "/"), None);
    }
}
