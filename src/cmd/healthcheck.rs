//! `healthcheck`: podman's command about health checks.

use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};

use super::Context;
use super::error::WithCode;
use crate::sandbox::client::Client;
use crate::sandbox::health::CheckReport;
use crate::spec::health::{HealthCheck, Status};

/// The commands.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Run(RunArgs),
}

impl Command {
    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Run(args) => run(&args, context),
        }
    }
}

/// Run the health check of a container now
#[derive(clap::Args, Debug)]
pub struct RunArgs {
    /// Exit with 0 although the check has failed
    #[arg(long)]
    ignore_result: bool,
    /// Container by name, id or unique prefix
    container: String,
}

fn run(args: &RunArgs, context: &Context) -> Result<ExitCode> {
    let report = check(args, context).or_exit(125)?;
    if report.result.exit_code == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let status = if report.status == Status::Starting { Status::Starting } else { Status::Unhealthy };
    super::print_line(status.as_str())?;
    Ok(if args.ignore_result { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The supervisor runs it, so that there is never more than one.
fn check(args: &RunArgs, context: &Context) -> Result<CheckReport> {
    let container = context.store()?.containers().find(&args.container)?;
    let none = || anyhow!("container {} has no defined healthcheck", container.id());
    if !container.config.health.as_ref().is_some_and(HealthCheck::is_set) {
        return Err(none());
    }
    let not_running = || anyhow!("container {} is not running", container.id());
    if !container.is_running() || container.state.paused.is_some() {
        return Err(not_running());
    }
    let client = Client::examine(&container).context("reach the container's supervisor")?.ok_or_else(not_running)?;
    match client.check() {
        Ok(report) => report.ok_or_else(none),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            bail!("the container ended before its check did")
        }
        Err(error) => Err(error).context("hear of the health check"),
    }
}
