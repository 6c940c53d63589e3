//! `tag`: give an image a further name.

use std::process::ExitCode;

use anyhow::{Result, anyhow};

use super::Context;
use crate::spec::reference::ImageRef;

/// Create a tag TARGET that refers to SOURCE
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Image by reference, id or unique prefix
    source: String,
    /// The new name; its tag is latest when none is given
    target: String,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let invalid =
        |reason: String| anyhow!("Error parsing reference: {:?} is not a valid repository/tag: {reason}", args.target);
    context.settings()?;
    let target: ImageRef = args.target.parse().map_err(|error| invalid(format!("{error}")))?;
    if target.digest().is_some() {
        return Err(invalid("refusing to create a tag with a digest reference".to_owned()));
    }
    let images = context.store()?.images();
    let image = images.find(&args.source)?;
    images.tag(&target, image.manifest, image.id)?;
    Ok(ExitCode::SUCCESS)
}
