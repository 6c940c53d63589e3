//! `history`: how an image came to be, the last step first.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;

use super::format::human::{decimal_size, elapsed_since, ellipsis, local_time};
use super::format::list::{Extra, Format, Listing, Row};
use super::{Context, platform_options};
use crate::spec::digest::Digest;
use crate::spec::image::{History, ImageConfig};
use crate::spec::platform::Platform;
use crate::store::Store;
use crate::store::images::Image;

/// Show the history of an image
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, value_parser = super::go_bool)]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Show it only of an image for this platform, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Image by reference, id or unique prefix
    image: String,
}

const LISTING: Listing = Listing {
    go_type: "*formatter.historyContext",
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
        ("Created", "CREATED"),
        ("Tags", "TAGS"),
    ],
};

/// What docker shows in place of an image that is not here.
const MISSING: &str = "<missing>";
/// Cells of a step's command that the table shows.
const CREATED_BY: usize = 45;

/// One line.
struct Step {
    image: Option<Digest>,
    tags: Vec<String>,
    history: History,
    created: Option<Timestamp>,
    /// Bytes of its layer.
    size: u64,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    context.settings()?;
    let format = Format::parse(&template(&args))?;
    let store = context.store()?;
    let image = store.images().find(&args.image)?;
    platform_options::check(context, &args.image, &image, args.platform.as_slice())?;
    let steps = steps(store, &image)?;
    let now = Timestamp::now();
    let rows: Vec<Row> = steps.iter().map(|step| row(step, &args, now).hidden(format.extra(EXTRA, step))).collect();
    let mut out = Vec::new();
    format.write(&mut out, LISTING, &rows, std::io::stdout().is_terminal())?;
    super::print_bytes(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn template(args: &Args) -> String {
    match args.format.as_deref().unwrap_or_default() {
        "" | "table" if args.quiet => "{{.ID}}".to_owned(),
        "" | "table" => {
            let created = if args.human { "CreatedSince" } else { "CreatedAt" };
            format!("table {{{{.ID}}}}\t{{{{.{created}}}}}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}")
        }
        custom => custom.to_owned(),
    }
}

/// The steps, the last first. An image without a history has one for each layer.
fn steps(store: &Store, image: &Image) -> Result<Vec<Step>> {
    let config = store.images().config(image.id)?;
    let mut sizes = store.images().layers(image.id)?.into_iter();
    let mut next_size =
        || sizes.next().and_then(|layer| store.layers().get(layer).ok()).map_or(0, |record| record.size);
    let history = match config.history.is_empty() {
        true => vec![History { created: config.created.clone(), ..History::default() }; config.rootfs.diff_ids.len()],
        false => config.history.clone(),
    };
    let mut steps: Vec<Step> = history
        .into_iter()
        .map(|history| {
            let created = history.created.as_deref().and_then(|text| text.parse().ok());
            let size = if history.empty_layer { 0 } else { next_size() };
            Step { image: None, tags: Vec::new(), history, created, size }
        })
        .collect();
    steps.reverse();
    name_ancestors(store, image, &config, &mut steps)?;
    Ok(steps)
}

/// The image itself, and below it those that it was committed on top of here. What was pulled has
/// no such parents, as with docker.
fn name_ancestors(store: &Store, image: &Image, config: &ImageConfig, steps: &mut [Step]) -> Result<()> {
    let Some(top) = steps.first_mut() else { return Ok(()) };
    top.image = Some(image.id);
    top.tags = image.tags.iter().map(|tag| tag.familiar()).collect();
    if !image.digests.is_empty() || steps.len() < 2 {
        return Ok(());
    }
    let others = store.images().list()?.0;
    let mut child: ImageConfig = config.clone();
    for step in &mut steps[1..] {
        let parent = others.iter().find_map(|other| {
            let parent = store.images().config(other.id).ok()?;
            is_parent(&parent, &child).then_some((other, parent))
        });
        let Some((other, parent)) = parent else { break };
        step.image = Some(other.id);
        step.tags = other.tags.iter().map(|tag| tag.familiar()).collect();
        if !other.digests.is_empty() {
            break;
        }
        child = parent;
    }
    Ok(())
}

/// Whether the child has all that the parent has, and one step more.
fn is_parent(parent: &ImageConfig, child: &ImageConfig) -> bool {
    let (history, layers) = (&parent.history, &parent.rootfs.diff_ids);
    history.len() + 1 == child.history.len()
        && child.history.starts_with(history)
        && child.rootfs.diff_ids.starts_with(layers)
}

fn row(step: &Step, args: &Args, now: Timestamp) -> Row {
    let whole = args.no_trunc;
    let id = step.image.map_or_else(|| MISSING.to_owned(), |id| if whole { id.to_string() } else { id.short() });
    let created_by = step.history.created_by.replace('\t', " ");
    let unknown = || "N/A".to_owned();
    let created_at = step.created.map_or_else(unknown, rfc3339);
    Row::new([
        ("ID", id),
        (
            "CreatedSince",
            match step.created {
                Some(created) if args.human => format!("{} ago", elapsed_since(created, now)),
                _ => created_at.clone(),
            },
        ),
        ("CreatedAt", created_at),
        ("CreatedBy", if whole { created_by } else { ellipsis(&created_by, CREATED_BY) }),
        ("Size", if args.human { decimal_size(step.size, 3) } else { step.size.to_string() }),
        ("Comment", step.history.comment.clone()),
    ])
}

/// podman's further fields.
const EXTRA: &Extra<Step> =
    &[("Created", |step| step.created.map_or_else(String::new, local_time)), ("Tags", |step| step.tags.join(", "))];

/// In the local time zone, to the second.
fn rfc3339(moment: Timestamp) -> String {
    let local = moment.to_zoned(jiff::tz::TimeZone::system());
    let text = local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    text.strip_suffix("+00:00").map_or(text.clone(), |utc| format!("{utc}Z"))
}
