//! `manifest create`: make a list.

use std::process::ExitCode;

use anyhow::Result;

use super::{annotate_index, annotations, asking, entries, put};
use crate::cmd::registry_options::RegistryOptions;
use crate::cmd::{Context, print_line};
use crate::store::lists::{List, ListError};

/// Make a list of manifests to annotate and push
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Add all manifests of what is itself a list, not this machine's only
    #[arg(long)]
    all: bool,
    /// Add to the list if there is one of this name
    #[arg(short, long)]
    amend: bool,
    /// Annotate the list
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Like --tls-verify=false
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    registry: RegistryOptions,
    /// Name of the list, under which it will be pushed
    #[arg(value_name = "LIST")]
    list: String,
    /// Images of this store, or of a registry
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let name = context.image_name(&args.list)?;
    let store = context.store()?;
    let lists = store.lists();
    match lists.get(&name) {
        Ok(_) if !args.amend => return Err(ListError::Exists(name.familiar()).into()),
        Ok(_) | Err(ListError::NotFound(_) | ListError::Damaged { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let notes = annotations(&args.annotation)?;
    let mut found = Vec::new();
    for image in &args.images {
        let options = |reference: &crate::spec::reference::ImageRef| {
            asking(&args.registry, args.insecure, context, reference.domain())
        };
        found.extend(entries(context, image, args.all, options)?);
    }
    let fill = |list: &mut List| {
        put(list, found);
        annotate_index(list, notes);
    };
    match lists.get(&name) {
        Ok(_) => drop(lists.change(&name, |list| {
            fill(list);
            Ok(())
        })?),
        Err(_) => {
            let mut list = List::new(name.clone());
            fill(&mut list);
            lists.create(&list)?;
        }
    }
    print_line(&format!("Created manifest list {name}"))?;
    Ok(ExitCode::SUCCESS)
}
