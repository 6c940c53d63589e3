//! The builder: a short-lived process in U with a mount namespace of its own. It makes the init's
//! namespaces, assembles the root file system, and lets the init go.
//!
//! The order is the point. While the host's file systems are in sight every mount is *made*,
//! detached (a new procfs or sysfs is refused once no other is visible). Then the root is pivoted
//! to, the host's tree is gone, and only then is anything *attached* or created by name, so that a
//! slip lands inside the container (invariant I3). The init takes its mount namespace last, as a
//! copy made across a user namespace: the kernel locks every mount in it, so that not even a
//! privileged container can uncover what a mount hides or make a read-only one writable.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::libc;
use oci_spec::runtime::{LinuxNamespaceType as Namespace, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::channel::{Channel, Received};
use super::creator::Creator;
use super::idmap::{self, IdMaps};
use super::init::Arrival;
use super::mounts::{self, Detached, Options};
use super::network::NetworkPlan;
use super::plan::{CgroupPlan, Join, Plan, RootPlan};
use super::prepared::{Prepared, Workshop};
use super::rootfs::{self, Layout};
use super::setup::{Doing, Ready, Report, ResolvedUser, SetupError};
use super::tree::{self, Root};
use super::{accounts, devices, hostview, init, mapped, overlay, seal, secrets, session, user, userns, volumes};
use crate::explain;
use crate::net::endpoint as veth;
use crate::store::fs::Durability;
use crate::sys;
use crate::sys::process::{self, Cloned};

/// Runs in the builder process and ends it.
pub fn run(plan: &Plan, supervisor: Channel, stdio: [Option<OwnedFd>; 3]) -> ! {
    raise_file_limit();
    match build(plan, &supervisor, stdio) {
        Ok(held) => {
            // The supervisor waits for the channel's end, and letting go of the host's tree takes the
            // kernel a while.
            drop(supervisor);
            drop(held);
            process::exit_now(0)
        }
        Err(error) => {
            // A supervisor that is gone needs no report.
            let _ = supervisor.send(&Report::failed(error), &[]);
            process::exit_now(1)
        }
    }
}

/// A root file system takes a descriptor a layer. The container's own limit is set before its command
/// is executed; what cannot be raised shows later.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let _ = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
}

/// Everything up to the start of the init; what it returns is not needed any more.
fn build(plan: &Plan, supervisor: &Channel, stdio: [Option<OwnedFd>; 3]) -> Result<Held, SetupError> {
    // Nothing gets out; what the host mounts gets in, for mounts of its tree that ask for that.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).doing("make mounts private")?;
    let outer = IdMaps::of_self().doing("read the id maps")?;
    let maps = outer.below(plan.identity.maps.as_ref()).doing("map the container's ids")?;
    let (to_init, from_builder) = Channel::pair().doing("make a channel")?;
    join_others(&plan.joins)?;
    if let NetworkPlan::Namespace(namespace) = &plan.network {
        process::join_namespaces(namespace.as_fd(), libc::CLONE_NEWNET).doing("join the network namespace")?;
    }
    let (child, to_init) = clone_init(plan, supervisor, from_builder, to_init, stdio)?;
    supervisor.send(&Report::Init, &[child.pidfd.as_fd()]).doing("reach the supervisor")?;

    if plan.is_private(Namespace::User) {
        write_maps(&child, &maps)?;
    }
    enter_namespaces(plan, &child)?;
    let network = own_network(plan)?;
    // What is made from here on belongs to the container, not to the store.
    let creator = Creator::of_container(&maps).doing("make files as the container's root")?;
    let view = HostView::prepare(plan, &outer, &maps, &child)?;
    let Entered { parts, accounts } = creator.as_self(|| enter_root(plan, &maps))?;
    // Open to the container's users.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let root = Root::open(Path::new("/")).doing("open the new root")?;
    view.attach(&root, plan)?;
    for file in &accounts {
        file.attach(&root)?;
    }
    let user = prepare_process(plan, supervisor, &root, &maps)?;
    let owner = outside(&user, &maps);
    view.mounts.iter().try_for_each(|mount| mount.finish(&owner))?;
    let terminal = plan.has_terminal().then(|| open_terminal(&root, supervisor, &user, &maps)).transpose()?;
    if plan.spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false) {
        make_read_only(&root, &parts).doing("make the root read-only")?;
    }
    join_networks(plan, supervisor, network.as_ref())?;
    let variables = &view.variables;
    let ready =
        Ready { user, terminal: terminal.is_some(), sealed: view.sealed.is_some(), variables: variables.is_some() };
    let descriptors = [&terminal, &view.sealed, variables].into_iter().flatten();
    let descriptors: Vec<BorrowedFd<'_>> = descriptors.map(AsFd::as_fd).collect();
    to_init.send(&ready, &descriptors).doing("start the init")?;
    Ok(Held { _root: root, _view: view, _parts: parts })
}

