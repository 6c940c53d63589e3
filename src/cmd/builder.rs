//! `builder`: building, and the build cache.

pub mod prune;

use std::process::ExitCode;

use anyhow::Result;

use super::{Context, build};

/// The commands.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Build(Box<build::Args>),
    Prune(prune::Args),
}

impl Command {
    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Build(args) => build::run(*args, context),
            Self::Prune(args) => prune::run(&args, context),
        }
    }
}
