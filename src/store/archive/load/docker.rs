//! docker's own archives: `manifest.json` lists images by the names of their files in the archive
//! (moby image-spec v1.2).

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{Found, FoundLayer, add_name, check_lengths, parse_config, parse_name};
use crate::spec::digest::Digest;
use crate::spec::text::printable;
use crate::store::archive::{Contents, MANIFEST};
use crate::store::registry::manifest::LAYERS_MAX;

/// An entry of the list. Null lists are empty.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Adds what the list has to the images that are known from an index: names, and further images.
pub(super) fn add(contents: &Contents, list: &[u8], images: &mut Vec<Found>) -> Result<()> {
    let parse = || serde_json::from_slice(list).map_err(|error| anyhow::anyhow!("{}", printable(&error.to_string())));
    let entries: Vec<Entry> = parse().with_context(|| format!("{MANIFEST} of the archive is malformed"))?;
    // An index that names images says which of them are meant.
    let from_index = !images.is_empty();
    for entry in entries {
        let config = config(contents, &entry.config)?;
        let Some(config) = config else {
            if from_index {
                continue;
            }
            bail!("the archive has no file {}, an image's config", printable(&entry.config));
        };
        let id = Digest::of(&config);
        let position = match images.iter().position(|image| image.id() == id) {
            Some(position) => position,
            // Of another platform than the one that was taken from the index.
            None if from_index => continue,
            None => {
                images.push(image(config, entry.layers.unwrap_or_default())?);
                images.len() - 1
            }
        };
        for tag in entry.repo_tags.unwrap_or_default() {
            add_name(&mut images[position].names, parse_name(&tag)?);
        }
    }
    Ok(())
}

/// Reads a config, whose name says its digest.
fn config(contents: &Contents, name: &str) -> Result<Option<Vec<u8>>> {
    let Some(config) = contents.document(name)? else { return Ok(None) };
    let stem = name.rsplit('/').next().unwrap_or(name);
    let promised = Digest::from_hex(stem.strip_suffix(".json").unwrap_or(stem)).ok();
    match promised.filter(|promised| *promised != Digest::of(&config)) {
        None => Ok(Some(config)),
        Some(promised) => {
            bail!("config {promised} of the archive is damaged: it has the digest {}", Digest::of(&config))
        }
    }
}

fn image(config: Vec<u8>, members: Vec<String>) -> Result<Found> {
    let parsed = parse_config(&config)?;
    let diff_ids = &parsed.rootfs.diff_ids;
    check_lengths(diff_ids.len(), members.len())?;
    let count = members.len();
    if count > LAYERS_MAX {
        bail!("image {} has {count} layers, at most {LAYERS_MAX} can be mounted", Digest::of(&config).short());
    }
    let layer = |(member, diff_id): (String, &Digest)| FoundLayer { member, blob: None, diff_id: *diff_id };
    let layers = members.into_iter().zip(diff_ids).map(layer).collect();
    Ok(Found { names: Vec::new(), platform: parsed.platform(), config, manifest: None, layers })
}
