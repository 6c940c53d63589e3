//! `system df`: what the store takes on disk.

mod verbose;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;

use crate::build::cache;
use crate::build::cache::prune::Entry;
use crate::cmd::Context;
use crate::cmd::format::document;
use crate::cmd::format::human::decimal_size;
use crate::cmd::format::list::{Format, Listing, Row};
use crate::sandbox::measure;
use crate::store::containers::Container;
use crate::store::usage::{self, ImagesUsage, Usage};
use crate::store::volumes::Users;

/// Show how much disk images, containers and volumes take
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show each image, container and volume, and everything else that is in the store
    #[arg(short, long)]
    verbose: bool,
}

const LISTING: Listing = Listing {
    go_type: "*formatter.diskUsageContext",
    titles: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Total", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("RawSize", "RAW SIZE"),
        ("RawReclaimable", "RAW RECLAIMABLE"),
    ],
};

const TABLE: &str = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const RAW: &str =
    "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n";

/// What was measured, and of what.
struct Facts {
    usage: Usage,
    images: ImagesUsage,
    containers: Vec<Container>,
    users: Users,
    build: Vec<Entry>,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    let usage = usage::measure(store, &mut |trees| measure::sizes(store, trees))?;
    let (containers, damaged) = store.containers().list()?;
    let users = Users::of(&containers, &damaged);
    let build = cache::prune::list(store, &mut |trees| measure::sizes(store, trees))?;
    let facts = Facts { images: usage.by_image(store, &containers)?, usage, containers, users, build };
    let mut out = Vec::new();
    let terminal = std::io::stdout().is_terminal();
    match args.format.as_deref().unwrap_or_default() {
        "" | "table" if args.verbose => verbose::write(&mut out, store, &facts, Timestamp::now())?,
        format if args.verbose => {
            let all = verbose::document(store, &facts, Timestamp::now())?;
            document::write(&mut out, format, &all, "formatter.diskUsage", terminal)?;
        }
        format => {
            let format = match format {
                "" | "table" => TABLE,
                "raw" => RAW,
                custom => custom,
            };
            Format::parse(format)?.write(&mut out, LISTING, &facts.rows(), terminal)?;
        }
    }
    crate::cmd::print_bytes(&out)?;
    Ok(ExitCode::SUCCESS)
}

impl Facts {
    /// docker's four rows.
    fn rows(&self) -> Vec<Row> {
        let containers: u64 = self.usage.containers.values().sum();
        let is_running = |one: &&Container| one.is_running();
        let running: u64 =
            self.containers.iter().filter(is_running).filter_map(|one| self.usage.containers.get(one.id())).sum();
        let used = self.images.images.keys().filter(|id| self.images.used.contains(*id)).count();
        let volumes = &self.usage.volumes;
        let free: u64 = volumes.iter().filter(|(name, _)| self.users.is_free(name)).map(|(_, bytes)| bytes).sum();
        let mounted = volumes.keys().filter(|name| !self.users.of_volume(name).is_empty()).count();
        let active = self.containers.iter().filter(is_running).count();
        let in_use = self.build.iter().filter(|entry| entry.in_use).count();
        let sum =
            |is: &dyn Fn(&Entry) -> bool| self.build.iter().filter(|entry| is(entry)).map(|entry| entry.size).sum();
        vec![
            row("Images", [self.images.images.len(), used], self.usage.images(), self.images.reclaimable),
            row("Containers", [self.usage.containers.len(), active], containers, containers - running),
            row("Local Volumes", [volumes.len(), mounted], volumes.values().sum(), free),
            row(
                "Build Cache",
                [self.build.len(), in_use],
                sum(&|_| true),
                sum(&|entry| !entry.in_use && !entry.shared),
            ),
        ]
    }
}

fn row(kind: &str, [total, active]: [usize; 2], size: u64, reclaimable: u64) -> Row {
    let share = (reclaimable * 100).checked_div(size).map(|share| format!(" ({share}%)")).unwrap_or_default();
    Row::new([
        ("Type", kind.to_owned()),
        ("TotalCount", total.to_string()),
        ("Active", active.to_string()),
        ("Size", decimal_size(size, 4)),
        ("Reclaimable", format!("{}{share}", decimal_size(reclaimable, 4))),
    ])
    .hidden([
        ("Total", total.to_string()),
        ("RawSize", size.to_string()),
        ("RawReclaimable", reclaimable.to_string()),
    ])
}
