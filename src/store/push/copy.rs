//! Pushing a manifest list: of each of its manifests what the destination lacks, from the store or
//! from the registry that has it, then the list. Nothing is changed on the way, as the list names its
//! manifests by their digests.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};

use super::mounts::Mounts;
use super::{Format, PARALLEL, PushError, PushOptions, Pushed};
use crate::spec::digest::Digest;
use crate::spec::image::{Index, Manifest};
use crate::spec::reference::ImageRef;
use crate::store::lists::List;
use crate::store::registry::client::{Client, DOCUMENT_MAX, Target};
use crate::store::registry::manifest::{self, Descriptor};
use crate::store::registry::repository::Repository;
use crate::store::registry::retry::patiently;
use crate::store::registry::upload::{Content, Upload};
use crate::store::registry::{self, RegistryError};
use crate::store::{Store, gc};

/// Lists in lists in lists are somebody's mistake.
const DEPTH_MAX: usize = 2;

/// Told how a list gets on.
pub trait CopyProgress {
    /// A manifest of the list is there; `sent` says that it was not before.
    fn manifest(&mut self, digest: Digest, sent: bool);
    /// A request is repeated after a pause. The reason is safe to print.
    fn retrying(&mut self, pause: Duration, reason: &str);
}

/// What one push shares. One thread: borrows never cross an await.
struct Copier<'a> {
    store: &'a Store,
    repository: &'a Repository,
    mounts: Mounts,
    options: &'a PushOptions,
    progress: RefCell<&'a mut dyn CopyProgress>,
}

/// Pushes a list as `to`; `format` is that of the list itself.
pub fn push_list(
    store: &Store,
    list: &List,
    to: &ImageRef,
    format: Option<Format>,
    options: &PushOptions,
    progress: &mut dyn CopyProgress,
) -> Result<Pushed, PushError> {
    let work = async {
        let digests: Vec<Digest> = list.index.manifests.iter().map(|entry| entry.digest).collect();
        let _lease = gc::Lease::create(store, &digests).map_err(PushError::store(store))?;
        let place = options.access.place(to)?;
        let access = options.access.of(&place);
        let connect = async || Repository::connect(to, &access, options.patience.clone()).await;
        let notify = |pause, reason: &str| progress.retrying(pause, reason);
        let repository = patiently(&options.patience, notify, connect).await?;
        let mounts = Mounts::at(store, to, Digest::of(b"")).map_err(PushError::store(store))?;
        let copier = Copier { store, repository: &repository, mounts, options, progress: RefCell::new(progress) };
        for entry in &list.index.manifests {
            let descriptor = Descriptor { digest: entry.digest, size: entry.size };
            copier.copy(descriptor, list.sources.get(&entry.digest), 0).await?;
        }
        let (media_type, body) = document(&list.index, format)?;
        let put = async || repository.put_manifest(&to.manifest_key(), media_type, &body).await;
        patiently(repository.patience(), |pause, reason: &str| copier.retrying(pause, reason), put).await?;
        Ok(Pushed { digest: Digest::of(&body), size: body.len() as u64 })
    };
    registry::block_on(work).map_err(PushError::file(store, "start the network runtime"))?
}

/// The list as it is sent: docker's when all it names are docker's, unless told.
pub fn document(index: &Index, format: Option<Format>) -> Result<(&'static str, Vec<u8>), PushError> {
    let docker = |entry: &crate::spec::image::Descriptor| Format::of(Some(&entry.media_type)) == Format::V2s2;
    let plain = ["annotations", "subject"].iter().all(|key| !index.rest.contains_key(*key));
    let own = if plain && !index.manifests.is_empty() && index.manifests.iter().all(docker) {
        Format::V2s2
    } else {
        Format::Oci
    };
    let format = format.unwrap_or(own);
    let mut index = index.clone();
    index.media_type = Some(format.index().to_owned());
    if format == Format::V2s2 {
        // Docker's family has no annotations.
        index.rest.clear();
        index.manifests.iter_mut().for_each(|entry| entry.annotations.clear());
    }
    let body = serde_json::to_vec(&index).map_err(|error| PushError::Store(error.into()))?;
    Ok((format.index(), body))
}

