//! One file a command: its clap arguments and what it prints. No syscalls here.

mod argv;
pub mod attach;
pub mod build;
pub mod builder;
pub mod buildx;
mod changes;
mod clone;
pub mod commit;
mod complete;
mod completion;
pub mod container;
pub mod context;
pub mod cp;
pub mod create;
mod create_options;
mod credentials;
pub mod diff;
mod docker_config;
pub mod doctor;
mod ending;
pub mod error;
pub mod events;
pub mod exec;
pub mod exists;
pub mod export;
pub mod format;
pub mod generate;
mod healthcheck;
pub mod help;
pub mod history;
pub mod image;
mod image_file;
pub mod images;
pub mod import;
pub mod info;
mod inherited_options;
pub mod init;
pub mod inspect;
mod interruptions;
mod keeper;
pub mod kill;
mod launching;
pub mod load;
pub mod login;
pub mod logout;
pub mod logs;
pub mod manifest;
mod missing;
pub mod mount;
pub mod network;
mod noun;
mod packing;
mod pause;
mod platform_options;
pub mod port;
mod progress;
pub mod prune;
pub mod ps;
pub mod pull;
pub mod push;
pub mod quadlet;
pub mod registry_options;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod save;
pub mod scp;
pub mod search;
pub mod secret;
mod selection;
mod settings;
mod short_names;
pub mod start;
mod stats;
pub mod stop;
mod suggest;
pub mod system;
pub mod tag;
pub mod top;
pub mod tree;
pub mod unshare;
pub mod untag;
mod update;
mod usage;
pub mod version;
pub mod volume;
pub mod wait;

pub use context::{Context, GlobalOptions};
use format::quote::quote;
use format::text::{clean_line, warn};
use noun::Lazy;

use std::io::Write;
use std::num::IntErrorKind;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use jiff::{Timestamp, Zoned};

use crate::build::step::owner;
use crate::sandbox::{cgroup, stage, userns};
use crate::spec::time::parse_moment;
use crate::store::gc;
use crate::store::staging::{self, Cleanup};
use crate::sys::process;

/// Daemonless, rootless containers
#[derive(Debug, Parser)]
#[command(name = "rbox", version, disable_help_subcommand = false, propagate_version = false)]
#[command(disable_version_flag = true)]
pub struct Cli {
    /// Print the version
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
enum Command {
    Attach(attach::Args),
    Build(Box<build::Args>),
    /// Build images, and look after the build cache
    #[command(subcommand)]
    Builder(Lazy<builder::Command>),
    /// Build images by docker's other name for it, and look after the build cache
    #[command(subcommand)]
    Buildx(Lazy<buildx::Command>),
    Commit(commit::Args),
    #[command(name = "__complete", hide = true)]
    Complete(complete::Args),
    Completion(completion::Args),
    /// Manage containers
    #[command(subcommand)]
    Container(Lazy<container::Command>),
    Cp(cp::Args),
    Create(Box<create::Args>),
    Diff(diff::Args),
    Doctor(doctor::Args),
    Events(events::Args),
    Exec(exec::Args),
    Export(export::Args),
    /// Make files for other programs
    #[command(subcommand)]
    Generate(Lazy<generate::Command>),
    /// Look after the health of containers
    #[command(subcommand)]
    Healthcheck(Lazy<healthcheck::Command>),
    History(history::Args),
    /// Manage images
    #[command(subcommand)]
    Image(Lazy<image::Command>),
    Images(images::Args),
    Import(import::Args),
    Info(info::Args),
    Init(init::Args),
    Inspect(inspect::Args),
    Kill(kill::Args),
    Load(load::Args),
    Login(login::Args),
    Logout(logout::Args),
    Logs(logs::Args),
    /// Make, look at and push lists of manifests, as for images of several platforms
    #[command(subcommand)]
    Manifest(Lazy<manifest::Command>),
    Mount(mount::container::MountArgs),
    /// Manage networks
    #[command(subcommand)]
    Network(Lazy<network::Command>),
    Pause(pause::PauseArgs),
    Port(port::Args),
    Ps(ps::Args),
    Pull(pull::Args),
    Push(Box<push::Args>),
    /// Manage files that describe services of systemd
    #[command(subcommand)]
    Quadlet(Lazy<quadlet::Command>),
    Rename(rename::Args),
    Restart(restart::Args),
    Rm(rm::Args),
    Rmi(rmi::Args),
    Run(Box<run::Args>),
    Save(save::Args),
    Search(search::Args),
    /// Manage secrets
    #[command(subcommand)]
    Secret(Lazy<secret::Command>),
    Start(start::Args),
    Stats(stats::Args),
    Stop(stop::Args),
    /// Look after the store and this installation
    #[command(subcommand)]
    System(Lazy<system::Command>),
    Tag(tag::Args),
    Top(top::Args),
    #[command(visible_alias = "umount")]
    Unmount(mount::container::UnmountArgs),
    Unpause(pause::UnpauseArgs),
    Unshare(unshare::Args),
    Untag(untag::Args),
    Update(Box<update::Args>),
    Version(version::Args),
    /// Manage volumes
    #[command(subcommand)]
    Volume(Lazy<volume::Command>),
    Wait(wait::Args),
}

/// The whole program: parses, runs, reports.
pub fn main() -> ExitCode {
    if stage::is_stage() {
        stage::main();
    }
    if let Some(scope) = quadlet::generator::called_for() {
        return quadlet::generator::main(scope);
    }
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => return usage_error(&error),
    };
    if std::env::args_os().any(|word| word.to_str().is_some_and(|word| word.starts_with("--creds"))) {
        credentials::hide_arguments(commands_typed().last().map_or("", clap::Command::get_name));
    }
    // Whatever else our parent left open must neither reach a container nor be kept open by a supervisor.
    if !(inherited_options::are_offered() && cli.command.takes_descriptors())
        && let Err(error) = process::close_from(3)
    {
        warn(&format!("cannot close inherited descriptors: {error}"));
        return ExitCode::from(125);
    }
    let context = Context::new(cli.global);
    let writes = cli.command.writes();
    let outcome = cli.command.run(&context);
    if writes && outcome.is_ok() {
        tidy(&context);
    }
    outcome.unwrap_or_else(|error| error::report(&error))
}

