//! Manifest documents: classified by content type and shape, one meaning a digest (CVE-2021-41190),
//! then reduced to what a pull needs.

use oci_distribution::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE,
    IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE, IMAGE_LAYER_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE, ImageIndexEntry, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor,
    OciImageIndex, OciImageManifest,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::printable;
use crate::spec::digest::Digest;
use crate::spec::platform::Platform;
use crate::store::unpack::Compression;

/// What is asked for in the Accept header.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

const ZSTD_LAYERS: [&str; 2] =
    ["application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd"];
/// The kernel's limit of lower directories of one overlay.
const LAYERS_MAX: usize = 500;

/// A digest and the size that goes with it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub digest: Digest,
    pub size: u64,
}

/// A layer as a manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    pub blob: Descriptor,
    pub compression: Compression,
}

/// The manifest of one platform's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub config: Descriptor,
    pub layers: Vec<LayerBlob>,
}

/// A parsed document.
#[derive(Debug)]
pub enum Document {
    Index(OciImageIndex),
    Image(Image),
}

/// The fields that decide what a document is. A doubled key is an error of the parser.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u64,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Image,
}

/// Parses a verified body. `content_type` is the header that came with it, None when the body came
/// from the store. The error says why the document is refused.
pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Document, String> {
    let shape: Shape = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    match kind(content_type, &shape)? {
        Kind::Index => Ok(Document::Index(serde_json::from_slice(body).map_err(|error| malformed(&error))?)),
        Kind::Image => {
            let manifest: OciImageManifest = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
            Ok(Document::Image(image(&manifest)?))
        }
    }
}

fn malformed(error: &serde_json::Error) -> String {
    format!("malformed manifest: {}", printable(&error.to_string()))
}

fn kind(content_type: Option<&str>, shape: &Shape) -> Result<Kind, String> {
    if shape.schema_version == 1 || shape.fs_layers.is_some() {
        return Err("its manifest has the obsolete schema 1: ask its publisher to push it with a current tool".to_owned());
    }
    if shape.schema_version != 2 {
        return Err(format!("unknown manifest schema {}", shape.schema_version));
    }
    let image_parts = shape.layers.is_some() || shape.config.is_some();
    let by_shape = match (shape.manifests.is_some(), image_parts) {
        (true, true) => return Err("its manifest claims to be an index and an image at once".to_owned()),
        (true, false) => Kind::Index,
        (false, true) => Kind::Image,
        (false, false) => return Err("its manifest is neither an index nor an image".to_owned()),
    };
    let header = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let header = header.filter(|text| !matches!(text.as_str(), "" | "application/json" | "text/plain" | "application/octet-stream"));
    if let (Some(header), Some(body)) = (&header, &shape.media_type)
        && header != body
    {
        let (header, body) = (printable(header), printable(body));
        return Err(format!("its manifest was sent as {header} but calls itself {body}"));
    }
    match header.as_deref().or(shape.media_type.as_deref()) {
        Some(name) if kind_of(name) == Some(by_shape) => Ok(by_shape),
        Some(name) if kind_of(name).is_some() => Err(format!("its manifest does not have the shape of {}", printable(name))),
        Some(name) => Err(format!("unknown manifest type {}", printable(name))),
        None => Ok(by_shape),
    }
}

fn kind_of(media_type: &str) -> Option<Kind> {
    match media_type {
        OCI_IMAGE_INDEX_MEDIA_TYPE | IMAGE_MANIFEST_LIST_MEDIA_TYPE => Some(Kind::Index),
        OCI_IMAGE_MEDIA_TYPE | IMAGE_MANIFEST_MEDIA_TYPE => Some(Kind::Image),
        _ => None,
    }
}

fn image(manifest: &OciImageManifest) -> Result<Image, String> {
    let config = &manifest.config;
    if ![IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE].contains(&config.media_type.as_str()) {
        let found = manifest.artifact_type.as_deref().unwrap_or(&config.media_type);
        return Err(format!("it is not a container image but an artifact of type {}", printable(found)));
    }
    match manifest.layers.len() {
        0 => return Err("it has no layers".to_owned()),
        1..=LAYERS_MAX => {}
        more => return Err(format!("it has {more} layers, at most {LAYERS_MAX} can be mounted")),
    }
    let layers = manifest.layers.iter().map(layer).collect::<Result<_, _>>()?;
    Ok(Image { config: descriptor(&config.digest, config.size)?, layers })
}

/// The `urls` of a layer are never used: they would make us fetch from anywhere.
fn layer(layer: &OciDescriptor) -> Result<LayerBlob, String> {
    let compression = match layer.media_type.as_str() {
        IMAGE_LAYER_MEDIA_TYPE | IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE => Compression::None,
        IMAGE_LAYER_GZIP_MEDIA_TYPE | IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE => Compression::Gzip,
        name if ZSTD_LAYERS.contains(&name) => Compression::Zstd,
        name if name.contains("nondistributable") || name.contains("foreign") => {
            return Err(format!("layer {} is not distributed by registries ({})", printable(&layer.digest), printable(name)));
        }
        name => return Err(format!("layer {} has the unknown type {}", printable(&layer.digest), printable(name))),
    };
    Ok(LayerBlob { blob: descriptor(&layer.digest, layer.size)?, compression })
}

fn descriptor(digest: &str, size: i64) -> Result<Descriptor, String> {
    let digest = digest.parse().map_err(|_| format!("unsupported digest {}", printable(digest)))?;
    let size = u64::try_from(size).map_err(|_| format!("blob {digest} has the size {size}"))?;
    Ok(Descriptor { digest, size })
}

/// Picks the entry for `wanted`: without a variant before one with, else the first; a nested index
/// or a lone entry that names no platform only when nothing matches. The error lists what there is.
pub fn select(index: &OciImageIndex, wanted: &Platform) -> Result<Result<Descriptor, String>, Vec<String>> {
    let known: Vec<(&ImageIndexEntry, Platform)> =
        index.manifests.iter().filter_map(|entry| Some((entry, platform_of(entry)?))).collect();
    let matching = || known.iter().filter(|(entry, platform)| kind_of(&entry.media_type).is_some() && platform.satisfies(wanted));
    let exact = matching().find(|(_, platform)| platform == wanted);
    let plain = || matching().find(|(_, platform)| platform.variant.is_none());
    let chosen = exact.or_else(plain).or_else(|| matching().next()).map(|(entry, _)| *entry);
    let unnamed = || {
        let mut entries = index.manifests.iter().filter(|entry| entry.platform.is_none());
        let first = entries.next()?;
        let nested = kind_of(&first.media_type) == Some(Kind::Index);
        (nested || index.manifests.len() == 1).then_some(first)
    };
    match chosen.or_else(unnamed) {
        Some(entry) => Ok(descriptor(&entry.digest, entry.size)),
        None => Err(known.iter().map(|(_, platform)| printable(&platform.to_string())).collect()),
    }
}

/// An entry's platform; None for attestations, which are marked `unknown/unknown`.
fn platform_of(entry: &ImageIndexEntry) -> Option<Platform> {
    let platform = entry.platform.as_ref()?;
    let (os, architecture) = (platform.os.to_string(), platform.architecture.to_string());
    (os != "unknown").then(|| Platform::from_parts(&os, &architecture, platform.variant.as_deref()))
}
