//! What a container is made from: an image of the store, or a directory of the host.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use rustix::fs::Access;

use crate::cmd::create_options::image::ImageOptions;
use crate::cmd::format::text::{clean_line, warn};
use crate::cmd::{Context, pull};
use crate::explain;
use crate::spec::config::RootSource;
use crate::spec::create::PullPolicy;
use crate::spec::image::ImageConfig;
use crate::spec::platform::Platform;
use crate::spec::reference::ImageRef;
use crate::store::Store;
use crate::store::images::Image;

/// A directory of the host as image.
pub const ROOTFS_PREFIX: &str = "rootfs:";

/// What a container is made from: an image of the store, pulled if the policy says so, or a
/// directory. And what to call that.
pub fn find(
    context: &Context,
    image: &str,
    options: &ImageOptions,
    policy: PullPolicy,
) -> Result<(RootSource, Option<ImageConfig>, String)> {
    if let Some(directory) = image.strip_prefix(ROOTFS_PREFIX) {
        return Ok((RootSource::Directory(root_directory(directory)?), None, image.to_owned()));
    }
    let store = context.store()?;
    let found = match policy {
        PullPolicy::Always => None,
        _ => store.images().find(image).ok().filter(|found| is_wanted(store, found, options)),
    };
    let found = match found {
        // What is newer there, or else what is here.
        Some(found) if policy == PullPolicy::Newer => match pull::pull_for_run(context, image, options, false) {
            Ok(()) => store.images().find(image)?,
            Err(_) => found,
        },
        Some(found) => found,
        None if policy == PullPolicy::Never => store.images().find(image).map_err(|error| anyhow!(error))?,
        None => {
            pull::pull_for_run(context, image, options, policy != PullPolicy::Always)?;
            store.images().find(image)?
        }
    };
    let layers = store.images().layers(found.id)?;
    let config = store.images().config(found.id)?;
    if options.platform.wanted()?.is_none() {
        warn_of_platform(&config);
    }
    let name = lasting_name(store, &found, image);
    Ok((RootSource::Image { id: found.id, layers }, Some(config), name))
}

/// The name as typed, or in full where it is short for something that the configuration says.
fn lasting_name(store: &Store, image: &Image, typed: &str) -> String {
    let by_id = image.id.hex().starts_with(typed.strip_prefix("sha256:").unwrap_or(typed));
    let has = |name: &ImageRef| {
        let exact = name.digest().map_or_else(|| name.clone(), |digest| name.at_digest(digest));
        image.tags.contains(&exact) || image.digests.contains(&exact)
    };
    match typed.parse::<ImageRef>() {
        Ok(name) if !by_id && !has(&name) => match store.images().by_typed_name(typed) {
            Ok(Some(record)) => record.name.familiar(),
            _ => typed.to_owned(),
        },
        _ => typed.to_owned(),
    }
}

/// An image of another platform than asked for is as good as missing.
fn is_wanted(store: &Store, image: &Image, options: &ImageOptions) -> bool {
    match (options.platform.wanted(), store.images().config(image.id)) {
        (Ok(Some(wanted)), Ok(config)) => config.platform().satisfies(&wanted),
        _ => true,
    }
}

/// In docker's words. An image that does not say what it is for is for any platform.
fn warn_of_platform(config: &ImageConfig) {
    let (image, host) = (config.platform(), Platform::host());
    if !config.architecture.is_empty() && !image.satisfies(&host) {
        warn(&clean_line(&format!(
            "the requested image's platform ({image}) does not match the detected host platform ({host}) and no \
             specific platform was requested"
        )));
    }
}

fn root_directory(text: &str) -> Result<PathBuf> {
    if text.is_empty() {
        bail!("invalid root file system: give a directory, as in rootfs:/");
    }
    let path = std::path::absolute(text)?;
    let metadata = std::fs::metadata(&path).map_err(|error| {
        let text = format!("use the root file system {}: {error}", path.display());
        anyhow!(explain::with_cause(text, explain::path::unusable(&path, Access::empty())))
    })?;
    if !metadata.is_dir() {
        bail!("the root file system {} is not a directory", path.display());
    }
    Ok(path)
}
