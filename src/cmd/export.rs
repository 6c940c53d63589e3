//! `export`: a container's whole root as a tar archive.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::{Context, error, packing};
use crate::sandbox::userns;
use crate::spec::event::Happening;
use crate::store::Store;
use crate::store::archive::{NewFile, Output};
use crate::store::pack::{self, PackOptions};

/// Export a container's filesystem as a tar archive
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Write to a file, in place of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Container by name, id or unique prefix
    container: String,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    let container = store.containers().find(&args.container)?;
    let tree = packing::tree_of(store, &container, "export")?;
    let output = output(args.output)?;
    let written = write(store, tree, output.file()).with_context(|| output.doing());
    if let Err(error) = &written
        && error::is_broken_pipe(error)
    {
        return Ok(ExitCode::SUCCESS);
    }
    written?;
    output.finish()?;
    store.happened(Happening::of_container(&container.config, "export"));
    Ok(ExitCode::SUCCESS)
}

/// Where an archive goes: a file, or standard output.
pub(super) fn output(path: Option<PathBuf>) -> Result<NewFile> {
    NewFile::create(match path.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) if path.as_os_str() != "-" => Output::File(path),
        _ if std::io::stdout().is_terminal() => {
            bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        }
        _ => Output::Stream(File::from(std::io::stdout().as_fd().try_clone_to_owned()?)),
    })
}

/// Packs in the user namespace, straight into the output.
fn write(store: &Store, tree: pack::Tree, output: &File) -> Result<()> {
    let mut out = output.try_clone()?;
    userns::run_inside(store, move || {
        let packed = pack::whole(&tree, PackOptions::default(), &mut out);
        match packed {
            // Nobody reads on.
            Err(error) if error::is_broken_pipe(&error) => Ok(()),
            packed => {
                packing::warn_of_losses(&packed?);
                Ok(())
            }
        }
    })
}
