//! The container's root file system: mounted, entered, made read-only.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{UnmountFlags, unmount};

use crate::sandbox::idmap::IdMaps;
use crate::sandbox::mounts::{self, Detached, Options};
use crate::sandbox::plan::{Plan, RootPlan};
use crate::sandbox::rootfs::{self, Layout};
use crate::sandbox::setup::{Doing, SetupError};
use crate::sandbox::tree::{self, Root};
use crate::sandbox::{accounts, hostview};
use crate::store::fs::Durability;
use crate::sys;

/// What goes with the root that was entered.
pub(super) struct Entered {
    /// The mounts that the root has of its own below it.
    pub(super) parts: Vec<OwnedFd>,
    /// Account files to be attached.
    pub(super) accounts: Vec<Detached>,
}

/// Mounts the root file system and makes it the root of this mount namespace; the host's tree is
/// detached and out of reach.
pub(super) fn enter_root(plan: &Plan, maps: &IdMaps) -> Result<Entered, SetupError> {
    let merged = plan.directory.join("merged");
    let parts = match &plan.mounted {
        Some(root) => share_root(root, &merged).map(|()| Vec::new())?,
        None => {
            // What goes with its container at its end need not get to the disk.
            let durability = if plan.volatile { Durability::Volatile } else { Durability::Durable };
            mount_root(&plan.root, &plan.directory, &merged, durability)?
        }
    };
    let accounts = accounts::prepare(plan, maps, &merged)?;
    accounts::give_files(plan, maps).doing("hand over the files of /etc")?;
    rustix::process::chdir(&merged).doing("enter the container's root")?;
    rustix::process::pivot_root(".", ".").doing("pivot to the container's root")?;
    // The old root now covers the new one at the same place; the topmost goes.
    unmount(".", UnmountFlags::DETACH).doing("detach the host's file systems")?;
    rustix::process::chdir("/").doing("enter the container's root")?;
    Ok(Entered { parts, accounts })
}

/// Shows at `merged` what is mounted at `root`.
fn share_root(root: &Path, merged: &Path) -> Result<(), SetupError> {
    let make = || {
        std::fs::create_dir_all(merged)?;
        let tree = mounts::clone_tree(root, &Options { bind: true, ..Options::default() })?;
        let target = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        tree::attach(tree.as_fd(), rustix::fs::open(merged, target, Mode::empty())?.as_fd())
    };
    make().map_err(|error: std::io::Error| {
        SetupError::new(format!("cannot share the root mounted at {}: {error}: unmount it first", root.display()))
    })
}

/// Mounts the root file system of the container of `directory` at `merged`, made if need be. Returns
/// the mounts it has of its own below it.
pub fn mount_root(
    root: &RootPlan,
    directory: &Path,
    merged: &Path,
    durability: Durability,
) -> Result<Vec<OwnedFd>, SetupError> {
    let (upper, work) = (directory.join("upper"), directory.join("work"));
    make_layer_directories(root, &upper, &work, merged).doing("make the container's writable layer")?;
    match root {
        RootPlan::Layers { lowers, data } => {
            let layout = Layout { lowers, data: data.as_deref(), upper: &upper, work: &work, merged, durability };
            rootfs::mount(&layout, &directory.join("driver")).doing("mount the container's root file system")?;
            Ok(Vec::new())
        }
        RootPlan::Directory(host) => hostview::mount(host, directory, merged, durability),
    }
}

/// On first start. The writable layer's directory is the container's `/`, so it looks like the
/// image's.
fn make_layer_directories(root: &RootPlan, upper: &Path, work: &Path, merged: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
    for directory in [work, merged] {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    if upper.exists() {
        return Ok(());
    }
    // Under another name until its attributes are right: a crash must not leave them wrong.
    let new = upper.with_extension("new");
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&new)?;
    let mut mode = 0o755;
    if let RootPlan::Layers { lowers, .. } = root
        && let Some(top) = lowers.last()
    {
        let top = std::fs::metadata(top)?;
        chown(&new, Some(top.uid()), Some(top.gid()))?;
        mode = top.mode() & 0o7777;
    }
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&new, upper)
}

/// The root and the `parts` it was laid out of; what else is mounted has its own options.
pub(super) fn make_read_only(root: &Root, parts: &[OwnedFd]) -> std::io::Result<()> {
    let top = root.handle(Path::new("/"))?;
    std::iter::once(&top)
        .chain(parts)
        .try_for_each(|mount| sys::mount::set_attributes(mount, sys::mount::attr::RDONLY, 0, false))
}
