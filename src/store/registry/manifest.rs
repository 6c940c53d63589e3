//! Manifest documents: classified by content type and shape, one meaning a digest (CVE-2021-41190),
//! then reduced to what a pull needs.

use oci_distribution::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE,
    IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE, IMAGE_LAYER_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::printable;
use crate::spec::digest::Digest;
use crate::spec::image::{self, Index, Manifest};
use crate::spec::platform::Platform;
use crate::store::unpack::Compression;

/// What is asked for in the Accept header.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

const ZSTD_LAYERS: [&str; 2] =
    ["application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd"];
/// The kernel's limit of lower directories of one overlay.
pub const LAYERS_MAX: usize = 500;

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
    Index(Index),
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
            let manifest: Manifest = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
            Ok(Document::Image(image(&manifest)?))
        }
    }
}

/// The media type under which a document is sent: its own word, else that of its shape in OCI's
/// family. Artifacts have one too.
pub fn media_type(body: &[u8]) -> Result<String, String> {
    let shape: Shape = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let kind = kind(None, &shape)?;
    let by_shape = if kind == Kind::Index { OCI_IMAGE_INDEX_MEDIA_TYPE } else { OCI_IMAGE_MEDIA_TYPE };
    Ok(shape.media_type.unwrap_or_else(|| by_shape.to_owned()))
}

fn malformed(error: &serde_json::Error) -> String {
    format!("malformed manifest: {}", printable(&error.to_string()))
}

