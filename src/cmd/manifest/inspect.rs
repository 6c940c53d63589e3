//! `manifest inspect`: show a list made here, or what a registry has under a name.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::{annotate, asking};
use crate::cmd::format::json::indented;
use crate::cmd::registry_options::RegistryOptions;
use crate::cmd::{Context, print_line, short_names};
use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;
use crate::store::Store;
use crate::store::lists::{List, ListError};
use crate::store::push::{Fetched, Format, document, fetch};
use crate::store::registry::client::DOCUMENT_MAX;

/// As docker has it.
const INDENT: &str = "   ";

/// Show a list of manifests, or the manifest that a registry has
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Like --tls-verify=false
    #[arg(long)]
    insecure: bool,
    /// Show each manifest with its name, platform and layers
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    registry: RegistryOptions,
    /// The list or image; or a list, and then an entry of it
    #[arg(value_name = "LIST|IMAGE", required = true, num_args = 1..=2)]
    names: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let (text, entry) = (&args.names[0], args.names.get(1));
    let text = text.strip_prefix("docker://").unwrap_or(text);
    let name = context.image_name(text)?;
    let store = context.store()?;
    let ask = |name: &ImageRef, entries| -> Result<Vec<Fetched>> {
        let options = asking(&args.registry, args.insecure, context, name.domain())?;
        Ok(fetch(store, name, &options, entries)?)
    };
    let shown = match (store.lists().get(&name), entry) {
        (Ok(list), Some(entry)) => {
            let digest = annotate::find(store, &list, entry)?;
            let fetched = of_entry(store, &list, digest, &ask)?;
            if args.verbose { verbose(&list.name.at_digest(digest), &fetched, None)? } else { parse(&fetched.body)? }
        }
        (Ok(list), None) if args.verbose => {
            let mut shown = Vec::new();
            for entry in &list.index.manifests {
                let fetched = of_entry(store, &list, entry.digest, &ask)?;
                let platform = entry.platform.as_ref().map(serde_json::to_value).transpose()?;
                shown.push(verbose(&list.name.at_digest(entry.digest), &fetched, platform)?);
            }
            Value::Array(shown)
        }
        (Ok(list), None) => parse(&document(&list.index, None)?.1)?,
        (Err(ListError::NotFound(_)), None) => {
            let candidates = short_names::candidates(context, text)?;
            short_names::in_turn(text, &candidates, |name| of_registry(name, args.verbose, ask(name, args.verbose)?))?
        }
        (Err(error), _) => return Err(error.into()),
    };
    print_line(&indented(&shown, INDENT))?;
    Ok(ExitCode::SUCCESS)
}

/// The manifest of an entry, from here or from where the list has it.
fn of_entry(
    store: &Store,
    list: &List,
    digest: Digest,
    ask: &dyn Fn(&ImageRef, bool) -> Result<Vec<Fetched>>,
) -> Result<Fetched> {
    if let (false, Some(source)) = (store.blobs().contains(digest), list.sources.get(&digest)) {
        let fetched = ask(source, false)?.into_iter().next();
        return fetched.ok_or_else(|| ListError::NotFound(digest.to_string()).into());
    }
    let body = store.blobs().read(digest, DOCUMENT_MAX)?;
    let entry = list.index.manifests.iter().find(|entry| entry.digest == digest);
    let media_type = entry.map(|entry| entry.media_type.clone()).unwrap_or_default();
    Ok(Fetched { media_type, digest, body })
}

/// The document, or with `in_full` what it names, each on its own.
fn of_registry(name: &ImageRef, in_full: bool, fetched: Vec<Fetched>) -> Result<Value> {
    let Some((top, rest)) = fetched.split_first() else { return Ok(Value::Null) };
    let document = parse(&top.body)?;
    if !in_full {
        return Ok(document);
    }
    if rest.is_empty() {
        return verbose(name, top, None);
    }
    let platform = |digest: Digest| {
        let entries = document["manifests"].as_array()?;
        let entry = entries.iter().find(|entry| entry["digest"] == digest.to_string().as_str())?;
        entry.get("platform").cloned()
    };
    let shown = rest.iter().map(|one| verbose(&name.at_digest(one.digest), one, platform(one.digest)));
    Ok(Value::Array(shown.collect::<Result<_>>()?))
}

/// A manifest as docker shows it with --verbose.
fn verbose(name: &ImageRef, fetched: &Fetched, platform: Option<Value>) -> Result<Value> {
    let mut descriptor = json!({"mediaType": fetched.media_type, "digest": fetched.digest, "size": fetched.body.len()});
    if let Some(platform) = platform {
        descriptor["platform"] = platform;
    }
    let key = match Format::of(Some(&fetched.media_type)) {
        Format::V2s2 => "SchemaV2Manifest",
        Format::Oci => "OCIManifest",
    };
    let mut shown = json!({"Ref": name.to_string(), "Descriptor": descriptor});
    shown[key] = parse(&fetched.body)?;
    Ok(shown)
}

fn parse(body: &[u8]) -> Result<Value> {
    Ok(serde_json::from_slice(body)?)
}
