//! `start`: start stopped containers.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::error::WithCode;
use super::{Context, each, launching};
use crate::store::containers::Container;

/// Start one or more stopped containers
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Attach STDOUT and STDERR, pass signals on, and exit with the container's code
    #[arg(short, long)]
    attach: bool,
    /// Attach STDIN as well
    #[arg(short, long)]
    interactive: bool,
    /// Containers by name, id or unique prefix
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    if !args.attach && !args.interactive {
        return each(&args.containers, |name| start_detached(context, name));
    }
    let [name] = &args.containers[..] else {
        bail!("you cannot start and attach multiple containers at once");
    };
    let container = context.store()?.containers().find(name)?;
    if container.is_running() {
        bail!("container {} is already running", container.config.name);
    }
    let mut client = launching::launch(context, &container, true)?;
    launching::wait_started(&mut client)?;
    let stdin = args.interactive && container.config.open_stdin;
    launching::attach(client, &container.config, stdin, true)
}

fn start_detached(context: &Context, name: &str) -> Result<()> {
    let container: Container = context.store()?.containers().find(name)?;
    if container.is_running() {
        return Ok(());
    }
    let mut client = launching::launch(context, &container, false)?;
    launching::wait_started(&mut client).or_exit(1)
}
