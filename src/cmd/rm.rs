//! `rm`: remove containers.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Context, each, finish_cleanup, stop};
use crate::spec::signal::Signal;
use crate::store::containers::{LookupError, RemoveError};

/// How long a container that is being started may take to run, so that it can be killed.
const PATIENCE: Duration = Duration::from_secs(30);

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
    if !force {
        return finish_cleanup(context, containers.remove(&id)?);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(container) = containers.get(&id)
            && container.is_running()
        {
            stop::stop(container, Signal::from_number(9), Some(Duration::from_secs(10)))?;
        }
        match containers.remove(&id) {
            // A --rm container removed itself when it was stopped.
            Err(RemoveError::NotFound(_)) => return Ok(()),
            // It was being started when we looked.
            Err(RemoveError::Running { .. }) if Instant::now() < deadline => {}
            removed => return finish_cleanup(context, removed?),
        }
    }
}
