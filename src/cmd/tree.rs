//! `image tree`: the layers of an image, what they take, and which other images have them too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;

use super::format::human::decimal_size;
use super::format::text::clean;
use super::{Context, print_text};
use crate::spec::digest::Digest;
use crate::store::Store;
use crate::store::images::Image;

/// So deep is a tree drawn; deeper ones are cut off.
const DEPTH: usize = 512;

/// So many of the images that have a layer are named.
const NAMED: usize = 8;

/// Show the layers of an image as a tree
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show the layers and images on top of the image instead
    #[arg(long)]
    whatrequires: bool,
    /// Image by reference, id or unique prefix
    image: String,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    let image = store.images().find(&args.image)?;
    let stacks = Stacks::read(store)?;
    let layers = store.images().layers(image.id)?;
    let mut text = stacks.heading(&image, &layers);
    if args.whatrequires {
        match layers.last() {
            Some(top) => stacks.draw_dependents(&mut text, *top),
            None => text.push_str("No Image Layers\n"),
        }
    } else {
        stacks.draw_layers(&mut text, &image, &layers);
    }
    print_text(&clean(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// All images of a store as stacks of layers.
struct Stacks<'a> {
    store: &'a Store,
    images: Vec<(Image, Vec<Digest>)>,
}

impl<'a> Stacks<'a> {
    fn read(store: &'a Store) -> Result<Self> {
        let (images, _) = store.images().list()?;
        // What cannot be read shares nothing; `system check` names it.
        let layers = |image: Image| store.images().layers(image.id).ok().map(|layers| (image, layers));
        Ok(Self { store, images: images.into_iter().filter_map(layers).collect() })
    }

    fn size(&self, layer: Digest) -> u64 {
        self.store.layers().get(layer).map_or(0, |record| record.size)
    }

    /// The other images that have a layer.
    fn sharers(&self, image: &Image, layer: Digest) -> Vec<String> {
        let others = self.images.iter().filter(|(other, layers)| other.id != image.id && layers.contains(&layer));
        others.map(|(other, _)| label(other)).collect()
    }

    fn heading(&self, image: &Image, layers: &[Digest]) -> String {
        let is_shared = |layer: &&Digest| !self.sharers(image, **layer).is_empty();
        let shared: u64 = layers.iter().filter(is_shared).map(|layer| self.size(*layer)).sum();
        let size: u64 = layers.iter().map(|layer| self.size(*layer)).sum();
        format!(
            "Image ID: {}\nTags:     [{}]\nSize:     {} (unique {}, shared {})\n",
            image.id.short(),
            image.tags.iter().map(|name| name.familiar()).collect::<Vec<_>>().join(" "),
            decimal_size(size, 4),
            decimal_size(size - shared, 4),
            decimal_size(shared, 4)
        )
    }

    /// podman's picture: the lowest layer first.
    fn draw_layers(&self, text: &mut String, image: &Image, layers: &[Digest]) {
        text.push_str(if layers.is_empty() { "No Image Layers\n" } else { "Image Layers\n" });
        for (number, layer) in layers.iter().enumerate() {
            let branch = if number + 1 == layers.len() { "└──" } else { "├──" };
            self.draw_layer(text, branch, *layer);
            let sharers = self.sharers(image, *layer);
            if !sharers.is_empty() {
                text.push_str(&format!(" Shared with: {}", list(&sharers)));
            }
            text.push('\n');
        }
    }

    /// The layers on top of `top`, each below the one that it needs.
    fn draw_dependents(&self, text: &mut String, top: Digest) {
        let mut above: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
        for (_, layers) in &self.images {
            for pair in layers.windows(2) {
                above.entry(pair[0]).or_default().insert(pair[1]);
            }
        }
        text.push_str("Image Layers\n");
        self.draw_layer(text, "└──", top);
        text.push('\n');
        // Each with the branches before it.
        let mut pending: Vec<(Digest, String, bool)> = Vec::new();
        let push = |pending: &mut Vec<_>, layer: Digest, indent: &str| {
            let dependents = above.get(&layer).into_iter().flatten().rev().enumerate();
            pending.extend(dependents.map(|(number, dependent)| (*dependent, indent.to_owned(), number == 0)));
        };
        push(&mut pending, top, "    ");
        while let Some((layer, indent, is_last)) = pending.pop() {
            self.draw_layer(text, &format!("{indent}{}", if is_last { "└──" } else { "├──" }), layer);
            text.push('\n');
            if indent.chars().count() < 4 * DEPTH {
                push(&mut pending, layer, &format!("{indent}{}", if is_last { "    " } else { "│   " }));
            }
        }
    }

    /// A layer, without the end of its line.
    fn draw_layer(&self, text: &mut String, branch: &str, layer: Digest) {
        // Writing to a string does not fail.
        let _ = write!(text, "{branch} ID: {} Size: {:>7}", layer.short(), decimal_size(self.size(layer), 4));
        let tops = self.images.iter().filter(|(_, layers)| layers.last() == Some(&layer));
        let tops: Vec<String> = tops.map(|(image, _)| label(image)).collect();
        if !tops.is_empty() {
            let _ = write!(text, " Top Layer of: {}", list(&tops));
        }
    }
}

/// The first names of a list, and how many more there are.
fn list(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(" ");
    match names.len().saturating_sub(NAMED) {
        0 => format!("[{shown}]"),
        more => format!("[{shown}] and {more} more"),
    }
}

/// An image's names, or its id without one.
fn label(image: &Image) -> String {
    let names: Vec<String> = image.tags.iter().map(|name| name.familiar()).collect();
    if names.is_empty() { image.id.short() } else { names.join(" ") }
}
