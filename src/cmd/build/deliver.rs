//! What becomes of what was built: names in the store, pushes, files and archives, and the files that tell
//! scripts about it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::json;

use super::Args;
use super::output::{self, Image, Output};
use super::result::{self, Built};
use super::watch::Watch;
use crate::cmd::push::{ListLines, access, source};
use crate::cmd::{Context, missing};
use crate::spec::digest::Digest;
use crate::spec::event::Happening;
use crate::spec::image::Descriptor;
use crate::spec::reference::ImageRef;
use crate::store::compress::Codec;
use crate::store::lists::{List, ListError};
use crate::store::push::{self, LayerState, Progress, PushOptions, Pushed};

/// All that is to be made of a build.
pub struct Delivery {
    outputs: Vec<Output>,
    /// Those of `--tag`.
    names: Vec<ImageRef>,
    /// That of `--manifest`.
    manifest: Option<ImageRef>,
    /// Of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Of the list of several platforms' manifests.
    index_annotations: BTreeMap<String, String>,
}

/// Tells of a part: its name, how far it is, of how much.
type Tell<'a> = &'a mut dyn FnMut(&str, u64, u64);

impl Delivery {
    /// Reads the flags.
    pub fn of(args: &Args, context: &Context) -> Result<Self> {
        let names = args.result.tag.iter().map(|text| name(context, text)).collect::<Result<Vec<_>>>()?;
        let (mut annotations, index_annotations) = annotations(&args.result.annotation)?;
        let outputs = output::outputs(&args.result, &mut annotations)?;
        for output in &outputs {
            match output {
                Output::Image(image) => {
                    for text in &image.names {
                        name(context, text)?;
                    }
                    if image.push && names.is_empty() && image.names.is_empty() {
                        bail!("tag is needed when pushing to registry");
                    }
                }
                Output::Local(path) => output::check_local(path)?,
                Output::Tar(target) | Output::Archive { target, .. } => result::check_stdout(target)?,
                Output::CacheOnly => {}
            }
        }
        let files = outputs.iter().any(|output| !matches!(output, Output::Image(_) | Output::CacheOnly));
        if files && args.source.platform.len() > 1 {
            bail!("files of several platforms cannot be written at once: build for each with an output of its own");
        }
        if args.way.quiet && outputs.iter().any(Output::is_stdout) {
            bail!("cannot print the image's id: standard output takes the build's result");
        }
        let manifest = args.result.manifest.as_deref().map(|text| name(context, text)).transpose()?;
        Ok(Self { outputs, names, manifest, annotations, index_annotations })
    }

