//! From a reference to one platform's image: index, manifest and config, each verified before it
//! is parsed.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;

use super::client::{Client, DOCUMENT_MAX, Target};
use super::error::{RegistryError, printable};
use super::manifest::{self, Descriptor, Document, Image, LayerBlob};
use super::retry::patiently;
use crate::spec::digest::Digest;
use crate::spec::image::{ImageConfig, RootFs};
use crate::spec::platform::Platform;
use crate::store::layers::chain_ids;
use crate::store::unpack::Compression;

/// An image's documents and its layers, bottom first.
#[derive(Debug)]
pub struct Resolved {
    /// What the reference itself led to: an index or the manifest.
    pub resolved: Digest,
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub layers: Vec<Layer>,
}

/// One layer: its blob, and what the config says of its content.
#[derive(Clone, Debug)]
pub struct Layer {
    pub blob: Descriptor,
    pub compression: Compression,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Names this layer on top of those below it (OCI image-spec, config.md#layer-chainid).
    pub chain_id: Digest,
}

/// Small blobs that are here already, by digest.
pub type Local<'a> = &'a dyn Fn(Digest) -> Option<Vec<u8>>;

/// What resolving tells while it waits: the pause and the reason.
pub type Notify<'a> = &'a mut dyn FnMut(Duration, &str);

/// Resolves the client's reference for `platform`, None being this machine's.
pub async fn resolve(
    client: &Client,
    platform: Option<&Platform>,
    local: Local<'_>,
    notify: Notify<'_>,
) -> Result<Resolved, RegistryError> {
    let mut resolver = Resolver { client, local, notify };
    let (resolved, mut document, mut body) = resolver.top().await?;
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let mut depth = 0;
    let image = loop {
        match document {
            Document::Image(image) => break image,
            Document::Index(_) if depth == 2 => return Err(resolver.refused("its index is nested too deep".to_owned())),
            Document::Index(index) => {
                let chosen = manifest::select(&index, &wanted);
                let chosen = chosen.map_err(|available| resolver.unmatched(&wanted, &available))?;
                (document, body) = resolver.nested(chosen).await?;
                depth += 1;
            }
        }
    };
    let config = resolver.config(image.config).await?;
    let layers = resolver.layers(&image, &config, platform)?;
    Ok(Resolved { resolved, manifest: body, config, layers })
}

struct Resolver<'a> {
    client: &'a Client,
    local: Local<'a>,
    notify: Notify<'a>,
}

impl Resolver<'_> {
    /// The document of the reference itself; always asked for, so that the registry vouches for it.
    async fn top(&mut self) -> Result<(Digest, Document, Vec<u8>), RegistryError> {
        let key = self.client.reference().manifest_key();
        let (content_type, body) = self.fetch(&Target::Manifest(key)).await?;
        let found = Digest::of(&body);
        if let Some(expected) = self.client.reference().digest()
            && expected != found
        {
            return Err(RegistryError::Digest { what: "manifest", expected, found });
        }
        let document = manifest::parse(content_type.as_deref(), &body).map_err(|why| self.refused(why))?;
        Ok((found, document, body))
    }

    /// A manifest that an index names.
    async fn nested(&mut self, descriptor: Descriptor) -> Result<(Document, Vec<u8>), RegistryError> {
        let target = Target::Manifest(descriptor.digest.to_string());
        let (content_type, body) = self.described("manifest", descriptor, &target).await?;
        let document = manifest::parse(content_type.as_deref(), &body).map_err(|why| self.refused(why))?;
        Ok((document, body))
    }

    async fn config(&mut self, descriptor: Descriptor) -> Result<Vec<u8>, RegistryError> {
        Ok(self.described("config", descriptor, &Target::Blob(descriptor.digest, 0)).await?.1)
    }

    /// A document of known size and digest, from the store or the registry.
    async fn described(
        &mut self,
        what: &'static str,
        descriptor: Descriptor,
        target: &Target,
    ) -> Result<(Option<String>, Vec<u8>), RegistryError> {
        let Descriptor { digest: expected, size } = descriptor;
        if size > DOCUMENT_MAX {
            return Err(RegistryError::TooLarge { what, host: self.client.host(), limit: DOCUMENT_MAX });
        }
        let (content_type, body) = match (self.local)(expected) {
            Some(body) => (None, body),
            None => self.fetch(target).await?,
        };
        let found = Digest::of(&body);
        if found != expected {
            return Err(RegistryError::Digest { what, expected, found });
        }
        if body.len() as u64 != size {
            let why = format!("{what} {expected} has {} bytes, its descriptor says {size}", body.len());
            return Err(self.refused(why));
        }
        Ok((content_type, body))
    }

    async fn fetch(&mut self, target: &Target) -> Result<(Option<String>, Vec<u8>), RegistryError> {
        let client = self.client;
        let accept = match target {
            Target::Manifest(_) => manifest::ACCEPT,
            Target::Blob(..) => "*/*",
        };
        let request = async || client.get_document(target, accept).await;
        let (headers, body) = patiently(client.patience(), &mut *self.notify, request).await?;
        let content_type =
            headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Ok((content_type, body))
    }

    fn layers(&self, image: &Image, config: &[u8], asked: Option<&Platform>) -> Result<Vec<Layer>, RegistryError> {
        let config: ImageConfig = serde_json::from_slice(config)
            .map_err(|error| self.refused(format!("malformed config: {}", printable(&error.to_string()))))?;
        self.check_platform(&config, asked)?;
        let RootFs { kind, diff_ids } = &config.rootfs;
        if kind != "layers" {
            return Err(self.refused(format!("its root file system is of the unknown type {}", printable(kind))));
        }
        if diff_ids.len() != image.layers.len() {
            let (ids, blobs) = (diff_ids.len(), image.layers.len());
            return Err(self.refused(format!("its config names {ids} layers, its manifest {blobs}")));
        }
        let ids = diff_ids.iter().copied().zip(chain_ids(diff_ids));
        let layer = |(layer, (diff_id, chain_id)): (&LayerBlob, _)| Layer {
            blob: layer.blob,
            compression: layer.compression,
            diff_id,
            chain_id,
        };
        Ok(image.layers.iter().zip(ids).map(layer).collect())
    }

    /// The config has the last word on the platform: an index may be wrong, a manifest says nothing.
    fn check_platform(&self, config: &ImageConfig, asked: Option<&Platform>) -> Result<(), RegistryError> {
        let actual = config.platform();
        if !matches!(actual.os.as_str(), "" | "linux") {
            return Err(self.refused(format!("it is made for {}", printable(&actual.os))));
        }
        match asked {
            Some(wanted) if !actual.architecture.is_empty() && !actual.satisfies(wanted) => {
                Err(self.unmatched(wanted, &[printable(&actual.to_string())]))
            }
            _ => Ok(()),
        }
    }

    fn refused(&self, why: String) -> RegistryError {
        RegistryError::Image { image: self.client.reference().familiar(), why }
    }

    fn unmatched(&self, wanted: &Platform, available: &[String]) -> RegistryError {
        let image = self.client.reference().familiar();
        let available = if available.is_empty() { "none".to_owned() } else { available.join(", ") };
        RegistryError::Platform { image, wanted: wanted.to_string(), available }
    }
}