/// The user as files outside are owned by.
fn outside(user: &ResolvedUser, maps: &IdMaps) -> ResolvedUser {
    let (uid, gid) = (maps.outer_uid(user.uid), maps.outer_gid(user.gid));
    ResolvedUser { uid: uid.unwrap_or(user.uid), gid: gid.unwrap_or(user.gid), ..user.clone() }
}

/// Descriptors whose closing is slow.
struct Held {
    _root: Root,
    _view: HostView,
    _parts: Vec<OwnedFd>,
}

/// Enters the namespaces of other containers that this one shares. A pid namespace joined here is
/// that of our children.
fn join_others(joins: &[Join]) -> Result<(), SetupError> {
    for join in joins {
        let (name, flag) = match join.kind {
            Namespace::Ipc => ("ipc", libc::CLONE_NEWIPC),
            Namespace::Uts => ("uts", libc::CLONE_NEWUTS),
            Namespace::Pid => ("pid", libc::CLONE_NEWPID),
            Namespace::Network => ("net", libc::CLONE_NEWNET),
            _ => continue,
        };
        let path = format!("/proc/{}/ns/{name}", join.pid.as_raw_nonzero());
        let gone = || SetupError::new(format!("cannot join the {name} namespace: its container is not running"));
        let namespace = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|_| gone())?;
        if process::start_time(join.pid).ok() != Some(join.start) {
            return Err(gone());
        }
        process::join_namespaces(namespace.as_fd(), flag).doing(format_args!("join the {name} namespace"))?;
    }
    Ok(())
}

/// The namespaces made new for the init, but for the mount namespace, which it takes at the end.
fn new_namespaces(plan: &Plan) -> libc::c_int {
    [
        (Namespace::User, libc::CLONE_NEWUSER),
        (Namespace::Pid, libc::CLONE_NEWPID),
        (Namespace::Network, libc::CLONE_NEWNET),
        (Namespace::Ipc, libc::CLONE_NEWIPC),
        (Namespace::Uts, libc::CLONE_NEWUTS),
        (Namespace::Cgroup, libc::CLONE_NEWCGROUP),
    ]
    .into_iter()
    .filter(|&(kind, _)| plan.is_private(kind))
    .fold(0, |flags, (_, flag)| flags | flag)
}

