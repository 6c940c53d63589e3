//! `volume export`: a volume's files as a tar archive.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::cmd::{Context, error, export, packing};
use crate::sandbox::userns;
use crate::spec::volume::{Backing, Volume};
use crate::store::{Store, pack};

/// Export a volume's files as a tar archive
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Write to a file, in place of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Volume by name
    #[arg(value_name = "VOLUME")]
    volume: String,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    let volume = store.volumes().get(&args.volume)?;
    let files = files(store, &volume, "exported")?;
    let output = export::output(args.output)?;
    let mut out = output.file().try_clone()?;
    let written = userns::run_inside(store, move || match pack::directory(&files, &mut out) {
        // Nobody reads on.
        Err(error) if error::is_broken_pipe(&error) => Ok(()),
        packed => {
            packing::warn_of_losses(&packed?);
            Ok(())
        }
    });
    written.with_context(|| output.doing())?;
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// Where a volume's files are when no container runs. `doing` is what cannot be done to a volume that has none.
pub(super) fn files(store: &Store, volume: &Volume, doing: &str) -> Result<PathBuf> {
    match volume.backing()? {
        Backing::Directory { .. } => Ok(store.volumes().data_path(&volume.name)),
        Backing::Bind { device, .. } => Ok(device),
        Backing::Tmpfs { .. } => bail!(
            "volume {0} can't be {doing}: it is a tmpfs, which only running containers have: use tar in one of them",
            volume.name
        ),
    }
}
