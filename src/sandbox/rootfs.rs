//! The root file system: read-only layers below, the container's own writable layer on top.
//!
//! Three ways to get one, best first: the kernel's overlayfs in the user namespace, fuse-overlayfs,
//! a full copy. The first that works is remembered by the store.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::libc;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
    open_tree, unmount,
};

use super::copy;
use super::mounts::{self, Options};
use crate::store::fs::Durability;
use crate::sys;
use crate::sys::mount::attr;

/// Directories of one container's root.
#[derive(Debug)]
pub struct Layout<'a> {
    /// Lowest first.
    pub lowers: &'a [PathBuf],
    /// Where the content lies of files that are stubs in `lowers`.
    pub data: Option<&'a Path>,
    pub upper: &'a Path,
    pub work: &'a Path,
    /// Where the result is to be mounted.
    pub merged: &'a Path,
    /// Whether `upper` must be on disk when it is unmounted, and whether fsync(2) inside is heard. Else
    /// nobody waits for the disk when a container ends.
    pub durability: Durability,
}

/// A way to make a root file system.
pub trait Driver {
    /// Its name in `info` and in the store's memory.
    fn name(&self) -> &'static str;
    /// Mounts at `layout.merged`.
    fn mount(&self, layout: &Layout<'_>) -> io::Result<()>;
}

struct Overlay;
struct FuseOverlay;
struct Copy;

const DRIVERS: [&dyn Driver; 3] = [&Overlay, &FuseOverlay, &Copy];

/// The driver of that name.
pub fn driver(name: &str) -> Option<&'static dyn Driver> {
    DRIVERS.into_iter().find(|driver| driver.name() == name)
}

/// Mounts with the driver remembered in `memory`, or with the first that works, which is then
/// remembered. A container made with one driver keeps it: a copied upper is no overlay.
pub fn mount(layout: &Layout<'_>, memory: &Path) -> io::Result<()> {
    if !layout.lowers.is_empty() {
        return mount_layers(layout, memory);
    }
    // An overlay needs something below.
    let empty = layout.upper.with_file_name("empty");
    std::fs::create_dir_all(&empty)?;
    mount_layers(&Layout { lowers: &[empty], ..*layout }, memory)
}

fn mount_layers(layout: &Layout<'_>, memory: &Path) -> io::Result<()> {
    let remembered = std::fs::read_to_string(memory).unwrap_or_default();
    if let Some(driver) = driver(remembered.trim()) {
        return driver.mount(layout);
    }
    let mut first_error = None;
    for driver in DRIVERS {
        match driver.mount(layout) {
            Ok(()) => {
                // A read-only or full store forgets, and probes again next time.
                let _ = std::fs::write(memory, driver.name());
                return Ok(());
            }
            // Another driver is for where this one cannot work at all, and it is kept for good.
            Err(error) if is_shortage(&error) => return Err(error),
            Err(error) => first_error.get_or_insert(error),
        };
    }
    Err(first_error.unwrap_or_else(|| io::ErrorKind::Unsupported.into()))
}

/// Whether something ran out that may be there next time.
fn is_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOSPC | Errno::DQUOT))
}