/// Makes the init as a child of the supervisor, so that this process can end. Returns only in the
/// builder.
fn clone_init(
    plan: &Plan,
    supervisor: &Channel,
    from_builder: Channel,
    to_init: Channel,
    stdio: [Option<OwnedFd>; 3],
) -> Result<(Cloned, Channel), SetupError> {
    let namespaces = new_namespaces(plan);
    // The kernel refuses a new user namespace together with a joined pid namespace: then the init
    // unshares for itself, once it exists.
    let joins_pid = plan.joins.iter().any(|join| join.kind == Namespace::Pid);
    let user = other_user_namespace(&plan.joins)?;
    let cgroup = match &plan.cgroup {
        CgroupPlan::Made(cgroup) => Some(cgroup.handle().doing("open the container's cgroup")?),
        CgroupPlan::Inherited | CgroupPlan::ToMake(_) => None,
    };
    let later = match &user {
        _ if joins_pid => namespaces,
        // One of pids is for children only; the others shall belong to the user namespace joined.
        Some(_) => namespaces & !libc::CLONE_NEWPID,
        // One of cgroups begins at the cgroup of who makes it.
        None if cgroup.is_some() => namespaces & libc::CLONE_NEWCGROUP,
        None => 0,
    };
    match process::clone_into(libc::CLONE_PARENT | (namespaces & !later), cgroup.as_ref().map(AsFd::as_fd))
        .map_err(explain::user_namespaces::in_clone)
        .doing("create the container's namespaces")?
    {
        None => {
            // Else the init itself would keep its channel open when the builder is killed, and wait
            // for ever.
            drop(to_init);
            init::run(plan, supervisor, &from_builder, Arrival { user, unshare: later }, stdio)
        }
        Some(child) => {
            drop(from_builder);
            if user.is_some() || later != 0 {
                // An end of the channel means the init reported why itself.
                to_init.receive::<()>().doing("wait for the init's namespaces")?;
            }
            Ok((child, to_init))
        }
    }
}

/// The user namespace of the container that shares its own.
fn other_user_namespace(joins: &[Join]) -> Result<Option<OwnedFd>, SetupError> {
    let Some(join) = joins.iter().find(|join| join.kind == Namespace::User) else { return Ok(None) };
    let gone = || SetupError::new("cannot join the user namespace: its container is not running");
    let path = format!("/proc/{}/ns/user", join.pid.as_raw_nonzero());
    let namespace = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|_| gone())?;
    if process::start_time(join.pid).ok() != Some(join.start) {
        return Err(gone());
    }
    Ok(Some(namespace))
}

/// Maps ids of U in the container's own user namespace.
fn write_maps(init: &Cloned, maps: &IdMaps) -> Result<(), SetupError> {
    let pid = session::host_pid(&init.pidfd).doing("find the init")?;
    let write = |name: &str, extents: &[idmap::Extent]| {
        userns::write_proc(pid, name, &idmap::format_map(extents))
            .map_err(|error| SetupError::new(format!("{error:#}")))
    };
    write("gid_map", &maps.gids)?;
    write("uid_map", &maps.uids)
}

/// Works in the init's network, ipc, uts and cgroup namespaces from here on: file systems made
/// below show these.
fn enter_namespaces(plan: &Plan, child: &Cloned) -> Result<(), SetupError> {
    let flags = new_namespaces(plan) & !(libc::CLONE_NEWUSER | libc::CLONE_NEWPID);
    if flags != 0 {
        process::join_namespaces(child.pidfd.as_fd(), flags).doing("enter the container's namespaces")?;
    }
    if plan.is_private(Namespace::Uts)
        && let Some(hostname) = plan.spec.hostname()
    {
        rustix::system::sethostname(hostname.as_bytes()).doing(format_args!("set the hostname {hostname:?}"))?;
    }
    if plan.is_private(Namespace::Uts)
        && let Some(name) = plan.spec.domainname()
    {
        rustix::system::setdomainname(name.as_bytes()).doing(format_args!("set the domain name {name:?}"))?;
    }
    if plan.is_private(Namespace::Network) {
        sys::net::loopback_up().doing("bring up the loopback device")?;
    }
    Ok(())
}

/// The container's network namespace, while this process is in it and has the host's /proc.
fn own_network(plan: &Plan) -> Result<Option<OwnedFd>, SetupError> {
    if !matches!(plan.network, NetworkPlan::Members(_) | NetworkPlan::Helper(_)) {
        return Ok(None);
    }
    veth::prepare().doing("prepare the container's network namespace")?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())
        .doing("open the container's network namespace")
        .map(Some)
}

/// Makes the container's ends in its networks, as soon as the supervisor has joined them.
fn join_networks(plan: &Plan, supervisor: &Channel, own: Option<&OwnedFd>) -> Result<(), SetupError> {
    let Some(own) = own else { return Ok(()) };
    let Some(Received { message: (), descriptors: gateways }) =
        supervisor.receive::<()>().doing("hear from the supervisor")?
    else {
        return Err(SetupError::new("the supervisor could not join the container's networks"));
    };
    for (gateway, endpoint) in gateways.iter().zip(plan.network.endpoints()) {
        veth::attach(gateway.as_fd(), own.as_fd(), &endpoint)
            .doing(format_args!("make the interface {}", endpoint.interface))?;
    }
    Ok(())
}

