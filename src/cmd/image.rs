//! `image`: the commands about images by their full names.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    Context, build, diff, exists, history, images, import, inspect, load, mount, prune, pull, push, rmi, save, scp,
    tag, tree, untag,
};

/// The commands.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Build(Box<build::Args>),
    Diff(diff::ImageArgs),
    Exists(exists::ImageArgs),
    History(history::Args),
    Import(import::Args),
    Inspect(inspect::ImageArgs),
    Load(load::Args),
    #[command(visible_alias = "list")]
    Ls(images::Args),
    Mount(mount::image::MountArgs),
    Prune(prune::ImageArgs),
    Pull(pull::Args),
    Push(Box<push::Args>),
    #[command(visible_alias = "remove")]
    Rm(rmi::Args),
    Save(save::Args),
    Scp(scp::Args),
    Tag(tag::Args),
    Tree(tree::Args),
    #[command(visible_alias = "umount")]
    Unmount(mount::image::UnmountArgs),
    Untag(untag::Args),
}

impl Command {
    /// Whether it changes the store and then ends.
    pub fn writes(&self) -> bool {
        let brings = matches!(self, Self::Build(_) | Self::Import(_) | Self::Load(_) | Self::Pull(_));
        brings || matches!(self, Self::Prune(_) | Self::Rm(_) | Self::Tag(_) | Self::Untag(_))
    }

    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Build(args) => build::run(*args, context),
            Self::Diff(args) => diff::image(args, context),
            Self::Exists(args) => exists::image(args, context),
            Self::History(args) => history::run(args, context),
            Self::Import(args) => import::run(args, context),
            Self::Inspect(args) => inspect::images(args, context),
            Self::Load(args) => load::run(args, context),
            Self::Ls(args) => images::run(args, context),
            Self::Mount(args) => mount::image::mount(args, context),
            Self::Prune(args) => prune::images(args, context),
            Self::Pull(args) => pull::run(args, context),
            Self::Push(args) => push::run(*args, context),
            Self::Rm(args) => rmi::run(args, context),
            Self::Save(args) => save::run(args, context),
            Self::Scp(args) => scp::run(args, context),
            Self::Tag(args) => tag::run(args, context),
            Self::Tree(args) => tree::run(args, context),
            Self::Unmount(args) => mount::image::unmount(args, context),
            Self::Untag(args) => untag::run(args, context),
        }
    }
}
