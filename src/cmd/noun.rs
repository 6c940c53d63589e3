//! Groups of commands by noun (`container ls`), whose parts of the command tree are made only when
//! they are used: every invocation pays for the tree, and few use the groups.

use clap::{ArgMatches, Command, Error, FromArgMatches, Subcommand};

/// A group that is made when it is used.
#[derive(Debug)]
pub struct Lazy<T>(pub T);

impl<T: FromArgMatches> FromArgMatches for Lazy<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<T: Subcommand> Subcommand for Lazy<T> {
    fn augment_subcommands(command: Command) -> Command {
        command.subcommand_required(true).arg_required_else_help(true).defer(fill::<T>)
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        T::has_subcommand(name)
    }
}

/// What `cmd::command` does to the rest of the tree.
fn fill<T: Subcommand>(command: Command) -> Command {
    let about = command.get_about().cloned();
    let command = T::augment_subcommands(command).mut_subcommands(super::docker_grammar);
    match about {
        Some(about) => command.about(about),
        None => command,
    }
}
