//! `volume ls`: the list of volumes.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Result;
use jiff::{Timestamp, Zoned};

use crate::cmd::format::filter::{Filter, FilterError, Filters};
use crate::cmd::format::list::{Extra, Format, Listing, Row};
use crate::cmd::format::text;
use crate::cmd::{Context, print_bytes};
use crate::spec::time::parse_moment;
use crate::spec::volume::{DRIVER, Volume};
use crate::store::Store;
use crate::store::volumes::Users;

/// List volumes
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Accepted for compatibility: there are no cluster volumes
    #[arg(long)]
    cluster: bool,
    /// Show only what matches (after, anonymous, dangling, driver, label, label!, name, opt, scope, since, until)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Don't print the table's first line
    #[arg(short = 'n', long)]
    noheading: bool,
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
}

const LISTING: Listing = Listing {
    go_type: "*formatter.volumeContext",
    titles: &[
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
        ("Group", "GROUP"),
        ("Availability", "AVAILABILITY"),
        ("Anonymous", "ANONYMOUS"),
        ("CreatedAt", "CREATED AT"),
        ("Options", "OPTIONS"),
    ],
};

const TABLE: &str = "table {{.Driver}}\t{{.Name}}";
const RAW: &str = "name: {{.Name}}\ndriver: {{.Driver}}\n";

/// Prints the list.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let mut format = Format::parse(&args.template())?;
    if args.noheading {
        format = format.without_heading();
    }
    let store = context.store()?;
    let selection = Selection::new(args.filter, store)?;
    let (volumes, damaged) = store.volumes().list()?;
    let chosen = volumes.iter().filter(|volume| selection.matches(volume));
    let rows: Vec<Row> = chosen.map(|volume| row(store, volume).hidden(format.extra(EXTRA, volume))).collect();
    let mut out = Vec::new();
    format.write(&mut out, LISTING, &rows, std::io::stdout().is_terminal())?;
    print_bytes(&out)?;
    for record in damaged {
        text::warn(&format!("volume {} is damaged: {}", record.id, record.why));
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn template(&self) -> String {
        match self.format.as_deref().unwrap_or_default() {
            "" | "table" if self.quiet => "{{.Name}}".to_owned(),
            "raw" if self.quiet => "name: {{.Name}}".to_owned(),
            "" | "table" => TABLE.to_owned(),
            "raw" => RAW.to_owned(),
            custom => custom.to_owned(),
        }
    }
}

fn row(store: &Store, volume: &Volume) -> Row {
    let unknown = || "N/A".to_owned();
    let labels: Vec<String> = volume.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Row::new([
        ("Availability", unknown()),
        ("Driver", DRIVER.to_owned()),
        ("Group", unknown()),
        ("Labels", labels.join(",")),
        ("Links", unknown()),
        ("Mountpoint", store.volumes().data_path(&volume.name).to_string_lossy().into_owned()),
        ("Name", volume.name.clone()),
        ("Scope", "local".to_owned()),
        ("Size", unknown()),
        ("Status", unknown()),
    ])
    .labels(volume.labels.clone())
}

/// podman's further fields, for templates that name them.
const EXTRA: &Extra<Volume> = &[
    ("Anonymous", |volume| volume.anonymous.to_string()),
    ("CreatedAt", |volume| volume.created.clone()),
    ("Options", |volume| {
        let pairs: Vec<String> = volume.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join(",")
    }),
];

const KEYS: &[&str] =
    &["after", "anonymous", "dangling", "driver", "label", "label!", "name", "opt", "scope", "since", "until"];

/// `--filter`, by docker's rules and with podman's keys.
struct Selection {
    filters: Filters,
    until: Vec<Timestamp>,
    /// Created after these.
    since: Vec<Timestamp>,
    /// Only where it matters who uses which.
    users: Option<Users>,
}

impl Selection {
    fn new(filters: Vec<Filter>, store: &Store) -> Result<Self> {
        let filters = Filters::new(filters, KEYS)?;
        for filter in filters.of("dangling").chain(filters.of("anonymous")) {
            filter.boolean()?;
        }
        let now = Zoned::now();
        let moment =
            |filter: &Filter| parse_moment(&filter.value, &now).map_err(|error| filter.invalid(error.to_string()));
        // podman names a volume there, or a moment.
        let since = |filter: &Filter| match store.volumes().get(&filter.value) {
            Ok(volume) => volume.created.parse().map_err(|_| filter.invalid("the volume's age is not known")),
            Err(_) => moment(filter),
        };
        let users = filters.has("dangling").then(|| store.volumes().users()).transpose()?;
        Ok(Self {
            until: filters.of("until").map(moment).collect::<Result<_, FilterError>>()?,
            since: filters.of("since").chain(filters.of("after")).map(since).collect::<Result<_, FilterError>>()?,
            users,
            filters,
        })
    }

    fn matches(&self, volume: &Volume) -> bool {
        let created: Option<Timestamp> = volume.created.parse().ok();
        let dangling = self.users.as_ref().is_some_and(|users| users.of_volume(&volume.name).is_empty());
        let is = |filter: &Filter, value: bool| filter.boolean() == Ok(value);
        self.filters.any("name", |part| volume.name.contains(part))
            && self.filters.any("driver", |wanted| wanted == DRIVER)
            && self.filters.any("scope", |wanted| wanted == "local")
            && self.filters.any("opt", |wanted| has_option(volume, wanted))
            && self.filters.of("dangling").all(|filter| is(filter, dangling))
            && self.filters.of("anonymous").all(|filter| is(filter, volume.anonymous))
            && self.filters.labels(&volume.labels)
            && self.until.iter().all(|until| created.is_some_and(|created| created < *until))
            && self.since.iter().all(|since| created.is_some_and(|created| created > *since))
    }
}

fn has_option(volume: &Volume, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => volume.options.get(name).is_some_and(|known| known == value),
        None => volume.options.contains_key(wanted),
    }
}
