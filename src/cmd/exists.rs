//! `container exists`, `image exists`, `network exists`, `secret exists`, `volume exists`: answers by the exit code
//! alone.

use std::process::ExitCode;

use anyhow::Result;

use super::Context;
use super::error::WithCode;
use crate::store::{containers, images, networks, secrets};

/// Exit with 0 if a container exists, with 1 if not
#[derive(clap::Args, Debug)]
pub struct ContainerArgs {
    /// Container by name, id or unique prefix
    container: String,
}

/// Exit with 0 if an image exists, with 1 if not
#[derive(clap::Args, Debug)]
pub struct ImageArgs {
    /// Image by reference, id or unique prefix
    image: String,
}

/// Exit with 0 if a network exists, with 1 if not
#[derive(clap::Args, Debug)]
pub struct NetworkArgs {
    /// Network by name, id or unique prefix
    network: String,
}

/// Exit with 0 if a secret exists, with 1 if not
#[derive(clap::Args, Debug)]
pub struct SecretArgs {
    /// Secret by name, id or unique prefix of the id
    secret: String,
}

/// Exit with 0 if a volume exists, with 1 if not
#[derive(clap::Args, Debug)]
pub struct VolumeArgs {
    /// Volume by name
    volume: String,
}

/// Any other failure than absence exits with 125.
pub fn container(args: ContainerArgs, context: &Context) -> Result<ExitCode> {
    match context.store().or_exit(125)?.containers().resolve(&args.container) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(containers::LookupError::NotFound(_)) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error).or_exit(125),
    }
}

/// The same for an image.
pub fn image(args: ImageArgs, context: &Context) -> Result<ExitCode> {
    match context.store().or_exit(125)?.images().resolve(&args.image) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(images::LookupError::NotFound(_)) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error).or_exit(125),
    }
}

/// The same for a network.
pub fn network(args: NetworkArgs, context: &Context) -> Result<ExitCode> {
    match context.store().or_exit(125)?.networks().find(&args.network) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(networks::LookupError::NotFound(_)) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error).or_exit(125),
    }
}

/// The same for a secret.
pub fn secret(args: SecretArgs, context: &Context) -> Result<ExitCode> {
    match context.store().or_exit(125)?.secrets().find(&args.secret) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(secrets::LookupError::NotFound(_)) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error).or_exit(125),
    }
}

/// The same for a volume.
pub fn volume(args: VolumeArgs, context: &Context) -> Result<ExitCode> {
    let exists = context.store().or_exit(125)?.volumes().exists(&args.volume);
    Ok(if exists { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
