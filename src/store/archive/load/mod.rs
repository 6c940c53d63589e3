//! Images out of an archive: what it holds is found out first, then the layers that are not here
//! are brought in, several at a time, and the names come last, when everything is in the store.

mod docker;
mod layers;
mod legacy;
mod oci;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{Contents, INDEX, LAYOUT, MANIFEST, REPOSITORIES};
use crate::spec::digest::Digest;
use crate::spec::image::ImageConfig;
use crate::spec::platform::Platform;
use crate::spec::reference::ImageRef;
use crate::spec::text::printable;
use crate::store::Store;
use crate::store::gc::Lease;
use crate::store::intake::Taken;
use crate::store::layers::chain_ids;
use crate::store::pull::Unpacker;
use crate::store::registry::manifest::{self, Document};
use crate::store::unpack::{Compression, UnpackLimits};
use oci_distribution::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE, IMAGE_LAYER_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};

/// The type of a zstd layer (OCI image-spec, layer.md).
const ZSTD_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// What to take from an archive, and how.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The platform to select; None is the host's where there are several.
    pub platform: Option<Platform>,
    /// Only this entry of an OCI layout, which gets no name.
    pub entry: Option<Entry>,
    /// The user namespace maps one id only; see [`UnpackJob::single_id`](crate::store::unpack::UnpackJob::single_id).
    pub single_id: bool,
    pub limits: UnpackLimits,
}

/// An entry of an OCI layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Digest(Digest),
    Tag(String),
    /// The one of the tag `latest`, or the only one.
    Usual,
}

/// What came out of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// In the archive's order.
    pub images: Vec<LoadedImage>,
    /// Device nodes in new layers, which were left out: containers get devices of their own.
    pub skipped_devices: u64,
}

/// One image that is in the store now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedImage {
    /// The digest of its config.
    pub id: Digest,
    /// Names it was given.
    pub names: Vec<ImageRef>,
    /// Names that meant another image before, and that image's id.
    pub replaced: Vec<(ImageRef, Digest)>,
}

/// An image as an archive has it.
struct Found {
    names: Vec<ImageRef>,
    config: Vec<u8>,
    platform: Platform,
    /// None where the archive has no manifest of the image: one is made.
    manifest: Option<Vec<u8>>,
    /// Lowest first.
    layers: Vec<FoundLayer>,
}

/// A layer of such an image.
#[derive(Clone, Debug)]
struct FoundLayer {
    /// Its name in the archive.
    member: String,
    /// The digest and the size that a manifest promises.
    blob: Option<(Digest, u64)>,
    diff_id: Digest,
}

impl Found {
    fn id(&self) -> Digest {
        Digest::of(&self.config)
    }

    fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.diff_id).collect()
    }
}

/// Brings all images of an archive into the store and names them. On an error no name was given.
pub fn load(
    store: &Store,
    contents: &Contents,
    options: &LoadOptions,
    unpacker: &mut (dyn Unpacker + Send),
) -> Result<Loaded> {
    let images = select(find(contents, options)?, options)?;
    let mut digests = Vec::new();
    for image in &images {
        digests.extend([Some(image.id()), image.manifest.as_deref().map(Digest::of)].into_iter().flatten());
        digests.extend(chain_ids(&image.diff_ids()));
        digests.extend(image.layers.iter().filter_map(|layer| layer.blob).map(|(digest, _)| digest));
    }
    let lease = Lease::create(store, &digests)?;
    let taken = layers::take_all(store, contents, &lease, &images, options, unpacker)?;
    let mut loaded = Loaded { images: Vec::new(), skipped_devices: taken.skipped_devices() };
    let mut stored = Vec::new();
    for image in &images {
        let of_layers = taken.of(image).context("a layer was lost on its way")?;
        stored.push(put(store, &lease, image, &of_layers)?);
    }
    for (image, (manifest, config)) in images.into_iter().zip(stored) {
        loaded.images.push(name(store, image.names, manifest, config)?);
    }
    Ok(loaded)
}

/// Every image of the archive, whatever form it has.
fn find(contents: &Contents, options: &LoadOptions) -> Result<Vec<Found>> {
    let index = match contents.document(LAYOUT)? {
        Some(layout) => {
            oci::check_version(&layout)?;
            contents.document(INDEX)?
        }
        None => None,
    };
    let list = contents.document(MANIFEST)?;
    if let Some(list) = list.as_deref().filter(|list| first_byte(list) == Some(b'{')) {
        return oci::of_directory(contents, list);
    }
    match (index, list) {
        (Some(index), list) => {
            let mut images = oci::find(contents, &index, options.platform.as_ref(), options.entry.as_ref())?;
            if options.entry.is_some() {
                images.iter_mut().for_each(|image| image.names.clear());
                return Ok(images);
            }
            if let Some(list) = list {
                docker::add(contents, &list, &mut images)?;
            }
            Ok(images)
        }
        (None, Some(list)) => {
            let mut images = Vec::new();
            docker::add(contents, &list, &mut images)?;
            Ok(images)
        }
        (None, None) => match contents.document(REPOSITORIES)? {
            Some(repositories) => legacy::find(contents, &repositories, options.limits),
            None => bail!(
                "it holds no image: neither {MANIFEST} nor {INDEX} nor {REPOSITORIES} is in it (a root file system is \
                 read by 'rbox import')"
            ),
        },
    }
}

