//! What a finished build becomes: an image of the store under its names, files, archives.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use super::output::{Form, Target};
use super::source;
use crate::build::solve::Outcome;
use crate::cmd::commit::Format;
use crate::cmd::export;
use crate::cmd::packing::Packing;
use crate::cmd::{Context, missing};
use crate::sandbox::userns;
use crate::spec::digest::Digest;
use crate::spec::image::{Descriptor, Manifest};
use crate::spec::reference::ImageRef;
use crate::store::Store;
use crate::store::archive::{self, LayerForm, NewFile, Output, SaveOptions, Selected};
use crate::store::pack::{self, PackOptions, Tree};

/// An image that was built, not named yet.
pub struct Built {
    pub outcome: Outcome,
    pub manifest: Digest,
    /// The digest of its configuration.
    pub id: Digest,
}

impl Built {
    /// Puts the image's documents into the store. The outcome's lease keeps them.
    pub fn new(
        store: &Store,
        outcome: Outcome,
        format: Format,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let put = |bytes: &[u8]| -> Result<Digest> {
            outcome.lease.add(&[Digest::of(bytes)])?;
            store.blobs().put(bytes)
        };
        let id = put(&outcome.config_bytes)?;
        let (kind, config_kind) = format.media_types();
        let mut rest = Map::new();
        if !annotations.is_empty() {
            rest.insert("annotations".to_owned(), json!(annotations));
        }
        let layers = outcome.layers.iter().cloned();
        let layers = layers.map(|layer| Descriptor { media_type: format.layer_kind(&layer.media_type), ..layer });
        let config = Descriptor::new(config_kind, id, outcome.config_bytes.len() as u64);
        let manifest = Manifest { rest, ..Manifest::new(kind, config, layers.collect()) };
        let manifest = put(&serde_json::to_vec(&manifest)?)?;
        Ok(Self { outcome, manifest, id })
    }

    /// The tree of its files.
    fn tree(&self, store: &Store) -> Tree {
        let lowers = self.outcome.chains.iter().map(|chain| store.layers().diff_path(*chain)).collect();
        Tree { upper: None, lowers, form: pack::Form::Overlay, ids: None }
    }

    /// Writes the files as an archive.
    pub fn write_tar(&self, store: &Store, target: &Target, timestamp: Option<i64>) -> Result<()> {
        let output = open(target)?;
        let mut out = output.file().try_clone()?;
        let tree = self.tree(store);
        let options = PackOptions { timestamp, plain: true, ..PackOptions::default() };
        userns::run_inside(store, move || pack::whole(&tree, options, &mut out).map(drop))
            .with_context(|| output.doing())?;
        output.finish()
    }

    /// Writes the files into a directory; all become the caller's.
    pub fn write_directory(&self, store: &Store, target: &Path, timestamp: Option<i64>) -> Result<()> {
        std::fs::create_dir_all(target).with_context(|| format!("create {}", target.display()))?;
        let tree = self.tree(store);
        let options = PackOptions { timestamp, plain: true, ..PackOptions::default() };
        let doing = format!("write to {}", target.display());
        source::apart(store, || {
            let packing = Packing::start(store, move |out| pack::whole(&tree, options, out))?;
            source::unpack_into(packing, target).with_context(|| doing.clone())
        })
    }

    /// Writes the image as an archive or a directory.
    pub fn write_archive(
        &self,
        context: &Context,
        (form, layers): (Form, LayerForm),
        target: &Target,
        names: Vec<ImageRef>,
    ) -> Result<()> {
        missing::fetch(context, self.manifest, |from| missing::usual(context, from), true)?;
        let selected = Selected { manifest: self.manifest, config: self.id, names };
        let format = match form {
            Form::Oci => archive::Format::OciArchive,
            Form::OciDirectory => archive::Format::OciDir,
            Form::Docker => archive::Format::Docker,
        };
        let options = SaveOptions { format, layers };
        archive::save(context.store()?, &[selected], &options, output(target)?)
    }

    /// What `--metadata-file` says. A registry's manifest is another one: layers are compressed for it.
    pub fn metadata(&self, names: &[ImageRef], pushed: Option<Digest>) -> Value {
        let manifest = pushed.unwrap_or(self.manifest);
        let mut metadata = Map::new();
        metadata.insert("containerimage.config.digest".to_owned(), json!(self.id));
        metadata.insert(
            "containerimage.descriptor".to_owned(),
            json!({"digest": manifest, "platform": {
                "architecture": self.outcome.platform.architecture, "os": self.outcome.platform.os }}),
        );
        metadata.insert("containerimage.digest".to_owned(), json!(manifest));
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            metadata.insert("image.name".to_owned(), json!(names.join(",")));
        }
        Value::Object(metadata)
    }
}

/// Takes variables and labels out of an image's configuration.
pub fn take_out(outcome: &mut Outcome, variables: &[String], labels: &[String]) -> Result<()> {
    if variables.is_empty() && labels.is_empty() {
        return Ok(());
    }
    let config = &mut outcome.config.config;
    config.env.retain(|entry| !variables.iter().any(|name| entry.split_once('=').is_some_and(|(own, _)| own == name)));
    config.labels.retain(|name, _| !labels.contains(name));
    outcome.config_bytes = serde_json::to_vec(&outcome.config)?;
    Ok(())
}

fn output(target: &Target) -> Result<Output> {
    Ok(match target {
        Target::File(path) => Output::File(path.clone()),
        Target::Stdout => Output::Stream(File::from(std::io::stdout().as_fd().try_clone_to_owned()?)),
    })
}

fn open(target: &Target) -> Result<NewFile> {
    match target {
        Target::File(path) => export::output(Some(path.clone())),
        Target::Stdout => export::output(None),
    }
}

/// Refuses to write an archive to a terminal, before anything is built.
pub fn check_stdout(target: &Target) -> Result<()> {
    use std::io::IsTerminal;
    if *target == Target::Stdout && std::io::stdout().is_terminal() {
        bail!("dest file is required for exporter. refusing to write to console");
    }
    Ok(())
}