impl Copier<'_> {
    fn retrying(&self, pause: Duration, reason: &str) {
        self.progress.borrow_mut().retrying(pause, reason);
    }

    /// Brings one manifest and what it names there.
    async fn copy(&self, of: Descriptor, source: Option<&ImageRef>, depth: usize) -> Result<(), PushError> {
        let retrying = |pause, reason: &str| self.retrying(pause, reason);
        let has = async || self.repository.has_manifest(of.digest).await;
        if patiently(self.repository.patience(), retrying, has).await? {
            self.progress.borrow_mut().manifest(of.digest, false);
            return Ok(());
        }
        let client = self.client(source).await?;
        let (media_type, body) = self.read(of, client.as_ref()).await?;
        if let Some(index) = index(&body) {
            if depth == DEPTH_MAX {
                return Err(PushError::Image { image: of.digest, why: "its index is nested too deep".to_owned() });
            }
            for entry in &index.manifests {
                let descriptor = Descriptor { digest: entry.digest, size: entry.size };
                Box::pin(self.copy(descriptor, source, depth + 1)).await?;
            }
        } else {
            self.copy_blobs(of.digest, &body, source, client.as_ref()).await?;
        }
        let key = of.digest.to_string();
        let put = async || self.repository.put_manifest(&key, &media_type, &body).await;
        patiently(self.repository.patience(), retrying, put).await?;
        self.progress.borrow_mut().manifest(of.digest, true);
        Ok(())
    }

    async fn client(&self, source: Option<&ImageRef>) -> Result<Option<Client>, RegistryError> {
        let Some(source) = source else { return Ok(None) };
        let place = self.options.access.place(source)?;
        let access = self.options.access.of(&place);
        let connect = async || Client::connect(source, &access, self.options.patience.clone()).await;
        let retrying = |pause, reason: &str| self.retrying(pause, reason);
        Ok(Some(patiently(&self.options.patience, retrying, connect).await?))
    }

    /// A manifest and its type, from the store or its registry.
    async fn read(&self, of: Descriptor, client: Option<&Client>) -> Result<(String, Vec<u8>), PushError> {
        let body = match (self.store.blobs().contains(of.digest), client) {
            (true, _) => self.store.blobs().read(of.digest, DOCUMENT_MAX).map_err(PushError::store(self.store))?,
            (false, Some(client)) => {
                let target = Target::Manifest(of.digest.to_string());
                let retrying = |pause, reason: &str| self.retrying(pause, reason);
                let get = async || client.get_document(&target, manifest::ACCEPT).await;
                let (_, body) = patiently(client.patience(), retrying, get).await?;
                let found = Digest::of(&body);
                if found != of.digest {
                    Err(RegistryError::Digest { what: "manifest", expected: of.digest, found })?;
                }
                body
            }
            (false, None) => return Err(PushError::NoSource { digest: of.digest, manifest: of.digest }),
        };
        let refused = |why| PushError::Image { image: of.digest, why };
        let media_type = manifest::media_type(&body).map_err(refused)?;
        Ok((media_type, body))
    }

    async fn copy_blobs(
        &self,
        manifest: Digest,
        body: &[u8],
        source: Option<&ImageRef>,
        client: Option<&Client>,
    ) -> Result<(), PushError> {
        let refused = |error: serde_json::Error| PushError::Image { image: manifest, why: error.to_string() };
        let document: Manifest = serde_json::from_slice(body).map_err(refused)?;
        let all = document.layers.iter().chain([&document.config]);
        let blobs: BTreeSet<(Digest, u64)> = all.map(|blob| (blob.digest, blob.size)).collect();
        let copies = blobs
            .into_iter()
            .map(async |(digest, size)| self.copy_blob(manifest, Descriptor { digest, size }, source, client).await);
        futures_util::stream::iter(copies).buffer_unordered(PARALLEL).try_collect().await
    }

    async fn copy_blob(
        &self,
        manifest: Digest,
        blob: Descriptor,
        source: Option<&ImageRef>,
        client: Option<&Client>,
    ) -> Result<(), PushError> {
        let path = self.store.blobs().path(blob.digest);
        let content = match (self.store.blobs().contains(blob.digest), client) {
            (true, _) => Content::File(&path),
            (false, Some(client)) => Content::Remote(client),
            (false, None) => return Err(PushError::NoSource { digest: blob.digest, manifest }),
        };
        let mut mounts = self.mounts.of(blob.digest, blob.digest);
        let neighbour = source.filter(|source| source.domain() == self.repository.domain());
        if let Some(neighbour) = neighbour.filter(|source| source.path() != self.repository.path()) {
            mounts.retain(|path| path != neighbour.path());
            mounts.insert(0, neighbour.path().to_owned());
        }
        Upload { to: self.repository, blob, content, mounts: &mounts }.run(&|_| {}).await?;
        Ok(())
    }
}

/// The document as a list, if it is one.
fn index(body: &[u8]) -> Option<Index> {
    serde_json::from_slice(body).ok()
}