impl Command {
    fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Attach(args) => attach::run(args, context),
            Self::Build(args) => build::run(*args, context),
            Self::Builder(command) => command.0.run(context),
            Self::Buildx(command) => command.0.run(context),
            Self::Commit(args) => commit::run(args, context),
            Self::Complete(args) => complete::run(args, context),
            Self::Completion(args) => completion::run(args, context),
            Self::Container(command) => command.0.run(context),
            Self::Cp(args) => cp::run(args, context),
            Self::Create(args) => create::run(*args, context),
            Self::Diff(args) => diff::run(args, context),
            Self::Doctor(args) => doctor::run(args, context),
            Self::Events(args) => events::run(args, context),
            Self::Exec(args) => exec::run(args, context),
            Self::Export(args) => export::run(args, context),
            Self::Generate(command) => command.0.run(context),
            Self::History(args) => history::run(args, context),
            Self::Image(command) => command.0.run(context),
            Self::Images(args) => images::run(args, context),
            Self::Import(args) => import::run(args, context),
            Self::Info(args) => info::run(args, context),
            Self::Init(args) => init::run(args, context),
            Self::Inspect(args) => inspect::run(args, context),
            Self::Kill(args) => kill::run(args, context),
            Self::Load(args) => load::run(args, context),
            Self::Login(args) => login::run(args, context),
            Self::Logout(args) => logout::run(args, context),
            Self::Logs(args) => logs::run(args, context),
            Self::Healthcheck(command) => command.0.run(context),
            Self::Manifest(command) => command.0.run(context),
            Self::Mount(args) => mount::container::mount(args, context),
            Self::Network(command) => command.0.run(context),
            Self::Pause(args) => pause::pause(args, context),
            Self::Port(args) => port::run(args, context),
            Self::Ps(args) => ps::run(args, context),
            Self::Pull(args) => pull::run(args, context),
            Self::Push(args) => push::run(*args, context),
            Self::Quadlet(command) => command.0.run(),
            Self::Rename(args) => rename::run(args, context),
            Self::Restart(args) => restart::run(args, context),
            Self::Rm(args) => rm::run(args, context),
            Self::Rmi(args) => rmi::run(args, context),
            Self::Run(args) => run::run(*args, context),
            Self::Save(args) => save::run(args, context),
            Self::Search(args) => search::run(args, context),
            Self::Secret(command) => command.0.run(context),
            Self::Start(args) => start::run(args, context),
            Self::Stats(args) => stats::run(args, context),
            Self::Stop(args) => stop::run(args, context),
            Self::System(command) => command.0.run(context),
            Self::Tag(args) => tag::run(args, context),
            Self::Top(args) => top::run(args, context),
            Self::Unmount(args) => mount::container::unmount(args, context),
            Self::Unpause(args) => pause::unpause(args, context),
            Self::Unshare(args) => unshare::run(args, context),
            Self::Untag(args) => untag::run(args, context),
            Self::Update(args) => update::run(*args, context),
            Self::Version(args) => version::run(args, context),
            Self::Volume(command) => command.0.run(context),
            Self::Wait(args) => wait::run(args, context),
        }
    }
}

