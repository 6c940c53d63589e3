//! `manifest annotate`: say more about a list or an entry of it.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::platform::PlatformOptions;
use super::{annotate_index, annotations};
use crate::cmd::Context;
use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;
use crate::store::Store;
use crate::store::lists::{List, ListError};
use crate::store::push::{describe_local, local};

/// Say for what an entry of a list is made, or annotate it
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Annotate the entry, or with --index the list
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Annotate the list itself
    #[arg(long)]
    index: bool,
    #[command(flatten)]
    platform: PlatformOptions,
    /// Image of this store that the list is about
    #[arg(long, value_name = "IMAGE")]
    subject: Option<String>,
    /// The list
    #[arg(value_name = "LIST")]
    list: String,
    /// The entry, by its digest or by the image that it was added as
    #[arg(value_name = "IMAGE", required_unless_present_any = ["index", "subject"])]
    image: Option<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let name = context.image_name(&args.list)?;
    let store = context.store()?;
    let list = store.lists().get(&name)?;
    let notes = annotations(&args.annotation)?;
    let subject = args.subject.as_deref().map(|text| subject(store, text)).transpose()?;
    let entry = match &args.image {
        Some(text) if !args.index => Some(find(store, &list, text)?),
        _ => None,
    };
    store.lists().change(&name, |list| {
        list.index.rest.extend(subject.map(|subject| ("subject".to_owned(), subject)));
        match entry {
            None => annotate_index(list, notes),
            Some(digest) => {
                let found = list.index.manifests.iter_mut().find(|entry| entry.digest == digest);
                let entry = found.ok_or_else(|| ListError::NotFound(digest.to_string()))?;
                args.platform.apply(entry);
                entry.annotations.extend(notes);
            }
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn subject(store: &Store, text: &str) -> Result<serde_json::Value> {
    let Some(record) = local(store, text)? else { bail!("No such image: {text}") };
    let mut descriptor = describe_local(store, &record)?.descriptor;
    descriptor.platform = None;
    Ok(serde_json::to_value(descriptor)?)
}

/// The entry that is meant.
pub fn find(store: &Store, list: &List, text: &str) -> Result<Digest> {
    let is_entry = |digest: &Digest| list.index.manifests.iter().any(|entry| entry.digest == *digest);
    let named = text.strip_prefix("docker://").unwrap_or(text);
    let reference = named.parse::<ImageRef>().ok();
    let by_digest = named.parse().ok().or_else(|| reference.as_ref().and_then(ImageRef::digest));
    let by_image = || local(store, named).ok().flatten().map(|record| record.manifest);
    let by_source = || {
        let repository = reference.as_ref()?.repository();
        let mut of = list.sources.iter().filter(|(_, source)| source.repository() == repository);
        of.next().filter(|_| of.next().is_none()).map(|(digest, _)| *digest)
    };
    let found = by_digest.filter(is_entry).or_else(|| by_image().filter(is_entry)).or_else(by_source);
    found.ok_or_else(|| anyhow::anyhow!("manifest for image {text} does not exist in {}", list.name.familiar()))
}
