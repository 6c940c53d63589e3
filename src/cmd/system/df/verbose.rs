//! `system df -v`: each image, container and volume, and what else is in the store.

use std::io::Write;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Facts;
use crate::cmd::format::human::{decimal_size, elapsed_since, local_time};
use crate::cmd::format::list::{Format, Listing, Row};
use crate::cmd::ps::row::{ImageNames, row};
use crate::spec::volume::DRIVER;
use crate::store::Store;
use crate::store::images::Image;

const IMAGES: Listing = Listing {
    go_type: "*formatter.imageContext",
    titles: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
};
const CONTAINERS: Listing = Listing {
    go_type: "*formatter.ContainerContext",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
};
const VOLUMES: Listing = Listing {
    go_type: "*formatter.volumeContext",
    titles: &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")],
};
const BUILD_CACHE: Listing = Listing {
    go_type: "*formatter.buildCacheContext",
    titles: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ],
};
const STORE: Listing = Listing {
    go_type: "*formatter.storeContext",
    titles: &[("Type", "TYPE"), ("TotalCount", "TOTAL"), ("Size", "SIZE"), ("RawSize", "BYTES")],
};

/// Prints the sections.
pub fn write(out: &mut Vec<u8>, store: &Store, facts: &Facts, now: Timestamp) -> Result<()> {
    section(out, "Images space usage:", IMAGES, &images(store, facts, now)?)?;
    section(out, "\nContainers space usage:", CONTAINERS, &containers(store, facts, now))?;
    section(out, "\nLocal Volumes space usage:", VOLUMES, &volumes(facts))?;
    section(out, "\nBuild cache usage: 0B", BUILD_CACHE, &[])?;
    let title = format!("\nStore space usage: {}", decimal_size(facts.usage.total(), 4));
    section(out, &title, STORE, &parts(facts))
}

/// All that the sections say, for templates.
pub fn document(store: &Store, facts: &Facts, now: Timestamp) -> Result<Value> {
    let objects = |rows: &[Row]| rows.iter().map(Row::object).collect::<Vec<_>>();
    Ok(json!({
        "Images": objects(&images(store, facts, now)?),
        "Containers": objects(&containers(store, facts, now)),
        "Volumes": objects(&volumes(facts)),
        "BuildCache": [],
        "Store": objects(&parts(facts)),
    }))
}

/// A table of all the listing's columns.
fn section(out: &mut Vec<u8>, title: &str, listing: Listing, rows: &[Row]) -> Result<()> {
    write!(out, "{title}\n\n")?;
    let columns: Vec<String> = listing.titles.iter().map(|(field, _)| format!("{{{{.{field}}}}}")).collect();
    Format::parse(&format!("table {}", columns.join("\t")))?.write(out, listing, rows, false)
}

/// One row an image; of several tags the first one stands for it.
fn images(store: &Store, facts: &Facts, now: Timestamp) -> Result<Vec<Row>> {
    let mut summaries = store.images().summaries();
    let mut rows = Vec::new();
    for image in store.images().list()?.0 {
        let created = summaries.read(image.id).ok().and_then(|summary| summary.created);
        let created: Option<Timestamp> = created.and_then(|text| text.parse().ok());
        rows.push((created, image_row(&image, created, facts, now)));
    }
    rows.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn image_row(image: &Image, created: Option<Timestamp>, facts: &Facts, now: Timestamp) -> Row {
    let name = image.tags.first().or(image.digests.first());
    let none = || "<none>".to_owned();
    let usage = facts.images.images.get(&image.id).copied().unwrap_or_default();
    let users = facts.containers.iter().filter(|container| container.image_id() == Some(image.id)).count();
    Row::new([
        ("Repository", name.map_or_else(none, |name| name.familiar_repository())),
        ("Tag", name.and_then(|name| name.tag()).map_or_else(none, str::to_owned)),
        ("Digest", image.digests.first().and_then(|name| name.digest()).map_or_else(none, |digest| digest.to_string())),
        ("ID", image.id.short()),
        ("CreatedSince", created.map_or_else(|| "N/A".to_owned(), |at| format!("{} ago", elapsed_since(at, now)))),
        ("CreatedAt", created.map_or_else(|| "N/A".to_owned(), local_time)),
        ("Size", decimal_size(usage.size, 4)),
        ("SharedSize", decimal_size(usage.shared, 4)),
        ("UniqueSize", decimal_size(usage.unique(), 4)),
        ("RawSize", usage.size.to_string()),
        ("RawUniqueSize", usage.unique().to_string()),
        ("Containers", users.to_string()),
    ])
}

fn containers(store: &Store, facts: &Facts, now: Timestamp) -> Vec<Row> {
    let mut names = ImageNames::new(store);
    let rows = facts.containers.iter().map(|container| {
        let shown = row(container, &names.shown(container, false), None, false, now);
        let bytes = facts.usage.containers.get(container.id()).copied().unwrap_or_default();
        let text = |field: &str| shown.text(field).unwrap_or_default().to_owned();
        Row::new([
            ("ID", text("ID")),
            ("Image", text("Image")),
            ("Command", text("Command")),
            ("LocalVolumes", text("LocalVolumes")),
            ("Size", decimal_size(bytes, 4)),
            ("RawSize", bytes.to_string()),
            ("RunningFor", text("RunningFor")),
            ("CreatedAt", text("CreatedAt")),
            ("State", text("State")),
            ("Status", text("Status")),
            ("Names", text("Names")),
            ("Labels", text("Labels")),
        ])
    });
    rows.collect()
}

/// Links are the containers that use a volume, running or not.
fn volumes(facts: &Facts) -> Vec<Row> {
    let rows = facts.usage.volumes.iter().map(|(name, bytes)| {
        let users = facts.users.of_volume(name).len();
        Row::new([
            ("Name", name.clone()),
            ("Driver", DRIVER.to_owned()),
            ("Links", users.to_string()),
            ("Size", decimal_size(*bytes, 4)),
            ("RawSize", bytes.to_string()),
        ])
    });
    rows.collect()
}

/// Everything that is in the store, by what it is; the last row is the sum, which is what `du` says.
fn parts(facts: &Facts) -> Vec<Row> {
    let usage = &facts.usage;
    let part = |kind: &str, total: Option<usize>, bytes: u64| {
        Row::new([
            ("Type", kind.to_owned()),
            ("TotalCount", total.map_or_else(String::new, |total| total.to_string())),
            ("Size", decimal_size(bytes, 4)),
            ("RawSize", bytes.to_string()),
        ])
    };
    vec![
        part("Layers", Some(usage.layers.len()), usage.layers.values().sum()),
        part("Layers for other ids", None, usage.shifted),
        part("Blobs", Some(usage.blobs.len()), usage.blobs.values().sum()),
        part("Image names", Some(usage.image_names.len()), usage.image_names.values().sum()),
        part("Containers", Some(usage.containers.len()), usage.containers.values().sum()),
        part("Volumes", Some(usage.volumes.len()), usage.volumes.values().sum()),
        part("Partial downloads", None, usage.partial),
        part("Unfinished work", None, usage.staging),
        part("Set aside", None, usage.quarantine),
        part("Records", None, usage.records),
        part("Total", None, usage.total()),
    ]
}
