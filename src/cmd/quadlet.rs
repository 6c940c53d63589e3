//! `quadlet`: containers, volumes and networks that are described by files and run as services of
//! systemd; and the generator that systemd calls to translate them.

mod apply;
mod directories;
pub mod generator;
mod install;
mod ls;
mod manager;
mod print;
mod read;
mod rm;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use self::directories::Scope;
use super::print_line;
use crate::spec::quadlet::{Host, Source, Sources, Translation, translate};
use crate::spec::unit::literal;

/// The commands.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Generate(GenerateArgs),
    Install(install::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Print(print::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

impl Command {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Self::Generate(args) => generate(&args),
            Self::Install(args) => install::run(&args),
            Self::Ls(args) => ls::run(args),
            Self::Print(args) => print::run(&args),
            Self::Rm(args) => rm::run(&args),
        }
    }
}

/// Translate all files into services, where no generator of systemd's does
#[derive(clap::Args, Debug)]
pub struct GenerateArgs {
    /// Where the services go instead of systemd's own directory
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

fn generate(args: &GenerateArgs) -> Result<ExitCode> {
    let scope = Scope::own();
    let directory = match &args.directory {
        Some(directory) => directory.clone(),
        None if directories::is_generated(scope) => {
            apply::clear(&directories::services(scope)?)?;
            bail!("systemd has the files translated itself, by {}: systemctl daemon-reload", scope.generator());
        }
        None => directories::services(scope)?,
    };
    let report = apply::bring_up_to_date(scope, &directory)?;
    for path in &report.written {
        print_line(&path.display().to_string())?;
    }
    report.say();
    if report.problems.is_empty() { Ok(ExitCode::SUCCESS) } else { bail!("not all files could be translated") }
}

/// Translates one of all files, for this machine.
fn translation(source: &Source, all: &Sources, scope: Scope) -> Result<Translation> {
    let program = literal(&program()?);
    let mut tree = super::command();
    tree.build();
    let host = Host {
        program: &program,
        user: scope == Scope::User,
        has: &|command, flag| has(&tree, command, flag),
        exists: &|path| std::path::Path::new(path).exists(),
    };
    Ok(translate(source, all, &host))
}

/// The names of the files that are found, for completion.
pub fn names() -> Vec<String> {
    let found = read::collect(&directories::searched(Scope::own()));
    found.sources.0.into_iter().map(|source| source.name).collect()
}

/// All of them, each with its source.
fn translations(all: &Sources, scope: Scope) -> Result<Vec<(&Source, Translation)>> {
    all.0.iter().map(|source| Ok((source, translation(source, all, scope)?))).collect()
}

/// This program, as systemd is to call it.
pub fn program() -> Result<String> {
    let path = std::env::current_exe()?;
    match path.to_str() {
        Some(path) if !path.ends_with(" (deleted)") => Ok(path.to_owned()),
        _ => bail!("the path of rbox, {}, cannot be written into a unit", path.display()),
    }
}

/// Whether the command tree has a command, rbox itself if it is empty, and a flag of it.
fn has(tree: &clap::Command, words: &str, flag: &str) -> bool {
    let command = words.split_ascii_whitespace().try_fold(tree, |command, word| command.find_subcommand(word));
    let Some(command) = command else { return false };
    let Some(long) = flag.strip_prefix("--") else { return true };
    let is_called = |arg: &clap::Arg| {
        arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
    };
    command.get_arguments().any(is_called)
}
