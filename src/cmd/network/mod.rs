//! `network`: the networks of the store, and who is on them.

mod attach;
pub mod connect;
pub mod create;
pub mod disconnect;
pub mod ls;
pub mod prune;
pub mod reload;
pub mod rm;

use std::process::ExitCode;

use anyhow::Result;

use super::{Context, exists, inspect};
use crate::spec::network::{DEFAULT_NETWORK, Driver, Network};

/// The commands.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Connect(connect::Args),
    Create(Box<create::Args>),
    Disconnect(disconnect::Args),
    Exists(exists::NetworkArgs),
    Inspect(inspect::NetworkArgs),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Prune(prune::Args),
    Reload(reload::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

impl Command {
    /// Whether it changes the store and then ends.
    pub fn writes(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Prune(_) | Self::Rm(_))
    }

    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Connect(args) => connect::run(args, context),
            Self::Create(args) => create::run(*args, context),
            Self::Disconnect(args) => disconnect::run(args, context),
            Self::Exists(args) => exists::network(args, context),
            Self::Inspect(args) => inspect::networks(args, context),
            Self::Ls(args) => ls::run(args, context),
            Self::Prune(args) => prune::run(args, context),
            Self::Reload(args) => reload::run(args, context),
            Self::Rm(args) => rm::run(args, context),
        }
    }
}

/// Whether a network is always there.
pub fn is_predefined(network: &Network) -> bool {
    network.driver != Driver::Bridge || network.name == DEFAULT_NETWORK
}
