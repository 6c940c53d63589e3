//! `generate`: files for other programs.

mod systemd;

use std::process::ExitCode;

use anyhow::Result;

use super::Context;

/// The commands.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Systemd(systemd::Args),
}

impl Command {
    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Systemd(args) => systemd::run(&args, context),
        }
    }
}
