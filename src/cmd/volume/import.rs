//! `volume import`: files from a tar archive into a volume.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{Mode, OFlags};

use super::export::files;
use crate::cmd::Context;
use crate::cmd::format::text::warn;
use crate::sandbox::idmap::IdMaps;
use crate::sandbox::userns;
use crate::store::unpack::{self, Addition};

/// Add the files of a tar archive to a volume
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Volume by name
    #[arg(value_name = "VOLUME")]
    volume: String,
    /// The archive, - or nothing for standard input
    #[arg(value_name = "FILE")]
    source: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    let volumes = store.volumes();
    let volume = volumes.get(&args.volume)?;
    let target = files(store, &volume, "imported into")?;
    let input = open(args.source)?;
    let _lock = volumes.lock(&volume.name).with_context(|| format!("lock volume {}", volume.name))?;
    // Even if it comes to a bad end: no image's content goes on top of it.
    volumes.note_content(&volume.name).with_context(|| format!("import into volume {}", volume.name))?;
    userns::run_inside(store, move || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory: OwnedFd =
            rustix::fs::open(&target, flags, Mode::empty()).with_context(|| format!("open {}", target.display()))?;
        // Without subordinate ids everything is the caller's.
        let owner = IdMaps::of_self()?.is_single().then_some((0, 0));
        let addition = Addition { path: Vec::new(), owner, maps: None, replace_kinds: true, single_id: false };
        let unpacked = unpack::add(input, directory, addition)?;
        if unpacked.skipped_devices > 0 {
            warn(&format!("left out {} devices, which take root to make", unpacked.skipped_devices));
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn open(source: Option<PathBuf>) -> Result<File> {
    match source.filter(|path| path.as_os_str() != "-") {
        Some(path) => File::open(&path).with_context(|| format!("open {}", path.display())),
        None if std::io::stdin().is_terminal() => bail!("no archive to read: name a file or redirect standard input"),
        None => Ok(File::from(std::io::stdin().as_fd().try_clone_to_owned()?)),
    }
}
