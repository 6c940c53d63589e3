//! Who is in U, so that a new invocation can join it: an empty file `members/PID-START-INODE` in
//! the runtime directory for each supervisor. Its name says which process (the start time rules out
//! a reused pid) and which user namespace; both are verified before anything is believed. So is that
//! the namespace is a child of our own: a container that was given a view of the runtime directory
//! could name a process of its own, and whoever entered that one's namespace would be in its hands.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::process::Pid;

use crate::sandbox::idmap::IdMaps;
use crate::store::Store;
use crate::store::fs;
use crate::sys::process;

/// A process that is in U, and U.
#[derive(Debug)]
pub struct Member {
    pub pid: Pid,
    pub user: File,
}

impl Member {
    /// A process that cannot end meanwhile.
    pub fn open(pid: Pid) -> io::Result<Self> {
        Ok(Self { pid, user: File::open(namespace_path(pid))? })
    }

    /// The maps of its namespace; None when it has ended, as any member may at any time.
    pub fn maps(&self) -> io::Result<Option<IdMaps>> {
        let maps = IdMaps::of(self.pid);
        // Were they read of a later process with its pid?
        let found = std::fs::metadata(namespace_path(self.pid)).map(|found| found.ino());
        if found.is_ok_and(|inode| self.user.metadata().is_ok_and(|ours| ours.ino() == inode)) {
            return maps.map(Some);
        }
        Ok(None)
    }
}

/// What the name of an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pid: Pid,
    start: u64,
    namespace: u64,
}

impl Entry {
    fn of(pid: Pid) -> io::Result<Self> {
        let namespace = std::fs::metadata(namespace_path(pid))?.ino();
        Ok(Self { pid, start: process::start_time(pid)?, namespace })
    }

    fn name(&self) -> String {
        format!("{}-{}-{}", self.pid.as_raw_nonzero(), self.start, self.namespace)
    }

    fn parse(name: &str) -> Option<Self> {
        let mut fields = name.splitn(3, '-');
        Some(Self {
            pid: Pid::from_raw(fields.next()?.parse().ok()?)?,
            start: fields.next()?.parse().ok()?,
            namespace: fields.next()?.parse().ok()?,
        })
    }

    /// The process, if it still lives in the namespace it was recorded with.
    fn open(&self) -> Option<Member> {
        let user = File::open(namespace_path(self.pid)).ok()?;
        let same = user.metadata().ok()?.ino() == self.namespace && process::start_time(self.pid).ok()? == self.start;
        same.then_some(Member { pid: self.pid, user })
    }
}

fn namespace_path(pid: Pid) -> String {
    format!("/proc/{}/ns/user", pid.as_raw_nonzero())
}

fn directory(store: &Store) -> Result<PathBuf> {
    store.runtime_path("members")
}

/// Makes `pid`, a process in U, known. Only a hint that is void after a boot: nothing is synced.
pub fn register(store: &Store, pid: Pid) -> Result<()> {
    let directory = directory(store)?;
    let path = directory.join(Entry::of(pid)?.name());
    let made = match File::create(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_private_dir(&directory).and_then(|()| File::create(&path))
        }
        made => made,
    };
    made.map(drop).with_context(|| format!("create {}", path.display()))
}

/// Takes a member that is about to end off the record. One that is killed stays on it until somebody
/// looks for a member.
pub fn leave(store: &Store, pid: Pid) -> Result<()> {
    Ok(std::fs::remove_file(directory(store)?.join(Entry::of(pid)?.name()))?)
}

/// The processes on record, of which some may have ended.
pub fn pids(store: &Store) -> Result<Vec<Pid>> {
    let names = std::fs::read_dir(directory(store)?).into_iter().flatten().flatten().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| Some(name.to_str().and_then(Entry::parse)?.open()?.pid)).collect())
}

/// A process in U, if any lives.
pub fn find(store: &Store) -> Result<Option<Member>> {
    find_where(store, |member| is_child_of_ours(member).unwrap_or(false))
}

/// Containers' namespaces are children of U, U is a child of ours.
fn is_child_of_ours(member: &Member) -> io::Result<bool> {
    let parent = File::from(process::parent_namespace(member.user.as_fd())?);
    Ok(parent.metadata()?.ino() == std::fs::metadata("/proc/self/ns/user")?.ino())
}

fn find_where(store: &Store, is_ours: fn(&Member) -> bool) -> Result<Option<Member>> {
    for entry in std::fs::read_dir(directory(store)?).into_iter().flatten() {
        let entry = entry.context("list the members of the user namespace")?;
        let name = entry.file_name();
        match name.to_str().and_then(Entry::parse).and_then(|entry| entry.open()).filter(is_ours) {
            Some(member) => return Ok(Some(member)),
            None => drop(std::fs::remove_file(entry.path())),
        }
    }
    Ok(find_by_containers(store)?.filter(is_ours))
}

/// By what the containers' states say, for when the runtime directory was lost.
fn find_by_containers(store: &Store) -> Result<Option<Member>> {
    for supervisor in store.containers().supervisors()? {
        let Ok(entry) = Entry::of(supervisor.pid) else { continue };
        if entry.start == supervisor.start
            && let Some(member) = entry.open()
        {
            // A hint for the next one; the process may be ending.
            let _ = register(store, supervisor.pid);
            return Ok(Some(member));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestStore;

    #[test]
    fn a_live_process_is_found_and_a_dead_one_is_forgotten() {
        let store = TestStore::new();
        assert!(find_where(&store, |_| true).unwrap().is_none());
        let own = rustix::process::getpid();
        let entry = Entry::of(own).unwrap();
        assert_eq!(Entry::parse(&entry.name()), Some(entry));
        let stale =
            [Entry { start: entry.start + 1, ..entry }, Entry { namespace: 1, ..entry }].map(|entry| entry.name());
        register(&store, own).unwrap();
        let directory = directory(&store).unwrap();
        for name in stale.iter().map(String::as_str).chain(["0-0-0", "x", "1--"]) {
            File::create(directory.join(name)).unwrap();
        }
        // In whatever order the entries come.
        assert_eq!(find_where(&store, |_| true).unwrap().unwrap().pid, own);
        leave(&store, own).unwrap();
        assert!(find_where(&store, |_| true).unwrap().is_none());
        assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
    }

    #[test]
    fn maps_are_a_living_members() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let member = Member::open(Pid::from_child(&child)).unwrap();
        assert_eq!(member.maps().unwrap(), Some(IdMaps::of_self().unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(member.maps().unwrap(), None);
    }
}
