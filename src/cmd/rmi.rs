//! `rmi`: remove images.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{Context, error, platform_options, say, sweep_in_user_namespace, warn};
use crate::sandbox::mounted::{self, Kind};
use crate::spec::platform::Platform;
use crate::store::gc::Collected;
use crate::store::images::{LookupError, RemoveError};

/// Remove one or more images
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Remove all images
    #[arg(short, long)]
    all: bool,
    /// Remove also what stopped containers use or several names refer to
    #[arg(short, long)]
    force: bool,
    /// Don't complain about images that do not exist
    #[arg(short, long)]
    ignore: bool,
    /// Accepted for compatibility: images have no untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Remove only images for this platform, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// Images by reference, id or unique prefix
    #[arg(required_unless_present = "all", value_name = "IMAGE")]
    images: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    if args.all && !args.images.is_empty() {
        bail!("conflicting options: --all and images by name");
    }
    let store = context.store()?;
    let (containers, _) = store.containers().list()?;
    let mut remover = store.images().remover(&containers)?;
    let mut failed = false;
    let mut note = |removed: Result<(), RemoveError>| match removed {
        Ok(()) => {}
        Err(RemoveError::Lookup(LookupError::NotFound(_))) if args.force || args.ignore => {}
        Err(error) => {
            error::print(&error.into());
            failed = true;
        }
    };
    if args.all {
        remover.ids().into_iter().for_each(|id| note(remover.remove_whole(id, args.force)));
    }
    for image in &args.images {
        // One that is not here is the remover's affair.
        let checked = match store.images().find(image) {
            Ok(found) => platform_options::check(context, image, &found, &args.platform),
            Err(_) => Ok(()),
        };
        note(checked.map_err(RemoveError::Other).and_then(|()| remover.remove(image, args.force)));
    }
    let removal = remover.finish()?;
    for step in &removal.steps {
        say(&step.to_string())?;
    }
    let kept = store.images().list()?.0;
    let is_gone = |id: &String| !kept.iter().any(|image| image.id.hex() == *id);
    for id in mounted::known(store, Kind::Image)?.into_iter().filter(is_gone) {
        mounted::discard(store, Kind::Image, &id)?;
    }
    finish_collection(context, &removal.collected)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Removes an image with all its names, if nobody needs it; of that, and of a failure, a warning tells.
pub fn remove_unless_used(context: &Context, image: &str) {
    let remove = || -> Result<()> {
        let store = context.store()?;
        let (containers, _) = store.containers().list()?;
        let mut remover = store.images().remover(&containers)?;
        match image.parse().map(|id| remover.remove_whole(id, false)) {
            Ok(Err(RemoveError::Lookup(LookupError::NotFound(_)))) | Err(_) => {}
            Ok(removed) => removed?,
        }
        let removal = remover.finish()?;
        finish_collection(context, &removal.collected)
    };
    if let Err(error) = remove() {
        error::print(&error);
    }
}

/// Says why nothing was deleted, or deletes what only the user namespace can.
pub fn finish_collection(context: &Context, collected: &Collected) -> Result<()> {
    for record in &collected.blocked_by {
        warn(&format!(
            "nothing was deleted from disk: the record of {} is damaged; run 'rbox system check --repair'",
            record.id
        ));
    }
    if collected.needs_user_namespace { sweep_in_user_namespace(context) } else { Ok(()) }
}