/// What must be made while the host's file systems are in sight.
struct HostView {
    mounts: Vec<Prepared>,
    devices: Vec<Detached>,
    null: OwnedFd,
    sealed: Option<OwnedFd>,
    /// Secret ones.
    variables: Option<OwnedFd>,
}

impl HostView {
    fn prepare(plan: &Plan, outer: &IdMaps, maps: &IdMaps, child: &Cloned) -> Result<Self, SetupError> {
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

    fn attach(&self, root: &Root, plan: &Plan) -> Result<(), SetupError> {
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
            mounts::mask(root, Path::new(path), self.null.as_fd())?;
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
    let file = rustix::fs::openat2(directory, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}

/// What goes with the root that was entered.
struct Entered {
    /// The mounts that the root has of its own below it.
    parts: Vec<OwnedFd>,
    /// Account files to be attached.
    accounts: Vec<Detached>,
}

/// Mounts the root file system and makes it the root of this mount namespace; the host's tree is
/// detached and out of reach.
fn enter_root(plan: &Plan, maps: &IdMaps) -> Result<Entered, SetupError> {
    let merged = plan.directory.join("merged");
    let parts = match &plan.mounted {
        Some(root) => share_root(root, &merged).map(|()| Vec::new())?,
        None => {
            // What goes with its container at its end need not get to the disk.
            let durability = if plan.auto_remove { Durability::Volatile } else { Durability::Durable };
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

/// Looks up the user and makes the working directory.
fn prepare_process(plan: &Plan, supervisor: &Channel, root: &Root, maps: &IdMaps) -> Result<ResolvedUser, SetupError> {
    let mut user = user::resolve(root, &plan.user, &plan.identity, maps)?;
    // Those of devices; a group that is not mapped cannot be had.
    let further = plan.spec.process().as_ref().and_then(|process| process.user().additional_gids().clone());
    for gid in further.into_iter().flatten() {
        if maps.has_gid(gid) && !user.groups.contains(&gid) {
            user.groups.push(gid);
        }
    }
    supervisor.send(&Report::User(user.clone()), &[]).doing("reach the supervisor")?;
    ensure_workdir(root, &plan.spec)?;
    Ok(user)
}

/// The root and the `parts` it was laid out of; what else is mounted has its own options.
fn make_read_only(root: &Root, parts: &[OwnedFd]) -> std::io::Result<()> {
    let top = root.handle(Path::new("/"))?;
    std::iter::once(&top)
        .chain(parts)
        .try_for_each(|mount| sys::mount::set_attributes(mount, sys::mount::attr::RDONLY, 0, false))
}

/// The working directory is made where it is missing, as docker does.
fn ensure_workdir(root: &Root, spec: &Spec) -> Result<(), SetupError> {
    let Some(process) = spec.process() else { return Ok(()) };
    let cwd = process.cwd();
    match root.ensure_directory(cwd) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Err(SetupError {
            code: 126,
            text: format!("cannot use {} as working directory: not a directory", cwd.display()),
        }),
        // A read-only volume there is found out when the init enters it.
        Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        Err(error) => Err(SetupError::new(format!("cannot make the working directory {}: {error}", cwd.display()))),
    }
}

fn open_terminal(root: &Root, supervisor: &Channel, user: &ResolvedUser, maps: &IdMaps) -> Result<OwnedFd, SetupError> {
    let terminal = devices::open_terminal(root, true)?;
    devices::give_terminal(&terminal.user, user.uid, maps).doing("hand over the terminal")?;
    supervisor
        .send(&Report::Console, &[terminal.controller.as_fd(), terminal.user.as_fd()])
        .doing("reach the supervisor")?;
    Ok(terminal.user)
}
