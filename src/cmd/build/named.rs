//! `--build-context`: what it names is brought here.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::source;
use super::values::Named;
use crate::build::solve::{Directory, NamedContext};
use crate::cmd::Context;
use crate::cmd::pull::unpack_worker;
use crate::sandbox::userns;
use crate::spec::digest::Digest;
use crate::spec::platform::Platform;
use crate::store::archive::{self, Contents, Entry, LoadOptions};
use crate::store::staging::Staging;

/// Contexts that are here for as long as this lives.
#[derive(Debug, Default)]
pub struct Contexts {
    pub found: BTreeMap<String, NamedContext>,
    _kept: Vec<Staging>,
}

impl Contexts {
    /// Brings them; images are those for a platform.
    pub fn bring(context: &Context, named: &BTreeMap<String, Named>, platform: Option<&Platform>) -> Result<Self> {
        let mut contexts = Self::default();
        for (name, named) in named {
            let found = contexts.one(context, named, platform).with_context(|| format!("build context {name}"))?;
            contexts.found.insert(name.clone(), found);
        }
        Ok(contexts)
    }

    fn one(&mut self, context: &Context, named: &Named, platform: Option<&Platform>) -> Result<NamedContext> {
        Ok(match named {
            Named::Image(image) => NamedContext::Image(image.clone()),
            Named::Stage(stage) => NamedContext::Target(stage.clone()),
            Named::Layout(path, entry) => {
                NamedContext::Image(load(context, path, entry.clone(), platform)?.to_string())
            }
            Named::Directory(path) => NamedContext::Directory(source::directory(path, None)?),
            Named::Repository(repository) => {
                let (staging, root) = source::clone(context, repository)?;
                self.directory(staging, &root)?
            }
            Named::Address(address) => {
                let staging = source::fetch(context, address)?;
                let root = source::files_of(&staging);
                if !root.is_dir() {
                    bail!("{address} is no archive");
                }
                self.directory(staging, &root)?
            }
        })
    }

    fn directory(&mut self, staging: Staging, root: &Path) -> Result<NamedContext> {
        let directory = Directory { lasting: false, ..source::directory(root, None)? };
        self._kept.push(staging);
        Ok(NamedContext::Directory(directory))
    }
}

/// Brings an image of a layout into the store, without a name; its id.
fn load(context: &Context, path: &Path, entry: Entry, platform: Option<&Platform>) -> Result<Digest> {
    let store = context.store()?;
    // Before anything is opened that the unpacking process must not inherit.
    let mut worker = unpack_worker(store)?;
    let options = LoadOptions {
        platform: platform.cloned(),
        entry: Some(entry),
        single_id: userns::is_single(store)?,
        limits: context.layer_limits()?,
    };
    let loaded =
        Contents::of_directory(path).and_then(|contents| archive::load(store, &contents, &options, &mut worker));
    let loaded = loaded.with_context(|| format!("load the image layout {}", path.display()))?;
    match &loaded.images[..] {
        [image] => Ok(image.id),
        images => bail!("{} means {} images: name one by its tag or digest", path.display(), images.len()),
    }
}
