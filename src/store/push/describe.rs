//! What a manifest list says of an image: its descriptor, from the store or from a registry.

use serde_json::{Map, Value};

use super::{PushError, PushOptions};
use crate::spec::digest::Digest;
use crate::spec::image::{Descriptor, DescriptorPlatform, ImageConfig, Index, Manifest};
use crate::spec::platform::Platform;
use crate::spec::reference::ImageRef;
use crate::store::images::NameRecord;
use crate::store::registry::client::{Client, DOCUMENT_MAX, Target};
use crate::store::registry::manifest;
use crate::store::registry::retry::patiently;
use crate::store::registry::{self, RegistryError};
use crate::store::{Store, images};

/// An entry for a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub descriptor: Descriptor,
    /// Where the manifest can be had, if it is not in the store.
    pub source: Option<ImageRef>,
}

/// A document as a registry sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub media_type: String,
    pub digest: Digest,
    pub body: Vec<u8>,
}

/// Describes an image of the store.
pub fn describe_local(store: &Store, record: &NameRecord) -> Result<Found, PushError> {
    let body = store.blobs().read(record.manifest, DOCUMENT_MAX).map_err(PushError::store(store))?;
    let config = store.images().config(record.config).map_err(PushError::store(store))?;
    let refused = |why| PushError::Image { image: record.manifest, why };
    let media_type = manifest::media_type(&body).map_err(refused)?;
    let descriptor = Descriptor {
        platform: Some(platform(&config)),
        ..Descriptor::new(media_type, record.manifest, body.len() as u64)
    };
    Ok(Found { descriptor, source: None })
}

/// Describes what `reference` means at its registry: one entry for an image, all of them for a list
/// if `all` is wanted, else the one for this machine.
pub fn describe_remote(
    store: &Store,
    reference: &ImageRef,
    options: &PushOptions,
    all: bool,
) -> Result<Vec<Found>, PushError> {
    let work = async {
        let client = connect(reference, options).await?;
        let fetched = get(&client, &reference.manifest_key()).await?;
        let source = |digest| Some(reference.at_digest(digest));
        if let Ok(index) = serde_json::from_slice::<Index>(&fetched.body) {
            let wanted = Platform::host();
            let chosen = if all { None } else { Some(select(&index, &wanted, reference)?) };
            let entries = index.manifests.into_iter().filter(|entry| chosen.is_none_or(|one| one == entry.digest));
            let found = |descriptor: Descriptor| Found { source: source(descriptor.digest), descriptor };
            return Ok(entries.map(found).collect());
        }
        let platform = remote_platform(&client, &fetched.body).await?;
        let (digest, size) = (fetched.digest, fetched.body.len() as u64);
        let descriptor = Descriptor { platform, ..Descriptor::new(fetched.media_type, digest, size) };
        Ok(vec![Found { source: source(digest), descriptor }])
    };
    registry::block_on(work).map_err(PushError::file(store, "start the network runtime"))?
}

/// Gets documents of one repository by tag or digest: that of `reference`, and if it is a list and
/// `entries` are wanted those that it names.
pub fn fetch(
    store: &Store,
    reference: &ImageRef,
    options: &PushOptions,
    entries: bool,
) -> Result<Vec<Fetched>, PushError> {
    let work = async {
        let client = connect(reference, options).await?;
        let top = get(&client, &reference.manifest_key()).await?;
        let index: Option<Index> = serde_json::from_slice(&top.body).ok().filter(|_| entries);
        let mut fetched = vec![top];
        for entry in index.iter().flat_map(|index| &index.manifests) {
            fetched.push(get(&client, &entry.digest.to_string()).await?);
        }
        Ok(fetched)
    };
    registry::block_on(work).map_err(PushError::file(store, "start the network runtime"))?
}

/// Whether an image of the store has this name, exactly.
pub fn local(store: &Store, text: &str) -> Result<Option<NameRecord>, images::LookupError> {
    match store.images().resolve(text) {
        Ok(record) => Ok(Some(record)),
        Err(images::LookupError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn connect(reference: &ImageRef, options: &PushOptions) -> Result<Client, RegistryError> {
    let place = options.access.place(reference)?;
    let access = options.access.of(&place);
    let connect = async || Client::connect(reference, &access, options.patience.clone()).await;
    patiently(&options.patience, |_, _| {}, connect).await
}

async fn get(client: &Client, key: &str) -> Result<Fetched, PushError> {
    let target = Target::Manifest(key.to_owned());
    let request = async || client.get_document(&target, manifest::ACCEPT).await;
    let (_, body) = patiently(client.patience(), |_, _| {}, request).await?;
    let digest = Digest::of(&body);
    if let Ok(expected) = key.parse::<Digest>()
        && expected != digest
    {
        Err(RegistryError::Digest { what: "manifest", expected, found: digest })?;
    }
    let media_type = manifest::media_type(&body).map_err(|why| PushError::Image { image: digest, why })?;
    Ok(Fetched { media_type, digest, body })
}

fn select(index: &Index, wanted: &Platform, reference: &ImageRef) -> Result<Digest, RegistryError> {
    let found = manifest::select(index, wanted).map_err(|available| RegistryError::Platform {
        image: reference.familiar(),
        wanted: wanted.to_string(),
        available: available.join(", "),
    })?;
    Ok(found.digest)
}

/// The platform that an image's config names; None for artifacts.
async fn remote_platform(client: &Client, body: &[u8]) -> Result<Option<DescriptorPlatform>, RegistryError> {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(body) else { return Ok(None) };
    if !manifest.config.media_type.contains("image") {
        return Ok(None);
    }
    let target = Target::Blob(manifest.config.digest, 0);
    let (_, config) = client.get_document(&target, "*/*").await?;
    let found = Digest::of(&config);
    if found != manifest.config.digest {
        return Err(RegistryError::Digest { what: "config", expected: manifest.config.digest, found });
    }
    Ok(serde_json::from_slice(&config).ok().map(|config: ImageConfig| platform(&config)))
}

fn platform(config: &ImageConfig) -> DescriptorPlatform {
    let kept = ["os.version", "os.features"];
    let rest: Map<String, Value> = config
        .rest
        .iter()
        .filter(|(key, _)| kept.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    DescriptorPlatform {
        os: config.os.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        rest,
    }
}