impl Driver for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn mount(&self, layout: &Layout<'_>) -> io::Result<()> {
        let lowers = layout.lowers.iter().rev().map(|path| Handle::open(path)).collect::<io::Result<Vec<_>>>()?;
        let data = layout.data.map(Handle::open).transpose()?;
        let (upper, work) = (Handle::open(layout.upper)?, Handle::open(layout.work)?);
        forget_volatile(layout.work);
        match mount_overlay(&lowers, data.as_ref(), Some((&upper, &work, layout.durability))) {
            Ok(mount) => Ok(move_mount(&mount, c"", CWD, layout.merged, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?),
            // Linux before 6.7 has no lowerdir+ and takes at most 255 bytes a parameter.
            Err(Errno::INVAL) if data.is_none() => {
                Ok(mount_overlay_by_page(&lowers, Some((&upper, &work)), layout.merged)?)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A directory by descriptor, so that neither a long nor an odd path meets overlayfs's parser.
struct Handle {
    descriptor: OwnedFd,
    path: CString,
}

impl Handle {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| match error {
            Errno::MFILE | Errno::NFILE => error.into(),
            _ => io::Error::new(io::Error::from(error).kind(), format!("{}: {error}", path.display())),
        })?;
        let path = CString::new(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))?;
        Ok(Self { descriptor, path })
    }
}

/// Mounts layers, lowest first, read-only at `target`.
pub fn mount_read_only(lowers: &[PathBuf], target: &Path) -> io::Result<()> {
    let attributes = attr::RDONLY | attr::NODEV;
    if let [lower] = lowers {
        let tree = mounts::clone_tree(lower, &Options { bind: true, attributes, ..Options::default() })?;
        return Ok(move_mount(&tree, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?);
    }
    let handles = lowers.iter().rev().map(|path| Handle::open(path)).collect::<io::Result<Vec<_>>>()?;
    let mounted = match mount_overlay(&handles, None, None) {
        Ok(mount) => move_mount(&mount, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH),
        Err(Errno::INVAL) => mount_overlay_by_page(&handles, None, target),
        Err(error) => Err(error),
    };
    match mounted {
        Err(error) if !is_shortage(&error.into()) => fuse_overlay(lowers, None, target).map_err(|_| error.into()),
        mounted => {
            mounted?;
            let top = rustix::fs::open(target, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            sys::mount::set_attributes(top, attributes, 0, false)
        }
    }
}

/// Copies layers, lowest first, into the empty directory `target`: for where [`mount_read_only`] cannot work.
pub fn copy_layers(lowers: &[PathBuf], target: &Path) -> io::Result<()> {
    lowers.iter().try_for_each(|lower| copy::merge(lower, target))
}

/// An overlay, over a writable directory with its work directory if there is one.
fn mount_overlay(
    lowers: &[Handle],
    data: Option<&Handle>,
    writable: Option<(&Handle, &Handle, Durability)>,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"source", c"overlay")?;
    fsconfig_set_flag(context.as_fd(), c"userxattr")?;
    for lower in lowers {
        fsconfig_set_string(context.as_fd(), c"lowerdir+", lower.path.as_c_str())?;
    }
    if let Some(data) = data {
        fsconfig_set_string(context.as_fd(), c"datadir+", data.path.as_c_str())?;
    }
    if let Some((upper, work, durability)) = writable {
        fsconfig_set_string(context.as_fd(), c"upperdir", upper.path.as_c_str())?;
        fsconfig_set_string(context.as_fd(), c"workdir", work.path.as_c_str())?;
        if durability == Durability::Volatile {
            fsconfig_set_flag(context.as_fd(), c"volatile")?;
        }
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV)
}

/// Takes away the mark of a volatile mount, by which the kernel refuses to mount the same upper directory
/// again (overlayfs.rst, "Volatile mount"): what was lost with the power is known to be lost.
fn forget_volatile(work: &Path) {
    // If it stays, the mount says so.
    let _ = crate::store::remove::remove_tree(&work.join("work/incompat"));
}

/// Mounts, unattached, what overlayfs makes of stubs and their content; the caller is in U and in a
/// mount namespace of it.
pub fn mount_stubs(stubs: &Path, data: &Path) -> io::Result<OwnedFd> {
    Ok(mount_overlay(&[Handle::open(stubs)?], Some(&Handle::open(data)?), None)?)
}

fn mount_overlay_by_page(lowers: &[Handle], writable: Option<(&Handle, &Handle)>, merged: &Path) -> Result<(), Errno> {
    let list = lowers.iter().map(|lower| lower.path.to_string_lossy()).collect::<Vec<_>>().join(":");
    let mut options = format!("userxattr,lowerdir={list}");
    if let Some((upper, work)) = writable {
        debug_assert!(upper.descriptor.as_raw_fd() >= 0);
        options.push_str(&format!(
            ",upperdir={},workdir={}",
            upper.path.to_string_lossy(),
            work.path.to_string_lossy()
        ));
    }
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(c"overlay", merged, c"overlay", MountFlags::NODEV, options.as_c_str())
}

impl Driver for FuseOverlay {
    fn name(&self) -> &'static str {
        "fuse-overlayfs"
    }

    fn mount(&self, layout: &Layout<'_>) -> io::Result<()> {
        fuse_overlay(layout.lowers, Some((layout.upper, layout.work)), layout.merged)
    }
}

fn fuse_overlay(lowers: &[PathBuf], writable: Option<(&Path, &Path)>, target: &Path) -> io::Result<()> {
    let escape = |path: &Path| path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,");
    // Our descriptors are not its own.
    let lowers = lowers.iter().map(std::fs::canonicalize).collect::<io::Result<Vec<_>>>()?;
    let lowers = lowers.iter().rev().map(|path| escape(path)).collect::<Vec<_>>().join(":");
    let mut options = format!("lowerdir={lowers}");
    if let Some((upper, work)) = writable {
        options.push_str(&format!(",upperdir={},workdir={}", escape(upper), escape(work)));
    }
    // No process of a container's: it needs a /proc, and what it shows must not become its own root.
    let tree = sys::process::with_shared_child(|| fuse_tree(&options, target))??;
    Ok(move_mount(&tree, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Has fuse-overlayfs serve a tree from a mount namespace of its own, in which this process is afterwards. It ends
/// when the tree is mounted nowhere any more.
fn fuse_tree(options: &str, target: &Path) -> io::Result<OwnedFd> {
    sys::process::unshare(libc::CLONE_NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let status = Command::new("fuse-overlayfs")
        .args(["-o", options])
        .arg(target)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("fuse-overlayfs failed with {status}")));
    }
    let tree = open_tree(CWD, target, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    unmount(target, UnmountFlags::DETACH)?;
    Ok(tree)
}

impl Driver for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn mount(&self, layout: &Layout<'_>) -> io::Result<()> {
        // `work/copied` marks a finished copy; what a crash left is copied anew.
        let marker = layout.work.join("copied");
        if !marker.exists() {
            crate::store::remove::remove_tree(layout.upper)?;
            std::fs::create_dir(layout.upper)?;
            copy_layers(layout.lowers, layout.upper)?;
            File::create(&marker)?;
        }
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, layout.upper, flags)?;
        Ok(move_mount(&tree, c"", CWD, layout.merged, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
    }
}
