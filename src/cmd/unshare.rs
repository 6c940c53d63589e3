//! `unshare`: a command in the user namespace of containers. This process becomes the command: its
//! terminal, its signals and its end are nobody's affair but the caller's.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Result, anyhow, bail};

use super::error::{WithCode, with_code};
use super::{Context, warn};
use crate::sandbox::mounted;

/// Run a command in the user namespace of containers, with mounts of its own
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Refused: each network has a namespace of its own, and there is none that all share
    #[arg(long)]
    rootless_netns: bool,
    /// The command, by default your shell
    command: Option<OsString>,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    arguments: Vec<OsString>,
}

/// Runs the command; returns only with a failure.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    start(args, context).or_exit(125)
}

fn start(args: Args, context: &Context) -> Result<ExitCode> {
    if rustix::process::geteuid().is_root() {
        bail!("please use unshare with rootless");
    }
    if args.rootless_netns {
        bail!(
            "--rootless-netns is not supported: networks have a namespace each; use 'rbox run --network NAME' to be in one"
        );
    }
    let program = args.command.or_else(|| std::env::var_os("SHELL").filter(|shell| !shell.is_empty()));
    let program = program.unwrap_or_else(|| "/bin/sh".into());
    // Whoever is root in there would look for root's.
    let (root, runtime) = (context.root()?, context.runtime()?);
    if let Some(warning) = mounted::enter_for_good(context.store()?)? {
        warn(&warning);
    }
    let error = Command::new(&program).args(args.arguments).env("RBOX_ROOT", root).env("RBOX_RUNROOT", runtime).exec();
    let program = program.to_string_lossy();
    Err(match error.kind() {
        std::io::ErrorKind::NotFound if program.contains('/') => {
            with_code(anyhow!("exec: {program:?}: no such file or directory"), 127)
        }
        std::io::ErrorKind::NotFound => {
            with_code(anyhow!("exec: {program:?}: executable file not found in $PATH"), 127)
        }
        std::io::ErrorKind::PermissionDenied => with_code(anyhow!("exec: {program:?}: permission denied"), 126),
        _ => with_code(anyhow!("exec: {program:?}: {error}"), 126),
    })
}
