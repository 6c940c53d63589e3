//! What was made is recorded in the runtime directory, and removed: at the end by the supervisor, else by the
//! next command.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Group, scope};
use crate::spec::config::ContainerId;
use crate::store::Store;
use crate::store::fs;
use crate::store::lock::AliveLock;

/// Where the records lie, one a container: its `alive` lock, then the directories of its cgroup; those of
/// version 1 behind their controllers and a colon.
const RECORDS: &str = "cgroups";
/// How long the last processes may take to leave a cgroup after their end.
const PARTING: Duration = Duration::from_secs(2);
/// How long a command waits for those whose supervisor was killed.
const DYING: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(2);

/// The record of a container.
pub fn path(store: &Store, id: &ContainerId) -> Result<PathBuf> {
    Ok(store.runtime_path(RECORDS)?.join(id.as_str()))
}

/// Writes a record.
pub fn write(record: &Path, alive: &Path, group: &Group) -> io::Result<()> {
    if let Some(records) = record.parent() {
        fs::create_private_dir(records)?;
    }
    let mut bytes = alive.as_os_str().as_bytes().to_vec();
    if let Some(unified) = &group.unified {
        bytes.push(0);
        bytes.extend_from_slice(unified.as_os_str().as_bytes());
    }
    for (controllers, directory) in &group.legacy {
        bytes.push(0);
        bytes.extend_from_slice(controllers.as_bytes());
        bytes.push(b':');
        bytes.extend_from_slice(directory.as_os_str().as_bytes());
    }
    // Whoever reads it finds all of it or nothing.
    fs::write_volatile(record, &bytes)
}

/// Reads a record: the `alive` lock and the cgroup.
pub fn read(record: &Path) -> io::Result<(PathBuf, Group)> {
    let bytes = std::fs::read(record)?;
    let mut parts = bytes.split(|&byte| byte == 0);
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let alive = path(parts.next().unwrap_or_default());
    let mut group = Group { unified: None, legacy: Vec::new() };
    for part in parts {
        match part.iter().position(|&byte| byte == b':') {
            Some(colon) if !part.starts_with(b"/") => {
                let controllers = String::from_utf8_lossy(&part[..colon]).into_owned();
                group.legacy.push((controllers, path(&part[colon + 1..])));
            }
            _ => group.unified = Some(path(part)),
        }
    }
    Ok((alive, group))
}

/// Removes a cgroup as soon as the last process has left it, and then its record.
pub fn clear(record: &Path) {
    let Ok((_, group)) = read(record) else { return };
    let deadline = Instant::now() + PARTING;
    while remove_all(&group).is_err() && Instant::now() < deadline {
        std::thread::sleep(PAUSE);
    }
    if !group.directories().any(|directory| directory.exists()) {
        let _ = std::fs::remove_file(record);
    }
}

/// How many cgroups killed supervisors left.
pub fn count_abandoned(store: &Store) -> Result<usize> {
    Ok(abandoned(store)?.len())
}

/// Removes them. For a process in U: those of other users inside are ours to remove there only.
pub fn sweep(store: &Store) -> Result<()> {
    // Who was killed with the supervisor a moment ago is still on the way out.
    let deadline = Instant::now() + DYING;
    for (record, group) in abandoned(store)? {
        let mut removed = remove_all(&group);
        while removed.is_err() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
            removed = remove_all(&group);
        }
        // One that is not empty yet is the next command's.
        if removed.is_ok() {
            std::fs::remove_file(&record).with_context(|| format!("remove {}", record.display()))?;
        }
    }
    Ok(())
}

/// Records, with the cgroup, of containers without a supervisor.
fn abandoned(store: &Store) -> Result<Vec<(PathBuf, Group)>> {
    let directory = store.runtime_path(RECORDS)?;
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("list {}", directory.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let record = entry.with_context(|| format!("list {}", directory.display()))?.path();
        let Ok((alive, group)) = read(&record) else { continue };
        if !AliveLock::is_held(&alive).with_context(|| format!("ask for {}", alive.display()))? {
            found.push((record, group));
        }
    }
    Ok(found)
}

fn remove_all(group: &Group) -> io::Result<()> {
    // Frozen processes do not even die, in version 1.
    group.thaw();
    group.directories().try_for_each(remove)?;
    // systemd ends a scope that is empty, and takes its directory away.
    match group.unified.as_deref().and_then(scope::of) {
        Some(scope) => scope::clean(scope),
        None => Ok(()),
    }
}

/// Removes a cgroup with those below it, if no process is left in any. What lies below was made by the
/// container: it may be of any depth, so it is walked with two descriptors.
pub fn remove(top: &Path) -> io::Result<()> {
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

/// Version 1 does not say; there the kernel refuses.
fn is_populated(cgroup: &OwnedFd) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let events = match rustix::fs::openat(cgroup, c"cgroup.events", flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        opened => File::from(opened?),
    };
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
    fn a_record_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let record = directory.path().join("records/id");
        let group = Group {
            unified: Some("/c/a:b".into()),
            legacy: vec![("cpu,cpuacct".to_owned(), "/c/cpu/x".into()), ("memory".to_owned(), "/c/memory/x".into())],
        };
        write(&record, Path::new("/store/alive"), &group).unwrap();
        assert_eq!(read(&record).unwrap(), ("/store/alive".into(), group));
        std::fs::write(&record, b"/store/alive\0/c/x").unwrap();
        assert_eq!(read(&record).unwrap().1.unified, Some("/c/x".into()), "a record of an earlier version");
    }
}
