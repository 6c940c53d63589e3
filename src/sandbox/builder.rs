//! The builder: a short-lived process in U with a mount namespace of its own. It makes the init's
//! namespaces, assembles the root file system, and lets the init go.
//!
//! The order is the point. While the host's file systems are in sight every mount is *made*,
//! detached (a new procfs or sysfs is refused once no other is visible). Then the root is pivoted
//! to, the host's tree is gone, and only then is anything *attached* or created by name, so that a
//! slip lands inside the container (invariant I3). The init takes its mount namespace last, as a
//! copy made across a user namespace: the kernel locks every mount in it, so that not even a
//! privileged container can uncover what a mount hides or make a read-only one writable.

mod host_view;
mod namespaces;
mod root;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::libc;
use oci_spec::runtime::{LinuxNamespaceType as Namespace, Spec};
use rustix::fs::Mode;
use rustix::mount::{MountPropagationFlags, mount_change};

use self::host_view::HostView;
use self::root::Entered;
pub use self::root::mount_root;
use super::cgroup::Members;
use super::channel::Channel;
use super::creator::Creator;
use super::idmap::IdMaps;
use super::network::NetworkPlan;
use super::plan::Plan;
use super::setup::{Doing, Ready, Report, ResolvedUser, SetupError};
use super::tree::Root;
use super::{devices, user};
use crate::sys::process;

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
    let group = match &plan.cgroup {
        Some(place) => Some(place.make(Members::Child, maps.owner()).map_err(SetupError::from_cgroup)?),
        None => None,
    };
    namespaces::join_others(&plan.joins)?;
    if let NetworkPlan::Namespace(namespace) = &plan.network {
        process::join_namespaces(namespace.as_fd(), libc::CLONE_NEWNET).doing("join the network namespace")?;
    }
    let (child, to_init) = namespaces::clone_init(plan, group.as_ref(), supervisor, from_builder, to_init, stdio)?;
    supervisor.send(&Report::Init, &[child.pidfd.as_fd()]).doing("reach the supervisor")?;

    if plan.is_private(Namespace::User) {
        namespaces::write_maps(&child, &maps)?;
    }
    namespaces::enter_namespaces(plan, &child)?;
    let network = namespaces::own_network(plan)?;
    // What is made from here on belongs to the container, not to the store.
    let creator = Creator::of_container(&maps).doing("make files as the container's root")?;
    let view = HostView::prepare(plan, &outer, &maps, &child)?;
    let Entered { parts, accounts } = creator.as_self(|| root::enter_root(plan, &maps))?;
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
        root::make_read_only(&root, &parts).doing("make the root read-only")?;
    }
    namespaces::join_networks(plan, supervisor, network.as_ref())?;
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
