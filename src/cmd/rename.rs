//! `rename`: give a container another name.

use std::process::ExitCode;

use anyhow::Result;

use super::Context;

/// Rename a container
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Container by name, id or unique prefix
    container: String,
    /// The new name
    new_name: String,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let containers = context.store()?.containers();
    let id = containers.resolve(&args.container)?;
    containers.rename(&id, &args.new_name)?;
    Ok(ExitCode::SUCCESS)
}
