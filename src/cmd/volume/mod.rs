//! `volume`: the volumes of the store.

pub mod create;
mod export;
mod import;
pub mod ls;
pub mod prune;
pub mod rm;

use std::process::ExitCode;

use anyhow::Result;

use super::{Context, exists, inspect};

/// The commands.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Create(create::Args),
    Exists(exists::VolumeArgs),
    Export(export::Args),
    Import(import::Args),
    Inspect(inspect::VolumeArgs),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Prune(prune::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

impl Command {
    /// Whether it changes the store and then ends.
    pub fn writes(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Import(_) | Self::Prune(_) | Self::Rm(_))
    }

    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Create(args) => create::run(args, context),
            Self::Exists(args) => exists::volume(args, context),
            Self::Export(args) => export::run(args, context),
            Self::Import(args) => import::run(args, context),
            Self::Inspect(args) => inspect::volumes(args, context),
            Self::Ls(args) => ls::run(args, context),
            Self::Prune(args) => prune::run(args, context),
            Self::Rm(args) => rm::run(args, context),
        }
    }
}
