//! `rbox images`: the list of images.

mod filter;
mod sharing;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;

use super::Context;
use super::format::filter::Filter;
use super::format::human::{decimal_size, elapsed_since, local_time};
use super::format::list::{Extra, Format, Listing, Row};
use super::format::text;
use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;
use crate::store::Store;
use crate::store::images::{Image, Summary};

/// List images
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// Accepted for compatibility: there are no intermediate images
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show only what matches (before, since, reference, label, dangling, until, id, containers)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show all names of each image
    #[arg(long)]
    history: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Don't print the table's first line
    #[arg(short = 'n', long)]
    noheading: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Order of the list: by creation, the newest first, or by another value
    #[arg(long, value_name = "KEY", default_value = "created", hide_default_value = true)]
    sort: Sort,
    /// Show each image as a tree: its names, its platform, and what that takes
    #[arg(long)]
    tree: bool,
    /// Only images of this repository, tag or pattern
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

/// Orders of the list.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Created,
    Id,
    Repository,
    Size,
    Tag,
}

const LISTING: Listing = Listing {
    go_type: "*formatter.imageContext",
    titles: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Created", "CREATED"),
        ("CreatedTime", "CREATED TIME"),
        ("Dangling", "DANGLING"),
        ("History", "HISTORY"),
        ("Id", "IMAGE ID"),
        ("IsDangling", "IS DANGLING"),
        ("IsReadOnly", "IS READ ONLY"),
        ("Labels", "LABELS"),
        ("Names", "NAMES"),
        ("ParentId", "PARENT ID"),
        ("ReadOnly", "READ ONLY"),
        ("RepoDigests", "REPO DIGESTS"),
        ("RepoTags", "REPO TAGS"),
    ],
};

const NONE: &str = "<none>";

/// Prints the list.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    if args.tree {
        return print_tree(args, context);
    }
    let mut format = Format::parse(&args.template())?;
    if args.noheading {
        format = format.without_heading();
    }
    let store = context.store()?;
    let (images, damaged) = load(store)?;
    let rows = rows(&args, &format, store, &images, Timestamp::now())?;
    let mut out = Vec::new();
    let terminal = std::io::stdout().is_terminal();
    format.write(&mut out, LISTING, &rows, terminal)?;
    super::print_bytes(&out)?;
    damaged.iter().for_each(|message| text::warn(message));
    Ok(ExitCode::SUCCESS)
}

fn print_tree(args: Args, context: &Context) -> Result<ExitCode> {
    tree::check(&args)?;
    let store = context.store()?;
    let (images, damaged) = load(store)?;
    let selection = filter::Selection::new(args.filter, args.reference.as_deref(), store, &images, Timestamp::now())?;
    super::print_text(&tree::draw(store, &images, &selection)?)?;
    damaged.iter().for_each(|message| text::warn(message));
    Ok(ExitCode::SUCCESS)
}

/// An image with what its config says.
struct Listed {
    image: Image,
    created: Option<Timestamp>,
    labels: BTreeMap<String, String>,
    size: u64,
}

/// All images, newest first, and a message for each record that cannot be read.
fn load(store: &Store) -> Result<(Vec<Listed>, Vec<String>)> {
    let mut list = store.images().quick_list();
    let (images, damaged) = list.images()?;
    let mut messages: Vec<String> =
        damaged.iter().map(|record| format!("image name {} is damaged: {}", record.id, record.why)).collect();
    let mut listed = Vec::with_capacity(images.len());
    for image in images {
        match list.summary(image.id) {
            Ok(Summary { created, labels, size, .. }) => {
                let created = created.as_deref().and_then(|text| text.parse().ok());
                listed.push(Listed { image, created, labels, size });
            }
            Err(error) => messages.push(format!("{error:#}: pull it again")),
        }
    }
    list.remember();
    listed.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.image.id.cmp(&b.image.id)));
    Ok((listed, messages))
}

impl Args {
    fn has_own_format(&self) -> bool {
        !matches!(self.format.as_deref().unwrap_or_default(), "" | "table")
    }

    fn template(&self) -> String {
        let digest = |text: &'static str| if self.digests { text } else { "" };
        match self.format.as_deref().unwrap_or_default() {
            "" | "table" if self.quiet => "{{.ID}}".to_owned(),
            "" | "table" => {
                let history = if self.history { "\t{{.History}}" } else { "" };
                format!(
                    "table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{}{{{{.ID}}}}\t{{{{.CreatedSince}}}}\t{{{{.Size}}}}{history}",
                    digest("{{.Digest}}\t")
                )
            }
            "raw" if self.quiet => "image_id: {{.ID}}".to_owned(),
            "raw" => format!(
                "repository: {{{{.Repository}}}}\ntag: {{{{.Tag}}}}\n{}image_id: {{{{.ID}}}}\n\
                 created_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n",
                digest("digest: {{.Digest}}\n")
            ),
            custom if custom.starts_with("table") && self.digests && !custom.contains("{{.Digest}}") => {
                format!("{custom}\t{{{{.Digest}}}}")
            }
            custom => custom.to_owned(),
        }
    }
}

