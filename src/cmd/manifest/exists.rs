//! `manifest exists`: an answer by the exit code alone.

use std::process::ExitCode;

use anyhow::Result;

use crate::cmd::Context;
use crate::cmd::error::WithCode;
use crate::store::lists::ListError;

/// Exit with 0 if a list of manifests exists, with 1 if not
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The list
    #[arg(value_name = "LIST")]
    list: String,
}

/// Any other failure than absence exits with 125.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let name = context.image_name(&args.list).or_exit(125)?;
    match context.store().or_exit(125)?.lists().get(&name) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(ListError::NotFound(_)) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error).or_exit(125),
    }
}
