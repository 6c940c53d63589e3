//! `untag`: take names away from an image, which stays.

use std::process::ExitCode;

use anyhow::{Result, anyhow};

use super::Context;
use crate::spec::reference::ImageRef;
use crate::store::images::Image;

/// Remove names from an image, which stays
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Image by reference, id or unique prefix
    image: String,
    /// The names to remove; without any, all that the image has
    #[arg(value_name = "TARGET")]
    names: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    context.settings()?;
    let store = context.store()?;
    let images = store.images();
    let image = images.find(&args.image)?;
    let names = if args.names.is_empty() {
        image.tags.iter().chain(&image.digests).cloned().collect()
    } else {
        args.names.iter().map(|text| name_of(&image, text)).collect::<Result<Vec<_>>>()?
    };
    images.strip(&image, &names)?;
    names.iter().for_each(|name| images.happened(image.id, "untag", Some(name)));
    Ok(ExitCode::SUCCESS)
}

fn name_of(image: &Image, text: &str) -> Result<ImageRef> {
    let asked: ImageRef = text.parse()?;
    let exact = |asked: &ImageRef| asked.digest().map_or_else(|| asked.clone(), |digest| asked.at_digest(digest));
    let has = |name: &ImageRef| image.tags.contains(name) || image.digests.contains(name);
    let name = exact(&asked);
    if has(&name) {
        return Ok(name);
    }
    let other = ImageRef::other_meanings(text).iter().map(exact).find(has);
    other.ok_or_else(|| anyhow!("{}: tag not known", name.familiar()))
}
