//! `diff`: what a container changed in its files.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::json;

use super::format::text::clean_line;
use super::{Context, error, packing, print_bytes, selection};
use crate::sandbox::userns;
use crate::store::Store;
use crate::store::containers::LookupError;
use crate::store::pack::{self, Change, ChangeKind, Form, Tree};

/// Inspect changes to files or directories on a container's filesystem
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Format output: 'json'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The container created last
    #[arg(short, long)]
    latest: bool,
    /// Container, or an image: what its last layer changed
    #[arg(required_unless_present = "latest", value_name = "CONTAINER")]
    container: Option<String>,
    /// Compare with this container or image in place of what is below
    #[arg(value_name = "CONTAINER|IMAGE")]
    with: Option<String>,
}

/// Show what an image's last layer changed
#[derive(clap::Args, Debug)]
pub struct ImageArgs {
    /// Format output: 'json'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Image by reference, id or unique prefix
    image: String,
    /// Compare with this image in place of what is below
    #[arg(value_name = "IMAGE")]
    with: Option<String>,
}

/// Runs `diff`.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    let tree = match args.container.as_deref() {
        Some(name) if !args.latest => tree_of_either(context, name)?,
        name => packing::tree_of(store, &selection::one(context, name, args.latest)?, "diff")?,
    };
    let with = args.with.as_deref().map(|name| tree_of_either(context, name)).transpose()?;
    print(store, tree, with, args.format.as_deref())
}

/// Runs `image diff`.
pub fn image(args: ImageArgs, context: &Context) -> Result<ExitCode> {
    let tree = image_tree(context, &args.image)?;
    let with = args.with.as_deref().map(|name| image_tree(context, name)).transpose()?;
    print(context.store()?, tree, with, args.format.as_deref())
}

/// The tree of a container, or else of an image.
fn tree_of_either(context: &Context, name: &str) -> Result<Tree> {
    let store = context.store()?;
    match store.containers().find(name) {
        Ok(container) => packing::tree_of(store, &container, "diff"),
        Err(LookupError::NotFound(message)) => {
            image_tree(context, name).map_err(|_| LookupError::NotFound(message).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// An image's last layer on top of the others.
fn image_tree(context: &Context, name: &str) -> Result<Tree> {
    context.settings()?;
    let store = context.store()?;
    let layers = store.images().layers(store.images().resolve(name)?.config)?;
    if let Some(missing) = layers.iter().find(|layer| !store.layers().contains(**layer)) {
        bail!("layer {missing} of the image is missing: run 'rbox system check --repair'");
    }
    let mut lowers: Vec<PathBuf> = layers.iter().map(|layer| store.layers().diff_path(*layer)).collect();
    Ok(Tree { upper: lowers.pop(), lowers, form: Form::Overlay, ids: None })
}

/// Looks and prints in the user namespace: other users' files may not be readable elsewhere.
fn print(store: &Store, tree: Tree, with: Option<Tree>, format: Option<&str>) -> Result<ExitCode> {
    let json = match format.unwrap_or_default() {
        "" => false,
        "json" => true,
        other => bail!("only the format json is known to diff, not {other:?}"),
    };
    userns::run_inside(store, move || {
        let changes = match with {
            Some(with) => pack::differences(&with, &tree)?,
            None => pack::changes(&tree)?,
        };
        let text = if json { as_json(&changes) } else { as_lines(&changes) };
        match print_bytes(&text) {
            Err(error) if error::is_broken_pipe(&error) => Ok(()),
            printed => printed,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A terminal gets nothing that could steer it, anybody else the very bytes.
fn as_lines(changes: &[Change]) -> Vec<u8> {
    let terminal = std::io::stdout().is_terminal();
    let mut text = Vec::new();
    for change in changes {
        text.extend_from_slice(format!("{} ", change.kind).as_bytes());
        match terminal {
            true => text.extend_from_slice(clean_line(&String::from_utf8_lossy(&change.path)).as_bytes()),
            false => text.extend_from_slice(&change.path),
        }
        text.push(b'\n');
    }
    text
}

/// podman's form: paths by what happened to them.
fn as_json(changes: &[Change]) -> Vec<u8> {
    let mut all = serde_json::Map::new();
    for (key, kind) in
        [("changed", ChangeKind::Changed), ("added", ChangeKind::Added), ("deleted", ChangeKind::Deleted)]
    {
        let of_kind = changes.iter().filter(|change| change.kind == kind);
        let paths: Vec<_> = of_kind.map(|change| json!(String::from_utf8_lossy(&change.path))).collect();
        if !paths.is_empty() {
            all.insert(key.to_owned(), paths.into());
        }
    }
    format!("{:#}\n", serde_json::Value::Object(all)).into_bytes()
}