    /// Makes it all. What is pushed comes last: it takes threads.
    pub fn run(&self, context: &Context, args: &Args, built: &[Built], watch: &mut Watch) -> Result<()> {
        let images: Vec<&Image> = self.outputs.iter().filter_map(Output::image).collect();
        let mut names = self.names.clone();
        for text in images.iter().flat_map(|image| &image.names) {
            let name = name(context, text)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if !images.is_empty() {
            watch.during("exporting to image", |tell| self.keep(context, built, &names, tell))?;
        }
        if let Some(list) = &self.manifest {
            self.enlist(context, list, built)?;
        }
        let [only] = built else {
            let pushed = self.push(context, args, &images, &names, built, watch)?;
            return self.tell(args, built, &names, pushed);
        };
        for output in &self.outputs {
            let seconds = args.result.timestamp;
            match output {
                Output::Image(_) | Output::CacheOnly => {}
                Output::Local(path) => watch.during("exporting to client directory", |_| {
                    only.write_directory(context.store()?, path, seconds)
                })?,
                Output::Tar(target) => {
                    watch
                        .during("exporting to client tarball", |_| only.write_tar(context.store()?, target, seconds))?;
                }
                Output::Archive { form, target, names: more, layers } => {
                    let mut names = names.clone();
                    names.extend(more.iter().map(|text| name(context, text)).collect::<Result<Vec<_>>>()?);
                    let shown = if *form == output::Form::Docker { "docker" } else { "oci" };
                    watch.during(&format!("exporting to {shown} image format"), |_| {
                        only.write_archive(context, (*form, *layers), target, names)
                    })?;
                }
            }
        }
        let pushed = self.push(context, args, &images, &names, built, watch)?;
        self.tell(args, built, &names, pushed)
    }

    /// Gives the image its names, or makes a list of several.
    fn keep(&self, context: &Context, built: &[Built], names: &[ImageRef], tell: Tell<'_>) -> Result<()> {
        let store = context.store()?;
        let is_list = built.len() > 1;
        for one in built {
            tell(&format!("exporting manifest {}", one.manifest), 0, 0);
            tell(&format!("writing image {}", one.id), 0, 0);
            if is_list || names.is_empty() {
                store.images().keep(one.manifest, one.id)?;
                store.images().happened(one.id, "build", None);
            }
        }
        for name in names {
            match built {
                [one] => {
                    store.images().tag(name, one.manifest, one.id)?;
                    store.images().happened(one.id, "build", Some(name));
                }
                several => {
                    let list = self.list(context, name, several)?;
                    store.lists().remove(name)?;
                    store.lists().create(&list)?;
                }
            }
            tell(&format!("naming to {name}"), 0, 0);
        }
        Ok(())
    }

    /// `--manifest`: adds what was built to a list.
    fn enlist(&self, context: &Context, name: &ImageRef, built: &[Built]) -> Result<()> {
        let store = context.store()?;
        for one in built {
            store.images().keep(one.manifest, one.id)?;
        }
        let new = self.list(context, name, built)?;
        match store.lists().get(name) {
            Err(ListError::NotFound(_)) => Ok(store.lists().create(&new)?),
            _ => {
                let add = |list: &mut List| {
                    let is_new =
                        |one: &&Descriptor| list.index.manifests.iter().all(|known| known.digest != one.digest);
                    let added: Vec<Descriptor> = new.index.manifests.iter().filter(is_new).cloned().collect();
                    list.index.manifests.extend(added);
                    Ok(())
                };
                Ok(store.lists().change(name, add).map(drop)?)
            }
        }
    }

    /// A list of the manifests of several platforms.
    fn list(&self, context: &Context, name: &ImageRef, built: &[Built]) -> Result<List> {
        let store = context.store()?;
        let mut list = List::new(name.clone());
        for one in built {
            let record = store.images().resolve(&one.id.to_string())?;
            list.index.manifests.push(push::describe_local(store, &record)?.descriptor);
        }
        if !self.index_annotations.is_empty() {
            list.index.rest.insert("annotations".to_owned(), json!(self.index_annotations));
        }
        Ok(list)
    }

    /// The digest that registries know it by, if it was pushed.
    fn push(
        &self,
        context: &Context,
        args: &Args,
        images: &[&Image],
        names: &[ImageRef],
        built: &[Built],
        watch: &mut Watch,
    ) -> Result<Option<Digest>> {
        let Some(image) = images.iter().find(|image| image.push) else { return Ok(None) };
        let mut digest = None;
        for name in names {
            let options = push_options(args, context, name, image.codec, image.force)?;
            watch.during(&format!("pushing {name}"), |tell| {
                let pushed = send(context, args, name, built, &options, tell)?;
                tell(&format!("pushing manifest for {name}@{}", pushed.digest), 0, 0);
                digest = Some(pushed.digest);
                Ok(())
            })?;
            context.store()?.happened(Happening::of_transfer(name, "push"));
        }
        Ok(digest)
    }

    /// `--iidfile` and `--metadata-file`. What was `pushed` is what the registry has.
    fn tell(&self, args: &Args, built: &[Built], names: &[ImageRef], pushed: Option<Digest>) -> Result<()> {
        let Some(last) = built.last() else { return Ok(()) };
        if let Some(file) = &args.result.iidfile {
            std::fs::write(file, last.id.to_string()).with_context(|| format!("write {}", file.display()))?;
        }
        if let Some(file) = &args.result.metadata_file {
            let text = serde_json::to_string_pretty(&last.metadata(names, pushed))?;
            std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }
}

impl Output {
    fn image(&self) -> Option<&Image> {
        match self {
            Self::Image(image) => Some(image),
            _ => None,
        }
    }
}

fn name(context: &Context, text: &str) -> Result<ImageRef> {
    let name = context.image_name(text).map_err(|error| anyhow!("invalid tag {text:?}: {error:#}"))?;
    if name.digest().is_some() {
        bail!("invalid tag {text:?}: refusing to create a tag with a digest reference");
    }
    Ok(name)
}

type Annotations = BTreeMap<String, String>;

/// `--annotation [TYPE,...:]NAME=VALUE`: those of the manifest and those of the list.
fn annotations(texts: &[String]) -> Result<(Annotations, Annotations)> {
    const KINDS: [&str; 4] = ["manifest", "index", "manifest-descriptor", "index-descriptor"];
    let (mut manifest, mut index) = (BTreeMap::new(), BTreeMap::new());
    for text in texts {
        let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            bail!("invalid annotation {text:?}, expected key=value");
        };
        let (kinds, key) = match key.split_once(':') {
            Some((kinds, key)) if kinds.split(',').all(|kind| KINDS.contains(&kind)) => (kinds, key),
            _ => ("manifest", key),
        };
        for kind in kinds.split(',') {
            let of = if kind.starts_with("index") { &mut index } else { &mut manifest };
            of.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok((manifest, index))
}

/// How a result, or a cache, is sent to the registry of `to`.
pub fn push_options(
    args: &Args,
    context: &Context,
    to: &ImageRef,
    codec: Option<Codec>,
    force: bool,
) -> Result<PushOptions> {
    let access = access(&args.way.registry, context, to.domain())?;
    Ok(PushOptions { access, codec, force, format: None, patience: args.way.retry.patience() })
}

fn send(
    context: &Context,
    args: &Args,
    name: &ImageRef,
    built: &[Built],
    options: &PushOptions,
    tell: Tell<'_>,
) -> Result<Pushed> {
    let store = context.store()?;
    let from = |from: &ImageRef| source(&args.way.registry, &args.way.retry, context, from, name);
    if let [one] = built {
        let mut layers = Pushing::new(tell);
        return missing::push_whole(context, from, true, || {
            push::push(store, one.manifest, name, options, &mut layers)
        });
    }
    let list = store.lists().get(name)?;
    let mut progress = ListLines::new(true);
    missing::push_whole(context, from, true, || {
        push::push_list(store, &list, name, options.format, options, &mut progress)
    })
}

/// A push's layers for the display.
pub struct Pushing<'a> {
    digests: Vec<Digest>,
    tell: Tell<'a>,
}

impl<'a> Pushing<'a> {
    /// Tells `tell`.
    pub fn new(tell: Tell<'a>) -> Self {
        Self { digests: Vec::new(), tell }
    }
}

impl Progress for Pushing<'_> {
    fn layers(&mut self, layers: &[Digest]) {
        self.digests = layers.to_vec();
    }

    fn layer(&mut self, index: usize, state: &LayerState) {
        let Some(digest) = self.digests.get(index) else { return };
        match state {
            LayerState::Pushing { current, total } => (self.tell)(&format!("pushing {digest}"), *current, *total),
            LayerState::Pushed | LayerState::AlreadyExists | LayerState::Mounted(_) => {
                (self.tell)(&format!("layer {digest}"), 0, 0);
            }
            _ => {}
        }
    }

    fn retrying(&mut self, pause: Duration, reason: &str) {
        (self.tell)(&format!("{reason}: again in {} s", pause.as_secs()), 0, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_say_what_they_are_of() {
        let texts = ["a=b", "index:c=d", "index,manifest:e=f", "x:y=z"].map(str::to_owned);
        let (manifest, index) = annotations(&texts).unwrap();
        let keys: Vec<&str> = manifest.keys().map(String::as_str).collect();
        assert_eq!(keys, ["a", "e", "x:y"]);
        let keys: Vec<&str> = index.keys().map(String::as_str).collect();
        assert_eq!(keys, ["c", "e"]);
        assert!(annotations(&["a".to_owned()]).is_err());
    }
}
