//! The init before it is the user's command: the last steps from inside the container's namespaces.

use std::os::fd::{AsFd, OwnedFd};

use nix::libc;
use rustix::process::Signal;

use super::become_process::{self, Executable, Identity};
use super::channel::{Channel, Received};
use super::plan::Plan;
use super::secrets;
use super::setup::{Doing, Ready, Report, SetupError};
use crate::spec::env;
use crate::sys::process;

/// What the init does for itself, as it could not be done when it was made.
pub struct Arrival {
    /// The user namespace it joins.
    pub user: Option<OwnedFd>,
    /// The namespaces it makes.
    pub unshare: libc::c_int,
}

/// Runs in the init process; never returns to the builder's code.
pub fn run(plan: &Plan, supervisor: &Channel, builder: &Channel, arrival: Arrival, stdio: [Option<OwnedFd>; 3]) -> ! {
    if let Err(error) = prepare(plan, supervisor, builder, arrival, stdio) {
        let _ = supervisor.send(&Report::failed(error), &[]);
    }
    process::exit_now(125)
}

fn prepare(
    plan: &Plan,
    supervisor: &Channel,
    builder: &Channel,
    arrival: Arrival,
    stdio: [Option<OwnedFd>; 3],
) -> Result<(), SetupError> {
    // Our parent is the supervisor. Its own pid namespace takes us down with it where it has one;
    // this is for the modes where it has none.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing("tie the init to its supervisor")?;
    if let Some(user) = &arrival.user {
        process::join_namespaces(user.as_fd(), libc::CLONE_NEWUSER).doing("join the user namespace")?;
        // The builder has to find us.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
            .doing("join the user namespace")?;
    }
    if arrival.unshare != 0 {
        process::unshare(arrival.unshare).doing("create the container's namespaces")?;
    }
    if arrival.user.is_some() || arrival.unshare != 0 {
        builder.send(&(), &[]).doing("reach the builder")?;
    }
    let Some(Received { message: ready, descriptors }) = builder.receive::<Ready>().doing("wait for the builder")?
    else {
        // The builder failed and has said why.
        process::exit_now(125);
    };
    let mut descriptors = descriptors.into_iter();
    let terminal = if ready.terminal { descriptors.next() } else { None };
    let sealed = if ready.sealed { descriptors.next() } else { None };
    let variables = if ready.variables { descriptors.next() } else { None };
    // A copy of the builder's mounts, locked because it crosses into another user namespace.
    process::unshare(libc::CLONE_NEWNS).doing("take the container's mount namespace")?;

    let spec = plan.spec.process().as_ref().ok_or_else(|| SetupError::new("the Spec has no process"))?;
    let mut spec = spec.clone();
    if let Some(memory) = variables {
        let mut environment = spec.env().clone().unwrap_or_default();
        env::apply(&mut environment, secrets::variables(memory)?);
        spec.set_env(Some(environment));
    }
    let identity =
        Identity { process: &spec, user: &ready.user, seccomp: plan.seccomp.as_ref(), inherited: &plan.inherited };
    let executable = Executable { sealed, as_init: plan.init };
    become_process::run(identity, executable, terminal, stdio, supervisor)
}
