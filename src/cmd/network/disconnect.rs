//! `network disconnect`: take a container off a network.

use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};

use super::{attach, running};
use crate::cmd::Context;
use crate::spec::network::{Driver, NetworkMode};

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
    let not_connected = || anyhow!("container {} is not connected to network {}", container.id(), network.name);
    if network.driver == Driver::Host && container.config.network == NetworkMode::Host {
        bail!("cannot disconnect container from host network - container was created in host network mode");
    }
    if !attach::take_off(&mut container.config.network.clone(), &network) {
        return Err(not_connected());
    }
    // As long as we hold it the container does not start.
    let alive = container.take_alive().context("lock the container")?;
    if alive.is_none() {
        running::disconnect(store, &container, &network)?;
    }
    containers.update_network(container.id(), |mode| match attach::take_off(mode, &network) {
        true => Ok(()),
        false => Err(not_connected()),
    })?;
    drop(alive);
    Ok(ExitCode::SUCCESS)
}
