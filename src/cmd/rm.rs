//! `rm`: remove containers.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::{Context, each, finish_cleanup, stop};
use crate::spec::signal::Signal;
use crate::store::containers::LookupError;

/// Remove one or more containers
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Accepted for compatibility: this version makes no volumes
    #[arg(short, long)]
    volumes: bool,
    /// Containers by name, id or unique prefix
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    each(&args.containers, |name| remove(context, name, args.force))
}

fn remove(context: &Context, name: &str, force: bool) -> Result<()> {
    let containers = context.store()?.containers();
    let id = match containers.resolve(name) {
        Err(LookupError::NotFound(_)) if force => return Ok(()),
        found => found?,
    };
    if force
        && let Ok(container) = containers.get(&id)
        && container.is_running()
    {
        stop::stop(container, Signal::from_number(9), Some(Duration::from_secs(10)))?;
    }
    match containers.remove(&id) {
        // A --rm container removed itself when it was stopped.
        Err(crate::store::containers::RemoveError::NotFound(_)) if force => Ok(()),
        removed => finish_cleanup(context, removed?),
    }
}
