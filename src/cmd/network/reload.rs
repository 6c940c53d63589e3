//! `network reload`: give running containers what their networks have lost.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cmd::selection::Choice;
use crate::cmd::{Context, each};
use crate::sandbox::network as live;
use crate::store::containers::Container;

/// Set up the interfaces, addresses and published ports of running containers again
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Reload all running containers
    #[arg(short, long)]
    all: bool,
    /// Reload the container created last
    #[arg(short, long)]
    latest: bool,
    /// Containers by name, id or unique prefix
    #[arg(required_unless_present_any = ["all", "latest"], value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let choice = Choice { named: &args.containers, all: args.all, latest: args.latest, ..Choice::default() };
    let store = context.store()?;
    let fits = |container: &Container| container.is_running() && !container.config.network.attachments().is_empty();
    let names = choice.names(context, fits)?;
    each(&names, |name| {
        let container = store.containers().find(name)?;
        if !container.is_running() {
            bail!("container {} is not running", container.id());
        }
        if container.config.network.attachments().is_empty() {
            bail!("container {} is on no network that can be reloaded", container.config.name);
        }
        live::reload(store, &container)
    })
}