impl Command {
    /// Whether it starts a process that may get descriptors of our caller's, which it claims first.
    fn takes_descriptors(&self) -> bool {
        match self {
            Self::Exec(_) | Self::Run(_) | Self::Start(_) => true,
            Self::Container(command) => command.0.takes_descriptors(),
            _ => false,
        }
    }

    /// Whether it changes the store and then ends, so that it can look for what interrupted work left.
    /// `run` and `create` do so before they start.
    fn writes(&self) -> bool {
        match self {
            Self::Container(command) => command.0.writes(),
            Self::Image(command) => command.0.writes(),
            Self::Network(command) => command.0.writes(),
            Self::Secret(command) => command.0.writes(),
            Self::Commit(_) | Self::Import(_) | Self::Load(_) | Self::Pull(_) => true,
            Self::Rename(_) | Self::Rm(_) | Self::Rmi(_) | Self::Tag(_) | Self::Untag(_) => true,
            Self::System(command) => command.0.writes(),
            Self::Volume(command) => command.0.writes(),
            _ => false,
        }
    }
}

/// Removes what interrupted work left, if anything. Its failure is no failure of the command, and the
/// next one tries again.
fn tidy(context: &Context) {
    if let Ok(store) = context.store() {
        let _ = sweep_abandoned(context);
        let _ = gc::tidy(store);
    }
}

/// The command tree, for completions and man pages too: `build` it to see what the nouns hold.
pub fn command() -> clap::Command {
    Cli::command().mut_subcommands(docker_grammar)
}

/// Of a flag given twice the last one counts, every boolean takes `=true` or `=false`, and the word after any
/// other flag is its value, a negative number, too (pflag).
/// `-h` is help but where it is something else, as `--hostname` for run and create.
fn docker_grammar(mut command: clap::Command) -> clap::Command {
    if command.get_arguments().any(|arg| arg.get_short() == Some('h')) {
        let help = clap::Arg::new("help").long("help").help("Print help").action(clap::ArgAction::Help);
        command = command.disable_help_flag(true).arg(help);
    }
    let flag = |arg: clap::Arg| match arg.get_action() {
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
        clap::ArgAction::Set | clap::ArgAction::Append if !arg.is_positional() => arg.allow_negative_numbers(true),
        _ => arg,
    };
    command.args_override_self(true).mut_args(flag).mut_subcommands(docker_grammar)
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
            (format!("unknown command: {}{name}{}", subcommand_typed(), suggest::command(&name)), 1)
        }
        ErrorKind::MissingRequiredArgument => (missing(error, &rendered), 1),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => (invalid_value(error, first), 125),
        _ => (first.to_owned(), 125),
    };
    warn(&clean_line(&format!("{message}; see 'rbox {}--help'", subcommand_typed())));
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
    let flag = argument.split([' ', '[', '=']).next().unwrap_or(argument);
    let reason = match (error.get(ContextKind::ValidValue), std::error::Error::source(error)) {
        (_, Some(source)) => match source.downcast_ref::<std::num::ParseIntError>().map(|error| error.kind()) {
            Some(IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => {
                format!("strconv.ParseInt: parsing {}: value out of range", quote(value))
            }
            Some(_) => format!("strconv.ParseInt: parsing {}: invalid syntax", quote(value)),
            None => source.to_string(),
        },
        _ if value.is_empty() && first.starts_with("a value is required") => {
            return format!("flag needs an argument: {flag}");
        }
        (Some(ContextValue::Strings(valid)), None) => format!("must be one of {}", valid.join(", ")),
        _ => first.to_owned(),
    };
    format!("invalid argument {} for {:?} flag: {reason}", quote(value), with_shorthand(flag))
}

