//! `search`: finds images at a registry.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};

use super::format::filter::{Filter, FilterError, Filters};
use super::format::human::ellipsis;
use super::format::list::{Format, Listing, Row};
use super::pull::names_version;
use super::registry_options::{Reach, RegistryOptions};
use super::{Context, print_bytes, short_names};
use crate::spec::reference::ImageRef;
use crate::spec::registries::Domain;
use crate::store::registry::listing::{self, Hit};
use crate::store::registry::{self, Patience, RegistryError, Session};

/// Search a registry for images
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Accepted for compatibility: the list is docker's in any case
    #[arg(long)]
    compatible: bool,
    /// Show only what matches (is-official, is-automated, stars)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Most results to show, 25 unless given and at most 100; of tags all
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u32>,
    /// List the tags of a repository
    #[arg(long)]
    list_tags: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    registry: RegistryOptions,
    /// What to look for; a registry may stand before it, as in quay.io/TERM
    #[arg(value_name = "TERM")]
    term: String,
}

const LISTING: Listing = Listing {
    go_type: "*formatter.SearchContext",
    titles: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("Index", "INDEX"),
        ("Stars", "STARS"),
        ("Official", "OFFICIAL"),
        ("Automated", "AUTOMATED"),
        ("IsAutomated", "AUTOMATED"),
        ("Tag", "TAG"),
    ],
};
const TABLE: &str = "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";
const TAGS_TABLE: &str = "table {{.Name}}\t{{.Tag}}";
const DESCRIPTION_MAX: usize = 45;
const LIMIT: u32 = 25;
const LIMIT_MAX: u32 = 100;

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let table = if args.list_tags { TAGS_TABLE } else { TABLE };
    let format = match args.format.as_deref().unwrap_or_default() {
        "" | "table" => table,
        custom => custom,
    };
    let format = Format::parse(format)?;
    let rows = if args.list_tags { tags(&args, context)? } else { found(&args, context)? };
    let mut out = Vec::new();
    format.write(&mut out, LISTING, &rows, std::io::stdout().is_terminal())?;
    print_bytes(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn found(args: &Args, context: &Context) -> Result<Vec<Row>> {
    let selection = Selection::new(&args.filter)?;
    let limit = match args.limit.unwrap_or(LIMIT) {
        0 => LIMIT,
        limit if limit > LIMIT_MAX => bail!("limit {limit} is outside the range of [1, {LIMIT_MAX}]"),
        limit => limit,
    };
    let (registry, term) = place(context, &args.term)?;
    let reach = args.registry.reach(context, registry.as_str())?;
    let hits = registry::block_on(hits(&registry, term, &reach, limit as u16))??;
    let chosen = hits.iter().filter(|hit| selection.matches(hit)).take(limit as usize);
    Ok(chosen.map(|hit| row(&registry, hit, args.no_trunc)).collect())
}

/// The registry that a term names, and the rest of it.
fn place<'a>(context: &Context, term: &'a str) -> Result<(Domain, &'a str)> {
    if let Some((first, rest)) = term.split_once('/')
        && let Ok(registry) = first.parse::<Domain>()
    {
        return Ok((registry, rest));
    }
    Ok((context.default_registry()?, term))
}

