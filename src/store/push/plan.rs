//! What of an image is sent as it is, and what becomes another: decided before anything is sent.

use super::{Format, PushError, PushOptions};
use crate::spec::digest::Digest;
use crate::spec::image::Manifest;
use crate::store::Store;
use crate::store::compress::Codec;
use crate::store::registry::client::DOCUMENT_MAX;
use crate::store::registry::manifest::{self, Descriptor, Document, LayerBlob};
use crate::store::unpack::Compression;

/// What zstd:chunked writes beside a layer: it describes those very bytes.
const CHUNKED: &str = "io.github.containers.zstd-chunked";

/// One image on its way out.
#[derive(Debug)]
pub struct Plan {
    pub config: Descriptor,
    /// Lowest first.
    pub layers: Vec<Layer>,
    format: Format,
    body: Vec<u8>,
    document: Manifest,
}

/// One layer of it.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    pub diff_id: Digest,
    pub blob: Descriptor,
    pub compression: Compression,
    /// How it is to be compressed; None: it goes as it is.
    pub codec: Option<Codec>,
}

/// A manifest ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    pub media_type: String,
    pub body: Vec<u8>,
}

impl Plan {
    /// Reads an image of the store. `known` says that a registry gave or took this very manifest:
    /// then its layers stay as they are unless the options want them otherwise.
    pub fn new(store: &Store, image: Digest, known: bool, options: &PushOptions) -> Result<Self, PushError> {
        let failed = PushError::store(store);
        let body = store.blobs().read(image, DOCUMENT_MAX).map_err(failed)?;
        let refused = |why| PushError::Image { image, why };
        let Document::Image(parsed) = manifest::parse(None, &body).map_err(refused)? else {
            return Err(refused("it is an index, not an image".to_owned()));
        };
        let document: Manifest = serde_json::from_slice(&body).map_err(|error| refused(error.to_string()))?;
        let config = store.images().config(parsed.config.digest).map_err(PushError::store(store))?;
        let diff_ids = config.rootfs.diff_ids;
        if diff_ids.len() != parsed.layers.len() {
            let (ids, blobs) = (diff_ids.len(), parsed.layers.len());
            return Err(refused(format!("its config names {ids} layers, its manifest {blobs}")));
        }
        let format = target_format(&document, options)?;
        let layer = |(diff_id, layer): (Digest, &LayerBlob)| Layer {
            diff_id,
            blob: layer.blob,
            compression: layer.compression,
            codec: codec(layer.compression, format, known, options),
        };
        let layers = diff_ids.into_iter().zip(&parsed.layers).map(layer).collect();
        Ok(Self { config: parsed.config, layers, format, body, document })
    }

    /// The manifest with the layers as they were sent: how each is compressed and its blob. The very
    /// bytes of the store where nothing changed.
    pub fn manifest(&self, sent: &[(Compression, Descriptor)]) -> Result<Ready, PushError> {
        let same_layers = self.layers.iter().zip(sent).all(|(layer, (_, blob))| layer.blob.digest == blob.digest);
        if same_layers && self.source_format() == self.format {
            let media_type = self.document.media_type.clone().unwrap_or_else(|| self.format.manifest().to_owned());
            return Ok(Ready { media_type, body: self.body.clone() });
        }
        let mut document = self.document.clone();
        document.media_type = Some(self.format.manifest().to_owned());
        document.config.media_type = self.format.config().to_owned();
        for (layer, (compression, blob)) in document.layers.iter_mut().zip(sent) {
            layer.media_type = self.format.layer(*compression).to_owned();
            if layer.digest != blob.digest {
                layer.annotations.retain(|name, _| !name.starts_with(CHUNKED));
            }
            (layer.digest, layer.size) = (blob.digest, blob.size);
        }
        if self.format == Format::V2s2 {
            // Docker's family has neither of these.
            document.rest.clear();
            document.config.annotations.clear();
            document.layers.iter_mut().for_each(|layer| layer.annotations.clear());
        }
        let body = serde_json::to_vec(&document)
            .map_err(|error| PushError::Image { image: Digest::of(&self.body), why: error.to_string() })?;
        Ok(Ready { media_type: self.format.manifest().to_owned(), body })
    }

    fn source_format(&self) -> Format {
        Format::of(self.document.media_type.as_deref())
    }
}

/// zstd makes an OCI manifest of docker's, which has no name for it.
fn target_format(document: &Manifest, options: &PushOptions) -> Result<Format, PushError> {
    let zstd = matches!(options.codec, Some(Codec::Zstd { .. }));
    match options.format {
        Some(Format::V2s2) if zstd => Err(PushError::Zstd),
        Some(format) => Ok(format),
        None if zstd => Ok(Format::Oci),
        None => Ok(Format::of(document.media_type.as_deref())),
    }
}

fn codec(found: Compression, format: Format, known: bool, options: &PushOptions) -> Option<Codec> {
    let default = Codec::GZIP;
    match (found, options.codec) {
        (found, Some(codec)) if found == codec.compression() => None,
        (Compression::None, Some(codec)) => Some(codec),
        (_, Some(codec)) if options.force => Some(codec),
        (Compression::None, None) if !known => Some(default),
        (Compression::Zstd, _) if format == Format::V2s2 => Some(default),
        _ => None,
    }
}