/// The images for the platform that was asked for.
fn select(images: Vec<Found>, options: &LoadOptions) -> Result<Vec<Found>> {
    if images.is_empty() {
        bail!("the archive lists no image");
    }
    let Some(wanted) = &options.platform else { return Ok(images) };
    let (matching, others): (Vec<Found>, _) = images.into_iter().partition(|image| image.platform.satisfies(wanted));
    if matching.is_empty() {
        let mut known: Vec<String> = others.iter().map(|image| image.platform.to_string()).collect();
        known.dedup();
        bail!("no image of the archive is for {wanted}: it has {}", printable(&known.join(", ")));
    }
    Ok(matching)
}

/// Stores the documents of an image: the digests of its manifest and config.
fn put(store: &Store, lease: &Lease, image: &Found, layers: &[Taken]) -> Result<(Digest, Digest)> {
    let config = store.blobs().put(&image.config)?;
    if let Some(manifest) = &image.manifest {
        return Ok((store.blobs().put(manifest)?, config));
    }
    // The image may be here from elsewhere: then it stays what it is.
    if let Some(manifest) = known_manifest(store, lease, config)? {
        return Ok((manifest, config));
    }
    let manifest = serde_json::to_vec(&make_manifest(image, layers))?;
    lease.add(&[Digest::of(&manifest)])?;
    Ok((store.blobs().put(&manifest)?, config))
}

fn known_manifest(store: &Store, lease: &Lease, id: Digest) -> Result<Option<Digest>> {
    let Ok(image) = store.images().find(&id.to_string()) else { return Ok(None) };
    let Ok(mut digests) = store.images().layer_blobs(image.manifest) else { return Ok(None) };
    digests.push(image.manifest);
    lease.add(&digests)?;
    Ok(digests.iter().all(|digest| store.blobs().contains(*digest)).then_some(image.manifest))
}

fn make_manifest(image: &Found, layers: &[Taken]) -> serde_json::Value {
    let descriptor = |kind: &str, digest: Digest, size: u64| json!({"mediaType": kind, "digest": digest, "size": size});
    let layer = |taken: &Taken| descriptor(layer_type(taken.compression), taken.blob, taken.size);
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE_MEDIA_TYPE,
        "config": descriptor(IMAGE_CONFIG_MEDIA_TYPE, image.id(), image.config.len() as u64),
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    })
}

fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => IMAGE_LAYER_MEDIA_TYPE,
        Compression::Gzip => IMAGE_LAYER_GZIP_MEDIA_TYPE,
        Compression::Zstd => ZSTD_LAYER,
    }
}

/// Gives an image its names, or keeps it without one.
fn name(store: &Store, names: Vec<ImageRef>, manifest: Digest, config: Digest) -> Result<LoadedImage> {
    let mut replaced = Vec::new();
    for name in &names {
        // A damaged record is no obstacle: it is replaced.
        let former = store.images().by_name(name).ok().flatten();
        replaced.extend(former.filter(|former| former.config != config).map(|former| (name.clone(), former.config)));
        store.images().tag(name, manifest, config)?;
    }
    if names.is_empty() {
        store.images().keep(manifest, config)?;
    }
    Ok(LoadedImage { id: config, names, replaced })
}

/// The image of a manifest whose blobs are where `place` says.
fn of_manifest(contents: &Contents, bytes: Vec<u8>, kind: Option<&str>, place: fn(Digest) -> String) -> Result<Found> {
    let digest = Digest::of(&bytes);
    let image = match manifest::parse(kind, &bytes) {
        Ok(Document::Image(image)) => image,
        Ok(Document::Index(_)) => bail!("manifest {digest} of the archive is an index"),
        Err(why) => bail!("manifest {digest} of the archive cannot be used: {why}"),
    };
    let config = contents.verified(&place(image.config.digest), image.config.digest)?;
    let parsed = parse_config(&config)?;
    let diff_ids = &parsed.rootfs.diff_ids;
    check_lengths(diff_ids.len(), image.layers.len())?;
    let layer = |(layer, diff_id): (&manifest::LayerBlob, &Digest)| FoundLayer {
        member: place(layer.blob.digest),
        blob: Some((layer.blob.digest, layer.blob.size)),
        diff_id: *diff_id,
    };
    let layers = image.layers.iter().zip(diff_ids).map(layer).collect();
    Ok(Found { names: Vec::new(), platform: parsed.platform(), config, manifest: Some(bytes), layers })
}

fn parse_config(bytes: &[u8]) -> Result<ImageConfig> {
    let digest = Digest::of(bytes);
    serde_json::from_slice(bytes)
        .map_err(|error| anyhow::anyhow!("{}", printable(&error.to_string())))
        .with_context(|| format!("config {digest} of the archive is no image configuration"))
}

/// docker's words.
fn check_lengths(expected: usize, got: usize) -> Result<()> {
    if expected != got {
        bail!("invalid manifest, layers length mismatch: expected {expected}, got {got}");
    }
    Ok(())
}

fn first_byte(json: &[u8]) -> Option<u8> {
    json.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// A name as an archive has it; the tag latest is understood.
fn parse_name(text: &str) -> Result<ImageRef> {
    let name: ImageRef = text.parse().map_err(|error| anyhow::anyhow!("invalid tag {text:?}: {error}"))?;
    match name.digest() {
        None => Ok(name),
        Some(_) => bail!("invalid tag {text:?}"),
    }
}

/// Adds a name that is not there.
fn add_name(names: &mut Vec<ImageRef>, name: ImageRef) {
    if !names.contains(&name) {
        names.push(name);
    }
}
