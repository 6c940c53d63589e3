//! `secret`: small pieces of data that containers get and nobody else sees.

mod create;
mod inspect;
mod ls;
mod rm;

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;

use super::{Context, exists};

/// The commands.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Create(create::Args),
    Exists(exists::SecretArgs),
    Inspect(inspect::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

impl Command {
    /// Whether it changes the store and then ends.
    pub fn writes(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Rm(_))
    }

    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Create(args) => create::run(&args, context),
            Self::Exists(args) => exists::secret(args, context),
            Self::Inspect(args) => inspect::run(&args, context),
            Self::Ls(args) => ls::run(args, context),
            Self::Rm(args) => rm::run(&args, context),
        }
    }
}

/// As Go prints a moment in UTC: `2026-01-02 03:04:05.6 +0000 UTC`.
fn go_time(moment: &str) -> String {
    match moment.parse::<Timestamp>() {
        Ok(moment) => moment.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string(),
        Err(_) => moment.to_owned(),
    }
}
