//! COPY, ADD and WORKDIR: files that are placed in a root without a container.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::libc;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{Gid, Uid};

use super::Below;
use super::layer::{self, Taking};
use super::worker::{Failure, Layer, Report};
use crate::build::cache::{Key, Known, Lookup, Records};
use crate::sandbox::rootfs::{self, Layout};
use crate::spec::digest::Digest;
use crate::store::Store;
use crate::store::copy::{CopyOptions, copy_tree};
use crate::store::fs::Durability;
use crate::store::gc::Lease;
use crate::store::staging::Staging;
use crate::sys::{beneath, process};

/// WORKDIR, evaluated.
#[derive(Clone, Debug)]
pub struct WorkdirJob {
    pub below: Below,
    /// Absolute.
    pub path: String,
    /// Whose new directories are: `user[:group]`.
    pub user: String,
    pub platform: String,
    pub youngest: Option<i64>,
    pub description: String,
    pub known: Known,
}

impl WorkdirJob {
    /// The step's key.
    pub fn key(&self) -> Result<Key> {
        Key::of("workdir", self.below.top(), &self.platform, self.youngest, &(&self.path, &self.user))
    }

    /// Does it. Runs in a worker in the user namespace.
    pub fn perform(&self, store: &Store, lease: &Lease) -> Result<Report, Failure> {
        let key = self.key()?;
        cached_or(store, lease, key, &self.known, ("workdir", &self.description), &self.below, || {
            let make = |root: &OwnedFd| make_directory(root, &self.path, &self.user);
            Ok(in_root(store, lease, &self.below, false, self.youngest, make)?)
        })
    }
}

/// What a step with this key made, or makes now. Waits for another process that does the same.
pub fn cached_or(
    store: &Store,
    lease: &Lease,
    key: Key,
    known: &Known,
    (kind, description): (&str, &str),
    below: &Below,
    make: impl FnOnce() -> Result<Option<Layer>, Failure>,
) -> Result<Report, Failure> {
    let records = Records::of(store);
    let _lock = records.lock(key)?;
    if let Some(report) = known_report(store, lease, key, known, below)? {
        return Ok(report);
    }
    let layer = make()?;
    let record = Records::new_record(key, kind, description, below.top(), layer);
    records.write(&record)?;
    Ok(record.report(false))
}

/// What is known of a step; None if it has to be done. The caller holds the step's lock.
pub fn known_report(store: &Store, lease: &Lease, key: Key, known: &Known, below: &Below) -> Result<Option<Report>> {
    Ok(match known.find(store, key, below)? {
        Lookup::Here(record) => {
            lease.add(&record.digests())?;
            Some(record.report(true))
        }
        Lookup::Away(entry) => Some(Report { away: Some(entry), ..Report::default() }),
        Lookup::Nothing => None,
    })
}

/// Has `work` write to a root on top of the layers, or to an empty one if `apart`, and makes a layer of what it
/// wrote. The caller is in the user namespace.
pub fn in_root(
    store: &Store,
    lease: &Lease,
    below: &Below,
    apart: bool,
    youngest: Option<i64>,
    work: impl FnOnce(&OwnedFd) -> Result<()>,
) -> Result<Option<Layer>> {
    own_mounts()?;
    let staging = Staging::create(store).context("make a place for the step's files")?;
    let place = |name: &str| staging.path().join(name);
    let (upper, work_directory, merged) = (place("upper"), place("work"), place("merged"));
    for directory in [&upper, &work_directory, &merged] {
        std::fs::DirBuilder::new().mode(0o755).create(directory).context("make a place for the step's files")?;
    }
    let lowers = if apart { Vec::new() } else { below.paths(store) };
    if let Some(top) = lowers.last() {
        look_like(&upper, top).context("make a place for the step's files")?;
    }
    let layout = Layout {
        lowers: &lowers,
        data: None,
        upper: &upper,
        work: &work_directory,
        merged: &merged,
        durability: Durability::Volatile,
    };
    rootfs::mount(&layout, &place("driver")).context("mount the layers")?;
    let worked = open_directory(&merged).and_then(|root| work(&root));
    unmount(&merged, UnmountFlags::DETACH).context("unmount the layers")?;
    worked?;
    let taking = Taking {
        upper: &upper,
        lowers: &lowers,
        below: &below.diff_ids,
        mount_points: &[],
        was_root: false,
        form: layer::form_of(staging.path()),
        youngest,
    };
    layer::take(store, lease, &taking)
}

