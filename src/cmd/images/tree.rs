//! `images --tree`: each image with its names, its platform below it, and what it takes on disk.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::filter::Selection;
use super::{Args, Listed, NONE};
use crate::cmd::format::human::decimal_size;
use crate::cmd::format::table::{Layout, align};
use crate::cmd::format::text::clean_line;
use crate::store::Store;
use crate::store::containers::Container;

/// docker's words about what this form does not do.
pub fn check(args: &Args) -> Result<()> {
    let given = [
        ("--quiet", args.quiet),
        ("--no-trunc", args.no_trunc),
        ("--digests", args.digests),
        ("--format", args.format.as_deref().is_some_and(|format| !format.is_empty())),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => bail!("{flag} is not yet supported with --tree"),
        None => Ok(()),
    }
}

/// The text.
pub fn draw(store: &Store, images: &[Listed], selection: &Selection) -> Result<String> {
    let (containers, _) = store.containers().list()?;
    let used: Vec<_> = containers.iter().filter_map(Container::image_id).collect();
    let mut text = "IMAGE\tID\tDISK USAGE\tCONTENT SIZE\tEXTRA\n".to_owned();
    for listed in images {
        let Some((tags, digests)) = selection.select(listed) else { continue };
        let names: Vec<String> = match (tags.is_empty(), digests.is_empty()) {
            (false, _) => tags.iter().map(|name| name.familiar()).collect(),
            (true, false) => digests.iter().map(|name| name.familiar()).collect(),
            (true, true) => vec![NONE.to_owned()],
        };
        let sizes = Sizes::of(store, listed);
        let in_use = if used.contains(&listed.image.id) { "U" } else { "" };
        // Writing to a string does not fail.
        for (number, name) in names.iter().enumerate() {
            let name = clean_line(name);
            let _ = match number {
                0 => writeln!(text, "{name}\t{}\t{sizes}\t{in_use}", listed.image.id.short()),
                _ => writeln!(text, "{name}\t\t\t\t"),
            };
        }
        let platform = store.images().config(listed.image.id).map(|config| config.platform().to_string());
        let platform = platform.unwrap_or_else(|_| NONE.to_owned());
        let manifest = listed.image.manifest.short();
        let _ = writeln!(text, "└─ {}\t{manifest}\t{sizes}\t{in_use}\n\t\t\t\t", clean_line(&platform));
    }
    let lines: Vec<String> = align(&text, Layout::LIST).lines().map(|line| line.trim_end().to_owned()).collect();
    Ok(lines.join("\n").trim_end().to_owned() + "\n")
}

/// What an image takes.
struct Sizes {
    /// Bytes of its blobs, compressed as they came, whether they are here or not.
    content: u64,
    /// Bytes of its blobs that are here, and of its unpacked layers.
    disk: u64,
}

impl Sizes {
    fn of(store: &Store, listed: &Listed) -> Self {
        let Ok(manifest) = store.images().manifest(listed.image.manifest) else {
            return Self { content: 0, disk: listed.size };
        };
        let blobs = || manifest.layers.iter().chain([&manifest.config]);
        let here = blobs().filter(|blob| store.blobs().contains(blob.digest));
        Self {
            content: blobs().map(|blob| blob.size).sum(),
            disk: listed.size + here.map(|blob| blob.size).sum::<u64>(),
        }
    }
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\t{}", decimal_size(self.disk, 3), decimal_size(self.content, 3))
    }
}
