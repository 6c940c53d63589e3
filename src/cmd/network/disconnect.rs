//! `network disconnect`: take a container off a network.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::attach;
use crate::cmd::Context;
use crate::cmd::launching::etc;
use crate::sandbox::network as live;

/// Disconnect a container from a network
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Accepted for compatibility: nothing holds a container back
    #[arg(short, long)]
    force: bool,
    /// Network by name, id or unique prefix
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Container by name, id or unique prefix
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    let containers = store.containers();
    let network = store.networks().find(&args.network)?;
    let container = containers.find(&args.container)?;
    let id = container.id().as_str();
    let recorded = attach::take_off(id, &mut container.config.network.clone(), &network);
    // A connect that was killed may have done its work without a record of it.
    let is_there = store.leases(&network).list()?.iter().any(|lease| lease.container == *container.id());
    let is_recorded = recorded.is_ok();
    if !is_there {
        recorded?;
    }
    let before = etc::places(store, &container.config)?;
    // As long as we hold it the container does not start.
    let alive = container.take_alive().context("lock the container")?;
    if alive.is_none() {
        live::disconnect(store, &containers.get(container.id())?, &network)?;
    }
    if is_recorded {
        containers.update(container.id(), |config| attach::take_off(id, &mut config.network, &network))?;
    }
    if alive.is_none() {
        etc::follow(store, &containers.get(container.id())?, &before)?;
    }
    drop(alive);
    Ok(ExitCode::SUCCESS)
}
