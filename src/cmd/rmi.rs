//! `rmi`: remove images.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{Context, error, say, sweep_in_user_namespace, warn};
use crate::store::gc::Collected;
use crate::store::images::{Image, LookupError, RemoveError};

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
    /// Accepted for compatibility: there are no untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Images by reference, id or unique prefix
    #[arg(required_unless_present = "all", value_name = "IMAGE")]
    images: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    if args.all && !args.images.is_empty() {
        bail!("conflicting options: --all and images by name");
    }
    let mut failed = false;
    let mut note = |removed: Result<()>| {
        if let Err(error) = removed {
            error::print(&error);
            failed = true;
        }
    };
    if args.all {
        context.store()?.images().list()?.0.iter().for_each(|image| note(remove_whole(context, image, args.force)));
    }
    let may_lack = args.force || args.ignore;
    args.images.iter().for_each(|image| note(remove(context, image, args.force, may_lack)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Removes an image with all its names; without `force` only one that no container uses.
fn remove_whole(context: &Context, image: &Image, force: bool) -> Result<()> {
    let (containers, _) = context.store()?.containers().list()?;
    match containers.iter().find(|container| container.image_id() == Some(image.id)) {
        Some(user) if !force => {
            let (image, container) = (image.id.short(), user.id().short().to_owned());
            Err(RemoveError::Stopped { image, container }.into())
        }
        _ => remove(context, &image.id.to_string(), true, true),
    }
}

fn remove(context: &Context, image: &str, force: bool, may_lack: bool) -> Result<()> {
    let store = context.store()?;
    let (containers, _) = store.containers().list()?;
    let removal = match store.images().remove(image, force, &containers) {
        Err(RemoveError::Lookup(LookupError::NotFound(_))) if may_lack => return Ok(()),
        removed => removed?,
    };
    for step in &removal.steps {
        say(&step.to_string())?;
    }
    finish_collection(context, &removal.collected)
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