fn kind(content_type: Option<&str>, shape: &Shape) -> Result<Kind, String> {
    if shape.schema_version == 1 || shape.fs_layers.is_some() {
        return Err(
            "its manifest has the obsolete schema 1: ask its publisher to push it with a current tool".to_owned()
        );
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
    let header = header
        .filter(|text| !matches!(text.as_str(), "" | "application/json" | "text/plain" | "application/octet-stream"));
    if let (Some(header), Some(body)) = (&header, &shape.media_type)
        && header != body
    {
        let (header, body) = (printable(header), printable(body));
        return Err(format!("its manifest was sent as {header} but calls itself {body}"));
    }
    match header.as_deref().or(shape.media_type.as_deref()) {
        Some(name) if kind_of(name) == Some(by_shape) => Ok(by_shape),
        Some(name) if kind_of(name).is_some() => {
            Err(format!("its manifest does not have the shape of {}", printable(name)))
        }
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

fn image(manifest: &Manifest) -> Result<Image, String> {
    let config = &manifest.config;
    if ![IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE].contains(&config.media_type.as_str()) {
        let artifact_type = manifest.rest.get("artifactType").and_then(|value| value.as_str());
        let found = artifact_type.unwrap_or(&config.media_type);
        return Err(format!("it is not a container image but an artifact of type {}", printable(found)));
    }
    let count = manifest.layers.len();
    if count > LAYERS_MAX {
        return Err(format!("it has {count} layers, at most {LAYERS_MAX} can be mounted"));
    }
    let layers = manifest.layers.iter().map(layer).collect::<Result<_, _>>()?;
    Ok(Image { config: descriptor(config), layers })
}

/// The `urls` of a layer are never used: they would make us fetch from anywhere.
fn layer(layer: &image::Descriptor) -> Result<LayerBlob, String> {
    let compression = match layer.media_type.as_str() {
        IMAGE_LAYER_MEDIA_TYPE | IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE => Compression::None,
        IMAGE_LAYER_GZIP_MEDIA_TYPE | IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE => Compression::Gzip,
        name if ZSTD_LAYERS.contains(&name) => Compression::Zstd,
        name if name.contains("nondistributable") || name.contains("foreign") => {
            return Err(format!("layer {} is not distributed by registries ({})", layer.digest, printable(name)));
        }
        name => return Err(format!("layer {} has the unknown type {}", layer.digest, printable(name))),
    };
    Ok(LayerBlob { blob: descriptor(layer), compression })
}

fn descriptor(of: &image::Descriptor) -> Descriptor {
    Descriptor { digest: of.digest, size: of.size }
}

/// Picks the entry for `wanted`: the exact platform, then one without a variant, then the first
/// that satisfies it; an entry that names no platform only when it is a nested index or the only
/// one. The error lists what there is.
pub fn select(index: &Index, wanted: &Platform) -> Result<Descriptor, Vec<String>> {
    let known: Vec<(&image::Descriptor, Platform)> =
        index.manifests.iter().filter_map(|entry| Some((entry, platform_of(entry)?))).collect();
    let matching = || known.iter().filter(|(entry, platform)| has_kind(entry) && platform.satisfies(wanted));
    let exact = matching().find(|(_, platform)| platform == wanted);
    let plain = || matching().find(|(_, platform)| platform.variant.is_none());
    let chosen = exact.or_else(plain).or_else(|| matching().next()).map(|(entry, _)| *entry);
    let unnamed = || {
        let first = index.manifests.iter().find(|entry| entry.platform.is_none() && has_kind(entry))?;
        let nested = kind_of(&first.media_type) == Some(Kind::Index);
        (nested || index.manifests.len() == 1).then_some(first)
    };
    match chosen.or_else(unnamed) {
        Some(entry) => Ok(descriptor(entry)),
        None => Err(known.iter().map(|(_, platform)| printable(&platform.to_string())).collect()),
    }
}

fn has_kind(entry: &image::Descriptor) -> bool {
    kind_of(&entry.media_type).is_some()
}

/// An entry's platform; None for attestations, which are marked `unknown/unknown`.
fn platform_of(entry: &image::Descriptor) -> Option<Platform> {
    let platform = entry.platform.as_ref().filter(|platform| platform.os != "unknown")?;
    Some(platform.normalised())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn reference(media_type: &str) -> Value {
        json!({"mediaType": media_type, "size": 1, "digest": Digest::of(b"x").to_string()})
    }

    fn manifest() -> Value {
        json!({"schemaVersion": 2, "mediaType": OCI_IMAGE_MEDIA_TYPE, "config": reference(IMAGE_CONFIG_MEDIA_TYPE),
            "layers": [reference(IMAGE_LAYER_GZIP_MEDIA_TYPE)]})
    }

    fn refusal(content_type: Option<&str>, body: &Value) -> String {
        parse(content_type, body.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn layers_are_known_by_their_type() {
        for (name, expected) in [
            (IMAGE_LAYER_MEDIA_TYPE, Some(Compression::None)),
            (IMAGE_LAYER_GZIP_MEDIA_TYPE, Some(Compression::Gzip)),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Some(Compression::Zstd)),
            ("application/vnd.docker.image.rootfs.diff.tar", Some(Compression::None)),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Some(Compression::Gzip)),
            ("application/vnd.docker.image.rootfs.diff.tar.zstd", Some(Compression::Zstd)),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", None),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", None),
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", None),
            ("application/octet-stream", None),
            ("", None),
        ] {
            let mut body = manifest();
            body["layers"][0] = reference(name);
            body["layers"][0]["urls"] = json!(["http://192.0.2.1/layer"]);
            let found = parse(None, body.to_string().as_bytes());
            match (found, expected) {
                (Ok(Document::Image(image)), Some(expected)) => assert_eq!(image.layers[0].compression, expected),
                (Err(_), None) => {}
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_document_has_one_meaning() {
        let mut both = manifest();
        both["manifests"] = json!([]);
        assert!(refusal(None, &both).contains("an index and an image at once"));
        assert!(refusal(Some(OCI_IMAGE_INDEX_MEDIA_TYPE), &manifest()).contains("but calls itself"));
        let mut untyped = manifest();
        untyped.as_object_mut().unwrap().remove("mediaType");
        assert!(refusal(Some(OCI_IMAGE_INDEX_MEDIA_TYPE), &untyped).contains("does not have the shape"));
        assert!(refusal(Some("text/html"), &untyped).contains("unknown manifest type"));
        for header in [None, Some("application/json; charset=utf-8"), Some(IMAGE_MANIFEST_MEDIA_TYPE)] {
            assert!(parse(header, untyped.to_string().as_bytes()).is_ok(), "{header:?}");
        }
        assert!(parse(Some("Application/VND.oci.image.manifest.v1+json"), manifest().to_string().as_bytes()).is_ok());
        let doubled = manifest().to_string().replacen('{', r#"{"layers":[],"#, 1);
        assert!(parse(None, doubled.as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let old = json!({"schemaVersion": 1, "name": "a", "fsLayers": []});
        assert!(refusal(Some("application/vnd.docker.distribution.manifest.v1+prettyjws"), &old).contains("schema 1"));
        assert!(refusal(None, &json!({"schemaVersion": 3, "layers": []})).contains("unknown manifest schema"));
        assert!(refusal(None, &json!({"schemaVersion": 2})).contains("neither"));
        let mut artifact = manifest();
        artifact["config"] = reference("application/vnd.oci.empty.v1+json");
        artifact["artifactType"] = json!("application/vnd.example\u{1b}[0m");
        let why = refusal(None, &artifact);
        assert!(why.contains("an artifact of type application/vnd.example") && !why.contains('\u{1b}'), "{why}");
        let mut many = manifest();
        many["layers"] = json!(vec![reference(IMAGE_LAYER_MEDIA_TYPE); LAYERS_MAX + 1]);
        assert!(refusal(None, &many).contains("501 layers"));
        for bad in ["sha256:../../x", "sha256:AB", "", "md5:00"] {
            let mut body = manifest();
            body["layers"][0]["digest"] = json!(bad);
            assert!(parse(None, body.to_string().as_bytes()).is_err(), "{bad}");
        }
        for bad in [&b""[..], b"{", b"[]", b"null", b"\xff\xfe", &b"[".repeat(100_000)] {
            assert!(parse(None, bad).is_err());
        }
    }

    #[test]
    fn the_plainest_matching_entry_is_selected() {
        let entry = |n: u8, platform: Value| {
            let mut entry = reference(OCI_IMAGE_MEDIA_TYPE);
            entry["digest"] = json!(Digest::of(&[n]).to_string());
            entry["platform"] = platform;
            entry
        };
        let index = json!({"schemaVersion": 2, "manifests": [
            entry(0, json!({"os": "unknown", "architecture": "unknown"})),
            entry(1, json!({"os": "linux", "architecture": "amd64", "variant": "v3"})),
            entry(2, json!({"os": "linux", "architecture": "x86_64"})),
            entry(3, json!({"os": "linux", "architecture": "arm64", "variant": "v8"})),
            entry(4, json!({"os": "linux", "architecture": "arm", "variant": "v6"})),
        ]});
        let Ok(Document::Index(index)) = parse(None, index.to_string().as_bytes()) else { panic!() };
        for (wanted, chosen) in [
            ("linux/amd64", Some(2)),
            ("linux/amd64/v3", Some(1)),
            ("linux/arm64", Some(3)),
            ("linux/arm/v6", Some(4)),
            ("linux/arm", None),
        ] {
            let found = select(&index, &wanted.parse().unwrap()).ok().map(|descriptor| descriptor.digest);
            assert_eq!(found, chosen.map(|n| Digest::of(&[n])), "{wanted}");
        }
        let available = select(&index, &"linux/s390x".parse().unwrap()).unwrap_err();
        assert_eq!(available, ["linux/amd64/v3", "linux/amd64", "linux/arm64", "linux/arm/v6"]);
    }
}
