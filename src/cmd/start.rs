//! `start`: start stopped containers.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::error::WithCode;
use super::format::filter::Filter;
use super::inherited_options::InheritedOptions;
use super::launching::{self, Leaving};
use super::selection::Choice;
use super::{Context, attach, each, keeper};
use crate::sandbox::client::Attach;
use crate::spec::detach_keys::DetachKeys;
use crate::store::containers::Container;

/// Start one or more stopped containers
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Start all containers that do not run
    #[arg(long)]
    all: bool,
    /// Attach STDOUT and STDERR, pass signals on, and exit with the container's code
    #[arg(short, long)]
    attach: bool,
    /// Keys that detach from the container: characters or ctrl-X, separated by commas; empty for none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    /// Start all that match, as in ps
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Attach STDIN as well
    #[arg(short, long)]
    interactive: bool,
    /// Start the container created last
    #[arg(short, long)]
    latest: bool,
    /// Pass received signals on to the container, the default
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = super::go_bool)]
    sig_proxy: bool,
    /// Containers by name, id or unique prefix
    #[arg(required_unless_present_any = ["all", "filter", "latest"], value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    context.keep_inherited(InheritedOptions::default().claim()?);
    let choice = Choice {
        named: &args.containers,
        filters: &args.filter,
        all: args.all,
        latest: args.latest,
        ..Choice::default()
    };
    let names = choice.names(context, Container::is_at_rest)?;
    if !args.attach && !args.interactive {
        return each(&names, |name| start_detached(context, name));
    }
    let [name] = &names[..] else {
        bail!("you cannot start and attach multiple containers at once");
    };
    let container = context.store()?.containers().find(name)?;
    let config = &container.config;
    launching::check_tty(args.interactive && config.open_stdin, config.tty)?;
    let attach = Attach {
        stdin: args.interactive && config.open_stdin && !config.log.driver.passes_through(),
        stdout: true,
        stderr: true,
        terminal: config.tty,
        signal_proxy: args.sig_proxy,
        detach_keys: launching::detach_keys(context, args.detach_keys)?,
    };
    refuse_paused(&container)?;
    if container.is_running() {
        let attach = Attach { signal_proxy: attach.signal_proxy && !config.tty, ..attach };
        return attach::follow(&container, &attach, Leaving::Succeeds);
    }
    if container.is_restarting() {
        bail!(attach::RESTARTING);
    }
    let mut client = launching::launch(context, &container, true)?;
    launching::wait_started(context, &container, &mut client)?;
    launching::attach(client, &attach, Leaving::Succeeds)
}

/// docker's words.
fn refuse_paused(container: &Container) -> Result<()> {
    if container.is_running() && container.state.paused.is_some() {
        bail!("cannot start a paused container, try unpause instead");
    }
    Ok(())
}

/// Starts a container in the background; one that runs is started already.
pub fn start_detached(context: &Context, name: &str) -> Result<()> {
    let container: Container = context.store()?.containers().find(name)?;
    refuse_paused(&container)?;
    if container.is_running() {
        // It has one, unless it was killed with its spare.
        keeper::ensure(context, &container);
        return Ok(());
    }
    if container.is_restarting() {
        return Ok(());
    }
    let mut client = match launching::launch(context, &container, false) {
        // Another command was quicker.
        Err(error) if error.is::<launching::AlreadyRuns>() => return Ok(()),
        launched => launched?,
    };
    launching::wait_started(context, &container, &mut client).or_exit(1)?;
    launching::hand_over(&container)
}
