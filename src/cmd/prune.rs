//! `container prune`, `image prune`: remove what is not in use.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use anyhow::Result;
use jiff::{Timestamp, Zoned};

use super::format::filter::{Filter, Filters};
use super::format::human::decimal_size;
use super::{Context, error, finish_cleanup, rmi, say, usage};
use crate::spec::time::parse_moment;
use crate::store::Store;
use crate::store::containers::{Container, RemoveError};
use crate::store::gc;
use crate::store::images::{Image, Removed};

/// Remove all stopped containers
#[derive(clap::Args, Debug)]
pub struct ContainerArgs {
    /// Remove only what matches (until, label, label!)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
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
    let selection = Selection::new(args.filter, &["until", "label", "label!"])?;
    if !args.force && !confirmed("This will remove all stopped containers.")? {
        return Ok(ExitCode::SUCCESS);
    }
    let store = context.store()?;
    let (mut all, _) = store.containers().list()?;
    all.retain(|one| !one.is_running() && selection.matches(one.config.created.parse().ok(), &one.config.labels));
    let mut report = Report::new("Deleted Containers:");
    for container in &all {
        // What a container wrote is gone when it is removed.
        let (written, _) = usage::sizes(store, container);
        match remove(context, container) {
            Ok(true) => report.deleted(container.id().as_str(), written)?,
            Ok(false) => {}
            Err(error) => report.failed(&error),
        }
    }
    report.finish()
}

/// False when it was removed or started by somebody else meanwhile.
fn remove(context: &Context, container: &Container) -> Result<bool> {
    match context.store()?.containers().remove(container.id()) {
        Err(RemoveError::NotFound(_) | RemoveError::Running { .. }) => Ok(false),
        removed => finish_cleanup(context, removed?).map(|()| true),
    }
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
    let store = context.store()?;
    let mut report = Report::new("Deleted Images:");
    let mut untagged = Vec::new();
    for image in unused_images(store, all, &selection)? {
        untagged.extend(store.images().forget(&image)?.into_iter().map(Removed::Untagged));
        untagged.push(Removed::Deleted(image.id));
    }
    // One collection for all: each looks at the whole store.
    let collected = gc::collect(store)?;
    for removed in untagged.into_iter().chain(collected.layers.iter().copied().map(Removed::Deleted)) {
        // Here docker writes the words small.
        let line = removed.to_string().replacen("Untagged", "untagged", 1).replacen("Deleted", "deleted", 1);
        report.deleted(&line, 0)?;
    }
    report.reclaimed += collected.bytes;
    rmi::finish_collection(context, &collected)?;
    report.finish()
}

/// The images that match and that no container is made from.
fn unused_images(store: &Store, all: bool, selection: &Selection) -> Result<Vec<Image>> {
    let (containers, _) = store.containers().list()?;
    let (mut images, _) = store.images().list()?;
    let mut summaries = store.images().summaries();
    images.retain(|image| {
        let used = containers.iter().any(|container| container.image_id() == Some(image.id));
        let summary = summaries.read(image.id).unwrap_or_default();
        let created = summary.created.and_then(|text| text.parse().ok());
        !used && (all || image.tags.is_empty()) && selection.matches(created, &summary.labels)
    });
    Ok(images)
}

/// `--filter` of the prune commands.
pub(super) struct Selection {
    filters: Filters,
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

/// docker's lines about what was removed.
struct Report {
    title: Option<&'static str>,
    reclaimed: u64,
    failed: bool,
}

impl Report {
    fn new(title: &'static str) -> Self {
        Self { title: Some(title), reclaimed: 0, failed: false }
    }

    fn deleted(&mut self, line: &str, bytes: u64) -> Result<()> {
        if let Some(title) = self.title.take() {
            say(title)?;
        }
        self.reclaimed += bytes;
        say(line)
    }

    fn failed(&mut self, error: &anyhow::Error) {
        error::print(error);
        self.failed = true;
    }

    fn finish(self) -> Result<ExitCode> {
        if self.title.is_none() {
            say("")?;
        }
        say(&format!("Total reclaimed space: {}", decimal_size(self.reclaimed, 4)))?;
        Ok(if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
