//! `quadlet print`: a file, or the service made of it.

use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};

use super::directories::{self, Scope};
use super::{read, translation};
use crate::cmd::format::text::{clean_line, warn};
use crate::cmd::print_bytes;

/// Show a Quadlet file
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show the service that is made of it
    #[arg(short, long)]
    service: bool,
    /// The file's name, as in web.container
    #[arg(value_name = "QUADLET")]
    name: String,
}

/// Prints it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let scope = Scope::own();
    let found = read::collect(&directories::searched(scope));
    let Some(source) = found.sources.0.iter().find(|source| source.name == args.name) else {
        let why = found.problems.iter().find(|problem| problem.contains(&format!("/{}:", args.name)));
        return Err(why.map_or_else(|| anyhow!("no such Quadlet file: {}", args.name), |why| anyhow!("{why}")));
    };
    if !args.service {
        print_bytes(&std::fs::read(&source.path).with_context(|| format!("read {}", source.path))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let made = translation(source, &found.sources, scope)?;
    made.warnings.iter().for_each(|text| warn(&clean_line(text)));
    if let Some((last, others)) = made.problems.split_last() {
        others.iter().for_each(|text| warn(&clean_line(text)));
        bail!("{}", clean_line(last));
    }
    print_bytes(made.service.text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
