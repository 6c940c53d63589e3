//! `commit`: make an image of what a container changed.

mod image;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use jiff::Timestamp;

use super::format::text::warn;
use super::packing::{self, Packing};
use super::pull::unpack_worker;
use super::{Context, missing, say, sweep_abandoned};
use crate::sandbox::halt::{Halt, Halting};
use crate::sandbox::userns;
use crate::spec::change;
use crate::spec::digest::Digest;
use crate::spec::event::Happening;
use crate::spec::reference::ImageRef;
use crate::store::compress::Codec;
use crate::store::containers::Container;
use crate::store::gc::Lease;
use crate::store::intake::{Expected, Intake, Keep, Taken};
use crate::store::pack::{self, PackOptions, Packed, Tree};
use crate::store::registry::manifest::LAYERS_MAX;
use crate::store::unpack::UnpackLimits;
use crate::store::{Store, fs};
use image::{Base, Recipe};

/// Create a new image from a container's changes
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Who made the image
    #[arg(short, long, value_name = "TEXT")]
    author: Option<String>,
    /// Apply a Dockerfile instruction to the image's configuration
    #[arg(short, long, value_name = "INSTRUCTION", allow_hyphen_values = true)]
    change: Vec<String>,
    /// Kind of manifest to make
    #[arg(short, long, value_name = "TYPE", default_value = "oci")]
    format: Format,
    /// Write the image's id to this file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Take in the content of volumes too
    #[arg(short, long)]
    include_volumes: bool,
    /// A comment for the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Let the container run on during the commit
    #[arg(long)]
    no_pause: bool,
    /// Stop the container's processes during the commit
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, value_parser = super::go_bool)]
    pause: bool,
    /// Print nothing but the image's id
    #[arg(short, long)]
    quiet: bool,
    /// Make one layer of the whole root
    #[arg(short, long)]
    squash: bool,
    /// Date the image and its files with this many seconds since 1970
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", hide_env_values = true)]
    timestamp: Option<i64>,
    /// Container by name, id or unique prefix
    container: String,
    /// Name of the image; its tag is latest when none is given
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

/// Kinds of manifests.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Oci,
    Docker,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let name = args.name.as_deref().map(|name| target(context, name)).transpose()?;
    let store = context.store()?;
    let container = store.containers().find(&args.container)?;
    if args.include_volumes {
        bail!("cannot include volumes: containers of this version have none");
    }
    let created = match args.timestamp {
        Some(seconds) => Timestamp::from_second(seconds).context("the timestamp is beyond any date")?,
        None => Timestamp::now(),
    };
    let base = Base::of(store, &container, args.squash)?;
    if base.diff_ids().len() >= LAYERS_MAX {
        bail!("the container's image has {LAYERS_MAX} layers already, no more can be mounted: commit with --squash");
    }
    let mut config = base.config(&container);
    change::apply(&mut config, &args.change)?;
    sweep_abandoned(context)?;
    if let Some(manifest) = base.manifest {
        missing::fetch(context, manifest, |from| missing::usual(context, from), false)?;
    }
    let (layer, lease) = take_layer(store, &container, &base, &args, context.layer_limits()?)?;
    if !fs::exists(&container.path("config.json")) {
        bail!("container {} was removed during the commit", container.id().short());
    }
    let comment = args.message.clone().unwrap_or_default();
    let recipe = Recipe { base: &base, config, layer, created, author: args.author, comment: args.message };
    let made = recipe.make(store, &lease, &container, args.format)?;
    match &name {
        Some(name) => store.images().tag(name, made.manifest, made.id)?,
        None => store.images().keep(made.manifest, made.id)?,
    }
    drop(lease);
    let committed = Happening::of_container(&container.config, "commit").with("imageID", made.id.to_string());
    let name = name.map(|name| name.familiar()).unwrap_or_default();
    store.happened(committed.with("imageRef", name).with("comment", comment));
    if let Some(file) = &args.iidfile {
        std::fs::write(file, made.id.to_string()).with_context(|| format!("write {}", file.display()))?;
    }
    say(&made.id.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn target(context: &Context, text: &str) -> Result<ImageRef> {
    let name = context.image_name(text)?;
    if name.digest().is_some() {
        return Err(anyhow!("refusing to create a tag with a digest reference"));
    }
    Ok(name)
}

/// Packs what the container changed and brings it into the store; None when that is nothing. The
/// lease keeps it and the base from collection.
fn take_layer(
    store: &Store,
    container: &Container,
    base: &Base,
    args: &Args,
    limits: UnpackLimits,
) -> Result<(Option<Taken>, Lease)> {
    let tree = packing::tree_of(store, container, "commit")?;
    let options = PackOptions { timestamp: args.timestamp, ..PackOptions::default() };
    let squash = args.squash;
    // The processes are made before there are threads; each closes what it inherits of the others.
    let halt = if args.pause && !args.no_pause { halt(store, container)? } else { None };
    let mut packing = Packing::start(store, move |out| pack_tree(&tree, squash, options, out))?;
    let mut worker = unpack_worker(store)?;
    let single_id = userns::is_single(store)?;
    // Not before: a process that outlived this one would hold on to it.
    let lease = Lease::create(store, &base.digests())?;
    base.check(store)?;
    let mut head = Vec::new();
    Read::by_ref(&mut packing).take(pack::EMPTY).read_to_end(&mut head).context("pack the container's files")?;
    if head.iter().all(|byte| *byte == 0) && !squash {
        // Nothing but the end of an archive, which is read to see that the packer says so too.
        std::io::copy(&mut packing, &mut std::io::sink()).context("pack the container's files")?;
        return Ok((None, lease));
    }
    let mut archive = Thawing { archive: std::io::Cursor::new(head).chain(packing), halt };
    let mut intake = Intake { store, lease: &lease, unpacker: &mut worker, single_id, limits };
    let keep = Keep::Compressed(Codec::GZIP);
    let taken = intake.take(&mut archive, base.diff_ids(), &Expected::default(), keep, &mut |_| ())?;
    if let Some(packed) = archive.archive.get_ref().1.packed() {
        packing::warn_of_losses(packed);
    }
    Ok((Some(taken), lease))
}

fn pack_tree(tree: &Tree, squash: bool, options: PackOptions, out: &mut dyn Write) -> Result<Packed> {
    if squash { pack::whole(tree, options, out) } else { pack::layer(tree, options, out) }
}

/// Stops the container's processes, if it has any.
fn halt(store: &Store, container: &Container) -> Result<Option<Halt>> {
    let Some(init) = container.state.init().filter(|_| container.is_running() && container.state.paused.is_none())
    else {
        return Ok(None);
    };
    match Halt::start(store, init).context("pause the container: commit with --no-pause to let it run")? {
        Halting::Halted(halt) => Ok(Some(halt)),
        Halting::Gone => Ok(None),
        Halting::Shared => {
            warn("the container is not paused: it shares its processes with others");
            Ok(None)
        }
    }
}

/// An archive of a container that goes on when the archive was read.
struct Thawing<R> {
    archive: R,
    halt: Option<Halt>,
}

impl<R: Read> Read for Thawing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.archive.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.halt = None;
        }
        Ok(count)
    }
}

/// What was made.
#[derive(Clone, Copy, Debug)]
struct Made {
    manifest: Digest,
    id: Digest,
}
