//! A cgroup that exists: what is in it and how it is set.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::io::Errno;
use rustix::process::Pid;

use super::{
    Groups, Members, at, failed, file_in, make_directory, missing, open_directory, reason, record, scope, unified,
    words, write,
};
use crate::spec::config::ContainerId;
use crate::spec::limits::Setting;
use crate::store::Store;

/// The directories that make up a container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub unified: Option<PathBuf>,
    /// Of version 1, behind the names of their controllers.
    pub legacy: Vec<(String, PathBuf)>,
}

impl Group {
    /// The cgroup of a container that runs; None if it has none of its own.
    pub fn of(store: &Store, id: &ContainerId) -> Result<Option<Self>> {
        Ok(Self::recorded(&Self::record(store, id)?))
    }

    /// Where a container's cgroup is recorded.
    pub fn record(store: &Store, id: &ContainerId) -> Result<PathBuf> {
        record::path(store, id)
    }

    /// The cgroup of a record, if there are both.
    pub fn recorded(record: &Path) -> Option<Self> {
        record::read(record).ok().map(|(_, group)| group).filter(|group| group.directories().all(Path::exists))
    }

    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.unified.iter().chain(self.legacy.iter().map(|(_, directory)| directory)).map(PathBuf::as_path)
    }

    /// The directory that has a controller's files.
    pub fn with_controller(&self, name: &str) -> Option<&Path> {
        let legacy = self.legacy.iter().find(|(names, _)| names.split(',').any(|other| other == name));
        legacy.map(|(_, directory)| directory.as_path()).or_else(|| {
            let directory = self.unified.as_deref()?;
            words(&directory.join("cgroup.controllers")).ok()?.iter().any(|other| other == name).then_some(directory)
        })
    }

    /// Where limits are of version 1.
    pub fn is_legacy(&self) -> bool {
        !self.legacy.is_empty()
    }

    /// For `clone_into`, where a process can be born in it.
    pub fn handle(&self) -> io::Result<Option<OwnedFd>> {
        self.unified.as_deref().map(open_directory).transpose()
    }

    /// Makes the cgroups above those of version 1, where `--cgroup-parent` names some that are not there.
    pub(super) fn make_parents(&self) -> io::Result<()> {
        for (names, directory) in &self.legacy {
            for above in directory.parent().map(missing).unwrap_or_default() {
                make_directory(above)?;
                if names.split(',').any(|name| name == "cpuset") {
                    open_cpuset(above)?;
                }
            }
        }
        self.unified
            .as_deref()
            .and_then(Path::parent)
            .map(missing)
            .unwrap_or_default()
            .into_iter()
            .try_for_each(make_directory)
    }

    /// Sets a new cgroup up to take processes: one of cpusets of version 1 begins without processors.
    pub fn prepare(&self) -> io::Result<()> {
        let Some((_, directory)) = self.legacy.iter().find(|(names, _)| names.split(',').any(|name| name == "cpuset"))
        else {
            return Ok(());
        };
        open_cpuset(directory)
    }

    /// Takes in a process, which was born in the cgroup of version 2 if there is one.
    pub fn adopt_newborn(&self, pid: Pid) -> io::Result<()> {
        let number = pid.as_raw_nonzero().to_string();
        self.legacy.iter().try_for_each(|(_, directory)| write(&directory.join("cgroup.procs"), &number))
    }

    /// Takes in a process.
    pub fn adopt(&self, pid: Pid) -> io::Result<()> {
        let number = pid.as_raw_nonzero().to_string();
        for directory in self.directories() {
            match write(&directory.join("cgroup.procs"), &number) {
                // It has ended.
                Err(error) if reason(&error) == Some(Errno::SRCH) => {}
                adopted => adopted?,
            }
        }
        Ok(())
    }

    pub(super) fn adopt_into_unified(&self, members: Members<'_>) -> io::Result<()> {
        let Members::Running(pids) = members else { return Ok(()) };
        let unified = Self { unified: self.unified.clone(), legacy: Vec::new() };
        pids.iter().try_for_each(|pid| unified.adopt(*pid))
    }

    /// Moves this process in, to where the container's init is: one that boots a system divides its cgroup,
    /// and then no process may be at the top. From another session only systemd can do it. `pid` is this
    /// process as the host counts it.
    pub fn enter(&self, pid: Pid, init: Pid) -> io::Result<()> {
        let inner = Groups::of(Some(init)).ok().and_then(|groups| groups.unified).map(|place| place.own);
        let unified = self.unified.as_deref().map(|top| match &inner {
            Some(inner) if inner.starts_with(top) => inner,
            _ => top,
        });
        for directory in unified.into_iter().chain(self.legacy.iter().map(|(_, directory)| directory.as_path())) {
            match write(&directory.join("cgroup.procs"), "0") {
                Err(error) if reason(&error) == Some(Errno::ACCESS) && scope::of(directory).is_some() => {
                    scope::attach(directory, &[pid]).map_err(|_| error)?;
                }
                entered => entered?,
            }
        }
        Ok(())
    }

    /// Sets all. What fails after others were set leaves none of them.
    pub fn set_all(&self, settings: &[Setting]) -> io::Result<()> {
        let mut done: Vec<(PathBuf, String)> = Vec::new();
        for setting in settings {
            match self.set(setting) {
                Ok(old) => done.extend(old),
                Err(error) => {
                    for (file, old) in done.into_iter().rev() {
                        let _ = write(&file, &old);
                    }
                    return Err(failed(setting, error));
                }
            }
        }
        Ok(())
    }

    /// Sets one; what was there before.
    fn set(&self, setting: &Setting) -> io::Result<Option<(PathBuf, String)>> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no {}", setting.file));
        if !self.is_legacy()
            && self.with_controller(&setting.controller).is_none()
            && let Some(base) = self.unified.as_deref().and_then(Path::parent)
        {
            match unified::enable(base, std::slice::from_ref(&setting.controller)) {
                Err(error) if !setting.optional => return Err(error),
                _ => {}
            }
        }
        let file = self.with_controller(&setting.controller).map(|directory| file_in(directory, &setting.file));
        let Some(file) = file.filter(|file| file.exists()) else {
            return if setting.optional { Ok(None) } else { Err(missing()) };
        };
        let old = std::fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
        match write(&file, &setting.value) {
            Err(error) if setting.controller == "memory" && reason(&error) == Some(Errno::BUSY) => {
                return Err(io::Error::new(error.kind(), format!("the container uses more than that now: {error}")));
            }
            written => written?,
        }
        Ok(Some((file, restoring(&setting.file, &old))))
    }
}

/// Gives a cgroup of cpusets what the one above it has.
pub(super) fn open_cpuset(directory: &Path) -> io::Result<()> {
    let above = directory.parent().unwrap_or(directory);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let list = std::fs::read_to_string(above.join(file)).map_err(|error| at(&above.join(file), "read", error))?;
        write(&directory.join(file), list.trim())?;
    }
    Ok(())
}

/// What is to be written for a file to say what it said.
fn restoring(file: &str, old: &str) -> String {
    match file {
        "io.weight" => old.lines().next().unwrap_or("default 100").to_owned(),
        // Empty is as it was when nothing was set.
        _ if old.is_empty() => "\n".to_owned(),
        _ => old.to_owned(),
    }
}
