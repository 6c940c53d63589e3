//! The generator (systemd.generator(7)): rbox under another name, called by systemd before it reads
//! its units, with three directories that services may go to.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

use super::directories::Scope;
use super::{apply, directories, read, translations};
use crate::cmd::format::text::{clean_line, warn};
use crate::cmd::{error, print_bytes};

/// Whose generator this process is, by the name it was called by.
pub fn called_for() -> Option<Scope> {
    let name = std::env::args_os().next()?;
    let name = Path::new(&name).file_name()?.to_str()?;
    [Scope::System, Scope::User].into_iter().find(|scope| name == scope.generator())
}

#[derive(Debug, Default)]
struct Options {
    user: bool,
    dry_run: bool,
    quiet_kernel: bool,
    verbose: bool,
    directory: Option<PathBuf>,
}

/// The generator's whole life.
pub fn main(scope: Scope) -> ExitCode {
    let options = match parse() {
        Ok(options) => options,
        Err(error) => return error::report(&error),
    };
    let scope = if options.user { Scope::User } else { scope };
    match run(scope, &options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("{error:#}"), &options, scope);
            ExitCode::FAILURE
        }
    }
}

/// Podman's flags, with one dash or two.
fn parse() -> Result<Options> {
    let mut options = Options::default();
    let mut directories = Vec::new();
    for word in std::env::args_os().skip(1) {
        let text = word.to_string_lossy().into_owned();
        match text.strip_prefix("--").or_else(|| text.strip_prefix('-')) {
            Some("user") => options.user = true,
            Some("dryrun") => options.dry_run = true,
            Some("no-kmsg-log") => options.quiet_kernel = true,
            Some("v") => options.verbose = true,
            Some(_) => bail!("unknown flag {text:?}: a generator has --user, --dryrun, --no-kmsg-log and -v"),
            None => directories.push(PathBuf::from(word)),
        }
    }
    if directories.is_empty() && !options.dry_run {
        bail!("missing argument: the directory that services go to");
    }
    // The first is for what counts less than units in /etc, which is what systemd has others do.
    options.directory = directories.into_iter().next();
    Ok(options)
}

/// False where a file could not be used; the others are there.
fn run(scope: Scope, options: &Options) -> Result<bool> {
    if let Some(directory) = options.directory.as_ref().filter(|_| !options.dry_run) {
        let report = apply::write_all(scope, directory)?;
        report.problems.iter().chain(&report.warnings).for_each(|text| say(text, options, scope));
        if options.verbose {
            report.written.iter().for_each(|path| say(&format!("wrote {}", path.display()), options, scope));
        }
        return Ok(report.problems.is_empty());
    }
    let found = read::collect(&directories::searched(scope));
    let mut problems = found.problems;
    for (_, made) in translations(&found.sources, scope)? {
        made.warnings.iter().for_each(|text| warn(&clean_line(text)));
        if made.problems.is_empty() {
            print_bytes(format!("---{}---\n{}\n", made.service.name, made.service.text).as_bytes())?;
        }
        problems.extend(made.problems);
    }
    problems.iter().for_each(|text| warn(&clean_line(text)));
    Ok(problems.is_empty())
}

/// There is no journal yet when systemd starts: what the kernel keeps gets there.
fn say(text: &str, options: &Options, scope: Scope) {
    let line = clean_line(text);
    if scope == Scope::System
        && !options.quiet_kernel
        && let Ok(mut kernel) = OpenOptions::new().write(true).open("/dev/kmsg")
    {
        let message = format!("<4>{}[{}]: {line}", scope.generator(), std::process::id());
        if kernel.write_all(message.as_bytes()).is_ok() {
            return;
        }
    }
    warn(&line);
}
