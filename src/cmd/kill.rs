//! `kill`: signal running containers.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use super::selection::Choice;
use super::{Context, each, stop};
use crate::spec::signal::Signal;
use crate::store::containers::Container;

/// Kill one or more running containers
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Kill all running containers
    #[arg(short, long)]
    all: bool,
    /// Read the ID of a container from this file
    #[arg(long, value_name = "FILE")]
    cidfile: Vec<PathBuf>,
    /// Kill the container created last
    #[arg(short, long)]
    latest: bool,
    /// Signal to send to the container
    #[arg(short, long, default_value = "KILL")]
    signal: Signal,
    /// Containers by name, id or unique prefix
    #[arg(required_unless_present_any = ["all", "cidfile", "latest"], value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let choice = Choice {
        named: &args.containers,
        cidfiles: &args.cidfile,
        all: args.all,
        latest: args.latest,
        ..Choice::default()
    };
    let names = choice.names(context, Container::is_running)?;
    each(&names, |name| {
        let store = context.store()?;
        let mut container = store.containers().find(name)?;
        let ends = ends(args.signal, container.config.stop_signal);
        // Nothing is there to be signalled while it waits to be started again.
        if container.is_restarting() || container.is_running() && ends {
            let running = stop::renounce(store, &mut container)?;
            if !running {
                stop::wait_unkept(&container);
                return Ok(());
            }
        }
        let Some(init) = stop::open_init(&container)? else {
            bail!("cannot kill container: {name}: container {} is not running", container.id());
        };
        stop::signal(store, &container, &init, args.signal)?;
        // SIGKILL leaves no choice: what a script does next may rely on the container being gone.
        if args.signal.number() == 9 {
            stop::wait_recorded(&mut container)?;
            stop::wait_unkept(&container);
        }
        Ok(())
    })
}

/// Whether a signal is meant to end the container, which is not started again then.
pub fn ends(signal: Signal, stop_signal: Signal) -> bool {
    signal == stop_signal || signal.is_meant_to_end()
}
