//! `load`: images out of an archive.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::format::text::warn;
use super::pull::unpack_worker;
use super::{Context, say};
use crate::sandbox::userns;
use crate::spec::platform::Platform;
use crate::store::Store;
use crate::store::archive::{self, Contents, LoadOptions, Loaded};
use crate::store::unpack::UnpackLimits;

/// Load images from an archive
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Read this file, or directory, in place of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Load only images for this platform, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Accepted for compatibility: no progress is shown
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    context.settings()?;
    let input = args.input.filter(|path| !path.as_os_str().is_empty() && path.as_os_str() != "-");
    if input.is_none() && io::stdin().is_terminal() {
        bail!("requested load from stdin, but stdin is empty");
    }
    let store = context.store()?;
    // Before anything is opened that the unpacking process must not inherit.
    let mut worker = unpack_worker(store)?;
    let single_id = userns::is_single(store)?;
    let options = LoadOptions { platform: args.platform, entry: None, single_id, limits: context.layer_limits()? };
    let loaded = open(store, input.as_ref(), of_archive(options.limits))
        .and_then(|contents| archive::load(store, &contents, &options, &mut worker));
    drop(worker);
    let shown = input.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let loaded = loaded.with_context(|| format!("load {shown}"))?;
    for image in &loaded.images {
        store.images().happened(image.id, "load", image.names.first());
    }
    report(&loaded)
}

/// An archive may hold several layers: it is not held to what one of them may have.
fn of_archive(limits: UnpackLimits) -> UnpackLimits {
    UnpackLimits { bytes: limits.bytes.max(UnpackLimits::default().bytes), ..limits }
}

fn open(store: &Store, input: Option<&PathBuf>, limits: UnpackLimits) -> Result<Contents> {
    let Some(path) = input else { return Contents::of_stream(store, io::stdin().lock(), limits) };
    let file = File::open(path)?;
    let kind = file.metadata()?;
    match (kind.is_dir(), kind.is_file()) {
        (true, _) => Contents::of_directory(path),
        (_, true) => Contents::of_file(store, file, limits),
        _ => Contents::of_stream(store, file, limits),
    }
}

/// docker's lines.
fn report(loaded: &Loaded) -> Result<ExitCode> {
    for image in &loaded.images {
        for (name, former) in &image.replaced {
            let name = name.familiar();
            say(&format!("The image {name} already exists, renaming the old one with ID {former} to empty string"))?;
        }
        if image.names.is_empty() {
            say(&format!("Loaded image ID: {}", image.id))?;
        }
        for name in &image.names {
            say(&format!("Loaded image: {}", name.familiar()))?;
        }
    }
    if loaded.skipped_devices > 0 {
        let count = loaded.skipped_devices;
        warn(&format!("skipped {count} device nodes of the archive: containers have their own /dev"));
    }
    Ok(ExitCode::SUCCESS)
}
