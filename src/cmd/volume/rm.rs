//! `volume rm`: remove volumes.

use std::cell::Cell;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cmd::{Context, each, finish_cleanup};
use crate::store::staging::Cleanup;
use crate::store::volumes::RemoveError;

/// Remove one or more volumes
///
/// Unlike podman's, docker's --force removes no container: neither does ours.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// All volumes
    #[arg(short, long)]
    all: bool,
    /// Don't complain about volumes that do not exist
    #[arg(short, long)]
    force: bool,
    /// Volumes by name
    #[arg(required_unless_present = "all", value_name = "VOLUME")]
    volumes: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let volumes = context.store()?.volumes();
    if args.all && !args.volumes.is_empty() {
        bail!("conflicting options: --all and a volume's name");
    }
    if !args.all && args.volumes.is_empty() {
        // As after --all=false.
        bail!("requires at least 1 argument");
    }
    let names = if args.all { volumes.names()? } else { args.volumes };
    let cleanup = Cell::new(Cleanup::Complete);
    let code = each(&names, |name| match volumes.remove(name) {
        Err(RemoveError::NotFound(_)) if args.force => Ok(()),
        removed => {
            cleanup.set(cleanup.get().and(removed?));
            Ok(())
        }
    })?;
    // Files of mapped ids, of all of them at once.
    finish_cleanup(context, cleanup.get())?;
    Ok(code)
}
