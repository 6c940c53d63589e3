//! `system reset`: everything of this store goes, running containers too.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::cmd::prune::confirmed;
use crate::cmd::{Context, rm};
use crate::sandbox::userns;
use crate::store::{Store, fs, remove};

/// What goes first is what refers to the rest: a reset that is interrupted leaves a store that is
/// sound, with parts that nothing refers to.
const ORDER: [&str; 5] = ["containers", "names", "images", "lists", "volumes"];

/// Remove everything: containers, images, networks, volumes and secrets
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    if !args.force && !confirmed(&warning(store))? {
        return Ok(ExitCode::SUCCESS);
    }
    for id in store.containers().ids()? {
        rm::remove(context, id.as_str(), true, None)?;
    }
    let what = || format!("empty the store {}", store.root().display());
    userns::run_inside(store, || empty(store)).with_context(what)?;
    Ok(ExitCode::SUCCESS)
}

/// podman's list, of what there is here.
fn warning(store: &Store) -> String {
    let mut text = String::from("This will remove:\n");
    for item in ["containers", "images", "networks", "volumes", "secrets", "build cache"] {
        text.push_str(&format!("        - all {item}\n"));
    }
    text + &format!("        - the graphRoot directory: {:?}", store.root())
}

/// The next command makes what is missing, as it finds no version.
fn empty(store: &Store) -> Result<()> {
    fs::remove_if_present(&store.path("version"))?;
    for name in ORDER {
        remove::remove_tree(&store.path(name))?;
    }
    for entry in std::fs::read_dir(store.root())? {
        let path = entry?.path();
        // A lock that somebody holds must stay the same file.
        if path.extension().is_none_or(|extension| extension != "lock") {
            remove::remove_tree(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}
