//! One file a command: its clap arguments and what it prints. No syscalls here.

mod argv;
pub mod attach;
mod complete;
mod completion;
pub mod context;
pub mod create;
mod create_options;
pub mod doctor;
pub mod error;
pub mod exec;
pub mod format;
pub mod help;
pub mod images;
pub mod info;
pub mod inspect;
pub mod kill;
mod launching;
pub mod logs;
mod progress;
pub mod ps;
pub mod pull;
pub mod restart;
pub mod rm;
pub mod rmi;
pub mod run;
mod settings;
pub mod start;
pub mod stop;
mod suggest;
pub mod system;
pub mod tag;
mod usage;
pub mod version;
pub mod wait;

pub use context::{Context, GlobalOptions};
use format::text::warn;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::sandbox::{stage, userns};
use crate::store::staging::{self, Cleanup};
use crate::sys::process;

/// Daemonless, rootless containers
#[derive(Debug, Parser)]
#[command(name = "rbox", version, disable_help_subcommand = false, propagate_version = false)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
enum Command {
    Attach(attach::Args),
    #[command(name = "__complete", hide = true)]
    Complete(complete::Args),
    Completion(completion::Args),
    Create(Box<create::Args>),
    Doctor(doctor::Args),
    Exec(exec::Args),
    Images(images::Args),
    Info(info::Args),
    Inspect(inspect::Args),
    Kill(kill::Args),
    Logs(logs::Args),
    Ps(ps::Args),
    Pull(pull::Args),
    Restart(restart::Args),
    Rm(rm::Args),
    Rmi(rmi::Args),
    Run(Box<run::Args>),
    Start(start::Args),
    Stop(stop::Args),
    #[command(subcommand)]
    System(system::Command),
    Tag(tag::Args),
    Version(version::Args),
    Wait(wait::Args),
}

/// The whole program: parses, runs, reports.
pub fn main() -> ExitCode {
    if stage::is_stage() {
        stage::main();
    }
    // Whatever our parent left open must neither reach a container nor be kept open by a supervisor.
    if let Err(error) = process::close_from(3) {
        warn(&format!("cannot close inherited descriptors: {error}"));
        return ExitCode::from(125);
    }
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => return usage_error(&error),
    };
    let context = Context::new(cli.global);
    cli.command.run(&context).unwrap_or_else(|error| error::report(&error))
}

impl Command {
    fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Attach(args) => attach::run(args, context),
            Self::Complete(args) => complete::run(args, context),
            Self::Completion(args) => completion::run(args, context),
            Self::Create(args) => create::run(*args, context),
            Self::Doctor(args) => doctor::run(args, context),
            Self::Exec(args) => exec::run(args, context),
            Self::Images(args) => images::run(args, context),
            Self::Info(args) => info::run(args, context),
            Self::Inspect(args) => inspect::run(args, context),
            Self::Kill(args) => kill::run(args, context),
            Self::Logs(args) => logs::run(args, context),
            Self::Ps(args) => ps::run(args, context),
            Self::Pull(args) => pull::run(args, context),
            Self::Restart(args) => restart::run(args, context),
            Self::Rm(args) => rm::run(args, context),
            Self::Rmi(args) => rmi::run(args, context),
            Self::Run(args) => run::run(*args, context),
            Self::Start(args) => start::run(args, context),
            Self::Stop(args) => stop::run(args, context),
            Self::System(command) => command.run(context),
            Self::Tag(args) => tag::run(args, context),
            Self::Version(args) => version::run(args, context),
            Self::Wait(args) => wait::run(args, context),
        }
    }
}

/// The command tree, for completions and man pages too. `-h` is `--hostname` for run and create.
pub fn command() -> clap::Command {
    let free_h = |command: clap::Command| {
        command
            .disable_help_flag(true)
            .arg(clap::Arg::new("help").long("help").help("Print help").action(clap::ArgAction::Help))
    };
    Cli::command().mut_subcommands(docker_grammar).mut_subcommand("run", free_h).mut_subcommand("create", free_h)
}

