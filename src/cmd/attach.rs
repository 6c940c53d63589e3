//! `attach`: take part in a container that runs already.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::launching::{self, Leaving};
use super::{Context, selection};
use crate::sandbox::client::{Attach, Client};
use crate::spec::detach_keys::DetachKeys;
use crate::store::containers::Container;

/// Attach local standard input, output, and error streams to a running container
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Keys that detach from the container: characters or ctrl-X, separated by commas; empty for none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    /// Attach to the container created last
    #[arg(short, long)]
    latest: bool,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Pass received signals on to the container, the default
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = super::go_bool)]
    sig_proxy: bool,
    /// Container by name, id or unique prefix
    #[arg(required_unless_present = "latest", value_name = "CONTAINER")]
    container: Option<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let container = selection::one(context, args.container.as_deref(), args.latest)?;
    if container.is_restarting() {
        bail!(RESTARTING);
    }
    if !container.is_running() {
        bail!(STOPPED);
    }
    if container.state.paused.is_some() {
        bail!("cannot attach to a paused container, unpause it first");
    }
    launching::check_tty(!args.no_stdin, container.config.tty)?;
    let attach = Attach {
        stdin: !args.no_stdin && container.config.open_stdin,
        stdout: true,
        stderr: true,
        terminal: container.config.tty,
        // A terminal sends its interrupts as keys; what else comes is meant for us.
        signal_proxy: args.sig_proxy && !container.config.tty,
        detach_keys: launching::detach_keys(context, args.detach_keys)?,
    };
    follow(&container, &attach, Leaving::Fails)
}

const STOPPED: &str = "cannot attach to a stopped container, start it first";
/// The same for one that waits to be started again.
pub const RESTARTING: &str = "cannot attach to a restarting container, wait until it is running";

/// Attaches to a running container until it ends or the person leaves.
pub fn follow(container: &Container, attach: &Attach, leaving: Leaving) -> Result<ExitCode> {
    let client = Client::connect(container, attach)
        .with_context(|| format!("cannot attach to container {}", container.config.name))?;
    match client {
        Some(client) => launching::attach(client, attach, leaving),
        None => bail!(STOPPED),
    }
}
