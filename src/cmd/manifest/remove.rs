//! `manifest remove`: take an entry out of a list.

use std::process::ExitCode;

use anyhow::Result;

use super::{annotate, id};
use crate::cmd::{Context, print_line};

/// Remove an entry from a list of manifests
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The list
    #[arg(value_name = "LIST")]
    list: String,
    /// The entry, by its digest or by the image that it was added as
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// Runs the command and prints the list's new id.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let name = context.image_name(&args.list)?;
    let store = context.store()?;
    let digest = annotate::find(store, &store.lists().get(&name)?, &args.image)?;
    let list = store.lists().change(&name, |list| {
        list.index.manifests.retain(|entry| entry.digest != digest);
        list.sources.remove(&digest);
        Ok(())
    })?;
    print_line(&id(&list)?)?;
    Ok(ExitCode::SUCCESS)
}
