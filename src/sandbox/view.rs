//! A container's files as it sees them, for a process in U: those of a running one in its own mount
//! namespace, those of another mounted for the purpose, with what is bound into it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::libc;
use oci_spec::runtime::Mount;
use rustix::mount::{MountPropagationFlags, mount_change};

use super::idmap::IdMaps;
use super::mounts::Detached;
use super::needs::{MountNeeds, Needs};
use super::plan::RootPlan;
use super::prepared::Workshop;
use super::setup::{Doing, SetupError};
pub use super::tree::Root;
use super::{builder, mounts};
use crate::store::containers::ProcessIdentity;
use crate::store::fs::Durability;
use crate::sys::process;

/// What is to be seen.
#[derive(Debug)]
pub enum View {
    /// A running container, by its init.
    Running(ProcessIdentity),
    /// One that does not run and cannot be started meanwhile.
    Stopped(Box<Stopped>),
}

/// A container that does not run.
#[derive(Debug)]
pub struct Stopped {
    pub directory: PathBuf,
    pub root: RootPlan,
    /// Where the root is mounted already.
    pub mounted: Option<PathBuf>,
    /// What outlives the container's runs, parents first.
    pub mounts: Vec<Mount>,
    pub needs: MountNeeds,
    /// The container's id map, if it has one of its own.
    pub maps: Option<IdMaps>,
}

/// Opens the roots of containers; whatever is mounted for that goes with this process, which has one
/// thread and was made for the purpose.
pub fn open(views: &[View]) -> Result<Vec<Root>, SetupError> {
    // One namespace for all: mounts of one that nobody is in any more come apart.
    if views.iter().any(|view| matches!(view, View::Stopped(_))) {
        process::unshare(libc::CLONE_NEWNS).doing("create a mount namespace")?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).doing("make mounts private")?;
    }
    views.iter().map(open_one).collect()
}

fn open_one(view: &View) -> Result<Root, SetupError> {
    match view {
        View::Running(init) => {
            // This process stays where it is: a helper that shares its descriptors goes in and looks.
            process::with_shared_child(|| open_running(init)).doing("enter the container")?
        }
        View::Stopped(stopped) => open_stopped(stopped),
    }
}

fn open_running(init: &ProcessIdentity) -> Result<Root, SetupError> {
    let gone = || SetupError::new("the container is not running any more");
    let init = init.open().doing("find the container's init")?.ok_or_else(gone)?;
    // ESRCH: it ended since. EINVAL: it is a zombie, which is in no namespace any more.
    process::join_namespaces(init.as_fd(), libc::CLONE_NEWNS).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH | libc::EINVAL) => gone(),
        _ => SetupError::new(format!("cannot enter the container: {error}")),
    })?;
    Root::open(Path::new("/")).doing("open the container's root")
}

fn detached(stopped: &Stopped) -> Result<Vec<Detached>, SetupError> {
    let own = IdMaps::of_self().doing("read the id maps")?;
    let maps = own.below(stopped.maps.as_ref()).doing("map the container's ids")?;
    let workshop = Workshop { container: &stopped.directory, namespace: None, maps: &maps };
    let make = |(number, mount): (usize, &Mount)| match stopped.needs.get(mount.destination()) {
        Some(needs) => {
            // Nobody sees ids through it.
            let needs = Needs { idmap: None, ..needs.clone() };
            Ok(workshop.make(mount, &needs, number)?.mount)
        }
        None => mounts::prepare(mount),
    };
    stopped.mounts.iter().enumerate().map(make).collect()
}

fn open_stopped(stopped: &Stopped) -> Result<Root, SetupError> {
    let Stopped { directory, root, mounted, .. } = stopped;
    let merged = match mounted {
        Some(path) => path.clone(),
        None => {
            let merged = directory.join("merged");
            // As for any other copy, nobody waits for the disk.
            builder::mount_root(root, directory, &merged, Durability::Volatile)?;
            merged
        }
    };
    // All are made before one is attached: none shows what another one covers.
    let detached = detached(stopped)?;
    let root = Root::open(&merged).doing("open the container's root")?;
    for mount in &detached {
        mount.attach(&root)?;
    }
    Ok(root)
}
