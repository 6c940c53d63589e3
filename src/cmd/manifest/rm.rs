//! `manifest rm`: remove lists.

use std::process::ExitCode;

use anyhow::Result;

use crate::cmd::{Context, error};
use crate::store::lists::ListError;

/// Remove lists of manifests; the images stay
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Don't complain about lists that do not exist
    #[arg(short, long)]
    ignore: bool,
    /// The lists
    #[arg(value_name = "LIST", required = true)]
    lists: Vec<String>,
}

/// Runs the command; goes on past failures.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for text in &args.lists {
        let removed = context.image_name(text).and_then(|name| {
            if context.store()?.lists().remove(&name)? || args.ignore {
                return Ok(());
            }
            Err(ListError::NotFound(name.familiar()).into())
        });
        if let Err(error) = removed {
            error::print(&error);
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
