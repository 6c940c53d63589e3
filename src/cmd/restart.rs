//! `restart`: stop containers, then start them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::format::filter::Filter;
use super::selection::Choice;
use super::{Context, each, start, stop};
use crate::sandbox::client::Client;
use crate::spec::signal::Signal;
use crate::store::containers::Container;

/// Restart one or more containers
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Restart all containers, those that do not run as well
    #[arg(short, long)]
    all: bool,
    /// Read the ID of a container from this file
    #[arg(long, value_name = "FILE")]
    cidfile: Vec<PathBuf>,
    /// Restart what matches, as in ps
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Restart the container created last
    #[arg(short, long)]
    latest: bool,
    /// Restart all running containers
    #[arg(long)]
    running: bool,
    /// Signal to send first, by default the container's own
    #[arg(short, long)]
    signal: Option<Signal>,
    /// Seconds until SIGKILL, by default the container's own; -1 waits for ever
    #[arg(short = 't', long, alias = "time", value_name = "SECONDS", allow_negative_numbers = true)]
    timeout: Option<i64>,
    /// Containers by name, id or unique prefix
    #[arg(required_unless_present_any = ["all", "cidfile", "filter", "latest", "running"], value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let choice = Choice {
        named: &args.containers,
        cidfiles: &args.cidfile,
        filters: &args.filter,
        all: args.all || args.running,
        latest: args.latest,
    };
    each(&choice.names(context, |container| args.all || container.is_running())?, |name| {
        let container = context.store()?.containers().find(name)?;
        restart(context, container, &args).with_context(|| format!("cannot restart container {name}"))
    })
}

fn restart(context: &Context, container: Container, args: &Args) -> Result<()> {
    let name = container.config.id.as_str().to_owned();
    if container.is_running() {
        // What --rm removes at its end must stay this time.
        let _held = if container.config.auto_remove { Client::hold(&container)? } else { None };
        let timeout = stop::timeout(&container, args.timeout);
        stop::stop(container, args.signal, timeout)?;
    }
    start::start_detached(context, &name)
}
