//! `completion`: print the script that teaches a shell to complete rbox's command lines.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::Context;
use super::complete::Shell;

const BASH: &str = include_str!("../../completions/rbox.bash");
const ZSH: &str = include_str!("../../completions/_rbox");
const FISH: &str = include_str!("../../completions/rbox.fish");

/// Generate the autocompletion script for a shell
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Write the script to a file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Leave descriptions out
    #[arg(long, alias = "no-descriptions")]
    no_desc: bool,
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub fn run(args: Args, _context: &Context) -> Result<ExitCode> {
    let script = match args.shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    };
    let quiet = if args.no_desc { script.replace("__complete ", "__complete --no-desc ") } else { script.to_owned() };
    match &args.file {
        Some(path) => std::fs::write(path, quiet).with_context(|| format!("write {}", path.display()))?,
        None => super::print_text(&quiet)?,
    }
    Ok(ExitCode::SUCCESS)
}
