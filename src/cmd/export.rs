//! `export`: a container's whole root as a tar archive.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::{Context, error, packing};
use crate::sandbox::userns;
use crate::spec::event::Happening;
use crate::store::pack::{self, PackOptions};
use crate::store::{Store, fs};

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
    let output = Output::open(args.output.as_deref())?;
    let written = write(store, tree, &output);
    if let Err(error) = &written
        && error::is_broken_pipe(error)
    {
        return Ok(ExitCode::SUCCESS);
    }
    written?;
    output.keep()?;
    store.happened(Happening::of_container(&container.config, "export"));
    Ok(ExitCode::SUCCESS)
}

/// Packs in the user namespace, straight into the output.
fn write(store: &Store, tree: pack::Tree, output: &Output) -> Result<()> {
    let mut out = File::from(output.descriptor()?);
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

/// Where the archive goes.
enum Output {
    Stdout,
    /// A device, a pipe: written as it is.
    Special(File),
    /// A file that takes its name when it is whole.
    New {
        file: File,
        temporary: PathBuf,
        path: PathBuf,
    },
}

impl Output {
    fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            if std::io::stdout().is_terminal() {
                bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
            }
            return Ok(Self::Stdout);
        };
        let context = || format!("write {}", path.display());
        if let Ok(kind) = std::fs::metadata(path).map(|metadata| metadata.file_type()) {
            if kind.is_dir() {
                bail!("cannot write {}: it is a directory", path.display());
            }
            if kind.is_char_device() || kind.is_block_device() || kind.is_fifo() {
                return Ok(Self::Special(OpenOptions::new().write(true).open(path).with_context(context)?));
            }
        }
        // A link keeps leading where it does.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().with_context(context)?.to_string_lossy().into_owned();
        let temporary = path.with_file_name(format!(".{name}.{}", fs::random_suffix()?));
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary).with_context(context)?;
        Ok(Self::New { file, temporary, path })
    }

    fn descriptor(&self) -> Result<OwnedFd> {
        Ok(match self {
            Self::Stdout => std::io::stdout().as_fd().try_clone_to_owned()?,
            Self::Special(file) | Self::New { file, .. } => file.as_fd().try_clone_to_owned()?,
        })
    }

    /// Gives the file its name.
    fn keep(self) -> Result<()> {
        if let Self::New { file, temporary, path } = &self {
            let mut file = file;
            file.flush()?;
            std::fs::rename(temporary, path).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Self::New { temporary, .. } = self {
            // Gone under this name once it has its own.
            let _ = std::fs::remove_file(temporary);
        }
    }
}
