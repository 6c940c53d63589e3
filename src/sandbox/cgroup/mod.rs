//! Control groups: a container has one of its own where there is something to limit, and where it boots a
//! whole system.
//!
//! It is made in one of three ways (`way.rs`): below the invocation's own cgroup of version 2, which must
//! have been handed to the user; in a scope that the user's systemd makes (`scope.rs`); or in writable
//! directories of version 1. The builder makes it, as it must come from there for the init to be born in it;
//! the supervisor never is in it, so that no limit of the container's ends it.
//!
//! What is made is recorded in the runtime directory. The supervisor removes it at the end; that of one that
//! was killed goes with the next command that changes something (`record.rs`).

mod bus;
mod freezer;
mod group;
mod hierarchy;
pub mod late;
mod oom;
mod record;
mod scope;
mod unified;
mod usage;
mod way;

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

pub use group::Group;
pub use hierarchy::Groups;
pub use oom::Watch;
pub use record::{count_abandoned, sweep};
pub use usage::Usage;
pub use way::{Chosen, Place, block_device, choose, device_number, driver};

use crate::spec::config::ContainerId;
use crate::spec::limits::Setting;
use crate::store::Store;

/// Who is in a new cgroup first.
#[derive(Clone, Copy, Debug)]
pub enum Members<'a> {
    /// A child of this process, which is born in it or adopted: the builder's init.
    Child,
    /// Processes of a container that runs already, as the host counts them.
    Running(&'a [Pid]),
}

/// How a cgroup can be made.
#[derive(Clone, Debug)]
pub enum Way {
    /// As a directory of version 2 below `base`, with controllers that must be there and ones that may.
    Unified { base: PathBuf, name: String, controllers: Vec<String> },
    /// In a scope of systemd's.
    Scope { scope: scope::Scope, controllers: Vec<String> },
    /// As directories of version 1, by controller, and if possible one of version 2 beside them, where
    /// processes are frozen and counted.
    Legacy { unified: Option<PathBuf>, directories: Vec<(String, PathBuf)> },
}

impl Place {
    /// Has controllers handed on where that takes moving other processes, which only a process of the host's pid
    /// namespace sees.
    pub fn prepare(&self) -> io::Result<()> {
        match &self.way {
            Way::Unified { base, controllers, .. } => unified::enable(hierarchy::nearest(base), controllers),
            Way::Scope { .. } | Way::Legacy { .. } => Ok(()),
        }
    }

    /// Makes the cgroup and sets its limits. `owner` is the container's root (uid, gid), whom the
    /// cgroup of a whole system belongs to. For a process in U with the host's /proc.
    pub fn make(&self, members: Members<'_>, owner: (u32, u32)) -> io::Result<Group> {
        match &self.way {
            Way::Unified { base, name, controllers } => {
                let group = Group { unified: Some(base.join(name)), legacy: Vec::new() };
                self.begin(&group)?;
                unified::make_base(base, controllers)?;
                self.finish(group, members, owner)
            }
            Way::Legacy { unified, directories } => {
                let group = Group { unified: unified.clone(), legacy: directories.clone() };
                self.begin(&group)?;
                group.make_parents()?;
                self.finish(group, members, owner)
            }
            Way::Scope { scope, controllers } => {
                let base = scope.start(members)?;
                let group = Group { unified: Some(base.join(scope::CONTAINER)), legacy: Vec::new() };
                self.begin(&group)?;
                scope::vacate(&base, members)?;
                scope::await_controllers(&base, controllers)?;
                if let Members::Running(_) = members {
                    // No controller can be handed on while there are processes above.
                    make_directory(&base.join(scope::CONTAINER))?;
                    group.adopt_into_unified(members)?;
                }
                unified::enable(&base, controllers)?;
                unified::welcome(&base);
                self.finish(group, members, owner)
            }
        }
    }

    /// Records the directories and makes way for them.
    fn begin(&self, group: &Group) -> io::Result<()> {
        record::write(&self.record, &self.alive, group)
    }

    fn finish(&self, group: Group, members: Members<'_>, owner: (u32, u32)) -> io::Result<Group> {
        for directory in group.directories() {
            if !matches!((&self.way, members), (Way::Scope { .. }, Members::Running(_))) {
                // Of a supervisor that was killed a moment ago.
                record::remove(directory)?;
                make_directory(directory)?;
            }
        }
        if let Some(unified) = group.unified.as_ref().filter(|_| self.whole) {
            unified::hand_over(unified, owner)?;
        }
        group.prepare()?;
        // Of processes that are there already a limit may be too small: then nothing has moved.
        group.set_all(&self.settings)?;
        if let Members::Running(pids) = members {
            for pid in pids {
                group.adopt(*pid)?;
            }
        }
        Ok(group)
    }

    /// The cgroup, once it was made.
    pub fn made(&self) -> Option<Group> {
        record::read(&self.record).ok().map(|(_, group)| group)
    }

    /// Removes it, as soon as the last process has left it.
    pub fn clear(&self) {
        record::clear(&self.record);
    }
}

/// Removes a container's cgroup, if it has one, as soon as the last process has left it.
pub fn clear(store: &Store, id: &ContainerId) {
    if let Ok(record) = record::path(store, id) {
        record::clear(&record);
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(|error| at(path, "make", error)),
    }
}

/// The directories above and including this one that are not there, the topmost first.
fn missing(directory: &Path) -> Vec<&Path> {
    let mut missing: Vec<&Path> = directory.ancestors().take_while(|above| !above.exists()).collect();
    missing.reverse();
    missing
}

/// A file of a cgroup, by the name that this kernel has for it.
fn file_in(directory: &Path, name: &str) -> PathBuf {
    // Of the scheduler that kernels have since 5.0.
    let otherwise = name.strip_prefix("blkio.").map(|rest| directory.join(format!("blkio.bfq.{rest}")));
    let file = directory.join(name);
    otherwise.filter(|otherwise| !file.exists() && otherwise.exists()).unwrap_or(file)
}

/// An error that names what it is about.
fn at(path: &Path, doing: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{doing} {}: {error}", path.display()))
}

/// Writes in one call, as these files want it.
fn write(path: &Path, value: &str) -> io::Result<()> {
    let opened = std::fs::OpenOptions::new().write(true).open(path);
    opened.and_then(|mut file| file.write_all(value.as_bytes())).map_err(|error| match error.raw_os_error() {
        Some(number) => {
            let error = io::Error::from_raw_os_error(number);
            io::Error::new(
                error.kind(),
                Refused { number, text: format!("write {value:?} to {}: {error}", path.display()) },
            )
        }
        None => at(path, "write", error),
    })
}

/// A write that the kernel refused, with the number of the reason.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Refused {
    number: i32,
    text: String,
}

/// The kernel's reason for an error of [`write`].
fn reason(error: &io::Error) -> Option<rustix::io::Errno> {
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<Refused>());
    let number = refused.map(|refused| refused.number).or_else(|| error.raw_os_error())?;
    Some(rustix::io::Errno::from_raw_os_error(number))
}

fn words(path: &Path) -> io::Result<Vec<String>> {
    Ok(std::fs::read_to_string(path)?.split_ascii_whitespace().map(str::to_owned).collect())
}

/// A descriptor for `clone_into`: processes are born in the cgroup.
fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// What `--limits` and the like are told when a setting fails.
fn failed(setting: &Setting, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot enforce {}: {error}", setting.flag))
}
