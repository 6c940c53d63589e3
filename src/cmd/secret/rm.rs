//! `secret rm`: remove secrets.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cmd::{Context, error, say};
use crate::store::secrets::LookupError;

/// Remove one or more secrets
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Remove all secrets
    #[arg(short, long)]
    all: bool,
    /// Don't complain about secrets that do not exist
    #[arg(short, long)]
    ignore: bool,
    /// Secrets by name, id or unique prefix of the id
    #[arg(required_unless_present = "all", value_name = "SECRET")]
    secrets: Vec<String>,
}

/// Prints the id of each that is removed; goes on past failures.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    if args.all && !args.secrets.is_empty() {
        bail!("conflicting options: --all and names of secrets");
    }
    let secrets = context.store()?.secrets();
    let names = match args.all {
        true => secrets.list()?.0.into_iter().map(|secret| secret.name).collect(),
        false => args.secrets.clone(),
    };
    let mut failed = false;
    for name in names {
        let removed = secrets.find(&name).and_then(|secret| secrets.remove(&secret).map(|()| secret.id));
        match removed {
            Ok(id) => say(&id)?,
            // Somebody else was faster, too.
            Err(LookupError::NotFound(_)) if args.ignore || args.all => {}
            Err(LookupError::Damaged { .. }) => {
                secrets.remove_damaged(&name)?;
                say(&name)?;
            }
            Err(error) => {
                error::print(&error.into());
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
