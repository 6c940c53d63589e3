//! `restart`: stop containers, then start them.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::selection::{Choice, Chosen};
use super::{Context, each, start, stop};
use crate::sandbox::client::Client;
use crate::spec::event::Happening;
use crate::spec::signal::Signal;
use crate::store::containers::Container;

/// Restart one or more containers
#[derive(clap::Args, Debug)]
#[command(mut_arg("containers", |arg| arg.required_unless_present("running")))]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Restart all running containers
    #[arg(long)]
    running: bool,
    /// Signal to send first, by default the container's own
    #[arg(short, long)]
    signal: Option<Signal>,
    /// Seconds until SIGKILL, by default the container's own; -1 waits for ever
    #[arg(short = 't', long, alias = "time", value_name = "SECONDS")]
    timeout: Option<i64>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let all = args.chosen.all;
    let choice = Choice { all: all || args.running, ..args.chosen.choice() };
    each(&choice.names(context, |container| all || !container.is_at_rest())?, |name| {
        let container = context.store()?.containers().find(name)?;
        restart(context, container, &args).with_context(|| format!("cannot restart container {name}"))
    })
}

fn restart(context: &Context, container: Container, args: &Args) -> Result<()> {
    let name = container.config.id.as_str().to_owned();
    let restarted = Happening::of_container(&container.config, "restart");
    if !container.is_at_rest() {
        // What --rm removes at its end must stay this time.
        let _held = if container.config.auto_remove { Client::hold(&container)? } else { None };
        let timeout = stop::timeout(&container, args.timeout);
        stop::stop(context.store()?, container, args.signal, timeout)?;
    }
    start::start_detached(context, &name)?;
    context.store()?.happened(restarted);
    Ok(())
}
