//! `builder prune` and `buildx prune`: remove what the build cache holds.

use std::process::ExitCode;

use anyhow::Result;

use crate::build::cache::prune::{self, PruneOptions};
use crate::cmd::format::filter::Filter;
use crate::cmd::prune::{Report, confirmed};
use crate::cmd::{Context, finish_cleanup};
use crate::sandbox::measure;
use crate::spec::size;
use crate::store::staging::Cleanup;

/// Remove what the build cache holds
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Remove what images share, too
    #[arg(short, long)]
    all: bool,
    /// Accepted for compatibility: there is one builder
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,
    /// Remove only what matches (until, type, id, description, inuse, shared, private)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Keep so much, what was used last
    #[arg(long, alias = "keep-storage", value_name = "BYTES", value_parser = size::parse_bytes)]
    reserved_space: Option<u64>,
    /// Remove only what is beyond so much
    #[arg(long, value_name = "BYTES", value_parser = size::parse_bytes)]
    max_used_space: Option<u64>,
    /// Show what each entry was
    #[arg(long)]
    verbose: bool,
}

impl Args {
    fn options(&self) -> Result<PruneOptions> {
        let mut options = PruneOptions {
            all: self.all,
            reserved: self.reserved_space,
            max_used: self.max_used_space,
            ..PruneOptions::default()
        };
        for filter in &self.filter {
            options.filter(&filter.key, &filter.value)?;
        }
        Ok(options)
    }
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let options = args.options()?;
    let what = if args.all { "all" } else { "all dangling" };
    if !args.force && !confirmed(&format!("This will remove {what} build cache."))? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::default();
    prune(context, &options, args.verbose, &mut report)?;
    report.finish()
}

/// Removes what the options say, and tells of it.
fn prune(context: &Context, options: &PruneOptions, verbose: bool, report: &mut Report) -> Result<()> {
    let store = context.store()?;
    let pruned = prune::prune(store, options, &mut |trees| measure::sizes(store, trees))?;
    report.begin("Deleted build cache objects:");
    for entry in &pruned.entries {
        let line = if verbose { format!("{}  {}", entry.id, entry.description) } else { entry.id.clone() };
        report.deleted(&line, 0)?;
    }
    report.end()?;
    report.reclaimed += pruned.bytes;
    if pruned.needs_user_namespace {
        finish_cleanup(context, Cleanup::NeedsUserNamespace)?;
    }
    Ok(())
}
