//! What must be made while the host's file systems are in sight, and is attached when they are gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::libc;
use oci_spec::runtime::{LinuxNamespaceType as Namespace, Spec};
use rustix::fs::{Mode, OFlags};

use crate::explain;
use crate::sandbox::idmap::IdMaps;
use crate::sandbox::mounts::{self, Cover, Detached, Options};
use crate::sandbox::plan::Plan;
use crate::sandbox::prepared::{Prepared, Workshop};
use crate::sandbox::setup::{Doing, SetupError};
use crate::sandbox::tree::Root;
use crate::sandbox::{devices, mapped, overlay, seal, secrets, volumes};
use crate::sys::beneath;
use crate::sys::process::{self, Cloned};

/// What must be made while the host's file systems are in sight.
pub(super) struct HostView {
    pub(super) mounts: Vec<Prepared>,
    devices: Vec<Detached>,
    null: Cover,
    pub(super) sealed: Option<OwnedFd>,
    /// Secret ones.
    pub(super) variables: Option<OwnedFd>,
}

impl HostView {
    pub(super) fn prepare(plan: &Plan, outer: &IdMaps, maps: &IdMaps, child: &Cloned) -> Result<Self, SetupError> {
        overlay::clear(&plan.directory)?;
        let maps_ids = plan.mount_needs.values().any(|needs| needs.idmap.is_some());
        let own = (maps_ids && plan.is_private(Namespace::User)).then(|| mapped::namespace_of_process(child));
        let own = own.transpose().doing("find the container's user namespace")?;
        let workshop = Workshop { container: &plan.directory, namespace: own.as_ref().map(AsFd::as_fd), maps };
        let mut mounts = Vec::new();
        for (number, mount) in plan.spec.mounts().iter().flatten().enumerate() {
            let mount = mapped_owner(mount, maps)?;
            if let Some(volume) = plan.volumes.special(mount.destination()) {
                mounts.push(volumes::prepare(&mount, volume)?.into());
                continue;
            }
            mounts.push(match plan.mount_needs.get(mount.destination()) {
                Some(needs) => workshop.make(&mount, needs, number)?,
                None => prepare_mount(plan, &mount, maps, child)?.into(),
            });
        }
        apply_sysctls(plan, &mounts, outer)?;
        let secrets = secrets::prepare(plan, maps)?;
        for secret in secrets.mounts {
            // What is asked for below it comes after it.
            let inside =
                |made: &Prepared| made.mount.target != secret.target && made.mount.target.starts_with(&secret.target);
            let place = mounts.iter().position(inside).unwrap_or(mounts.len());
            mounts.insert(place, secret.into());
        }
        let mut nodes = if has_own_dev(&plan.spec) { devices::prepare()? } else { Vec::new() };
        if is_privileged(&plan.spec) && !nodes.is_empty() {
            nodes.extend(devices::prepare_all());
        }
        let sealed = seal::needed(plan.init).then(seal::open).transpose()?;
        Ok(Self { mounts, devices: nodes, null: devices::null()?, sealed, variables: secrets.variables })
    }

    pub(super) fn attach(&self, root: &Root, plan: &Plan) -> Result<(), SetupError> {
        for mount in &self.mounts {
            mount.attach(root)?;
            if mount.mount.target == Path::new("/dev") && !self.devices.is_empty() {
                for device in &self.devices {
                    device.attach(root)?;
                }
                devices::link(root)?;
            }
        }
        devices::make_links(root, &plan.links)?;
        let Some(linux) = plan.spec.linux() else { return Ok(()) };
        for path in linux.masked_paths().iter().flatten() {
            mounts::mask(root, Path::new(path), &self.null)?;
        }
        for path in linux.readonly_paths().iter().flatten() {
            mounts::make_read_only(root, Path::new(path))?;
        }
        Ok(())
    }
}

/// Whether /dev is a new file system; a directory bound there is the user's and stays as it is.
fn has_own_dev(spec: &Spec) -> bool {
    let binds = |options: &Option<Vec<String>>| options.iter().flatten().any(|word| word == "bind" || word == "rbind");
    let mut mounts = spec.mounts().iter().flatten();
    mounts.any(|mount| mount.destination() == Path::new("/dev") && !binds(mount.options()))
}

/// A Spec without masks is that of a privileged container.
fn is_privileged(spec: &Spec) -> bool {
    spec.linux().as_ref().is_some_and(|linux| linux.masked_paths().as_ref().is_none_or(Vec::is_empty))
}

fn prepare_mount(
    plan: &Plan,
    mount: &oci_spec::runtime::Mount,
    maps: &IdMaps,
    child: &Cloned,
) -> Result<Detached, SetupError> {
    let target = mount.destination().clone();
    let options = mounts::parse_options(mount.options().as_deref().unwrap_or_default());
    let directory = |mount| Detached { target: target.clone(), mount, directory: true };
    match mount.typ().as_deref() {
        Some("proc") if !options.bind => new_proc(plan, &options, child).map(directory),
        // Without a network namespace of its own, or inside another container, a container gets no
        // sysfs; an empty directory is better than the host's.
        Some("sysfs") => mounts::new_filesystem("sysfs", &options)
            .or_else(|_| {
                mounts::new_filesystem(
                    "tmpfs",
                    &mounts::parse_options(&["nosuid", "nodev", "noexec", "mode=755"].map(str::to_owned)),
                )
            })
            .doing("mount /sys")
            .map(directory),
        Some("cgroup" | "cgroup2") => mounts::new_filesystem("cgroup2", &Options { data: Vec::new(), ..options })
            .or_else(|_| {
                mounts::new_filesystem(
                    "tmpfs",
                    &mounts::parse_options(&["ro", "nosuid", "nodev", "noexec"].map(str::to_owned)),
                )
            })
            .doing("mount /sys/fs/cgroup")
            .map(directory),
        Some("mqueue") => mounts::new_filesystem("mqueue", &options)
            .or_else(|_| mounts::new_filesystem("tmpfs", &options))
            .doing("mount /dev/mqueue")
            .map(directory),
        Some("devpts") => {
            let data = options.data.iter().filter_map(|option| mapped_gid(option, maps)).collect();
            mounts::new_filesystem("devpts", &Options { data, ..options }).doing("mount /dev/pts").map(directory)
        }
        _ if plan.joins.iter().any(|join| join.kind == Namespace::Ipc) && target == Path::new("/dev/shm") => {
            shared_memory_of(plan).map(directory)
        }
        _ => mounts::prepare(mount),
    }
}

