//! `network ls`: the list of networks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Result;
use jiff::{Timestamp, Zoned};
use regex::Regex;

use super::is_predefined;
use crate::cmd::format::filter::{Filter, FilterError, Filters};
use crate::cmd::format::list::{Extra, Format, Listing, Row};
use crate::cmd::format::text;
use crate::cmd::inspect::network::{driver, has_v4};
use crate::cmd::{Context, print_bytes};
use crate::spec::network::Network;
use crate::spec::time::parse_moment;
use crate::store::Store;

/// List networks
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// Show only what matches (dangling, driver, id, label, label!, name, scope, type, until)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Don't print the table's first line
    #[arg(short = 'n', long)]
    noheading: bool,
    /// Only display network IDs
    #[arg(short, long)]
    quiet: bool,
}

const LISTING: Listing = Listing {
    go_type: "*network.networkContext",
    titles: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
        ("Created", "CREATED"),
        ("DNSEnabled", "DNS ENABLED"),
        ("IPv6Enabled", "IPV6 ENABLED"),
        ("NetworkInterface", "NETWORK INTERFACE"),
        ("Options", "OPTIONS"),
        ("Subnets", "SUBNETS"),
    ],
};

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
const RAW: &str = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n";

/// Prints the list.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let mut format = Format::parse(&args.template())?;
    if args.noheading {
        format = format.without_heading();
    }
    let (rows, damaged) = rows(&args, &format, context.store()?)?;
    let mut out = Vec::new();
    format.write(&mut out, LISTING, &rows, std::io::stdout().is_terminal())?;
    print_bytes(&out)?;
    damaged.iter().for_each(|message| text::warn(message));
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn template(&self) -> String {
        match self.format.as_deref().unwrap_or_default() {
            "" | "table" if self.quiet => "{{.ID}}".to_owned(),
            "raw" if self.quiet => "network_id: {{.ID}}".to_owned(),
            "" | "table" => TABLE.to_owned(),
            "raw" => RAW.to_owned(),
            custom => custom.to_owned(),
        }
    }
}

/// The rows by name, and a message for each network that cannot be read.
fn rows(args: &Args, format: &Format, store: &Store) -> Result<(Vec<Row>, Vec<String>)> {
    let selection = Selection::new(args.filter.clone(), store)?;
    let (networks, damaged) = store.networks().list()?;
    let chosen = networks.iter().filter(|network| selection.matches(network));
    let rows = chosen.map(|network| row(network, args.no_trunc).hidden(format.extra(EXTRA, network)));
    let rows = rows.collect();
    Ok((rows, damaged.iter().map(|record| format!("network {} is damaged: {}", record.id, record.why)).collect()))
}

fn row(network: &Network, no_trunc: bool) -> Row {
    Row::new([
        ("ID", if no_trunc { network.id.clone() } else { network.short_id().to_owned() }),
        ("Name", network.name.clone()),
        ("Driver", driver(network.driver).to_owned()),
        ("Scope", "local".to_owned()),
        ("IPv4", has_v4(network).to_string()),
        ("IPv6", network.v6().is_some().to_string()),
        ("Internal", network.internal.to_string()),
        ("Labels", pairs(&network.labels)),
        ("CreatedAt", go_time(&network.created)),
    ])
    .labels(network.labels.clone())
}

/// podman's further fields, for templates that name them.
const EXTRA: &Extra<Network> = &[
    ("Created", |network| network.created.clone()),
    ("DNSEnabled", |network| (!network.disable_dns).to_string()),
    ("IPv6Enabled", |network| network.v6().is_some().to_string()),
    ("NetworkInterface", |network| match network.subnets.is_empty() {
        true => String::new(),
        false => format!("br-{}", network.short_id()),
    }),
    ("Options", |network| pairs(&network.options)),
    ("Subnets", |network| {
        let subnets: Vec<String> = network.subnets.iter().map(|one| one.subnet.to_string()).collect();
        subnets.join(",")
    }),
];

fn pairs(map: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}

/// As Go prints a moment in UTC: `2026-01-02 03:04:05.6 +0000 UTC`.
fn go_time(created: &str) -> String {
    match created.parse::<Timestamp>() {
        Ok(moment) => moment.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string(),
        Err(_) => created.to_owned(),
    }
}

/// `--filter`, by docker's rules.
struct Selection {
    filters: Filters,
    ids: Vec<Regex>,
    names: Vec<Regex>,
    until: Vec<Timestamp>,
    /// Ids of networks that running containers are on, if that was asked for.
    used: BTreeSet<String>,
}

const KEYS: &[&str] = &["dangling", "driver", "id", "label", "label!", "name", "scope", "type", "until"];

impl Selection {
    fn new(filters: Vec<Filter>, store: &Store) -> Result<Self> {
        let filters = Filters::new(filters, KEYS)?;
        for filter in filters.of("dangling") {
            filter.boolean()?;
        }
        let is_wrong = |value: &str| !matches!(value, "builtin" | "custom");
        if let Some(filter) = filters.of("type").find(|filter| is_wrong(&filter.value)) {
            return Err(filter.invalid("must be one of builtin, custom").into());
        }
        let until = |filter: &Filter| {
            parse_moment(&filter.value, &Zoned::now()).map_err(|error| filter.invalid(error.to_string()))
        };
        let leases = if filters.has("dangling") { store.networks().all_leases()? } else { Vec::new() };
        // docker takes what is no regular expression for one that matches nothing.
        let patterns = |key| filters.of(key).filter_map(|filter| Regex::new(&filter.value).ok()).collect();
        Ok(Self {
            ids: patterns("id"),
            names: patterns("name"),
            until: filters.of("until").map(until).collect::<Result<_, FilterError>>()?,
            used: leases.into_iter().map(|lease| lease.network_id).collect(),
            filters,
        })
    }

    fn matches(&self, network: &Network) -> bool {
        let created: Option<Timestamp> = network.created.parse().ok();
        let dangling = !is_predefined(network) && !self.used.contains(&network.id);
        let kind = if is_predefined(network) { "builtin" } else { "custom" };
        (!self.filters.has("id") || self.ids.iter().any(|id| id.is_match(&network.id)))
            && (!self.filters.has("name") || self.names.iter().any(|name| name.is_match(&network.name)))
            && self.filters.any("driver", |wanted| wanted == driver(network.driver))
            && self.filters.any("scope", |wanted| wanted == "local")
            && self.filters.any("type", |wanted| wanted == kind)
            && self.filters.of("dangling").all(|filter| filter.boolean() == Ok(dangling))
            && self.filters.labels(&network.labels)
            && self.until.iter().all(|until| created.is_some_and(|created| created < *until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_as_go_prints_them() {
        for (created, shown) in [
            ("2026-01-02T03:04:05.678901234Z", "2026-01-02 03:04:05.678901234 +0000 UTC"),
            ("2026-01-02T03:04:05.600000000Z", "2026-01-02 03:04:05.6 +0000 UTC"),
            ("2026-01-02T03:04:05.000000000Z", "2026-01-02 03:04:05 +0000 UTC"),
            ("odd", "odd"),
        ] {
            assert_eq!(go_time(created), shown);
        }
    }
}