/// docker's search, or, where that is unknown, the list of all repositories.
async fn hits(registry: &Domain, term: &str, reach: &Reach, limit: u16) -> Result<Vec<Hit>, RegistryError> {
    let place = reach.registries.place_of(registry)?;
    let below = if place.path.is_empty() { String::new() } else { format!("{}/", place.path) };
    // What is somewhere else, or not to be used, is none of this registry's.
    let own = |hit: Hit| {
        let name = hit.name.strip_prefix(&below)?.to_owned();
        let reference: Option<ImageRef> = format!("{registry}/{name}").parse().ok();
        let blocked = reference.is_some_and(|reference| reach.registries.is_blocked(&reference.repository()));
        (!blocked).then_some(Hit { name, ..hit })
    };
    let patience = Patience { tries: 3, ..Patience::default() };
    let session = Session::connect(place.domain.as_str(), "", &reach.access_at(&place), patience).await?;
    match listing::search(&session, term, limit).await {
        Ok(hits) => return Ok(hits.into_iter().filter_map(own).collect()),
        Err(error) if session.is_hub() => return Err(error),
        Err(error @ (RegistryError::Transport { .. } | RegistryError::Auth(_) | RegistryError::Realm { .. })) => {
            return Err(error);
        }
        Err(_) => {}
    }
    let contains = |name: &str| name.strip_prefix(&below).is_some_and(|name| name.contains(term));
    let names = listing::catalog(&session, contains).await?;
    Ok(names.into_iter().filter_map(|name| own(Hit { name, ..Hit::default() })).collect())
}

fn row(registry: &Domain, hit: &Hit, no_trunc: bool) -> Row {
    let name = match registry.as_str() {
        "docker.io" => hit.name.clone(),
        host if hit.name.starts_with(&format!("{host}/")) => hit.name.clone(),
        host => format!("{host}/{}", hit.name),
    };
    let description = hit.description.as_deref().unwrap_or_default().replace(['\n', '\r'], " ");
    let description = if no_trunc { description } else { ellipsis(&description, DESCRIPTION_MAX) };
    let mark = |yes: bool| if yes { "[OK]".to_owned() } else { String::new() };
    Row::new([
        ("Name", name),
        ("Description", description),
        ("StarCount", hit.star_count.to_string()),
        ("IsOfficial", mark(hit.is_official)),
        ("IsAutomated", mark(hit.is_automated)),
    ])
    .hidden([
        ("Index", registry.to_string()),
        ("Stars", hit.star_count.to_string()),
        ("Official", mark(hit.is_official)),
        ("Automated", mark(hit.is_automated)),
        ("Tag", String::new()),
    ])
}

fn tags(args: &Args, context: &Context) -> Result<Vec<Row>> {
    if !args.filter.is_empty() {
        bail!("filters are not applicable to list tags result");
    }
    let candidates = short_names::candidates(context, &args.term)?;
    if names_version(&args.term) {
        return Err(anyhow!("reference {:?} must be a repository name", args.term));
    }
    let (reference, tags) = short_names::in_turn(&args.term, &candidates, |reference| {
        let reach = args.registry.reach(context, reference.domain())?;
        Ok((reference.clone(), reach.tags(reference, Patience { tries: 3, ..Patience::default() })?))
    })?;
    let name = reference.repository();
    let limit = args.limit.filter(|limit| *limit > 0).map_or(usize::MAX, |limit| limit as usize);
    let rows = tags
        .into_iter()
        .take(limit)
        .map(|tag| Row::new([("Name", name.clone()), ("Tag", tag)]).hidden([("Index", reference.domain().to_owned())]));
    Ok(rows.collect())
}

/// What `--filter` asks for.
struct Selection {
    stars: u64,
    official: Option<bool>,
    automated: Option<bool>,
}

impl Selection {
    fn new(filters: &[Filter]) -> Result<Self, FilterError> {
        let filters = Filters::new(filters.to_vec(), &["is-automated", "is-official", "stars"])?;
        let last = |key: &str| filters.of(key).last().map(Filter::boolean).transpose();
        let stars = filters.of("stars").map(|filter| filter.value.parse().map_err(|_| filter.invalid("")));
        Ok(Self {
            stars: stars.collect::<Result<Vec<u64>, _>>()?.into_iter().max().unwrap_or(0),
            official: last("is-official")?,
            automated: last("is-automated")?,
        })
    }

    fn matches(&self, hit: &Hit) -> bool {
        hit.star_count >= self.stars
            && self.official.is_none_or(|wanted| hit.is_official == wanted)
            && self.automated.is_none_or(|wanted| hit.is_automated == wanted)
    }
}