/// `gid=5` cannot be told to devpts where group 5 is not mapped.
fn mapped_gid(option: &str, maps: &IdMaps) -> Option<String> {
    let Some(gid) = option.strip_prefix("gid=") else { return Some(option.to_owned()) };
    maps.outer_gid(gid.parse().ok()?).map(|gid| format!("gid={gid}"))
}

/// The owner of a new file system is given in the container's ids, and the kernel takes ours. (For the
/// group of a devpts see [`mapped_gid`].)
fn mapped_owner(mount: &oci_spec::runtime::Mount, maps: &IdMaps) -> Result<oci_spec::runtime::Mount, SetupError> {
    let mut mount = mount.clone();
    let kind = mount.typ().clone().unwrap_or_default();
    if !matches!(kind.as_str(), "tmpfs" | "devpts") {
        return Ok(mount);
    }
    let outer = |word: &str| match word.split_once('=') {
        Some(("uid", id)) => Some(("uid", id.parse().ok().and_then(|id| maps.outer_uid(id)))),
        Some(("gid", id)) if kind == "tmpfs" => Some(("gid", id.parse().ok().and_then(|id| maps.outer_gid(id)))),
        _ => None,
    };
    let target = mount.destination().display().to_string();
    for word in mount.options_mut().iter_mut().flatten() {
        match outer(word) {
            Some((key, Some(id))) => *word = format!("{key}={id}"),
            Some((_, None)) => {
                return Err(SetupError::new(format!("cannot mount a {kind} at {target}: {word} is not mapped inside")));
            }
            None => {}
        }
    }
    Ok(mount)
}

/// A procfs shows the pid namespace of the process that makes it, so a child of the init's pid
/// namespace makes it.
fn new_proc(plan: &Plan, options: &Options, child: &Cloned) -> Result<OwnedFd, SetupError> {
    if plan.is_private(Namespace::Pid) {
        process::join_namespaces(child.pidfd.as_fd(), libc::CLONE_NEWPID)
            .doing("enter the container's pid namespace")?;
    }
    process::with_shared_child(|| mounts::new_filesystem("proc", options))
        .doing("mount /proc")?
        .map_err(explain::proc_mount)
        .doing("mount /proc")
}

/// The /dev/shm of the container whose ipc namespace is shared, cloned in its mount namespace.
fn shared_memory_of(plan: &Plan) -> Result<OwnedFd, SetupError> {
    let what = "share the other container's /dev/shm";
    let donor = plan.joins.iter().find(|join| join.kind == Namespace::Ipc).ok_or_else(|| SetupError::new(what))?;
    let open = |path: &str| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(what);
    let theirs = open(&format!("/proc/{}/ns/mnt", donor.pid.as_raw_nonzero()))?;
    let ours = open("/proc/self/ns/mnt")?;
    process::join_namespaces(theirs.as_fd(), libc::CLONE_NEWNS).doing(what)?;
    let options = Options { bind: true, ..Options::default() };
    let clone = mounts::clone_tree(Path::new("/dev/shm"), &options).doing(what);
    process::join_namespaces(ours.as_fd(), libc::CLONE_NEWNS).doing(what)?;
    clone
}

/// Sysctls go through our own new procfs, which nothing of the image can cover (invariant I4).
fn apply_sysctls(plan: &Plan, mounts: &[Prepared], maps: &IdMaps) -> Result<(), SetupError> {
    let Some(proc) = mounts.iter().map(|made| &made.mount).find(|mount| mount.target == Path::new("/proc")) else {
        return Ok(());
    };
    let settings = plan.spec.linux().as_ref().and_then(|linux| linux.sysctl().clone()).unwrap_or_default();
    for (key, value) in &settings {
        let path = PathBuf::from("sys").join(key.replace('.', "/"));
        let is_all_groups = key == "net.ipv4.ping_group_range" && value == "0 2147483647";
        let value = if is_all_groups { ping_range(maps) } else { value.clone() };
        write_below(proc.mount.as_fd(), &path, &value).doing(format_args!("set the sysctl {key}={value}"))?;
    }
    Ok(())
}

/// The range must consist of mapped groups.
fn ping_range(maps: &IdMaps) -> String {
    let last = maps.gids.first().map_or(0, |extent| extent.inside + (extent.count - 1));
    let contiguous = maps.gids.iter().skip(1).fold(last, |last, extent| {
        if Some(extent.inside) == last.checked_add(1) { extent.inside + (extent.count - 1) } else { last }
    });
    format!("0 {}", contiguous.min(i32::MAX as u32))
}

fn write_below(directory: BorrowedFd<'_>, path: &Path, value: &str) -> rustix::io::Result<()> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let file = beneath::open(directory, path, OFlags::WRONLY, resolve)?;
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}