/// docker names a flag by both its names: `-f, --filter`.
fn with_shorthand(flag: &str) -> String {
    let known = commands_typed().pop();
    let arguments = known.iter().flat_map(clap::Command::get_arguments);
    let mut same = arguments.filter(|arg| arg.get_long().is_some() && arg.get_long() == flag.strip_prefix("--"));
    match same.next().and_then(clap::Arg::get_short) {
        Some(short) => format!("-{short}, {flag}"),
        None => flag.to_owned(),
    }
}

/// The typed command's names, each followed by a blank.
fn subcommand_typed() -> String {
    commands_typed().iter().map(|command| format!("{} ", command.get_name())).collect()
}

/// The commands that the command line walks through, outermost first.
fn commands_typed() -> Vec<clap::Command> {
    let mut walked: Vec<clap::Command> = Vec::new();
    let mut here = command();
    here.build();
    for word in std::env::args_os().skip(1) {
        let Some(next) = word.to_str().and_then(|word| here.find_subcommand(word)).cloned() else {
            // Options of rbox itself may stand before the command.
            if walked.is_empty() {
                continue;
            } else {
                break;
            };
        };
        here = next.clone();
        walked.push(next);
    }
    walked
}

/// Go's strconv.ParseBool, which docker's boolean flags take.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text))),
    }
}

/// The moment that `--since` or `--until` names, in docker's words when it is none. An empty text names none.
fn moment(flag: &str, text: Option<&str>, now: &Zoned) -> Result<Option<Timestamp>> {
    let parsed = text.filter(|text| !text.is_empty()).map(|text| parse_moment(text, now)).transpose();
    parsed.map_err(|error| anyhow!("invalid value for {flag:?}: {error}"))
}

/// Prints a line of data; a reader that is gone ends the command quietly.
fn print_line(line: &str) -> Result<()> {
    print_text(&format!("{line}\n"))
}

fn print_text(text: &str) -> Result<()> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context(error::OUTPUT)
}

/// Prints a line about what was done. That nobody reads it must not stop what is left to do.
fn say(line: &str) -> Result<()> {
    match print_line(line) {
        Err(error) if error::is_broken_pipe(&error) => Ok(()),
        said => said,
    }
}

/// Does `work` for each argument and prints the argument as typed when it succeeds, as docker does;
/// goes on past failures.
fn each(arguments: &[String], work: impl Fn(&str) -> Result<()>) -> Result<ExitCode> {
    let mut report = Report::new(arguments);
    for (index, argument) in arguments.iter().enumerate() {
        report.add(index, work(argument))?;
    }
    Ok(report.code())
}

/// What `each` prints, in the order of the arguments, of work that may end in another.
struct Report<'a> {
    arguments: &'a [String],
    /// Those that could not be shown yet.
    outcomes: Vec<Option<Result<()>>>,
    shown: usize,
    failed: bool,
}

impl<'a> Report<'a> {
    fn new(arguments: &'a [String]) -> Self {
        Self { arguments, outcomes: arguments.iter().map(|_| None).collect(), shown: 0, failed: false }
    }

    /// The outcome of the argument at `index`.
    fn add(&mut self, index: usize, outcome: Result<()>) -> Result<()> {
        self.outcomes[index] = Some(outcome);
        while let Some(outcome) = self.outcomes.get_mut(self.shown).and_then(Option::take) {
            match outcome {
                Ok(()) => say(&self.arguments[self.shown])?,
                Err(error) => {
                    error::print(&error);
                    self.failed = true;
                }
            }
            self.shown += 1;
        }
        Ok(())
    }

    fn code(self) -> ExitCode {
        if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
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
    let store = context.store()?;
    match staging::count_abandoned(store)? + cgroup::count_abandoned(store)? + owner::count_abandoned(store)? {
        0 => Ok(()),
        _ => sweep_in_user_namespace(context),
    }
}

fn sweep_in_user_namespace(context: &Context) -> Result<()> {
    let store = context.store()?;
    userns::run_inside(store, || {
        cgroup::sweep(store)?;
        // What it takes out of the store is then among the rest.
        let (Cleanup::Complete | Cleanup::NeedsUserNamespace) = owner::sweep(store)?;
        Ok(staging::sweep(store).map(drop)?)
    })
}
