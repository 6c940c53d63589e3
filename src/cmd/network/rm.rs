//! `network rm`: remove networks.

use std::process::ExitCode;

use anyhow::Result;

use crate::cmd::{Context, each};
use crate::store::networks::{LookupError, RemoveError};

/// Remove one or more networks
///
/// Unlike podman's, docker's --force removes no container: neither does ours, for the network's name
/// says little about whose containers those are.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Don't complain about networks that do not exist
    #[arg(short, long)]
    force: bool,
    /// Networks by name, id or unique prefix
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let networks = context.store()?.networks();
    each(&args.networks, |name| {
        let network = match networks.find(name) {
            Err(LookupError::NotFound(_)) if args.force => return Ok(()),
            found => found?,
        };
        match networks.remove(&network) {
            // Somebody else was faster.
            Err(RemoveError::NotFound(_)) if args.force => Ok(()),
            removed => Ok(removed?),
        }
    })
}
