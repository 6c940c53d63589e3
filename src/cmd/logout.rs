//! `logout`: forgets what proves who we are to a registry.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use super::Context;
use super::credentials::{auth_files, server};

/// Log out from a registry
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Log out from all registries
    #[arg(short, long)]
    all: bool,
    /// Forget what this file holds (REGISTRY_AUTH_FILE)
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Registry, docker.io unless configured
    #[arg(value_name = "REGISTRY")]
    server: Option<String>,
}

/// Runs the command. To be logged out already is no failure.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let files = auth_files(args.authfile.as_deref());
    if args.all {
        if args.server.is_some() {
            bail!("conflicting options: give a registry or --all");
        }
        files.forget_all()?;
        super::say("Removed login credentials for all registries")?;
        return Ok(ExitCode::SUCCESS);
    }
    let (registry, repository) = server(context, args.server.as_deref())?;
    let shown = match (registry.as_str(), repository.as_str()) {
        ("docker.io", "") => "https://index.docker.io/v1/".to_owned(),
        (registry, "") => registry.to_owned(),
        (registry, repository) => format!("{registry}/{repository}"),
    };
    let known = files.forget(&registry, &repository)?;
    super::say(&format!("{} {shown}", if known { "Removing login credentials for" } else { "Not logged in to" }))?;
    Ok(ExitCode::SUCCESS)
}
