//! `container`: the commands about containers by their full names.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    Context, attach, clone, commit, cp, create, diff, exec, exists, export, init, inspect, kill, logs, mount, pause,
    port, prune, ps, rename, restart, rm, run, start, stats, stop, top, update, wait,
};

/// The commands.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Attach(attach::Args),
    Clone(Box<clone::Args>),
    Commit(commit::Args),
    Cp(cp::Args),
    Create(Box<create::Args>),
    Diff(diff::Args),
    Exec(exec::Args),
    Exists(exists::ContainerArgs),
    Export(export::Args),
    Init(init::Args),
    Inspect(inspect::ContainerArgs),
    Kill(kill::Args),
    Logs(logs::Args),
    #[command(visible_alias = "list", visible_alias = "ps")]
    Ls(ps::Args),
    Mount(mount::container::MountArgs),
    Pause(pause::PauseArgs),
    Port(port::Args),
    Prune(prune::ContainerArgs),
    Rename(rename::Args),
    Restart(restart::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    Run(Box<run::Args>),
    Start(start::Args),
    Stats(stats::Args),
    Stop(stop::Args),
    Top(top::Args),
    #[command(visible_alias = "umount")]
    Unmount(mount::container::UnmountArgs),
    Unpause(pause::UnpauseArgs),
    Update(Box<update::Args>),
    Wait(wait::Args),
}

impl Command {
    /// Whether it starts a process that may get descriptors of our caller's.
    pub fn takes_descriptors(&self) -> bool {
        matches!(self, Self::Exec(_) | Self::Run(_) | Self::Start(_))
    }

    /// Whether it changes the store and then ends.
    pub fn writes(&self) -> bool {
        matches!(self, Self::Commit(_) | Self::Prune(_) | Self::Rename(_) | Self::Rm(_))
    }

    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Attach(args) => attach::run(args, context),
            Self::Clone(args) => clone::run(*args, context),
            Self::Commit(args) => commit::run(args, context),
            Self::Cp(args) => cp::run(args, context),
            Self::Create(args) => create::run(*args, context),
            Self::Diff(args) => diff::run(args, context),
            Self::Exec(args) => exec::run(args, context),
            Self::Exists(args) => exists::container(args, context),
            Self::Export(args) => export::run(args, context),
            Self::Init(args) => init::run(args, context),
            Self::Inspect(args) => inspect::containers(args, context),
            Self::Kill(args) => kill::run(args, context),
            Self::Logs(args) => logs::run(args, context),
            Self::Ls(args) => ps::run(args, context),
            Self::Mount(args) => mount::container::mount(args, context),
            Self::Pause(args) => pause::pause(args, context),
            Self::Port(args) => port::run(args, context),
            Self::Prune(args) => prune::containers(args, context),
            Self::Rename(args) => rename::run(args, context),
            Self::Restart(args) => restart::run(args, context),
            Self::Rm(args) => rm::run(args, context),
            Self::Run(args) => run::run(*args, context),
            Self::Start(args) => start::run(args, context),
            Self::Stats(args) => stats::run(args, context),
            Self::Stop(args) => stop::run(args, context),
            Self::Top(args) => top::run(args, context),
            Self::Unmount(args) => mount::container::unmount(args, context),
            Self::Unpause(args) => pause::unpause(args, context),
            Self::Update(args) => update::run(*args, context),
            Self::Wait(args) => wait::run(args, context),
        }
    }
}
