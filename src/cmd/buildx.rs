//! `buildx`: what scripts call of docker's builder. There is one builder, this program, which is always there.

mod builders;
mod du;

use std::process::ExitCode;

use anyhow::Result;

use super::{Context, build, builder};

/// The commands.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    #[command(visible_alias = "b")]
    Build(Box<build::Args>),
    Create(builders::CreateArgs),
    Du(du::Args),
    Inspect(builders::InspectArgs),
    Ls(builders::LsArgs),
    Prune(builder::prune::Args),
    Rm(builders::RmArgs),
    Stop(builders::StopArgs),
    Use(builders::UseArgs),
    Version(builders::VersionArgs),
}

impl Command {
    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Build(args) => build::run(*args, context),
            Self::Create(args) => builders::create(&args),
            Self::Du(args) => du::run(&args, context),
            Self::Inspect(args) => builders::inspect(&args),
            Self::Ls(args) => builders::ls(&args),
            Self::Prune(args) => builder::prune::run(&args, context),
            Self::Rm(_) | Self::Stop(_) | Self::Use(_) => Ok(ExitCode::SUCCESS),
            Self::Version(args) => builders::version(&args),
        }
    }
}
