//! `system`: look after the store.

mod df;
mod prune;
mod reset;
mod restart_all;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::{Context, error, events, finish_cleanup, info, pull, sweep_abandoned, sweep_in_user_namespace};
use crate::sandbox::{anchor, userns};
use crate::store::containers::{Container, RemoveError, Status};
use crate::store::{check, gc};

/// The commands.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Check(CheckArgs),
    Df(df::Args),
    Events(events::Args),
    Info(info::Args),
    Prune(prune::Args),
    Reset(reset::Args),
    RestartAll(restart_all::Args),
}

impl Command {
    /// Whether it changes the store and then ends.
    pub fn writes(&self) -> bool {
        matches!(self, Self::Prune(_))
    }

    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Check(args) => check(&args, context),
            Self::Df(args) => df::run(&args, context),
            Self::Events(args) => events::run(args, context),
            Self::Info(args) => info::run(args, context),
            Self::Prune(args) => prune::run(args, context),
            Self::Reset(args) => reset::run(&args, context),
            Self::RestartAll(_) => restart_all::run(context),
        }
    }
}

/// Verify the store: every blob, layer and record
#[derive(clap::Args, Debug)]
pub struct CheckArgs {
    /// Don't read the blobs of layers: look only whether they are there
    #[arg(short, long)]
    quick: bool,
    /// Remove corrupt blobs, extract missing layers again, set bad records aside
    #[arg(short, long)]
    repair: bool,
}

/// A --rm container whose supervisor was killed, or lost its power, has nobody else to remove it; nor has one
/// whose `run` ended before there was a supervisor.
fn remove_orphans(context: &Context) -> Result<()> {
    let containers = context.store()?.containers();
    let lost = containers.lost_in_power_loss()?;
    let (all, _) = containers.list()?;
    let mut left = Vec::new();
    for one in all.iter().filter(|one| one.config.auto_remove) {
        if one.status() == Status::Exited
            || one.config.ephemeral && one.status() == Status::Created && !one.is_supervised()?
        {
            left.push(one);
        }
    }
    for id in left.into_iter().map(Container::id).chain(&lost) {
        match containers.remove(id) {
            // It was only about to remove itself.
            Err(RemoveError::NotFound(_)) => {}
            removed => finish_cleanup(context, removed?)?,
        }
    }
    Ok(())
}

/// Exit code 0 when nothing is wrong or everything was repaired, else 1.
fn check(args: &CheckArgs, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    // What a crash left is no damage: it goes as with any other command.
    remove_orphans(context)?;
    store.containers().free_dangling_names().context("free names without containers")?;
    sweep_abandoned(context)?;
    gc::tidy(store)?;
    anchor::sweep_all(store).context("remove what killed processes of networks left")?;
    let findings = if args.quick { check::check_records(store)? } else { check::check(store)? };
    if !args.repair || findings.is_empty() {
        for finding in &findings {
            super::print_line(&finding.to_string())?;
        }
        return Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut worker = pull::unpack_worker(store)?;
    let mut failed = false;
    let options = check::RepairOptions { single_id: userns::is_single(store)?, limits: context.layer_limits()? };
    for repair in check::repair(store, findings, &mut worker, options) {
        let outcome = match &repair.outcome {
            Ok(done) => done.clone(),
            Err(error) => {
                failed = true;
                format!("not repaired: {error:#}")
            }
        };
        super::print_line(&format!("{}: {outcome}", repair.finding))?;
    }
    drop(worker);
    sweep_in_user_namespace(context)?;
    // A finding that could not be repaired was printed with its reason.
    if failed { Err(error::AlreadyReported(1).into()) } else { Ok(ExitCode::SUCCESS) }
}
