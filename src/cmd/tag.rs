//! `tag`: give an image further names.

use std::process::ExitCode;

use anyhow::{Result, anyhow};

use super::Context;
use crate::spec::reference::ImageRef;

/// Create a tag TARGET that refers to SOURCE
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Image by reference, id or unique prefix
    source: String,
    /// The new names; their tag is latest when none is given
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    context.settings()?;
    let targets: Vec<ImageRef> = args.targets.iter().map(|text| target(text)).collect::<Result<_>>()?;
    let store = context.store()?;
    let images = store.images();
    let image = images.find(&args.source)?;
    for target in &targets {
        images.tag(target, image.manifest, image.id)?;
        images.happened(image.id, "tag", Some(target));
    }
    Ok(ExitCode::SUCCESS)
}

fn target(text: &str) -> Result<ImageRef> {
    let invalid = |reason: String| anyhow!("Error parsing reference: {text:?} is not a valid repository/tag: {reason}");
    let target: ImageRef = text.parse().map_err(|error| invalid(format!("{error}")))?;
    if target.digest().is_some() {
        return Err(invalid("refusing to create a tag with a digest reference".to_owned()));
    }
    Ok(target)
}
