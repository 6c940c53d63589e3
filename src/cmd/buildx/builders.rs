//! The builder: one, by any name.

use std::process::ExitCode;

use anyhow::Result;

use crate::cmd::format::table::{self, Layout};
use crate::cmd::version::VERSION;
use crate::cmd::{print_line, print_text};
use crate::spec::platform::Platform;

/// What it is called unless somebody gives it another name.
const NAME: &str = "default";

/// Accept that a builder is made: there is one already
#[derive(clap::Args, Debug)]
pub struct CreateArgs {
    /// Accepted for compatibility: it needs no start
    #[arg(long)]
    bootstrap: bool,
    /// Accepted for compatibility: builds take place in this process
    #[arg(long, value_name = "DRIVER")]
    driver: Option<String>,
    /// Accepted for compatibility: it has no options
    #[arg(long, value_name = "OPTION")]
    driver_opt: Vec<String>,
    /// Name of the builder, which is printed
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Accepted for compatibility: it builds for all platforms that this machine runs
    #[arg(long, value_name = "OS/ARCH")]
    platform: Vec<String>,
    /// Accepted for compatibility: it is used anyway
    #[arg(long = "use")]
    make_current: bool,
    /// Accepted for compatibility
    #[arg(value_name = "BUILDER")]
    context: Option<String>,
}

/// Show the builder
#[derive(clap::Args, Debug)]
pub struct InspectArgs {
    /// Accepted for compatibility: it needs no start
    #[arg(long)]
    bootstrap: bool,
    /// Name of the builder, any
    #[arg(value_name = "BUILDER")]
    name: Option<String>,
}

/// List the builder
#[derive(clap::Args, Debug)]
pub struct LsArgs {
    /// Accepted for compatibility: nothing is cut off
    #[arg(long)]
    no_trunc: bool,
}

/// Accept that a builder is removed: the one there is stays
#[derive(clap::Args, Debug)]
pub struct RmArgs {
    /// Accepted for compatibility
    #[arg(short, long)]
    force: bool,
    /// Names of builders, any
    #[arg(value_name = "BUILDER")]
    names: Vec<String>,
}

/// Accept that a builder is stopped: it runs only while it builds
#[derive(clap::Args, Debug)]
pub struct StopArgs {
    /// Name of the builder, any
    #[arg(value_name = "BUILDER")]
    name: Option<String>,
}

/// Accept the choice of a builder: there is one
#[derive(clap::Args, Debug)]
pub struct UseArgs {
    /// Accepted for compatibility
    #[arg(long)]
    default: bool,
    /// Accepted for compatibility
    #[arg(long)]
    global: bool,
    /// Name of the builder, any
    #[arg(value_name = "BUILDER")]
    name: String,
}

/// Show the version
#[derive(clap::Args, Debug)]
pub struct VersionArgs {}

/// Prints the name.
pub fn create(args: &CreateArgs) -> Result<ExitCode> {
    print_line(args.name.as_deref().unwrap_or(NAME))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what is known.
pub fn inspect(args: &InspectArgs) -> Result<ExitCode> {
    let name = args.name.as_deref().unwrap_or(NAME);
    let platform = Platform::host();
    print_text(&table::align(
        &format!(
            "Name:\t{name}\nDriver:\trbox\n\nNodes:\nName:\t{name}\nEndpoint:\tlocal\nStatus:\trunning\n\
             BuildKit version:\t{VERSION}\nPlatforms:\t{platform}\n"
        ),
        Layout::VERSION,
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the table.
pub fn ls(_: &LsArgs) -> Result<ExitCode> {
    let platform = Platform::host();
    print_text(&table::align(
        &format!(
            "NAME/NODE\tDRIVER/ENDPOINT\tSTATUS\tBUILDKIT\tPLATFORMS\n{NAME}*\trbox\t\t\t\n \\_ {NAME}\t \\_ local\t\
             running\t{VERSION}\t{platform}\n"
        ),
        Layout::LIST,
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the program and its version.
pub fn version(_: &VersionArgs) -> Result<ExitCode> {
    print_line(&format!("rbox buildx v{VERSION}"))?;
    Ok(ExitCode::SUCCESS)
}