/// Of a flag given twice the last one counts, and every boolean takes `=true` or `=false` (pflag).
fn docker_grammar(command: clap::Command) -> clap::Command {
    let boolean = |arg: clap::Arg| match arg.get_action() {
        // One with a default of its own says how it is to be read.
        clap::ArgAction::SetTrue if arg.get_default_values().is_empty() => arg
            .action(clap::ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .value_name("BOOL")
            .value_parser(go_bool)
            .hide_default_value(true)
            .hide_possible_values(true),
        _ => arg,
    };
    command.args_override_self(true).mut_args(boolean).mut_subcommands(docker_grammar)
}

fn parse() -> Result<Cli, clap::Error> {
    let command = command();
    let words = argv::end_flags(&command, std::env::args_os().collect());
    let matches = command.try_get_matches_from(words)?;
    Cli::from_arg_matches(&matches)
}

/// docker's exit codes: 125 for a bad flag, 1 for an unknown command or missing arguments, 0 for
/// help. The message is one line, with where to look next.
fn usage_error(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp => {
            return print_text(&help::requested()).map_or_else(|error| error::report(&error), |()| ExitCode::SUCCESS);
        }
        ErrorKind::DisplayVersion => {
            let shown = print_text(&error.render().to_string());
            return shown.map_or_else(|error| error::report(&error), |()| ExitCode::SUCCESS);
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            // Nobody listening there is no failure.
            let _ = std::io::stderr().write_all(help::requested().as_bytes());
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let rendered = error.render().to_string();
    let first = rendered.lines().next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let (message, code) = match error.kind() {
        ErrorKind::UnknownArgument => {
            let flag = text(ContextKind::InvalidArg);
            if flag.starts_with('-') {
                (format!("unknown flag: {flag}{}", suggest::flag(&flag)), 125)
            } else {
                (first.to_owned(), 1)
            }
        }
        ErrorKind::InvalidSubcommand => {
            let name = text(ContextKind::InvalidSubcommand);
            (format!("unknown command: {name}{}", suggest::command(&name)), 1)
        }
        ErrorKind::MissingRequiredArgument => (missing(error, &rendered), 1),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => (invalid_value(error, first), 125),
        _ => (first.to_owned(), 125),
    };
    warn(&format!("{message}; see 'rbox {}--help'", subcommand_typed()));
    ExitCode::from(code)
}

fn missing(error: &clap::Error, rendered: &str) -> String {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(names)) => format!("missing argument: {}", names.join(" ")),
        _ => rendered.lines().next().unwrap_or_default().to_owned(),
    }
}

fn invalid_value(error: &clap::Error, first: &str) -> String {
    let (Some(ContextValue::String(argument)), Some(ContextValue::String(value))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return first.to_owned();
    };
    let flag = argument.split(' ').next().unwrap_or(argument);
    let reason = std::error::Error::source(error).map_or_else(|| first.to_owned(), ToString::to_string);
    format!("invalid argument {value:?} for {flag:?} flag: {reason}")
}

fn subcommand_typed() -> String {
    let known = command();
    let typed = std::env::args().skip(1).find(|word| known.find_subcommand(word).is_some());
    typed.map_or_else(String::new, |word| format!("{word} "))
}

/// Go's strconv.ParseBool, which docker's boolean flags take.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// Prints a line of data; a reader that is gone ends the command quietly.
fn print_line(line: &str) -> Result<()> {
    print_text(&format!("{line}\n"))
}

fn print_text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Does `work` for each argument and prints the argument as typed when it succeeds, as docker does;
/// goes on past failures.
fn each(arguments: &[String], work: impl Fn(&str) -> Result<()>) -> Result<ExitCode> {
    let mut failed = false;
    for argument in arguments {
        match work(argument) {
            Ok(()) => print_line(argument)?,
            Err(error) => {
                error::print(&error);
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Ends a deletion that met files of mapped ids.
fn finish_cleanup(context: &Context, cleanup: Cleanup) -> Result<()> {
    match cleanup {
        Cleanup::Complete => Ok(()),
        Cleanup::NeedsUserNamespace => sweep_in_user_namespace(context),
    }
}

/// Removes what crashes left in staging, if anything.
fn sweep_abandoned(context: &Context) -> Result<()> {
    match staging::count_abandoned(context.store()?)? {
        0 => Ok(()),
        _ => sweep_in_user_namespace(context),
    }
}

fn sweep_in_user_namespace(context: &Context) -> Result<()> {
    let store = context.store()?;
    userns::run_inside(store, || Ok(staging::sweep(store).map(drop)?))
}
