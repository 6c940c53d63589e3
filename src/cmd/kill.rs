//! `kill`: signal running containers.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{Context, each, stop};
use crate::spec::signal::Signal;

/// Kill one or more running containers
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Signal to send to the container
    #[arg(short, long, default_value = "KILL")]
    signal: Signal,
    /// Containers by name, id or unique prefix
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    each(&args.containers, |name| {
        let mut container = context.store()?.containers().find(name)?;
        let Some(init) = stop::open_init(&container)? else {
            bail!("cannot kill container: {name}: container {} is not running", container.id());
        };
        stop::send(&init, args.signal)?;
        // SIGKILL leaves no choice: what a script does next may rely on the container being gone.
        if args.signal.number() == 9 {
            container.update_state(|state| state.stopped_by_user = true)?;
            stop::wait_recorded(&mut container)?;
        }
        Ok(())
    })
}
