//! The two families of media types.

use oci_distribution::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE,
    IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE, IMAGE_LAYER_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};

use crate::store::unpack::Compression;

/// Whose manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Oci,
    /// Docker's version 2, schema 2.
    V2s2,
}

impl Format {
    /// The family that a manifest's media type is of; one without a type is OCI's.
    pub fn of(media_type: Option<&str>) -> Self {
        match media_type {
            Some(IMAGE_MANIFEST_MEDIA_TYPE | IMAGE_MANIFEST_LIST_MEDIA_TYPE) => Self::V2s2,
            _ => Self::Oci,
        }
    }

    /// The media type of an image's manifest.
    pub fn manifest(self) -> &'static str {
        match self {
            Self::Oci => OCI_IMAGE_MEDIA_TYPE,
            Self::V2s2 => IMAGE_MANIFEST_MEDIA_TYPE,
        }
    }

    /// The media type of a list of manifests.
    pub fn index(self) -> &'static str {
        match self {
            Self::Oci => OCI_IMAGE_INDEX_MEDIA_TYPE,
            Self::V2s2 => IMAGE_MANIFEST_LIST_MEDIA_TYPE,
        }
    }

    /// The media type of an image's config.
    pub fn config(self) -> &'static str {
        match self {
            Self::Oci => IMAGE_CONFIG_MEDIA_TYPE,
            Self::V2s2 => IMAGE_DOCKER_CONFIG_MEDIA_TYPE,
        }
    }

    /// The media type of a layer. Docker's family has none for zstd that others would know.
    pub fn layer(self, compression: Compression) -> &'static str {
        match (self, compression) {
            (Self::Oci, Compression::None) => IMAGE_LAYER_MEDIA_TYPE,
            (Self::Oci, Compression::Gzip) => IMAGE_LAYER_GZIP_MEDIA_TYPE,
            (Self::Oci, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Self::V2s2, Compression::None) => IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE,
            (Self::V2s2, Compression::Gzip) => IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE,
            (Self::V2s2, Compression::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        }
    }
}
