//! `init`: what can be done for a container before its start.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::launching::volumes::{self, Moment};
use super::launching::{InUse, shifting};
use super::selection::Choice;
use super::{Context, each};
use crate::store::containers::Container;

/// Prepare containers for their start: volumes, and layers for other ids
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Prepare all containers that do not run
    #[arg(short, long)]
    all: bool,
    /// Prepare the container created last
    #[arg(short, long)]
    latest: bool,
    /// Containers by name, id or unique prefix
    #[arg(required_unless_present_any = ["all", "latest"], value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let choice = Choice { named: &args.containers, all: args.all, latest: args.latest, ..Choice::default() };
    each(&choice.names(context, Container::is_at_rest)?, |name| prepare(context, name))
}

fn prepare(context: &Context, name: &str) -> Result<()> {
    let container = context.store()?.containers().find(name)?;
    if !container.is_at_rest() {
        bail!("container {} has already been started", container.config.name);
    }
    // As at its start, nobody removes it meanwhile.
    let Some(_alive) = container.take_alive().context("lock the container")? else {
        return Err(InUse::of(&container).into());
    };
    shifting::ensure(context.store()?, &container.config)?;
    volumes::prepare(context, &container, Moment::Start, &mut Vec::new())
}
