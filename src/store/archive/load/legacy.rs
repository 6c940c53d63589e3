//! Archives of docker before 1.10: `repositories` maps names to layers, each layer is a directory
//! with a `json` that names its parent and holds the configuration as of that layer. The
//! configuration is put together as docker does when it loads them (moby, image/v1).

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Found, FoundLayer, add_name, parse_config, parse_name};
use crate::spec::digest::Digest;
use crate::spec::text::printable;
use crate::store::archive::{Contents, REPOSITORIES, decode};
use crate::store::registry::manifest::LAYERS_MAX;
use crate::store::unpack::UnpackLimits;

/// What is about the layer and not about the image.
const LAYER_FIELDS: [&str; 6] = ["id", "parent", "Size", "parent_id", "layer_id", "throwaway"];

/// What a layer's `json` says of the layer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Layer {
    parent: Option<String>,
    created: Option<Value>,
    author: Option<String>,
    comment: Option<String>,
    container_config: Option<ContainerConfig>,
    throwaway: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ContainerConfig {
    cmd: Option<Vec<String>>,
}

/// The images of such an archive.
pub(super) fn find(contents: &Contents, repositories: &[u8], limits: UnpackLimits) -> Result<Vec<Found>> {
    let names: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(repositories).map_err(|error| {
        anyhow::anyhow!("{REPOSITORIES} of the archive is malformed: {}", printable(&error.to_string()))
    })?;
    let mut images: BTreeMap<String, Found> = BTreeMap::new();
    for (repository, tags) in names {
        for (tag, top) in tags {
            let name = parse_name(&format!("{repository}:{tag}"))?;
            if !images.contains_key(&top) {
                images.insert(top.clone(), image(contents, &top, limits)?);
            }
            if let Some(image) = images.get_mut(&top) {
                add_name(&mut image.names, name);
            }
        }
    }
    Ok(images.into_values().collect())
}

/// Follows the parents down from the topmost layer.
fn image(contents: &Contents, top: &str, limits: UnpackLimits) -> Result<Found> {
    let (mut ids, mut documents) = (Vec::new(), Vec::new());
    let (mut seen, mut next) = (HashSet::new(), Some(top.to_owned()));
    while let Some(id) = next {
        if !seen.insert(id.clone()) || ids.len() == LAYERS_MAX {
            bail!("the layers of image {} have no end", printable(top));
        }
        let name = format!("{id}/json");
        let bytes =
            contents.document(&name)?.with_context(|| format!("the archive has no file {}", printable(&name)))?;
        let layer: Layer =
            serde_json::from_slice(&bytes).with_context(|| format!("{} is malformed", printable(&name)))?;
        next = layer.parent.clone().filter(|parent| !parent.is_empty());
        ids.push(id);
        documents.push((layer, bytes));
    }
    ids.reverse();
    documents.reverse();
    let (mut layers, mut history) = (Vec::new(), Vec::new());
    for (id, (layer, _)) in ids.iter().zip(&documents) {
        let empty = layer.throwaway == Some(true);
        history.push(entry(layer, empty));
        if !empty {
            let member = format!("{id}/layer.tar");
            let diff_id = diff_id(contents, &member, limits)?;
            layers.push(FoundLayer { member, blob: None, diff_id });
        }
    }
    let (_, newest) = documents.last().context("an image without layers")?;
    let config = config(newest, &layers, &history)?;
    let platform = parse_config(&config)?.platform();
    Ok(Found { names: Vec::new(), platform, config, manifest: None, layers })
}

fn entry(layer: &Layer, empty: bool) -> Value {
    let mut entry = serde_json::Map::new();
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty()).map(Value::from);
    let command = layer.container_config.as_ref().and_then(|config| config.cmd.as_ref()).map(|cmd| cmd.join(" "));
    let fields = [
        ("created", layer.created.clone()),
        ("author", text(&layer.author)),
        ("created_by", text(&command)),
        ("comment", text(&layer.comment)),
        ("empty_layer", empty.then_some(json!(true))),
    ];
    entry.extend(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    Value::Object(entry)
}

/// The newest layer's configuration with the list of layers; keys in order, values as they were.
fn config(newest: &[u8], layers: &[FoundLayer], history: &[Value]) -> Result<Vec<u8>> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(newest)?;
    fields.retain(|key, _| !LAYER_FIELDS.contains(&key.as_str()));
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
    let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
    fields.insert("rootfs".to_owned(), serde_json::value::to_raw_value(&rootfs)?);
    fields.insert("history".to_owned(), serde_json::value::to_raw_value(&history)?);
    Ok(serde_json::to_vec(&fields)?)
}

fn diff_id(contents: &Contents, member: &str, limits: UnpackLimits) -> Result<Digest> {
    let context = || format!("read {} of the archive", printable(member));
    let mut layer = decode::decoded(contents.require(member)?, limits).with_context(context)?;
    let mut hasher = Hasher(Sha256::new());
    decode::pump(&mut layer, &mut hasher).with_context(context)?;
    Ok(Digest::from_sha256(hasher.0.finalize().into()))
}

/// Only sums up.
struct Hasher(Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
