//! `manifest`: lists of manifests, as for images of several platforms.

mod add;
mod annotate;
mod create;
mod exists;
mod inspect;
mod platform;
mod push;
mod remove;
mod rm;

use std::process::ExitCode;

use anyhow::Result;

use super::push::access;
use super::registry_options::RegistryOptions;
use super::{Context, short_names};
use crate::spec::reference::ImageRef;
use crate::store::lists::List;
use crate::store::push::{self as store_push, Found, PushOptions};

/// The commands.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Add(Box<add::Args>),
    Annotate(annotate::Args),
    Create(create::Args),
    Exists(exists::Args),
    Inspect(inspect::Args),
    Push(push::Args),
    Remove(remove::Args),
    Rm(rm::Args),
}

impl Command {
    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Add(args) => add::run(*args, context),
            Self::Annotate(args) => annotate::run(args, context),
            Self::Create(args) => create::run(args, context),
            Self::Exists(args) => exists::run(args, context),
            Self::Inspect(args) => inspect::run(args, context),
            Self::Push(args) => push::run(args, context),
            Self::Remove(args) => remove::run(args, context),
            Self::Rm(args) => rm::run(args, context),
        }
    }
}

/// How other registries are asked; `--insecure` is docker's way to say `--tls-verify=false`.
fn asking(registry: &RegistryOptions, insecure: bool, context: &Context, domain: &str) -> Result<PushOptions> {
    let mut access = access(registry, context, domain)?;
    if insecure {
        access.tls_verify = Some(false);
    }
    Ok(PushOptions { access, ..PushOptions::default() })
}

/// The entries for what was typed: an image of the store, else what a registry has under that name.
/// `docker://` goes past the store.
fn entries(
    context: &Context,
    text: &str,
    all: bool,
    options: impl Fn(&ImageRef) -> Result<PushOptions>,
) -> Result<Vec<Found>> {
    let store = context.store()?;
    let name = text.strip_prefix("docker://");
    if name.is_none()
        && let Some(record) = store_push::local(store, text)?
    {
        return Ok(vec![store_push::describe_local(store, &record)?]);
    }
    let text = name.unwrap_or(text);
    short_names::in_turn(text, &short_names::candidates(context, text)?, |reference| {
        Ok(store_push::describe_remote(store, reference, &options(reference)?, all)?)
    })
}

/// Puts entries into a list; one that is there already is replaced in its place.
fn put(list: &mut List, found: Vec<Found>) {
    for Found { descriptor, source } in found {
        list.sources.remove(&descriptor.digest);
        list.sources.extend(source.map(|source| (descriptor.digest, source)));
        match list.index.manifests.iter_mut().find(|entry| entry.digest == descriptor.digest) {
            Some(entry) => *entry = descriptor,
            None => list.index.manifests.push(descriptor),
        }
    }
}

/// What podman prints for a list: the digest of what would be pushed, without its algorithm.
fn id(list: &List) -> Result<String> {
    let (_, body) = store_push::document(&list.index, None)?;
    Ok(crate::spec::digest::Digest::of(&body).hex())
}

/// Splits `KEY=VALUE` annotations.
fn annotations(texts: &[String]) -> Result<Vec<(String, String)>> {
    let split = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => anyhow::bail!("invalid annotation {text:?}: expected KEY=VALUE"),
    };
    texts.iter().map(split).collect()
}

/// Adds annotations to the list itself.
fn annotate_index(list: &mut List, annotations: Vec<(String, String)>) {
    let known = list.index.rest.entry("annotations").or_insert_with(|| serde_json::json!({}));
    if let Some(known) = known.as_object_mut() {
        known.extend(annotations.into_iter().map(|(key, value)| (key, value.into())));
    }
    if known.as_object().is_some_and(serde_json::Map::is_empty) {
        list.index.rest.shift_remove("annotations");
    }
}
