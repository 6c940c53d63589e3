//! `import`: a root file system as an image.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;

use super::format::text::warn;
use super::pull::unpack_worker;
use super::{Context, say};
use crate::sandbox::userns;
use crate::spec::platform::Platform;
use crate::spec::reference::ImageRef;
use crate::store::archive::{self, Import};
use crate::store::registry::{Patience, download};

/// Import a root file system as an image of one layer
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A tar file, compressed or not; the address of one (http, https); - is standard input
    #[arg(value_name = "FILE|URL|-")]
    source: String,
    /// The image's name, REPOSITORY[:TAG]
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
    /// Processor architecture of the image, as in arm64
    #[arg(long, value_name = "ARCH", conflicts_with = "platform")]
    arch: Option<String>,
    /// Apply a Dockerfile instruction to the image
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Commit message of the image
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Operating system of the image
    #[arg(long, value_name = "OS", conflicts_with = "platform")]
    os: Option<String>,
    /// Platform of the image, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH", env = "DOCKER_DEFAULT_PLATFORM", hide_env_values = true)]
    platform: Option<Platform>,
    /// Accepted for compatibility: no progress is shown
    #[arg(short, long)]
    quiet: bool,
    /// Variant of the processor architecture, as in v7
    #[arg(long, value_name = "VARIANT", conflicts_with = "platform")]
    variant: Option<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    context.settings()?;
    let name = args.reference.as_deref().map(|text| parse_name(context, text)).transpose()?;
    if args.source == "-" && io::stdin().is_terminal() {
        bail!("cowardly refusing to import from a terminal: redirect the archive to standard input");
    }
    let store = context.store()?;
    // Before anything is opened that the unpacking process must not inherit.
    let mut worker = unpack_worker(store)?;
    let default = format!("Imported from {}", if download::is_url(&args.source) { &args.source } else { "-" });
    let request = Import {
        name: name.as_ref(),
        platform: platform(&args),
        changes: &args.change,
        message: args.message.as_deref().filter(|text| !text.is_empty()).unwrap_or(&default),
        created: Timestamp::now(),
        single_id: userns::is_single(store)?,
        limits: context.layer_limits()?,
    };
    let imported = open(&args.source).and_then(|input| archive::import(store, input, &request, &mut worker));
    drop(worker);
    let imported = imported.with_context(|| format!("import {}", args.source))?;
    if imported.skipped_devices > 0 {
        let count = imported.skipped_devices;
        warn(&format!("skipped {count} device nodes of the archive: containers have their own /dev"));
    }
    store.images().happened(imported.id, "import", name.as_ref());
    say(&imported.id.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn open(source: &str) -> Result<Box<dyn Read>> {
    Ok(match source {
        "-" => Box::new(io::stdin().lock()),
        url if download::is_url(url) => Box::new(download::open(url, &Patience::default())?),
        path => Box::new(File::open(path)?),
    })
}

/// The image's platform: what was asked for over what this machine is.
fn platform(args: &Args) -> Platform {
    let host = Platform::host();
    if let Some(platform) = &args.platform {
        return platform.clone();
    }
    let architecture = args.arch.as_deref().unwrap_or(&host.architecture);
    Platform::from_parts(args.os.as_deref().unwrap_or(&host.os), architecture, args.variant.as_deref())
}

fn parse_name(context: &Context, text: &str) -> Result<ImageRef> {
    let name = context.image_name(text)?;
    match name.digest() {
        None => Ok(name),
        Some(_) => bail!("cannot import digest reference"),
    }
}
