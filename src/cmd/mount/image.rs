//! `image mount` and `image unmount`: the files of an image, read-only.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::{Form, Row, check_possible, form};
use crate::cmd::{Context, each};
use crate::sandbox::mounted::{self, Kind, Mounted};
use crate::store::Store;
use crate::store::images::Image;

/// Mount the files of images, read-only
#[derive(clap::Args, Debug)]
pub struct MountArgs {
    /// Mount all images
    #[arg(short, long)]
    all: bool,
    /// Print as json
    #[arg(long, value_parser = form, default_value = "", hide_default_value = true)]
    format: Form,
    /// Images by reference, id or unique prefix; without any, what is mounted is listed
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

/// Unmount the files of images
#[derive(clap::Args, Debug)]
pub struct UnmountArgs {
    /// Unmount all that are mounted
    #[arg(short, long)]
    all: bool,
    /// Unmount also what somebody is in
    #[arg(short, long)]
    force: bool,
    /// Images by reference, id or unique prefix
    #[arg(required_unless_present = "all", value_name = "IMAGE")]
    images: Vec<String>,
}

/// Mounts, or lists what is mounted.
pub fn mount(args: MountArgs, context: &Context) -> Result<ExitCode> {
    check_possible("image mount")?;
    check_choice(args.all, &args.images)?;
    context.settings()?;
    let store = context.store()?;
    if args.images.is_empty() && !args.all {
        let (images, _) = store.images().list()?;
        let mounted = mounted::list(store, Kind::Image)?;
        let find =
            |mounted: Mounted| Some(row(images.iter().find(|image| image.id.hex() == mounted.id)?, &mounted.path));
        super::print(&mounted.into_iter().filter_map(find).collect::<Vec<_>>(), args.format, false)?;
        return Ok(ExitCode::SUCCESS);
    }
    // All must be there before one is mounted.
    let images = if args.all {
        store.images().list()?.0
    } else {
        args.images.iter().map(|name| Ok(store.images().find(name)?)).collect::<Result<Vec<_>>>()?
    };
    let mut rows = Vec::new();
    for image in &images {
        let path = mount_one(store, image).with_context(|| format!("mount {}", label(image)))?;
        store.images().happened(image.id, "mount", image.tags.first());
        rows.push(row(image, &path));
    }
    super::print(&rows, args.format, !args.all && images.len() == 1)?;
    Ok(ExitCode::SUCCESS)
}

fn check_choice(all: bool, images: &[String]) -> Result<()> {
    if all && !images.is_empty() {
        bail!("when using the --all switch, you may not pass any image names or IDs");
    }
    Ok(())
}

fn mount_one(store: &Store, image: &Image) -> Result<std::path::PathBuf> {
    let layers = store.images().layers(image.id)?;
    if let Some(missing) = layers.iter().find(|layer| !store.layers().contains(**layer)) {
        bail!("layer {missing} is missing: run 'rbox system check --repair'");
    }
    let layers: Vec<_> = layers.into_iter().map(|layer| store.layers().diff_path(layer)).collect();
    mounted::image(store, &image.id.hex(), &layers)
}

fn label(image: &Image) -> String {
    image.tags.first().map_or_else(|| image.id.short(), |name| name.familiar())
}

fn row(image: &Image, path: &Path) -> Row {
    Row {
        id: image.id.hex(),
        label: label(image),
        names: image.digests.iter().filter_map(|name| name.digest()).map(|digest| digest.to_string()).collect(),
        repositories: Some(image.tags.iter().map(|name| name.familiar()).collect()),
        path: path.to_string_lossy().into_owned(),
    }
}

/// Unmounts and prints the ids of what was mounted, as podman does.
pub fn unmount(args: UnmountArgs, context: &Context) -> Result<ExitCode> {
    check_possible("image unmount")?;
    check_choice(args.all, &args.images)?;
    if args.images.is_empty() && !args.all {
        bail!("image name or ID must be specified");
    }
    context.settings()?;
    let store = context.store()?;
    let mounted = mounted::list(store, Kind::Image)?;
    let asked = args.images.iter().map(|name| Ok(store.images().find(name)?.id.hex())).collect::<Result<Vec<_>>>()?;
    let ids: Vec<String> =
        mounted.iter().map(|one| one.id.clone()).filter(|id| args.all || asked.contains(id)).collect();
    each(&ids, |id| mounted.iter().filter(|one| one.id == id).try_for_each(|one| mounted::unmount(one, args.force)))
}
