//! `exec`: a further process in a running container. The invocation forks a small supervisor of its
//! own for it; the container's supervisor is not involved.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use nix::libc;
use oci_spec::runtime::{LinuxNamespaceType as Namespace, Process, Spec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitOptions};

use super::become_process::{self, Executable, Identity};
use super::channel::{Channel, Received};
use super::client::Client;
use super::idmap::IdMaps;
use super::launch;
use super::message::Kind;
use super::seccomp::Filter;
use super::session::{self, Session, StopRule, Streams};
use super::setup::{Doing, Report, SetupError};
use super::tree::Root;
use super::{cgroup, devices, seal, supervisor, user};
use crate::spec::event::Happening;
use crate::spec::identity::Identity as ContainerIdentity;
use crate::store::Store;
use crate::store::containers::ProcessIdentity;
use crate::sys::process::{self, Cloned, Fork};

/// A process to add to a running container.
#[derive(Debug)]
pub struct ExecPlan {
    /// The container's Spec as it was executed: which namespaces it has.
    pub spec: Spec,
    /// The process to run.
    pub process: Process,
    /// `user[:group]` to look up inside.
    pub user: String,
    /// Groups, and whose accounts are known inside.
    pub identity: ContainerIdentity,
    pub seccomp: Option<Filter>,
    pub init: ProcessIdentity,
    pub supervisor: ProcessIdentity,
    /// The container has a cgroup of its own.
    pub own_cgroup: bool,
    pub open_stdin: bool,
    /// Nobody watches: the process goes on by itself.
    pub detached: bool,
    pub size: Option<(u16, u16)>,
    pub journal: Journal,
}

/// Where it is recorded what becomes of the process.
#[derive(Debug)]
pub struct Journal {
    pub store: Store,
    /// The container's, with `execID`.
    pub what: Happening,
    /// The process's arguments, as one text.
    pub command: String,
}

impl Journal {
    fn write(&self, action: String, attributes: &[(&str, String)]) {
        let what = Happening { action, ..self.what.clone() };
        self.store.happened(attributes.iter().fold(what, |what, (key, value)| what.with(key, value)));
    }
}

/// Starts the process; the client hears first whether that succeeded.
pub fn exec(plan: ExecPlan) -> anyhow::Result<Client> {
    let (ours, theirs) = launch::connection().context("make a socket")?;
    match process::fork().context("fork")? {
        Fork::Parent(_) => Ok(Client::new(ours)),
        Fork::Child => {
            drop(ours);
            supervise(&plan, theirs);
            process::exit_now(0)
        }
    }
}

fn supervise(plan: &ExecPlan, socket: OwnedFd) {
    // Our arguments may hold secrets, and everybody could read them for as long as the process runs.
    let _ = process::set_title("rbox exec supervisor");
    plan.journal.write(format!("exec_create: {}", plan.journal.command), &[]);
    match start(plan) {
        Ok((mut session, pid)) => {
            plan.journal.write(format!("exec_start: {}", plan.journal.command), &[]);
            let attached = session.attach(socket, !plan.detached);
            session.tell(Kind::Started, &pid.to_le_bytes());
            if attached.is_err() || plan.detached {
                session.drop_clients();
            }
            let code = session.run().unwrap_or(255);
            plan.journal.write("exec_die".to_owned(), &[("exitCode", code.to_string())]);
            session.finish(code);
        }
        Err(error) => {
            // What failed is our child: left alone it would stay a zombie of the container's init.
            while rustix::process::wait(WaitOptions::empty()).is_ok_and(|child| child.is_some()) {}
            supervisor::tell_failure(&socket, &error);
        }
    }
}

fn start(plan: &ExecPlan) -> Result<(Session, i32), SetupError> {
    let signals = session::block_signals().doing("block signals")?;
    supervisor::leave_the_invocation().doing("leave the invocation's session")?;
    let terminal = plan.process.terminal().unwrap_or(false);
    let (mut streams, inside) = make_streams(plan, terminal)?;

    let (ours, theirs) = Channel::pair().doing("make a channel")?;
    // Nothing is copied for the process that goes in first.
    let entered = process::with_shared_child(|| enter(plan, &theirs, inside)).doing("fork")?;
    // We share its memory, which it has hidden from the container; we are not inside.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).doing("find our children")?;
    let pidfd = entered?.pidfd;
    drop(theirs);
    while let Some(Received { message, descriptors }) = ours.receive::<Report>().doing("hear from the process")? {
        let mut descriptors = descriptors.into_iter();
        match message {
            Report::Console => {
                streams.terminal = descriptors.next();
                streams.terminal_user = descriptors.next();
                streams.resize(plan.size);
            }
            Report::Init | Report::User(_) => {}
            Report::Failed(error) => return Err(error),
        }
    }
    let pid = session::host_pid(&pidfd).map_or(0, |pid| pid.as_raw_nonzero().get());
    let rule = StopRule { signal: Signal::TERM, timeout: Some(Duration::from_secs(10)), on_owner_lost: true };
    let session = Session::new(pidfd, streams, None, signals, rule).doing("watch the process")?;
    Ok((session, pid))
}

fn make_streams(plan: &ExecPlan, terminal: bool) -> Result<(Streams, [Option<OwnedFd>; 3]), SetupError> {
    let mut streams = Streams::default();
    let mut inside = [None, None, None];
    if terminal || plan.detached {
        return Ok((streams, inside));
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).doing("make a pipe");
    if plan.open_stdin {
        let (read, write) = pipe()?;
        (inside[0], streams.stdin) = (Some(read), Some(write));
    }
    let (read, write) = pipe()?;
    (streams.stdout, inside[1]) = (Some(read), Some(write));
    let (read, write) = pipe()?;
    (streams.stderr, inside[2]) = (Some(read), Some(write));
    Ok((streams, inside))
}

/// Enters the container and makes the final process as a child of our parent: first U, whose capabilities reach every namespace below, then the
/// container's namespaces, at last, in the final process, its user namespace.
fn enter(plan: &ExecPlan, reports: &Channel, stdio: [Option<OwnedFd>; 3]) -> Result<Cloned, SetupError> {
    let gone = || SetupError::new("the container is not running any more");
    let pidfd = plan.init.open().doing("find the container's init")?.ok_or_else(gone)?;
    if !rustix::process::geteuid().is_root() {
        let supervisor = plan.supervisor.open().doing("find the container's supervisor")?.ok_or_else(gone)?;
        process::join_namespaces(supervisor.as_fd(), libc::CLONE_NEWUSER).doing("enter the user namespace")?;
    }
    if plan.own_cgroup {
        cgroup::follow(plan.init.pid).doing("enter the container's cgroup")?;
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
        return Ok(child);
    }
    if let Err(error) = become_member(plan, reports, stdio, &pidfd, &maps, sealed) {
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
    let identity = Identity { process: &plan.process, user: &user, seccomp: plan.seccomp.as_ref() };
    become_process::run(identity, Executable { sealed, as_init: false }, terminal, stdio, reports)
}
