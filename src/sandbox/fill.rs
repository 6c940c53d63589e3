//! Filling volumes: what an image has where a volume is mounted is copied into it, in the user namespace, where the
//! ids of files are what the image says.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::libc;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::rootfs;
use super::tree::Root;
use super::userns::{self, Preparation};
use crate::spec::identity::{Maps, look_up};
use crate::store::Store;
use crate::store::copy::{CopyOptions, Owners, copy_tree};
use crate::store::fs::Durability;
use crate::store::staging::Staging;
use crate::sys::{beneath, process};

/// A volume to be filled.
#[derive(Clone, Debug)]
pub struct Fill {
    pub volume: String,
    /// The image's directory, as seen from its root.
    pub directory: PathBuf,
    pub durability: Durability,
}

/// What volumes begin with.
#[derive(Debug)]
pub struct Image<'a> {
    pub content: Content,
    /// The container's ids, where they are not the image's.
    pub maps: Option<&'a Maps>,
}

/// Where an image's files are.
#[derive(Debug)]
pub enum Content {
    /// Extracted layers, lowest first.
    Layers(Vec<PathBuf>),
    /// A directory of the host.
    Directory(PathBuf),
}

impl Image<'_> {
    /// Whether there may be something at `path`, as far as that can be told from outside of the user namespace.
    pub fn may_have(&self, path: &Path) -> bool {
        match &self.content {
            Content::Layers(layers) => layers.iter().any(|layer| may_have(layer, path)),
            Content::Directory(_) => true,
        }
    }
}

/// Fills volumes from the root file system of an image; `progress` is told bytes. Gives back a way into the user
/// namespace, which is still there.
pub fn run(
    store: &Store,
    preparation: Preparation,
    image: &Image<'_>,
    jobs: &[Fill],
    progress: &mut dyn FnMut(u64),
) -> Result<Preparation> {
    let work = |tell: &mut dyn FnMut(u64)| {
        // Mounts of our own, which go with this process.
        process::unshare(libc::CLONE_NEWNS).context("make a mount namespace")?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .context("make mounts private")?;
        let root = view(store, image).context("look into the image")?;
        jobs.iter().try_for_each(|job| fill(store, &root, image.maps, job, tell))
    };
    userns::run_prepared(store, preparation, work, progress)
}

fn fill(store: &Store, root: &Root, maps: Option<&Maps>, job: &Fill, tell: &mut dyn FnMut(u64)) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let content = match root.open_at(&job.directory, flags) {
        Ok(content) => Some(content),
        Err(error) => match Errno::from_io_error(&error) {
            // Nothing is there, or what is there shows when the volume is mounted on it.
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            _ => return Err(error).with_context(|| format!("open {} of the image", job.directory.display())),
        },
    };
    let (uid, gid) = (
        |id: u32| maps.and_then(|maps| look_up(&maps.uids, id)),
        |id: u32| maps.and_then(|maps| look_up(&maps.gids, id)),
    );
    let owners = if maps.is_some() { Owners::Map { uid: &uid, gid: &gid } } else { Owners::Keep };
    let options = CopyOptions { top: true, owners, ..CopyOptions::default() };
    let content = content.as_ref().map(OwnedFd::as_fd);
    store.volumes().fill(&job.volume, content, job.durability, &mut |from, to| {
        copy_tree(from, to, &options, tell).map(drop).map_err(|error| anyhow!(error))
    })?;
    Ok(())
}

/// The image's root as a container sees it first.
fn view(store: &Store, image: &Image<'_>) -> std::io::Result<Root> {
    let layers = match &image.content {
        Content::Directory(path) => return Root::open(path),
        Content::Layers(layers) => layers,
    };
    let place = Staging::create(store)?;
    rootfs::mount_read_only(layers, place.path())?;
    let root = Root::open(place.path());
    // It is there as long as it is open.
    unmount(place.path(), UnmountFlags::DETACH)?;
    root
}

/// False only if a layer surely has nothing there, without following links.
fn may_have(layer: &Path, path: &Path) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(layer) = rustix::fs::openat(CWD, layer, flags | OFlags::DIRECTORY, Mode::empty()) else { return true };
    let relative = path.strip_prefix("/").unwrap_or(path);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    !matches!(beneath::open(layer, relative, flags, resolve), Err(Errno::NOENT))
}
