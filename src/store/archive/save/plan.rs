//! What files an archive has, in their order. Documents come first, so that a reader of a stream
//! knows what the rest is.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Format, Item, Selected, convert, is_plain};
use crate::spec::digest::Digest;
use crate::spec::image::Manifest;
use crate::spec::reference::ImageRef;
use crate::store::Store;
use crate::store::archive::{
    DOCUMENT_MAX, INDEX, LAYOUT, LAYOUT_VERSION, MANIFEST, NAME_ANNOTATION, REF_ANNOTATION, blob_name, decode,
};
use crate::store::compress::{Codec, Compressor};
use crate::store::metered::Digested;
use oci_distribution::manifest::OCI_IMAGE_INDEX_MEDIA_TYPE;

/// The first line of skopeo's directories.
const DIRECTORY_VERSION: &str = "Directory Transport Version: 1.1\n";

/// An OCI layout; with `manifest.json` in docker's format.
pub(super) fn layout(store: &Store, images: &[Selected], format: Format) -> Result<Vec<Item>> {
    let (mut entries, mut list, mut blobs) = (Vec::new(), Vec::new(), Blobs::default());
    for image in images {
        let (bytes, manifest) = read_manifest(store, image.manifest)?;
        let bytes = if format == Format::Docker { bytes } else { convert::to_oci(bytes, &manifest)? };
        let parsed: Manifest = serde_json::from_slice(&bytes)?;
        entries.extend(descriptors(image, &bytes, convert::media_type(&parsed), format));
        list.push(entry(
            &blob_name(parsed.config.digest),
            &image.names,
            parsed.layers.iter().map(|layer| blob_name(layer.digest)).collect(),
        ));
        blobs.document(bytes);
        for blob in std::iter::once(&parsed.config).chain(&parsed.layers) {
            blobs.add(blob.digest, blob.size);
        }
    }
    let index = json!({"schemaVersion": 2, "mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE, "manifests": entries});
    let mut items = vec![
        Item::Bytes(LAYOUT.to_owned(), LAYOUT_VERSION.into()),
        Item::Bytes(INDEX.to_owned(), serde_json::to_vec(&index)?),
    ];
    if format == Format::Docker {
        items.push(Item::Bytes(MANIFEST.to_owned(), serde_json::to_vec(&list)?));
    }
    items.extend([Item::Directory("blobs"), Item::Directory("blobs/sha256")]);
    items.extend(blobs.items);
    Ok(items)
}

/// Blobs of a layout, each once.
#[derive(Default)]
struct Blobs {
    items: Vec<Item>,
    seen: HashSet<Digest>,
}

impl Blobs {
    fn document(&mut self, bytes: Vec<u8>) {
        let digest = Digest::of(&bytes);
        if self.seen.insert(digest) {
            self.items.push(Item::Bytes(blob_name(digest), bytes));
        }
    }

    fn add(&mut self, digest: Digest, size: u64) {
        if self.seen.insert(digest) {
            self.items.push(Item::Blob { name: blob_name(digest), digest, size });
        }
    }
}

/// An entry of the index for each name, or one without.
fn descriptors(image: &Selected, manifest: &[u8], kind: &str, format: Format) -> Vec<Value> {
    let plain = json!({"mediaType": kind, "digest": Digest::of(manifest), "size": manifest.len()});
    if image.names.is_empty() {
        return vec![plain];
    }
    let named = |name: &ImageRef| {
        let mut entry = plain.clone();
        let whole = name.to_string();
        // docker has the tag by itself beside the whole name, podman the whole name only.
        let reference = if format == Format::Docker { name.tag().unwrap_or_default() } else { &whole };
        entry["annotations"] = json!({NAME_ANNOTATION: whole, REF_ANNOTATION: reference});
        entry
    };
    image.names.iter().map(named).collect()
}

/// An entry of docker's list.
fn entry(config: &str, names: &[ImageRef], layers: Vec<String>) -> Value {
    let tags: Vec<String> = names.iter().map(ImageRef::familiar).collect();
    let tags = if tags.is_empty() { Value::Null } else { json!(tags) };
    json!({"Config": config, "RepoTags": tags, "Layers": layers})
}

/// docker's list, configs, and layers unpacked.
pub(super) fn docker_archive(store: &Store, images: &[Selected]) -> Result<Vec<Item>> {
    let (mut list, mut configs, mut layers, mut seen) = (Vec::new(), Vec::new(), Vec::new(), HashSet::new());
    for image in images {
        let config_name = format!("{}.json", image.config.hex());
        let mut names = Vec::new();
        for layer in store.images().layer_sources(image.manifest, image.config)? {
            let name = format!("{}.tar", layer.diff_id.hex());
            if seen.insert(layer.diff_id) {
                layers.push(layer_item(store, name.clone(), layer.blob)?);
            }
            names.push(name);
        }
        if seen.insert(image.config) {
            configs.push(Item::Bytes(config_name.clone(), store.blobs().read(image.config, DOCUMENT_MAX)?));
        }
        list.push(entry(&config_name, &image.names, names));
    }
    let mut items = vec![Item::Bytes(MANIFEST.to_owned(), serde_json::to_vec(&list)?)];
    items.extend(configs);
    items.extend(layers);
    Ok(items)
}

fn layer_item(store: &Store, name: String, digest: Digest) -> Result<Item> {
    if !is_plain(store, digest)? {
        return Ok(Item::Unpacked { name, digest });
    }
    let size = store.blobs().open(digest)?.metadata()?.len();
    Ok(Item::Blob { name, digest, size })
}

/// skopeo's directory of one image; layers made smaller lie in `staging`.
pub(super) fn docker_dir(store: &Store, images: &[Selected], compress: bool, staging: &Path) -> Result<Vec<Item>> {
    let [image] = images else { bail!("the format docker-dir holds one image: {} were named", images.len()) };
    let (bytes, manifest) = read_manifest(store, image.manifest)?;
    let mut bytes = convert::to_docker(bytes, &manifest)?;
    let mut manifest: Manifest = serde_json::from_slice(&bytes)?;
    let (mut blobs, mut seen, mut changed) = (Vec::new(), HashSet::new(), false);
    let config = (manifest.config.digest, manifest.config.size);
    for layer in &mut manifest.layers {
        let name = |digest: Digest| digest.hex();
        if compress && is_plain(store, layer.digest)? {
            let path = staging.join(layer.digest.hex());
            let (digest, size) = compressed(store, layer.digest, &path)?;
            (layer.digest, layer.size, changed) = (digest, size, true);
            layer.media_type = convert::gzip_type(&layer.media_type).to_owned();
            if seen.insert(digest) {
                blobs.push(Item::File { name: name(digest), path, size });
            }
        } else if seen.insert(layer.digest) {
            blobs.push(Item::Blob { name: name(layer.digest), digest: layer.digest, size: layer.size });
        }
    }
    if changed {
        bytes = serde_json::to_vec(&manifest)?;
    }
    let mut items = vec![Item::Bytes("version".to_owned(), DIRECTORY_VERSION.into())];
    items.push(Item::Bytes(MANIFEST.to_owned(), bytes));
    items.push(Item::Blob { name: config.0.hex(), digest: config.0, size: config.1 });
    items.extend(blobs);
    Ok(items)
}

fn compressed(store: &Store, digest: Digest, path: &Path) -> Result<(Digest, u64)> {
    let context = || format!("compress layer {digest}");
    let mut out = Compressor::new(Codec::GZIP, Digested::new(File::create(path)?)).with_context(context)?;
    decode::pump(&mut store.blobs().open(digest)?, &mut out).with_context(context)?;
    let made = out.finish().with_context(context)?;
    Ok((made.digest(), made.size()))
}

fn read_manifest(store: &Store, digest: Digest) -> Result<(Vec<u8>, Manifest)> {
    let bytes = store.blobs().read(digest, DOCUMENT_MAX)?;
    let manifest = serde_json::from_slice(&bytes).with_context(|| format!("blob {digest} is no image manifest"))?;
    Ok((bytes, manifest))
}
