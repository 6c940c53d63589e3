//! `buildx du`: what the build cache takes on disk.

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;

use crate::build::cache::prune::{self, Entry};
use crate::cmd::format::filter::Filter;
use crate::cmd::format::human::{decimal_size, elapsed_since};
use crate::cmd::format::table::{self, Layout};
use crate::cmd::format::text::clean_line;
use crate::cmd::{Context, print_text};
use crate::sandbox::measure;

/// Show what the build cache takes on disk
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Accepted for compatibility: there is one builder
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,
    /// Show only what matches (id, type, description, shared, private, inuse, ...)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Show everything of each entry
    #[arg(long)]
    verbose: bool,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let mut options = prune::PruneOptions { all: true, ..prune::PruneOptions::default() };
    for filter in &args.filter {
        options.filter(&filter.key, &filter.value)?;
    }
    let store = context.store()?;
    let mut entries = prune::list(store, &mut |trees| measure::sizes(store, trees))?;
    entries.retain(|entry| options.matches(entry));
    entries.reverse();
    let now = Timestamp::now();
    let mut text = if args.verbose { details(&entries, now) } else { rows(&entries, now) };
    let sum = |wanted: &dyn Fn(&Entry) -> bool| {
        let bytes = entries.iter().filter(|entry| wanted(entry)).map(|entry| entry.size).sum();
        decimal_size(bytes, 4)
    };
    let totals = format!(
        "Shared:\t{}\nPrivate:\t{}\nReclaimable:\t{}\nTotal:\t{}\n",
        sum(&|entry| entry.shared),
        sum(&|entry| !entry.shared),
        sum(&|entry| !entry.in_use),
        sum(&|_| true)
    );
    text.push_str(&table::align(&totals, Layout::VERSION));
    print_text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn used(entry: &Entry, now: Timestamp) -> String {
    Timestamp::try_from(entry.last_used).map_or_else(|_| String::new(), |used| elapsed_since(used, now) + " ago")
}

fn rows(entries: &[Entry], now: Timestamp) -> String {
    let mut text = String::from("ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED\n");
    for entry in entries {
        let size = decimal_size(entry.size, 4);
        let mark = if entry.shared { "*" } else { "" };
        let id = entry.id.get(..25).unwrap_or(&entry.id);
        text.push_str(&format!("{id}{mark}\t{}\t{size}\t{}\n", !entry.in_use, used(entry, now)));
    }
    table::align(&text, Layout::LIST)
}

fn details(entries: &[Entry], now: Timestamp) -> String {
    let mut text = String::new();
    for entry in entries {
        let fields = format!(
            "ID:\t{}\nCreated at:\t{}\nMutable:\t{}\nReclaimable:\t{}\nShared:\t{}\nSize:\t{}\nDescription:\t{}\n\
             Last used:\t{}\nType:\t{}\n",
            entry.id,
            entry.created.as_deref().unwrap_or_default(),
            entry.kind == prune::CACHE_MOUNT,
            !entry.in_use,
            entry.shared,
            decimal_size(entry.size, 4),
            clean_line(&entry.description),
            used(entry, now),
            entry.kind
        );
        text.push_str(&table::align(&fields, Layout::VERSION));
        text.push('\n');
    }
    text
}
