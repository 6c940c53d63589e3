//! What files an archive has, in their order. Documents come first, so that a reader of a stream
//! knows what the rest is.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Format, Item, LayerForm, SaveOptions, Selected, convert, packing, unpacked};
use crate::spec::digest::Digest;
use crate::spec::image::{Descriptor, Manifest};
use crate::spec::reference::ImageRef;
use crate::store::Store;
use crate::store::archive::{
    DOCUMENT_MAX, INDEX, LAYOUT, LAYOUT_VERSION, MANIFEST, NAME_ANNOTATION, Packing, REF_ANNOTATION, blob_name, decode,
};
use crate::store::compress::Compressor;
use crate::store::metered::Digested;
use oci_distribution::manifest::OCI_IMAGE_INDEX_MEDIA_TYPE;

/// The first line of skopeo's directories.
const DIRECTORY_VERSION: &str = "Directory Transport Version: 1.1\n";

/// An OCI layout; with `manifest.json` in docker's format. Layers made anew lie in `staging`.
pub(super) fn layout(store: &Store, images: &[Selected], options: &SaveOptions, staging: &Path) -> Result<Vec<Item>> {
    let format = options.format;
    let (mut entries, mut list, mut blobs) = (Vec::new(), Vec::new(), Blobs::default());
    for image in images {
        let (bytes, manifest) = read_manifest(store, image.manifest)?;
        let mut bytes = if format == Format::Docker { bytes } else { convert::to_oci(bytes, &manifest)? };
        let mut parsed: Manifest = serde_json::from_slice(&bytes)?;
        let made = remake(store, &mut parsed, options.layers, staging)?;
        if made.iter().any(Option::is_some) {
            bytes = serde_json::to_vec(&parsed)?;
        }
        entries.extend(descriptors(image, &bytes, convert::media_type(&parsed), format));
        list.push(entry(
            &blob_name(parsed.config.digest),
            &image.names,
            parsed.layers.iter().map(|layer| blob_name(layer.digest)).collect(),
        ));
        blobs.document(bytes);
        blobs.add(&parsed.config, None);
        for (layer, path) in parsed.layers.iter().zip(made) {
            blobs.add(layer, path);
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

    /// A blob of the store, or the file of this path.
    fn add(&mut self, blob: &Descriptor, path: Option<PathBuf>) {
        let (name, digest, size) = (blob_name(blob.digest), blob.digest, blob.size);
        if self.seen.insert(digest) {
            self.items.push(match path {
                Some(path) => Item::File { name, path, size },
                None => Item::Blob { name, digest, size },
            });
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
    if packing(store, digest)? != Packing::Plain {
        return Ok(Item::Unpacked { name, digest });
    }
    let size = store.blobs().open(digest)?.metadata()?.len();
    Ok(Item::Blob { name, digest, size })
}

/// skopeo's directory of one image; layers made smaller lie in `staging`.
pub(super) fn docker_dir(store: &Store, images: &[Selected], form: LayerForm, staging: &Path) -> Result<Vec<Item>> {
    let [image] = images else { bail!("the format docker-dir holds one image: {} were named", images.len()) };
    let (bytes, manifest) = read_manifest(store, image.manifest)?;
    let mut bytes = convert::to_docker(bytes, &manifest)?;
    let mut manifest: Manifest = serde_json::from_slice(&bytes)?;
    let config = (manifest.config.digest, manifest.config.size);
    let (mut blobs, mut seen) = (Vec::new(), HashSet::new());
    let made = remake(store, &mut manifest, form, staging)?;
    if made.iter().any(Option::is_some) {
        bytes = serde_json::to_vec(&manifest)?;
    }
    for (layer, path) in manifest.layers.iter().zip(made) {
        let (name, digest, size) = (layer.digest.hex(), layer.digest, layer.size);
        if seen.insert(digest) {
            blobs.push(match path {
                Some(path) => Item::File { name, path, size },
                None => Item::Blob { name, digest, size },
            });
        }
    }
    let mut items = vec![Item::Bytes("version".to_owned(), DIRECTORY_VERSION.into())];
    items.push(Item::Bytes(MANIFEST.to_owned(), bytes));
    items.push(Item::Blob { name: config.0.hex(), digest: config.0, size: config.1 });
    items.extend(blobs);
    Ok(items)
}

/// Makes layers what they are to be, in `staging`; the paths of those that were made.
fn remake(store: &Store, manifest: &mut Manifest, form: LayerForm, staging: &Path) -> Result<Vec<Option<PathBuf>>> {
    manifest.layers.iter_mut().map(|layer| remake_layer(store, layer, form, staging)).collect()
}

fn remake_layer(store: &Store, layer: &mut Descriptor, form: LayerForm, staging: &Path) -> Result<Option<PathBuf>> {
    let is = packing(store, layer.digest)?;
    let codec = match form {
        LayerForm::Kept => return Ok(None),
        LayerForm::Compressed { force, .. } if is != Packing::Plain && !force => return Ok(None),
        LayerForm::Compressed { codec, .. } => Some(codec),
        LayerForm::Plain if is == Packing::Plain => return Ok(None),
        LayerForm::Plain => None,
    };
    let path = staging.join(layer.digest.hex());
    let context = || format!("make layer {} anew", layer.digest);
    let mut input = unpacked(store, layer.digest)?;
    let mut write = || -> Result<Digested> {
        let mut out = Digested::new(File::create(&path)?);
        let Some(codec) = codec else {
            decode::pump(&mut input, &mut out)?;
            return Ok(out);
        };
        let mut out = Compressor::new(codec, out)?;
        decode::pump(&mut input, &mut out)?;
        Ok(out.finish()?)
    };
    let made = write().with_context(context)?;
    (layer.digest, layer.size) = (made.digest(), made.size());
    layer.media_type = convert::layer_type(&layer.media_type, codec).to_owned();
    Ok(Some(path))
}

fn read_manifest(store: &Store, digest: Digest) -> Result<(Vec<u8>, Manifest)> {
    let bytes = store.blobs().read(digest, DOCUMENT_MAX)?;
    let manifest = serde_json::from_slice(&bytes).with_context(|| format!("blob {digest} is no image manifest"))?;
    Ok((bytes, manifest))
}