/// Copies what lies at `source` of a stack of layers into the directory `to`. The caller is in the user
/// namespace, in a process of its own.
pub fn copy_from_layers(store: &Store, chains: &[Digest], source: &str, to: &Path) -> Result<()> {
    own_mounts()?;
    let root = mount_read_only(store, chains)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = source.trim_matches('/');
    let source = if source.is_empty() { "." } else { source };
    let from =
        beneath::open(&root.root, source, flags, ResolveFlags::IN_ROOT).with_context(|| format!("open /{source}"))?;
    let to = open_directory(to)?;
    copy_tree(from.as_fd(), to.as_fd(), &CopyOptions::default(), &mut |_| ())?;
    Ok(())
}

/// The root of a stack of layers, to be read.
#[derive(Debug)]
pub struct LayersRoot {
    pub root: OwnedFd,
    /// What was copied for want of a mount.
    pub copied: Option<Staging>,
}

/// Makes the root of a stack of layers. It is there as long as it is open, and this process lives.
pub fn mount_read_only(store: &Store, chains: &[Digest]) -> Result<LayersRoot> {
    let place = Staging::create(store).context("make a place for a root")?;
    let mut lowers: Vec<PathBuf> = chains.iter().map(|chain| store.layers().diff_path(*chain)).collect();
    if lowers.is_empty() {
        let empty = place.path().join("empty");
        std::fs::create_dir(&empty).context("make an empty root")?;
        lowers.push(empty);
    }
    let target = place.path().join("root");
    std::fs::create_dir(&target).context("make a place for a root")?;
    match rootfs::mount_read_only(&lowers, &target) {
        Ok(()) => {
            let root = open_directory(&target);
            unmount(&target, UnmountFlags::DETACH).context("unmount the layers")?;
            Ok(LayersRoot { root: root?, copied: None })
        }
        Err(error) => {
            let copied = rootfs::copy_layers(&lowers, &target);
            copied.with_context(|| format!("copy the layers, which cannot be mounted ({error})"))?;
            Ok(LayersRoot { root: open_directory(&target)?, copied: Some(place) })
        }
    }
}

/// A mount namespace of our own, which goes with this process.
pub fn own_mounts() -> Result<()> {
    process::unshare(libc::CLONE_NEWNS).context("make a mount namespace")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).context("make mounts private")
}

/// The upper directory is the root itself: its owner and mode are those of the layer below.
fn look_like(upper: &Path, lower: &Path) -> Result<()> {
    let top = std::fs::metadata(lower)?;
    chown(upper, Some(top.uid()), Some(top.gid()))?;
    Ok(std::fs::set_permissions(upper, std::fs::Permissions::from_mode(top.mode() & 0o7777))?)
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).with_context(|| format!("open {}", path.display()))
}

/// Makes a directory of a root and those above it; what is there stays as it is.
fn make_directory(root: &OwnedFd, path: &str, user: &str) -> Result<()> {
    let owner = owner_of(root, user)?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut parent = rustix::io::dup(root)?;
    for end in 1..=parts.len() {
        let prefix = parts[..end].join("/");
        let open = || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            beneath::open(root, prefix.as_str(), flags, ResolveFlags::IN_ROOT)
        };
        parent = match open() {
            Ok(found) => found,
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&parent, parts[end - 1], Mode::from_raw_mode(0o755))
                    .with_context(|| format!("mkdir /{prefix}"))?;
                let made = open().with_context(|| format!("open /{prefix}"))?;
                // Whatever the umask is.
                rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
                rustix::fs::fchown(&made, Some(owner.0), Some(owner.1))?;
                made
            }
            Err(Errno::NOTDIR) => anyhow::bail!("mkdir /{prefix}: not a directory"),
            Err(error) => return Err(error).with_context(|| format!("mkdir /{prefix}")),
        };
    }
    Ok(())
}

/// The ids of `user[:group]` in a root.
fn owner_of(root: &OwnedFd, user: &str) -> Result<(Uid, Gid)> {
    if user.is_empty() {
        return Ok((Uid::ROOT, Gid::ROOT));
    }
    let (uid, gid) = crate::build::copy::chown::resolve(root.as_fd(), user)?;
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}
