//! `manifest add`: put images into a list.

use std::process::ExitCode;

use anyhow::Result;

use super::platform::PlatformOptions;
use super::{annotations, asking, entries, id, put};
use crate::cmd::registry_options::RegistryOptions;
use crate::cmd::{Context, print_line};
use crate::spec::reference::ImageRef;

/// Add images to a list of manifests
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Add all manifests of what is itself a list, not this machine's only
    #[arg(long)]
    all: bool,
    /// Annotate the entry
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    #[command(flatten)]
    platform: PlatformOptions,
    #[command(flatten)]
    registry: RegistryOptions,
    /// The list
    #[arg(value_name = "LIST")]
    list: String,
    /// Images of this store, or of a registry
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// Runs the command and prints the list's new id.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let name = context.image_name(&args.list)?;
    let store = context.store()?;
    store.lists().get(&name)?;
    let notes = annotations(&args.annotation)?;
    let mut found = Vec::new();
    for image in &args.images {
        let options = |reference: &ImageRef| asking(&args.registry, false, context, reference.domain());
        found.extend(entries(context, image, args.all, options)?);
    }
    for entry in &mut found {
        args.platform.apply(&mut entry.descriptor);
        entry.descriptor.annotations.extend(notes.iter().cloned());
    }
    let list = store.lists().change(&name, |list| {
        put(list, found);
        Ok(())
    })?;
    print_line(&id(&list)?)?;
    Ok(ExitCode::SUCCESS)
}