fn rows(args: &Args, format: &Format, store: &Store, images: &[Listed], now: Timestamp) -> Result<Vec<Row>> {
    let selection = filter::Selection::new(args.filter.clone(), args.reference.as_deref(), store, images, now)?;
    let per_digest = args.digests || format.mentions("Digest");
    let sharing = sharing::Sharing::read(store, images, format)?;
    // docker's own table says N/A where a template gets nothing.
    let unknown_age = if args.has_own_format() { "" } else { "N/A" };
    let mut rows = Vec::new();
    for listed in images {
        if let Some((tags, digests)) = selection.select(listed) {
            let lines = lines(&tags, &digests, per_digest, args.digests);
            rows.extend(lines.into_iter().map(|line| {
                let row = row(listed, line, &sharing, args.no_trunc, unknown_age, now);
                (listed.size, row.hidden(format.extra(EXTRA, listed)))
            }));
        }
    }
    let by = |field: &'static str| move |row: &(u64, Row)| row.1.text(field).unwrap_or_default().to_owned();
    match args.sort {
        Sort::Created => {}
        Sort::Id => rows.sort_by_cached_key(by("ID")),
        Sort::Repository => rows.sort_by_cached_key(by("Repository")),
        Sort::Size => rows.sort_by_key(|(size, _)| *size),
        Sort::Tag => rows.sort_by_cached_key(by("Tag")),
    }
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// podman's further fields, for templates that name them.
const EXTRA: &Extra<Listed> = &[
    ("Created", |listed| listed.created.map_or_else(String::new, |created| created.to_string())),
    ("CreatedTime", |listed| listed.created.map_or_else(String::new, |created| created.to_string())),
    ("Dangling", |listed| listed.image.tags.is_empty().to_string()),
    ("IsDangling", |listed| listed.image.tags.is_empty().to_string()),
    ("History", |listed| names(&listed.image.tags)),
    ("Id", |listed| listed.image.id.hex()),
    ("IsReadOnly", |_| "false".to_owned()),
    ("Labels", |listed| {
        let labels: Vec<String> = listed.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        labels.join(",")
    }),
    ("Names", |listed| names(&listed.image.tags)),
    ("ParentId", |_| String::new()),
    ("ReadOnly", |_| "false".to_owned()),
    ("RepoDigests", |listed| names(&listed.image.digests)),
    ("RepoTags", |listed| names(&listed.image.tags)),
];

fn names(names: &[ImageRef]) -> String {
    names.iter().map(ImageRef::familiar).collect::<Vec<_>>().join(", ")
}

/// Repository, tag and digest of a row.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    repository: String,
    tag: String,
    digest: String,
}

/// docker's rows for the names of one image: one a tag; with `per_digest` one a tag and digest of
/// its repository; repositories without a tag once, or with `all_digests` once a digest; an image
/// without names once.
fn lines(tags: &[&ImageRef], digests: &[&ImageRef], per_digest: bool, all_digests: bool) -> Vec<Line> {
    let digest = |name: &ImageRef| name.digest().as_ref().map_or_else(|| NONE.to_owned(), Digest::to_string);
    let line = |repository: String, tag: &str, digest: String| Line { repository, tag: tag.to_owned(), digest };
    if tags.is_empty() && digests.is_empty() {
        return vec![line(NONE.to_owned(), NONE, NONE.to_owned())];
    }
    let mut lines = Vec::new();
    for name in tags {
        let tag = name.tag().unwrap_or(NONE);
        let of_repository = || digests.iter().filter(|other| other.repository() == name.repository());
        if !per_digest || of_repository().next().is_none() {
            lines.push(line(name.familiar_repository(), tag, NONE.to_owned()));
            continue;
        }
        lines.extend(of_repository().map(|other| line(name.familiar_repository(), tag, digest(other))));
    }
    for name in digests.iter().filter(|name| !tags.iter().any(|tag| tag.repository() == name.repository())) {
        let line = line(name.familiar_repository(), NONE, if all_digests { digest(name) } else { String::new() });
        if lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    lines
}

fn row(
    listed: &Listed,
    line: Line,
    sharing: &sharing::Sharing,
    no_trunc: bool,
    unknown_age: &str,
    now: Timestamp,
) -> Row {
    let id = listed.image.id;
    let shared = sharing.shared(id);
    let unknown = || "N/A".to_owned();
    Row::new([
        ("ID", if no_trunc { id.to_string() } else { id.short() }),
        ("Repository", line.repository),
        ("Tag", line.tag),
        ("Digest", line.digest),
        (
            "CreatedSince",
            listed.created.map_or_else(|| unknown_age.to_owned(), |at| format!("{} ago", elapsed_since(at, now))),
        ),
        ("CreatedAt", listed.created.map_or_else(unknown, local_time)),
        ("Size", decimal_size(listed.size, 3)),
        ("VirtualSize", decimal_size(listed.size, 4)),
        ("Containers", sharing.containers(id).map_or_else(unknown, |count| count.to_string())),
        ("SharedSize", shared.map_or_else(unknown, |bytes| decimal_size(bytes, 3))),
        ("UniqueSize", shared.map_or_else(unknown, |bytes| decimal_size(listed.size.saturating_sub(bytes), 3))),
    ])
}
