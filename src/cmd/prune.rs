//! `container prune`, `image prune`: remove what is not in use, and what `system prune` has of them.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use anyhow::Result;
use jiff::{Timestamp, Zoned};

use super::format::filter::{Filter, Filters};
use super::format::human::decimal_size;
use super::{Context, error, finish_cleanup, rm, rmi, say};
use crate::sandbox::measure;
use crate::spec::digest::Digest;
use crate::spec::event::{Happening, Subject};
use crate::spec::time::parse_moment;
use crate::store::Store;
use crate::store::containers::{Container, RemoveError};
use crate::store::images::{Image, Removed};
use crate::store::staging::Cleanup;
use crate::store::{gc, usage};

/// The flags of everything that is pruned by age and label.
#[derive(clap::Args, Debug, Default)]
pub(super) struct PruneOptions {
    /// Remove only what matches (until, label, label!)
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
}

impl PruneOptions {
    /// What was chosen.
    pub(super) fn selection(&self) -> Result<Selection> {
        Selection::new(self.filter.clone(), &["until", "label", "label!"])
    }

    /// Whether to go on: asks the user if need be.
    pub(super) fn confirmed(&self, warning: &str) -> Result<bool> {
        Ok(self.force || confirmed(warning)?)
    }
}

/// Remove all stopped containers
#[derive(clap::Args, Debug)]
pub struct ContainerArgs {
    #[command(flatten)]
    options: PruneOptions,
}

/// Remove unused images
#[derive(clap::Args, Debug)]
pub struct ImageArgs {
    /// Remove all images that no container uses, not just those without a tag
    #[arg(short, long)]
    all: bool,
    /// Remove only what matches (until, label, label!, dangling)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// Runs `container prune`.
pub fn containers(args: ContainerArgs, context: &Context) -> Result<ExitCode> {
    let selection = args.options.selection()?;
    if !args.options.confirmed("This will remove all stopped containers.")? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::default();
    prune_containers(context, &selection, &mut report)?;
    report.finish()
}

/// Removes the containers that match and do not run.
pub(super) fn prune_containers(context: &Context, selection: &Selection, report: &mut Report) -> Result<()> {
    let store = context.store()?;
    // Newest first: none is required by a later one.
    let (mut all, _) = store.containers().list()?;
    all.retain(|one| one.is_at_rest() && selection.matches(one.config.created.parse().ok(), &one.config.labels));
    let sizes = usage::containers(store, &all, &mut |trees| measure::sizes(store, trees))?;
    report.begin("Deleted Containers:");
    let before = report.reclaimed;
    let mut cleanup = Cleanup::Complete;
    for (container, bytes) in all.iter().zip(sizes) {
        match store.containers().remove(container.id()) {
            Ok(removed) => {
                cleanup = cleanup.and(removed);
                report.deleted(container.id().as_str(), bytes)?;
                if let Err(error) = rm::leave(store, container.id()) {
                    report.failed(&error);
                }
            }
            // Somebody else removed or started it meanwhile, or has to keep it.
            Err(
                RemoveError::NotFound(_)
                | RemoveError::Running { .. }
                | RemoveError::Restarting { .. }
                | RemoveError::Required { .. },
            ) => {}
            Err(error) => report.failed(&error.into()),
        }
    }
    report.end()?;
    store.happened(Happening::of_prune(Subject::Container, report.reclaimed - before));
    // Files of mapped ids, of all of them at once.
    finish_cleanup(context, cleanup)
}

/// Runs `image prune`.
pub fn images(args: ImageArgs, context: &Context) -> Result<ExitCode> {
    let selection = Selection::new(args.filter, &["until", "label", "label!", "dangling"])?;
    let mut all = args.all;
    for filter in selection.filters.of("dangling") {
        all = !filter.boolean()?;
    }
    let warning = if all {
        "This will remove all images without at least one container associated to them."
    } else {
        "This will remove all dangling images."
    };
    if !args.force && !confirmed(warning)? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::default();
    prune_images(context, all, &selection, &mut report)?;
    report.finish()
}

/// Removes the images that match and that no container is made from: those without a tag, or all.
pub(super) fn prune_images(context: &Context, all: bool, selection: &Selection, report: &mut Report) -> Result<()> {
    let store = context.store()?;
    // What goes is counted by what is known of the layers.
    usage::layers(store, &mut |trees| measure::sizes(store, trees))?;
    let mut removed = Vec::new();
    let mut bytes = 0;
    for image in unused_images(store, all, selection)? {
        bytes += usage::image_names(store, &image)?;
        removed.extend(store.images().forget(&image)?.into_iter().map(Removed::Untagged));
        removed.push(Removed::Deleted(image.id));
    }
    // One collection for all: each looks at the whole store.
    let collected = gc::collect(store)?;
    report.begin("Deleted Images:");
    for removed in removed.into_iter().chain(collected.layers.iter().copied().map(Removed::Deleted)) {
        // Here docker writes the words small.
        let line = removed.to_string().replacen("Untagged", "untagged", 1).replacen("Deleted", "deleted", 1);
        report.deleted(&line, 0)?;
    }
    report.reclaimed += collected.bytes + bytes;
    report.end()?;
    store.happened(Happening::of_prune(Subject::Image, collected.bytes + bytes));
    rmi::finish_collection(context, &collected)
}

/// The images that match and that no container is made from.
fn unused_images(store: &Store, all: bool, selection: &Selection) -> Result<Vec<Image>> {
    let (containers, _) = store.containers().list()?;
    let used: HashSet<Digest> = containers.iter().flat_map(Container::images).collect();
    let (mut images, _) = store.images().list()?;
    let mut summaries = store.images().summaries();
    images.retain(|image| {
        let used = used.contains(&image.id);
        let summary = summaries.read(image.id).unwrap_or_default();
        let created = summary.created.and_then(|text| text.parse().ok());
        !used && (all || image.tags.is_empty()) && selection.matches(created, &summary.labels)
    });
    Ok(images)
}

/// `--filter` of the prune commands.
#[derive(Default)]
pub(super) struct Selection {
    pub(super) filters: Filters,
    /// Only what was created before.
    until: Option<Timestamp>,
}

impl Selection {
    /// Checks them; `known` are the keys that the command has.
    pub(super) fn new(filters: Vec<Filter>, known: &[&str]) -> Result<Self> {
        let filters = Filters::new(filters, known)?;
        let now = Zoned::now();
        let mut until: Option<Timestamp> = None;
        for filter in filters.of("until") {
            let moment = parse_moment(&filter.value, &now).map_err(|error| filter.invalid(error.to_string()))?;
            until = Some(until.map_or(moment, |other| other.min(moment)));
        }
        Ok(Self { filters, until })
    }

