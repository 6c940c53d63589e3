//! `system restart-all`: starts what a boot, a logout or a kill took down, by the containers' policies.

use std::process::ExitCode;

use anyhow::Result;

use crate::cmd::format::text;
use crate::cmd::{Context, error, keeper, say, start};
use crate::spec::restart::Rest;
use crate::store::containers::{Container, Status};

/// Start containers that do not run but should, by their restart policies
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs the command. Prints the ids of those it starts.
pub fn run(context: &Context) -> Result<ExitCode> {
    super::remove_orphans(context)?;
    let (mut all, damaged) = context.store()?.containers().list()?;
    // Those that others refer to are older.
    all.reverse();
    for record in &damaged {
        text::warn(&format!("container {} is damaged: {}", record.id, record.why));
    }
    let mut failed = !damaged.is_empty();
    for container in &all {
        if container.is_running() {
            // Its keeper may have been killed with its spare.
            keeper::ensure(context, container);
        } else if is_wanted(container) {
            match start::start_detached(context, container.id().as_str()) {
                Ok(()) => say(container.id().as_str())?,
                Err(failure) => {
                    error::print(&failure.context(format!("start container {}", container.config.name)));
                    failed = true;
                }
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One that never ran was not meant to.
fn is_wanted(container: &Container) -> bool {
    let state = &container.state;
    let rest = Rest { code: state.exit_code, stopped: state.stopped_by_user, restarts: state.restarts.count };
    state.status == Status::Exited && container.config.restart.starts_at_boot(&rest)
}
