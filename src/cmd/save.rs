//! `save`: images as an archive.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use super::pull::names_version;
use super::{Context, missing, platform_options};
use crate::spec::platform::Platform;
use crate::spec::reference::ImageRef;
use crate::store::archive::{self, Format, LayerForm, Output, SaveOptions, Selected};
use crate::store::compress::Codec;
use crate::store::images::{Image, LookupError};

/// Save images to an archive
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Image by reference, id or unique prefix; a repository alone means all its tags
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Compress layers that are not compressed (docker-dir)
    #[arg(long)]
    compress: bool,
    /// Form of the archive (docker-archive, oci-archive, oci-dir, docker-dir)
    #[arg(long, value_name = "FORM")]
    format: Option<Format>,
    /// Accepted for compatibility: an archive may always hold several images
    #[arg(short, long)]
    multi_image_archive: bool,
    /// Write to this file, or directory, in place of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Save only images for this platform, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// Show nothing of layers that are downloaded first
    #[arg(short, long)]
    quiet: bool,
    /// Accepted for compatibility: layers are written as they are
    #[arg(long)]
    uncompressed: bool,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let format = args.format.unwrap_or_default();
    if args.compress && format != Format::DockerDir {
        bail!("--compress can only be set when --format is 'docker-dir'");
    }
    let output = match args.output.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) if path.as_os_str() != "-" => Output::File(path),
        _ if format.is_directory() => bail!("this format writes a directory: name it with -o"),
        _ if io::stdout().is_terminal() => {
            bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        }
        _ => Output::Stream(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
    };
    context.settings()?;
    let mut selected = Vec::new();
    for text in &args.images {
        select(context, text, &args.platform, &mut selected)?;
    }
    for image in &selected {
        missing::fetch(context, image.manifest, |from| missing::usual(context, from), args.quiet)?;
    }
    let gzip = LayerForm::Compressed { codec: Codec::GZIP, force: false };
    let layers = if args.compress { gzip } else { LayerForm::Kept };
    let options = SaveOptions { format, layers };
    let store = context.store()?;
    archive::save(store, &selected, &options, output)?;
    for image in &selected {
        store.images().happened(image.config, "save", image.names.first());
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds what a word means: an image under that name, all tags of a repository, or an image without
/// its names, when an id was given.
fn select(context: &Context, text: &str, platforms: &[Platform], selected: &mut Vec<Selected>) -> Result<()> {
    let found = match context.store()?.images().find(text) {
        Err(LookupError::NotFound(_)) => Vec::new(),
        found => vec![found?],
    };
    let reference = match context.store()?.images().by_typed_name(text)? {
        Some(record) => Some(ImageRef::clone(&record.name)),
        None => context.image_name(text).ok(),
    };
    let named = |name: &ImageRef| reference.as_ref().is_some_and(|wanted| wanted.repository() == name.repository());
    let whole = reference.as_ref().is_some_and(|wanted| wanted.digest().is_none()) && !names_version(text);
    let by_id = found.iter().any(|image| !image.tags.iter().chain(&image.digests).any(named));
    let images = if whole && !by_id { of_repository(context, &named)? } else { found };
    if images.is_empty() {
        return Err(LookupError::NotFound(unknown(text, reference.as_ref())).into());
    }
    for image in images {
        let names: Vec<ImageRef> = match &reference {
            _ if by_id => Vec::new(),
            Some(_) if whole => image.tags.iter().filter(|name| named(name)).cloned().collect(),
            Some(wanted) => image.tags.iter().filter(|name| *name == wanted).cloned().collect(),
            None => Vec::new(),
        };
        platform_options::check(context, text, &image, platforms)?;
        add(selected, Selected { manifest: image.manifest, config: image.id, names });
    }
    Ok(())
}

fn of_repository(context: &Context, named: &dyn Fn(&ImageRef) -> bool) -> Result<Vec<Image>> {
    let (mut images, _) = context.store()?.images().list()?;
    images.retain(|image| image.tags.iter().any(named));
    images.sort_by(|a, b| a.tags.cmp(&b.tags));
    Ok(images)
}

fn unknown(text: &str, reference: Option<&ImageRef>) -> String {
    reference.map_or_else(|| text.to_owned(), ImageRef::familiar)
}

/// The same image named twice is one image of two names.
fn add(selected: &mut Vec<Selected>, image: Selected) {
    match selected.iter_mut().find(|known| known.config == image.config && known.manifest == image.manifest) {
        None => selected.push(image),
        Some(known) => {
            for name in image.names {
                if !known.names.contains(&name) {
                    known.names.push(name);
                }
            }
        }
    }
}