    /// Whether what was created then, with these labels, was meant.
    pub(super) fn matches(&self, created: Option<Timestamp>, labels: &BTreeMap<String, String>) -> bool {
        self.filters.labels(labels) && self.until.is_none_or(|until| created.is_some_and(|created| created < until))
    }
}

/// Asks; anything but y or Y, or the end of the input, means no.
pub(super) fn confirmed(warning: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    write!(out, "WARNING! {warning}\nAre you sure you want to continue? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}

/// docker's lines about what was removed: groups with a title, each followed by an empty line.
#[derive(Default)]
pub(super) struct Report {
    title: Option<&'static str>,
    /// Whether the group has a line.
    begun: bool,
    pub(super) reclaimed: u64,
    failed: bool,
}

impl Report {
    /// Begins a group, whose title is printed before its first line.
    pub(super) fn begin(&mut self, title: &'static str) {
        (self.title, self.begun) = (Some(title), false);
    }

    /// Prints what was removed; `bytes` are what that freed.
    pub(super) fn deleted(&mut self, line: &str, bytes: u64) -> Result<()> {
        if let Some(title) = self.title.take() {
            say(title)?;
            self.begun = true;
        }
        self.reclaimed += bytes;
        say(line)
    }

    /// Notes what could not be removed; it goes on.
    pub(super) fn failed(&mut self, error: &anyhow::Error) {
        error::print(error);
        self.failed = true;
    }

    /// Ends a group.
    pub(super) fn end(&mut self) -> Result<()> {
        if std::mem::take(&mut self.begun) { say("") } else { Ok(()) }
    }

    /// The exit code, without docker's last line.
    pub(super) fn code(&self) -> ExitCode {
        if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// Prints the sum.
    pub(super) fn finish(self) -> Result<ExitCode> {
        say(&format!("Total reclaimed space: {}", decimal_size(self.reclaimed, 4)))?;
        Ok(self.code())
    }
}
