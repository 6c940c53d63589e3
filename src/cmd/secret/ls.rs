//! `secret ls`: the list of secrets.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use regex::Regex;

use super::go_time;
use crate::cmd::format::filter::{Filter, Filters};
use crate::cmd::format::list::{Extra, Format, Listing, Row};
use crate::cmd::format::{human, text};
use crate::cmd::{Context, print_bytes};
use crate::spec::secret::Secret;

/// List secrets
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show only what matches (id, label, name)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Don't print the table's first line
    #[arg(short = 'n', long)]
    noheading: bool,
    /// Only display secret IDs
    #[arg(short, long)]
    quiet: bool,
}

const LISTING: Listing = Listing {
    go_type: "*secret.secretContext",
    titles: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("CreatedAt", "CREATED"),
        ("UpdatedAt", "UPDATED"),
        ("Labels", "LABELS"),
    ],
};

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}";

/// Prints the list.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let mut format = Format::parse(&args.template())?;
    if args.noheading {
        format = format.without_heading();
    }
    let filters = Filters::new(args.filter.clone(), &["id", "label", "name"])?;
    // podman takes what is no regular expression for an error.
    let patterns = |key| {
        let of_key = filters.of(key);
        of_key.map(|filter| Regex::new(&filter.value).map_err(|_| filter.invalid("it is no regular expression")))
    };
    let ids: Vec<Regex> = patterns("id").collect::<Result<_, _>>()?;
    let names: Vec<Regex> = patterns("name").collect::<Result<_, _>>()?;
    let any = |patterns: &[Regex], text: &str| patterns.is_empty() || patterns.iter().any(|one| one.is_match(text));
    let (secrets, damaged) = context.store()?.secrets().list()?;
    let chosen = secrets
        .iter()
        .filter(|secret| any(&ids, &secret.id) && any(&names, &secret.name) && filters.labels(&secret.labels));
    let now = Timestamp::now();
    let rows: Vec<Row> = chosen.map(|secret| row(secret, now).hidden(format.extra(EXTRA, secret))).collect();
    let mut out = Vec::new();
    format.write(&mut out, LISTING, &rows, std::io::stdout().is_terminal())?;
    print_bytes(&out)?;
    damaged.iter().for_each(|record| text::warn(&format!("secret {} is damaged: {}", record.id, record.why)));
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn template(&self) -> String {
        match self.format.as_deref().unwrap_or_default() {
            "" | "table" if self.quiet => "{{.ID}}".to_owned(),
            "" | "table" => TABLE.to_owned(),
            custom => custom.to_owned(),
        }
    }
}

fn row(secret: &Secret, now: Timestamp) -> Row {
    let ago = |moment: &str| match moment.parse::<Timestamp>() {
        Ok(moment) => format!("{} ago", human::elapsed_since(moment, now)),
        Err(_) => moment.to_owned(),
    };
    Row::new([
        ("ID", secret.id.clone()),
        ("Name", secret.name.clone()),
        ("Driver", "file".to_owned()),
        ("CreatedAt", ago(&secret.created)),
        ("UpdatedAt", ago(&secret.updated)),
    ])
    .labels(secret.labels.clone())
}

/// Further fields, for templates that name them.
const EXTRA: &Extra<Secret> = &[
    ("Labels", |secret| pairs(&secret.labels)),
    ("Created", |secret| go_time(&secret.created)),
    ("Updated", |secret| go_time(&secret.updated)),
];

fn pairs(map: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}
