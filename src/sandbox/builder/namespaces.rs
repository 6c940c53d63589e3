//! The init and its namespaces: made, joined, entered, mapped.

use std::os::fd::{AsFd, OwnedFd};

use nix::libc;
use oci_spec::runtime::LinuxNamespaceType as Namespace;
use rustix::fs::{Mode, OFlags};

use crate::explain;
use crate::net::endpoint as veth;
use crate::sandbox::cgroup::Group;
use crate::sandbox::channel::{Channel, Received};
use crate::sandbox::idmap::{self, IdMaps};
use crate::sandbox::init::{self, Arrival};
use crate::sandbox::network::NetworkPlan;
use crate::sandbox::plan::{Join, Plan};
use crate::sandbox::setup::{Doing, SetupError};
use crate::sandbox::{session, userns};
use crate::sys;
use crate::sys::process::{self, Cloned};

/// Enters the namespaces of other containers that this one shares. A pid namespace joined here is
/// that of our children.
pub(super) fn join_others(joins: &[Join]) -> Result<(), SetupError> {
    for join in joins {
        let (name, flag) = match join.kind {
            Namespace::Ipc => ("ipc", libc::CLONE_NEWIPC),
            Namespace::Uts => ("uts", libc::CLONE_NEWUTS),
            Namespace::Pid => ("pid", libc::CLONE_NEWPID),
            Namespace::Network => ("net", libc::CLONE_NEWNET),
            _ => continue,
        };
        let namespace = open_namespace(join, name)?;
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
pub(super) fn clone_init(
    plan: &Plan,
    group: Option<&Group>,
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
    let cgroup = group.map(Group::handle).transpose().doing("open the container's cgroup")?.flatten();
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
            settle(plan, group, &child)?;
            if user.is_some() || later != 0 {
                // An end of the channel means the init reported why itself.
                to_init.receive::<()>().doing("wait for the init's namespaces")?;
            }
            Ok((child, to_init))
        }
    }
}

/// What is the new process's as it is its container's: a place in cgroups of version 1, where it could not be
/// born, and how willingly the kernel kills it when memory is short.
fn settle(plan: &Plan, group: Option<&Group>, init: &Cloned) -> Result<(), SetupError> {
    let score = plan.spec.process().as_ref().and_then(|process| process.oom_score_adj());
    if score.is_none() && !group.is_some_and(Group::is_legacy) {
        return Ok(());
    }
    if let Some(group) = group {
        // Cgroups know a process by its number in the namespace of who writes it.
        group.adopt_newborn(init.pid).doing("enter the container's cgroup")?;
    }
    let Some(score) = score else { return Ok(()) };
    let pid = session::host_pid(&init.pidfd).doing("find the init")?;
    userns::write_proc(pid, "oom_score_adj", &score.to_string())
        .map_err(|error| SetupError::new(format!("cannot enforce --oom-score-adj: {error:#}")))
}

/// The user namespace of the container that shares its own.
fn other_user_namespace(joins: &[Join]) -> Result<Option<OwnedFd>, SetupError> {
    joins.iter().find(|join| join.kind == Namespace::User).map(|join| open_namespace(join, "user")).transpose()
}

/// A namespace of another container, for as long as that runs.
fn open_namespace(join: &Join, name: &str) -> Result<OwnedFd, SetupError> {
    let path = format!("/proc/{}/ns/{name}", join.pid.as_raw_nonzero());
    let gone = || SetupError::new(format!("cannot join the {name} namespace: its container is not running"));
    let namespace = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|_| gone())?;
    // Else the pid is another process's by now.
    if process::start_time(join.pid).ok() != Some(join.start) {
        return Err(gone());
    }
    Ok(namespace)
}

/// Maps ids of U in the container's own user namespace.
pub(super) fn write_maps(init: &Cloned, maps: &IdMaps) -> Result<(), SetupError> {
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
pub(super) fn enter_namespaces(plan: &Plan, child: &Cloned) -> Result<(), SetupError> {
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
pub(super) fn own_network(plan: &Plan) -> Result<Option<OwnedFd>, SetupError> {
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
pub(super) fn join_networks(plan: &Plan, supervisor: &Channel, own: Option<&OwnedFd>) -> Result<(), SetupError> {
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
