//! `manifest push`: send a list with what it names.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use super::asking;
use crate::cmd::missing;
use crate::cmd::push::{Kind, ListLines, destination, source, write_digest};
use crate::cmd::registry_options::{RegistryOptions, RetryOptions};
use crate::cmd::{Context, go_bool, print_line};
use crate::spec::platform::Platform;
use crate::spec::reference::ImageRef;
use crate::store::push::push_list;
use crate::store::registry::manifest;

/// Send a list of manifests, and what the registry lacks of them
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Send all manifests of the list, the default, or only this machine's
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = go_bool)]
    all: bool,
    /// Write the digest of what was pushed into this file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Kind of list: oci or v2s2; by default docker's if all it names are docker's
    #[arg(short, long, value_name = "KIND", value_enum)]
    format: Option<Kind>,
    /// Like --tls-verify=false
    #[arg(long)]
    insecure: bool,
    /// Remove the list from the store afterwards
    #[arg(short, long)]
    purge: bool,
    /// Print only the digest
    #[arg(short, long)]
    quiet: bool,
    /// Accepted for compatibility: there are no signatures to leave out
    #[arg(long)]
    remove_signatures: bool,
    /// Like --purge
    #[arg(long)]
    rm: bool,
    #[command(flatten)]
    registry: RegistryOptions,
    /// The list
    #[arg(value_name = "LIST")]
    list: String,
    /// Name to push it as, [docker://]NAME[:TAG]; the list's own when none is given
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
}

/// Runs the command and prints the digest.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let name = context.image_name(&args.list)?;
    let store = context.store()?;
    let mut list = store.lists().get(&name)?;
    let to = args.destination.as_deref().map_or_else(|| Ok(name.clone()), destination)?;
    if to.digest().is_some() {
        bail!("cannot push a digest reference");
    }
    if !args.all {
        let wanted = Platform::host();
        let Ok(chosen) = manifest::select(&list.index, &wanted) else {
            bail!("manifest list {} has nothing for {wanted}", name.familiar());
        };
        list.index.manifests.retain(|entry| entry.digest == chosen.digest);
    }
    let options = asking(&args.registry, args.insecure, context, to.domain())?;
    let format = args.format.map(Kind::format).transpose()?;
    let mut progress = ListLines::new(args.quiet);
    let source = |from: &ImageRef| source(&args.registry, &RetryOptions::default(), context, from, &to);
    let push = || push_list(store, &list, &to, format, &options, &mut progress);
    let pushed = missing::push_whole(context, source, args.quiet, push)?;
    if let Some(path) = &args.digestfile {
        write_digest(path, pushed.digest)?;
    }
    if args.purge || args.rm {
        store.lists().remove(&name)?;
    }
    print_line(&pushed.digest.to_string())?;
    Ok(ExitCode::SUCCESS)
}
