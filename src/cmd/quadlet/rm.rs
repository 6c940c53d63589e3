//! `quadlet rm`: remove files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::directories::{self, Scope};
use super::{install, manager, read};
use crate::cmd::each;
use crate::spec::quadlet::{Kind, Source};
use crate::store::remove::remove_tree;

/// Remove Quadlet files
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Remove all that were installed
    #[arg(short, long)]
    all: bool,
    /// Stop services that run first
    #[arg(short, long)]
    force: bool,
    /// Don't complain about files that are not there
    #[arg(short, long)]
    ignore: bool,
    /// Have systemd read its units again, the default
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = crate::cmd::go_bool)]
    reload_systemd: bool,
    /// Names of files, as in web.container, or of directories that were installed
    #[arg(required_unless_present = "all", value_name = "QUADLET")]
    names: Vec<String>,
}

/// Removes them.
pub fn run(args: &Args) -> Result<ExitCode> {
    let scope = Scope::own();
    let target = directories::installed(scope)?;
    if !target.is_dir() {
        return match args.names.first() {
            Some(name) if !args.ignore => bail!("no such Quadlet file: {name}"),
            _ => Ok(ExitCode::SUCCESS),
        };
    }
    let lock = install::lock(&target).with_context(|| format!("lock {}", target.display()))?;
    install::sweep(&target);
    let names = if args.all { installed(&target)? } else { args.names.clone() };
    let code = each(&names, |name| remove(args, name, &target, scope))?;
    drop(lock);
    install::finish(scope, args.reload_systemd)?;
    Ok(code)
}

/// Files and directories that lie there.
fn installed(target: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(target).with_context(|| format!("read {}", target.display()))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_file = matches!(Kind::of_file(&name), Some(Ok(_)));
        if !name.starts_with('.') && (is_file || entry.file_type()?.is_dir() && !name.ends_with(".d")) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn remove(args: &Args, name: &str, target: &Path, scope: Scope) -> Result<()> {
    let found = read::collect(&directories::searched(scope));
    let directory = target.join(name);
    let is_plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
    let (path, sources): (PathBuf, Vec<&Source>) = if is_plain && directory.is_dir() {
        let inside = found.sources.0.iter().filter(|source| Path::new(&source.path).starts_with(&directory)).collect();
        (directory, inside)
    } else {
        match found.sources.0.iter().find(|source| source.name == name) {
            Some(source) => (PathBuf::from(&source.path), vec![source]),
            // One that cannot be read can be removed.
            None if is_plain && matches!(Kind::of_file(name), Some(Ok(_))) && directory.exists() => {
                (directory, Vec::new())
            }
            None if args.ignore => return Ok(()),
            None => bail!("no such Quadlet file: {name}"),
        }
    };
    if !path.starts_with(target) {
        bail!("{} was not installed by 'rbox quadlet install': remove it yourself", path.display());
    }
    let services: Vec<String> = sources.iter().map(|source| source.service()).collect();
    let states = manager::states(scope, &services);
    for service in services {
        if states.get(&service).is_some_and(|state| manager::is_active(state)) {
            if !args.force {
                bail!("{service} is running: stop it first, or use --force");
            }
            manager::stop(scope, &service).map_err(anyhow::Error::msg)?;
        }
    }
    // Out of sight at once, whatever may interrupt what follows.
    let hidden = install::temporary(target)?;
    std::fs::rename(&path, &hidden).with_context(|| format!("remove {}", path.display()))?;
    remove_tree(&hidden).with_context(|| format!("remove {}", path.display()))
}
