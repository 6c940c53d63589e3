//! The way of a process into a container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::libc;
use oci_spec::runtime::{LinuxNamespaceType as Namespace, Spec};

use super::ExecPlan;
use crate::sandbox::become_process::{self, Executable, Identity};
use crate::sandbox::cgroup::Group;
use crate::sandbox::channel::Channel;
use crate::sandbox::idmap::IdMaps;
use crate::sandbox::setup::{Doing, Report, SetupError};
use crate::sandbox::supervisor::host_self;
use crate::sandbox::tree::Root;
use crate::sandbox::{devices, seal, user};
use crate::sys::process;

/// Enters the container and makes the final process as a child of our parent: first U, whose
/// capabilities reach every namespace below, then the container's namespaces, at last, in the final
/// process, its user namespace. The pidfd of the final process, which says on `reports` how it fares.
pub fn enter_from_outside(
    plan: &ExecPlan,
    reports: &Channel,
    stdio: [Option<OwnedFd>; 3],
) -> Result<OwnedFd, SetupError> {
    let gone = || SetupError::new("the container is not running any more");
    let pidfd = plan.init.open().doing("find the container's init")?.ok_or_else(gone)?;
    if !rustix::process::geteuid().is_root() {
        let supervisor = plan.supervisor.open().doing("find the container's supervisor")?.ok_or_else(gone)?;
        process::join_namespaces(supervisor.as_fd(), libc::CLONE_NEWUSER).doing("enter the user namespace")?;
    }
    enter(plan, &pidfd, reports, stdio)
}

/// The same for a member of U that has the container's init.
pub fn enter(
    plan: &ExecPlan,
    pidfd: &OwnedFd,
    reports: &Channel,
    stdio: [Option<OwnedFd>; 3],
) -> Result<OwnedFd, SetupError> {
    if let Some(group) = Group::recorded(&plan.cgroup) {
        let entered = host_self().and_then(|pid| group.enter(pid, plan.init.pid));
        if plan.is_limited {
            entered.doing("enter the container's cgroup")?;
        }
    }
    if let Some(score) = plan.process.oom_score_adj() {
        std::fs::write("/proc/self/oom_score_adj", score.to_string()).doing("set the container's --oom-score-adj")?;
    }
    // Read by a member of U: which of our ids those inside are.
    let maps = match has_user_namespace(&plan.spec) {
        true => IdMaps::of(plan.init.pid),
        false => IdMaps::of_self().map(|maps| maps.identity_below()),
    }
    .doing("read the id maps")?;
    let sealed = if seal::needed(false) {
        process::unshare(libc::CLONE_NEWNS).doing("create a mount namespace")?;
        Some(seal::open()?)
    } else {
        None
    };
    // From here on nothing of ours may be looked into from the container (CVE-2016-9962).
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).doing("hide the process")?;
    process::join_namespaces(pidfd.as_fd(), namespaces(&plan.spec)).doing("enter the container")?;
    if let Some(child) = process::clone(libc::CLONE_PARENT).doing("fork inside the container")? {
        return Ok(child.pidfd);
    }
    if let Err(error) = become_member(plan, reports, stdio, pidfd, &maps, sealed) {
        let _ = reports.send(&Report::failed(error), &[]);
    }
    process::exit_now(125)
}

/// Every namespace of the container's that is not the host's, but for its user namespace.
fn namespaces(spec: &Spec) -> libc::c_int {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().clone()).unwrap_or_default();
    listed.iter().fold(0, |flags, namespace| {
        flags
            | match namespace.typ() {
                Namespace::Mount => libc::CLONE_NEWNS,
                Namespace::Pid => libc::CLONE_NEWPID,
                Namespace::Network => libc::CLONE_NEWNET,
                Namespace::Ipc => libc::CLONE_NEWIPC,
                Namespace::Uts => libc::CLONE_NEWUTS,
                Namespace::Cgroup => libc::CLONE_NEWCGROUP,
                _ => 0,
            }
    })
}

fn has_user_namespace(spec: &Spec) -> bool {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().clone()).unwrap_or_default();
    listed.iter().any(|namespace| namespace.typ() == Namespace::User)
}

fn become_member(
    plan: &ExecPlan,
    reports: &Channel,
    stdio: [Option<OwnedFd>; 3],
    init: &OwnedFd,
    maps: &IdMaps,
    sealed: Option<OwnedFd>,
) -> Result<(), SetupError> {
    let root = Root::open(Path::new("/")).doing("open the container's root")?;
    let user = user::resolve(&root, &plan.user, &plan.identity, maps)?;
    let terminal = if plan.process.terminal().unwrap_or(false) {
        let terminal = devices::open_terminal(&root, false)?;
        devices::give_terminal(&terminal.user, user.uid, maps).doing("hand over the terminal")?;
        reports
            .send(&Report::Console, &[terminal.controller.as_fd(), terminal.user.as_fd()])
            .doing("reach the supervisor")?;
        Some(terminal.user)
    } else {
        None
    };
    if has_user_namespace(&plan.spec) {
        process::join_namespaces(init.as_fd(), libc::CLONE_NEWUSER).doing("enter the container's user namespace")?;
    }
    if plan.gathers {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).doing("become the parent of orphans")?;
    }
    let identity =
        Identity { process: &plan.process, user: &user, seccomp: plan.seccomp.as_ref(), inherited: &plan.inherited };
    become_process::run(identity, Executable { sealed, as_init: false }, terminal, stdio, reports)
}
