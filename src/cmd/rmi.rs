//! `rmi`: remove images.

use std::process::ExitCode;

use anyhow::Result;

use super::{Context, error, sweep_in_user_namespace, warn};
use crate::store::images::{LookupError, RemoveError};

/// Remove one or more images
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Remove also what stopped containers use or several names refer to
    #[arg(short, long)]
    force: bool,
    /// Images by reference, id or unique prefix
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let mut failed = false;
    for image in &args.images {
        if let Err(error) = remove(context, image, args.force) {
            error::print(&error);
            failed = true;
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn remove(context: &Context, image: &str, force: bool) -> Result<()> {
    let store = context.store()?;
    let (containers, _) = store.containers().list()?;
    let removal = match store.images().remove(image, force, &containers) {
        Err(RemoveError::Lookup(LookupError::NotFound(_))) if force => return Ok(()),
        removed => removed?,
    };
    for step in &removal.steps {
        super::print_line(&step.to_string())?;
    }
    for record in &removal.collected.blocked_by {
        warn(&format!(
            "nothing was deleted from disk: the record of {} is damaged; run 'rbox system check --repair'",
            record.id
        ));
    }
    if removal.collected.needs_user_namespace { sweep_in_user_namespace(context) } else { Ok(()) }
}
