//! Manifests from docker's types to OCI's and back. The blobs stay the same, so a layer keeps its
//! compression and an image its id.

use anyhow::Result;
use oci_distribution::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE,
    IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE, IMAGE_LAYER_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
};

use crate::spec::image::Manifest;
use crate::store::compress::Codec;

/// OCI's type, docker's type.
const LAYERS: [(&str, &str); 4] = [
    (IMAGE_LAYER_MEDIA_TYPE, IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE),
    (IMAGE_LAYER_MEDIA_TYPE, "application/vnd.docker.image.rootfs.diff.tar"),
    (IMAGE_LAYER_GZIP_MEDIA_TYPE, IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE),
    ("application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd"),
];

/// The type of a manifest, which OCI's need not say themselves.
pub(super) fn media_type(manifest: &Manifest) -> &str {
    manifest.media_type.as_deref().unwrap_or(match manifest.config.media_type.as_str() {
        IMAGE_DOCKER_CONFIG_MEDIA_TYPE => IMAGE_MANIFEST_MEDIA_TYPE,
        _ => OCI_IMAGE_MEDIA_TYPE,
    })
}

/// The manifest with OCI's types; the same bytes if it has them.
pub(super) fn to_oci(bytes: Vec<u8>, manifest: &Manifest) -> Result<Vec<u8>> {
    if media_type(manifest) == OCI_IMAGE_MEDIA_TYPE {
        return Ok(bytes);
    }
    let layer = |kind: &str| LAYERS.iter().find(|(_, docker)| *docker == kind).map(|(oci, _)| *oci);
    converted(manifest, OCI_IMAGE_MEDIA_TYPE, IMAGE_CONFIG_MEDIA_TYPE, layer)
}

/// The manifest with docker's types; the same bytes if it has them, or if docker has no type for a
/// layer (zstd).
pub(super) fn to_docker(bytes: Vec<u8>, manifest: &Manifest) -> Result<Vec<u8>> {
    let zstd = manifest.layers.iter().any(|layer| layer.media_type.ends_with("zstd"));
    if media_type(manifest) == IMAGE_MANIFEST_MEDIA_TYPE || zstd {
        return Ok(bytes);
    }
    let layer = |kind: &str| LAYERS.iter().rfind(|(oci, _)| *oci == kind).map(|(_, docker)| *docker);
    converted(manifest, IMAGE_MANIFEST_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, layer)
}

fn converted(
    manifest: &Manifest,
    kind: &str,
    config: &str,
    layer: impl Fn(&str) -> Option<&'static str>,
) -> Result<Vec<u8>> {
    let mut manifest = manifest.clone();
    manifest.media_type = Some(kind.to_owned());
    manifest.config.media_type = config.to_owned();
    for descriptor in &mut manifest.layers {
        if let Some(kind) = layer(&descriptor.media_type) {
            descriptor.media_type = kind.to_owned();
        }
    }
    Ok(serde_json::to_vec(&manifest)?)
}

/// The type of a layer that is compressed so, beside or in place of one of this type.
pub(super) fn layer_type(of: &str, codec: Option<Codec>) -> &'static str {
    let index = match codec {
        None => 0,
        Some(Codec::Gzip { .. }) => 2,
        Some(Codec::Zstd { .. }) => 3,
    };
    let (oci, docker) = LAYERS[index];
    if of.contains("docker") { docker } else { oci }
}
