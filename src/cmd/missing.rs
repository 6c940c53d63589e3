//! Blobs of layers that were extracted here from blobs of another compression, and so were never
//! fetched: what hands an image on byte by byte has them fetched first.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};

use super::Context;
use super::pull::{Output, display};
use super::registry_options::{RegistryOptions, RetryOptions};
use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;
use crate::store::Store;
use crate::store::images::NameRecord;
use crate::store::pull::{self, PullOptions};
use crate::store::push::{PushError, Pushed};

/// Fetches the blobs of an image's layers that are not here from a registry that should have them:
/// one that an image with these blobs has a digest of. `options` tells how such a one is reached.
pub fn fetch(
    context: &Context,
    manifest: Digest,
    options: impl Fn(&ImageRef) -> Result<PullOptions>,
    quiet: bool,
) -> Result<()> {
    let store = context.store()?;
    let missing = of(store, manifest)?;
    let Some(first) = missing.first() else { return Ok(()) };
    let mut failed = None;
    for source in sources(store, manifest, &missing)? {
        let options = || {
            let platform = store.images().config(source.config)?.platform();
            Ok(PullOptions { platform: Some(platform), ..options(&source.name)? })
        };
        let fetched: Result<()> = options().and_then(|options: PullOptions| {
            let mut progress = display(if quiet { Output::Quiet } else { Output::Stderr });
            Ok(pull::fetch_blobs(store, &source.name, source.manifest, &missing, &options, &mut *progress)?)
        });
        if let Err(error) = fetched {
            failed = Some(error.context(format!("fetch it from {}", source.name.familiar_repository())));
        }
        if of(store, manifest)?.is_empty() {
            return Ok(());
        }
    }
    let what = || format!("blob {first} of the image is not in the store");
    match failed {
        Some(error) => Err(error).with_context(what),
        None => bail!("{}, and no image here names a registry that has it: pull the image again", what()),
    }
}

/// Does a push, and again each time that blobs of an image had to be fetched for it.
pub fn push_whole(
    context: &Context,
    options: impl Fn(&ImageRef) -> Result<PullOptions>,
    quiet: bool,
    mut push: impl FnMut() -> Result<Pushed, PushError>,
) -> Result<Pushed> {
    let mut fetched = BTreeSet::new();
    loop {
        let error = match push() {
            Ok(pushed) => return Ok(pushed),
            Err(error) => error,
        };
        match error.lacking() {
            Some(manifest) if fetched.insert(manifest) => fetch(context, manifest, &options, quiet)?,
            _ => return Err(error.into()),
        }
    }
}

/// How a registry is reached where no flags say more.
pub fn usual(context: &Context, from: &ImageRef) -> Result<PullOptions> {
    RegistryOptions::default().pull_options(context, from, &RetryOptions::default())
}

/// The blobs of an image's layers that are not here.
fn of(store: &Store, manifest: Digest) -> Result<Vec<Digest>> {
    let mut blobs = store.images().layer_blobs(manifest)?;
    blobs.retain(|blob| !store.blobs().contains(*blob));
    blobs.sort();
    blobs.dedup();
    Ok(blobs)
}

/// Who should have them: the image itself first.
fn sources(store: &Store, manifest: Digest, missing: &[Digest]) -> Result<Vec<NameRecord>> {
    let (mut records, _) = store.images().names()?;
    let has = |of: Digest| store.images().layer_blobs(of).is_ok_and(|blobs| blobs.iter().any(|b| missing.contains(b)));
    records.retain(|record| record.name.digest().is_some() && !record.is_untagged());
    records.retain(|record| record.manifest == manifest || has(record.manifest));
    records.sort_by_key(|record| record.manifest != manifest);
    Ok(records)
}
