//! `network prune`: remove networks that no container is on.

use std::process::ExitCode;

use anyhow::Result;

use super::is_predefined;
use crate::cmd::Context;
use crate::cmd::prune::{PruneOptions, Report, Selection};
use crate::spec::event::{Happening, Subject};
use crate::store::networks::RemoveError;

/// Remove all unused networks
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    options: PruneOptions,
}

/// Runs the command. As docker, it goes by running containers: one that is stopped does not hold its
/// networks.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let selection = args.options.selection()?;
    if !args.options.confirmed("This will remove all custom networks not used by at least one container.")? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::default();
    prune(context, &selection, &mut report)?;
    Ok(report.code())
}

/// Removes the networks that match and that no running container is on.
pub(in crate::cmd) fn prune(context: &Context, selection: &Selection, report: &mut Report) -> Result<()> {
    let store = context.store()?;
    let networks = store.networks();
    let (mut all, _) = networks.list()?;
    all.retain(|network| !is_predefined(network) && selection.matches(network.created.parse().ok(), &network.labels));
    report.begin("Deleted Networks:");
    for network in &all {
        match networks.remove(network) {
            Ok(()) => report.deleted(&network.name, 0)?,
            Err(RemoveError::InUse { .. } | RemoveError::NotFound(_)) => {}
            Err(error) => report.failed(&error.into()),
        }
    }
    report.end()?;
    store.happened(Happening::of_prune(Subject::Network, 0));
    Ok(())
}
