//! `volume prune`: remove volumes that no container uses.

use std::process::ExitCode;

use anyhow::Result;

use crate::cmd::format::filter::Filter;
use crate::cmd::prune::{Report, Selection, confirmed};
use crate::cmd::{Context, finish_cleanup};
use crate::sandbox::measure;
use crate::spec::event::{Happening, Subject};
use crate::store::staging::Cleanup;
use crate::store::usage;
use crate::store::volumes::RemoveError;

/// Remove anonymous volumes that no container uses
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Remove all volumes that no container uses, not just those without a name
    #[arg(short, long)]
    all: bool,
    /// Remove only what matches (all, anonymous, label, label!, until)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

const KEYS: &[&str] = &["all", "anonymous", "label", "label!", "until"];

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let selection = Selection::new(args.filter, KEYS)?;
    let mut all = args.all;
    for filter in selection.filters.of("all") {
        all = filter.boolean()?;
    }
    for filter in selection.filters.of("anonymous") {
        filter.boolean()?;
    }
    let kind = if all { "all" } else { "anonymous" };
    let warning = format!("This will remove {kind} local volumes not used by at least one container.");
    if !args.force && !confirmed(&warning)? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::default();
    prune(context, all, &selection, &mut report)?;
    report.finish()
}

/// Removes the volumes that match and that no container names: those without a name, or all.
pub(in crate::cmd) fn prune(context: &Context, all: bool, selection: &Selection, report: &mut Report) -> Result<()> {
    let store = context.store()?;
    let volumes = store.volumes();
    let users = volumes.users()?;
    let (mut unused, _) = volumes.list()?;
    unused.retain(|volume| {
        let anonymous = |filter: &Filter| filter.boolean() == Ok(volume.anonymous);
        (all || volume.anonymous)
            && users.is_free(&volume.name)
            && selection.filters.of("anonymous").all(anonymous)
            && selection.matches(volume.created.parse().ok(), &volume.labels)
    });
    let names: Vec<&str> = unused.iter().map(|volume| volume.name.as_str()).collect();
    let sizes = usage::volumes(store, &names, &mut |trees| measure::sizes(store, trees))?;
    report.begin("Deleted Volumes:");
    let before = report.reclaimed;
    let mut cleanup = Cleanup::Complete;
    for (name, bytes) in names.into_iter().zip(sizes) {
        match volumes.remove(name) {
            Ok(removed) => {
                cleanup = cleanup.and(removed);
                report.deleted(name, bytes)?;
            }
            // Somebody else removed it or made a container for it meanwhile.
            Err(RemoveError::InUse { .. } | RemoveError::NotFound(_)) => {}
            Err(error) => report.failed(&error.into()),
        }
    }
    report.end()?;
    store.happened(Happening::of_prune(Subject::Volume, report.reclaimed - before));
    finish_cleanup(context, cleanup)
}
