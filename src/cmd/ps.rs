//! `rbox ps`: the list of containers.

pub mod filter;
pub mod ports;
pub mod row;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use jiff::Timestamp;

use super::Context;
use super::format::filter::Filter;
use super::format::list::{Format, Listing, Row};
use super::format::text;
use super::usage;
use crate::store::Store;
use crate::store::containers::Container;

/// List containers
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Show only what matches (name, id, status, label, ancestor, exited, network, publish, expose, volume, before, since, until)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show the N last created containers, in any state
    #[arg(short = 'n', long, value_name = "N", default_value_t = -1, hide_default_value = true)]
    last: i64,
    /// Show the last created container, in any state
    #[arg(short, long)]
    latest: bool,
    /// Show the namespaces of the containers' first processes
    #[arg(long, visible_alias = "ns")]
    namespace: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Don't print the table's first line
    #[arg(long)]
    noheading: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
    /// Order of the list: by creation, the newest first, or by another value
    #[arg(long, value_name = "KEY", default_value = "created", hide_default_value = true)]
    sort: Sort,
    /// Show the list again every so many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    watch: Option<u32>,
}

/// Orders of the list. `Runningfor` is podman's other word for `Created`.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Created,
    Command,
    Id,
    Image,
    Names,
    Runningfor,
    Size,
    Status,
}

const LISTING: Listing = Listing {
    go_type: "*formatter.ContainerContext",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("HealthStatus", "HEALTH STATUS"),
        ("Size", "SIZE"),
        ("Names", "NAMES"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
        ("AutoRemove", "AUTOREMOVE"),
        ("CIDFile", "CIDFILE"),
        ("Created", "CREATED"),
        ("CreatedHuman", "CREATED"),
        ("ExitCode", "EXIT CODE"),
        ("Exited", "EXITED"),
        ("ExitedAt", "EXITED AT"),
        ("ExposedPorts", "EXPOSED PORTS"),
        ("ImageID", "IMAGE ID"),
        ("IsInfra", "IS INFRA"),
        ("Pid", "PID"),
        ("Pod", "POD"),
        ("PodName", "POD NAME"),
        ("Restarts", "RESTARTS"),
        ("StartedAt", "STARTED AT"),
        ("CGROUPNS", "CGROUPNS"),
        ("IPC", "IPC"),
        ("MNT", "MNT"),
        ("NET", "NET"),
        ("PIDNS", "PIDNS"),
        ("USERNS", "USERNS"),
        ("UTS", "UTS"),
    ],
};

const TABLE: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n\
                   state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\n\
                   labels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n";

/// podman's, of `--namespace`.
const NAMESPACES: &str = "table {{.ID}}\t{{.Names}}\t{{.Pid}}\t{{.CGROUPNS}}\t{{.IPC}}\t{{.MNT}}\t{{.NET}}\t\
                          {{.PIDNS}}\t{{.USERNS}}\t{{.UTS}}";

/// Prints the list, once or again and again.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    if args.namespace && (args.size || args.format.is_some()) {
        bail!("conflicting options: --namespace and --size or --format");
    }
    let Some(seconds) = args.watch else { return print(&args, context) };
    loop {
        if std::io::stdout().is_terminal() {
            super::print_text("\x1b[2J\x1b[H")?;
        }
        print(&args, context)?;
        std::thread::sleep(Duration::from_secs(seconds.into()));
    }
}

fn print(args: &Args, context: &Context) -> Result<ExitCode> {
    let mut format = Format::parse(&args.template())?;
    if args.noheading {
        format = format.without_heading();
    }
    let store = context.store()?;
    let (rows, damaged) = rows(args, &format, store, Timestamp::now())?;
    let mut out = Vec::new();
    let terminal = std::io::stdout().is_terminal();
    format.write(&mut out, LISTING, &rows, terminal)?;
    super::print_bytes(&out)?;
    if args.quiet && args.format.as_deref().is_some_and(|format| !matches!(format, "" | "table" | "raw")) {
        text::warn("WARNING: Ignoring custom format, because both --format and --quiet are set.");
    }
    damaged.iter().for_each(|message| text::warn(message));
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn template(&self) -> String {
        let size = |line: &str| if self.size { line.to_owned() } else { String::new() };
        match self.format.as_deref().unwrap_or_default() {
            "raw" if self.quiet => "container_id: {{.ID}}".to_owned(),
            _ if self.quiet => "{{.ID}}".to_owned(),
            _ if self.namespace => NAMESPACES.to_owned(),
            "" | "table" => format!("{TABLE}{}", size("\t{{.Size}}")),
            "raw" => format!("{RAW}{}", size("size: {{.Size}}\n")),
            custom => custom.to_owned(),
        }
    }

    /// How many containers are shown at most, when that was asked for.
    fn limit(&self) -> Option<usize> {
        let last = if self.latest { 1 } else { self.last };
        usize::try_from(last).ok().filter(|limit| *limit > 0)
    }
}

/// Sorts what is newest first; of equals the newest stays first.
fn sort(by: Sort, store: &Store, containers: &mut [Container]) {
    match by {
        Sort::Created | Sort::Runningfor => {}
        Sort::Command => containers.sort_by_cached_key(|one| one.config.argv()),
        Sort::Id => containers.sort_by_cached_key(|one| one.config.id.clone()),
        Sort::Image => containers.sort_by_cached_key(|one| one.config.image.clone()),
        Sort::Names => containers.sort_by_cached_key(|one| one.config.name.clone()),
        Sort::Size => containers.sort_by_cached_key(|one| usage::sizes(store, one).0),
        Sort::Status => containers.sort_by_cached_key(|one| one.status().to_string()),
    }
}

/// The rows, newest first, and a message for each container that cannot be read.
fn rows(args: &Args, format: &Format, store: &Store, now: Timestamp) -> Result<(Vec<Row>, Vec<String>)> {
    let (mut containers, damaged) = store.containers().list()?;
    let selection = filter::Selection::new(args.filter.clone(), store, &containers)?;
    let all = args.all || args.limit().is_some() || selection.includes_stopped();
    containers.retain(|container: &Container| (all || !container.is_at_rest()) && selection.matches(container));
    containers.truncate(args.limit().unwrap_or(usize::MAX));
    sort(args.sort, store, &mut containers);
    let mut images = row::ImageNames::new(store);
    let wants_size = args.size || (!args.quiet && format.mentions("Size"));
    let rows = containers.iter().map(|container| {
        let image = images.shown(container, args.no_trunc);
        let sizes = wants_size.then(|| usage::sizes(store, container));
        let row = row::row(container, &image, sizes, args.no_trunc, now);
        row.hidden(format.extra(row::EXTRA, container))
    });
    let rows = rows.collect();
    let message =
        |record: &crate::store::record::Quarantined| format!("container {} is damaged: {}", record.id, record.why);
    Ok((rows, damaged.iter().map(message).collect()))
}
