//! `system prune`: everything that is not in use.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::build::cache::prune::{self as cache, PruneOptions};
use crate::cmd::prune::{PruneOptions as Options, Report, prune_containers, prune_images};
use crate::cmd::{Context, finish_cleanup, network, volume};
use crate::sandbox::measure;
use crate::store::gc;
use crate::store::staging::Cleanup;

/// Remove stopped containers, unused networks and unused images
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Remove all images that no container uses, not just those without a tag
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    options: Options,
    /// Remove anonymous volumes that no container uses, too
    #[arg(long)]
    volumes: bool,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let selection = args.options.selection()?;
    if args.volumes && selection.filters.has("until") {
        bail!("The \"until\" filter is not supported with \"--volumes\"");
    }
    if !args.options.confirmed(&args.warning())? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::default();
    prune_containers(context, &selection, &mut report)?;
    network::prune::prune(context, &selection, &mut report)?;
    if args.volumes {
        volume::prune::prune(context, false, &selection, &mut report)?;
    }
    prune_images(context, args.all, &selection, &mut report)?;
    prune_build_cache(context, &args, &mut report)?;
    if args.options.filter.is_empty() {
        prune_shifted(context, &mut report)?;
    }
    report.finish()
}

/// What is asked for by labels is no build cache, which has none.
fn prune_build_cache(context: &Context, args: &Args, report: &mut Report) -> Result<()> {
    let store = context.store()?;
    let mut options = PruneOptions { all: args.all, ..PruneOptions::default() };
    for filter in &args.options.filter {
        if filter.key != "until" || options.filter(&filter.key, &filter.value).is_err() {
            return Ok(());
        }
    }
    let pruned = cache::prune(store, &options, &mut |trees| measure::sizes(store, trees))?;
    report.reclaimed += pruned.bytes;
    let cleanup = if pruned.needs_user_namespace { Cleanup::NeedsUserNamespace } else { Cleanup::Complete };
    finish_cleanup(context, cleanup)
}

/// Removes the layers for other ids that no container uses; they are made again when one does.
fn prune_shifted(context: &Context, report: &mut Report) -> Result<()> {
    let store = context.store()?;
    let bytes = || -> Result<u64> {
        let paths: Vec<_> = store.all_shifted()?.iter().map(|layer| store.shifted_path(layer)).collect();
        Ok(if paths.is_empty() { 0 } else { measure::sizes(store, &paths)?.iter().sum() })
    };
    let before = bytes()?;
    if before > 0 {
        finish_cleanup(context, gc::collect_shifted(store)?)?;
        report.reclaimed += before.saturating_sub(bytes()?);
    }
    Ok(())
}

impl Args {
    /// docker's list of what will go.
    fn warning(&self) -> String {
        let mut items = vec!["all stopped containers", "all networks not used by at least one container"];
        if self.volumes {
            items.push("all anonymous volumes not used by at least one container");
        }
        items.push(if self.all {
            "all images without at least one container associated to them"
        } else {
            "all dangling images"
        });
        items.push(if self.all { "all build cache" } else { "unused build cache" });
        let mut text = String::from("This will remove:\n");
        items.iter().for_each(|item| text.push_str(&format!("  - {item}\n")));
        if !self.options.filter.is_empty() {
            text.push_str("\n  Items to be pruned will be filtered with:\n");
            self.options
                .filter
                .iter()
                .for_each(|filter| text.push_str(&format!("  - {}={}\n", filter.key, filter.value)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_of_docker() {
        let mut args = Args { all: false, options: Options::default(), volumes: false };
        assert_eq!(
            args.warning(),
            "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  \
             - all dangling images\n  - unused build cache\n"
        );
        let options = Options { filter: vec!["label=a=b".parse().unwrap()], force: false };
        args = Args { all: true, options, volumes: true };
        assert_eq!(
            args.warning(),
            "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  \
             - all anonymous volumes not used by at least one container\n  - all images without at least one container \
             associated to them\n  - all build cache\n\n  Items to be pruned will be filtered with:\n  - label=a=b\n"
        );
    }
}
