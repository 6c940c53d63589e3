//! `push`: send images to a registry.

mod options;
mod progress;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};

use super::{Context, missing, say, sweep_abandoned};
pub use options::{Kind, TransferOptions, access, source};
pub use progress::ListLines;

use crate::spec::digest::Digest;
use crate::spec::event::Happening;
use crate::spec::platform::Platform;
use crate::spec::reference::ImageRef;
use crate::store::Store;
use crate::store::images::LookupError;
use crate::store::lists::{List, ListError};
use crate::store::push::{self, PushOptions, Pushed};

/// Send an image, or all tags of a repository, to a registry
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Push all tags of the repository
    #[arg(short, long, conflicts_with = "destination")]
    all_tags: bool,
    /// Write the digest of what was pushed into this file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Accepted for compatibility: images are not signed by docker's content trust
    #[arg(long)]
    disable_content_trust: bool,
    /// Push only if the image is for this platform
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Print only the image's full name
    #[arg(short, long)]
    quiet: bool,
    /// Accepted for compatibility: there are no signatures to leave out
    #[arg(long)]
    remove_signatures: bool,
    #[command(flatten)]
    transfer: TransferOptions,
    /// Image to push, by its name or, with a destination, by id too
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Name to push it as, [docker://]NAME[:TAG]; the image's own when none is given
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
}

/// What is sent, and its name there.
struct Job {
    what: What,
    to: ImageRef,
}

enum What {
    Image(Digest),
    List(Box<List>),
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    context.settings()?;
    let store = context.store()?;
    sweep_abandoned(context)?;
    let jobs = if args.all_tags { all_tags(store, &args.image)? } else { vec![one(&args, context, store)?] };
    let Some(first) = jobs.first() else {
        bail!("An image does not exist locally with the tag: {}", familiar_repository(&args.image));
    };
    let options = args.transfer.options(context, first.to.domain())?;
    if !args.quiet {
        args.transfer.remark()?;
        say(&format!("The push refers to repository [{}]", first.to.repository()))?;
    }
    for job in &jobs {
        let pushed = job.run(context, &options, &args)?;
        store.happened(Happening::of_transfer(&job.to, "push"));
        let name = if args.quiet {
            job.to.to_string()
        } else {
            format!("{}: digest: {} size: {}", job.to.manifest_key(), pushed.digest, pushed.size)
        };
        say(&name)?;
        if let Some(path) = &args.digestfile {
            write_digest(path, pushed.digest)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// As podman: the digest and nothing else.
pub fn write_digest(path: &Path, digest: Digest) -> Result<()> {
    std::fs::write(path, digest.to_string()).with_context(|| format!("write the digest to {}", path.display()))
}

impl Job {
    fn run(&self, context: &Context, options: &PushOptions, args: &Args) -> Result<Pushed> {
        let store = context.store()?;
        let source = |from: &ImageRef| args.transfer.source(context, from, &self.to);
        match &self.what {
            What::Image(manifest) => {
                let mut progress = progress::display(args.quiet);
                let push = || push::push(store, *manifest, &self.to, options, &mut *progress);
                missing::push_whole(context, source, args.quiet, push)
            }
            What::List(list) => {
                let mut progress = ListLines::new(args.quiet);
                let push = || push::push_list(store, list, &self.to, options.format, options, &mut progress);
                missing::push_whole(context, source, args.quiet, push)
            }
        }
    }
}

/// The image or list of the command line.
fn one(args: &Args, context: &Context, store: &Store) -> Result<Job> {
    let named = args.image.parse::<ImageRef>();
    let to = match (&args.destination, &named) {
        (Some(text), _) => destination(text)?,
        (None, Ok(name)) => store.images().by_typed_name(&args.image)?.map_or_else(|| name.clone(), |found| found.name),
        // As it would be said of a name that is not there: an id names no place to push to.
        (None, Err(_)) if store.images().resolve(&args.image).is_ok() => {
            bail!("image {} is pushed by a name: give one as the second argument", args.image)
        }
        (None, Err(error)) => bail!("{error}"),
    };
    if to.digest().is_some() {
        bail!("cannot push a digest reference");
    }
    if args.destination.is_none() && !args.quiet && !super::pull::names_version(&args.image) {
        say("Using default tag: latest")?;
    }
    let what = match find(store, &args.image, args.destination.is_none()) {
        Ok(manifest) => What::Image(manifest),
        Err(LookupError::NotFound(_)) => match named.as_ref().map(|name| store.lists().get(name)) {
            Ok(Ok(list)) => What::List(Box::new(list)),
            Ok(Err(error @ ListError::Damaged { .. })) => return Err(error.into()),
            _ => bail!("An image does not exist locally with the tag: {}", familiar_repository(&args.image)),
        },
        Err(error) => return Err(error.into()),
    };
    if let (Some(wanted), What::Image(_)) = (&args.platform, &what) {
        check_platform(context, store, &args.image, wanted)?;
    }
    Ok(Job { what, to })
}

/// The manifest of an image. Without a destination only a name will do, as it says where to.
fn find(store: &Store, text: &str, by_name: bool) -> Result<Digest, LookupError> {
    let record = match by_name {
        true => store.images().by_typed_name(text)?,
        false => Some(store.images().resolve(text)?),
    };
    record.map(|record| record.manifest).ok_or_else(|| LookupError::NotFound(text.to_owned()))
}

fn check_platform(context: &Context, store: &Store, text: &str, wanted: &Platform) -> Result<()> {
    let record = store.images().resolve(text)?;
    if !store.images().config(record.config)?.platform().satisfies(wanted) {
        let name = context.image_name(text).map_or_else(|_| text.to_owned(), |name| name.familiar());
        bail!("image with reference {name} was found but does not provide the specified platform ({wanted})");
    }
    Ok(())
}

/// All tags of a repository, in the order of their names.
fn all_tags(store: &Store, text: &str) -> Result<Vec<Job>> {
    if super::pull::names_version(text) {
        bail!("tag can't be used with --all-tags/-a");
    }
    let mut records = store.images().names()?.0;
    records.retain(|record| record.name.digest().is_none() && !record.is_untagged());
    // The first of its meanings that is here.
    let meanings = std::iter::once(text.parse::<ImageRef>()?).chain(ImageRef::other_meanings(text));
    let repositories = meanings.map(|meaning| meaning.repository());
    let is_here = |repository: &String| records.iter().any(|record| record.name.repository() == *repository);
    let repository = repositories.into_iter().find(is_here);
    records.retain(|record| Some(record.name.repository()) == repository);
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(records.into_iter().map(|record| Job { what: What::Image(record.manifest), to: record.name }).collect())
}

/// Reads `docker://NAME` or a name. Other places are written to by other commands.
pub fn destination(text: &str) -> Result<ImageRef> {
    const OTHERS: [&str; 7] =
        ["containers-storage:", "dir:", "docker-archive:", "docker-daemon:", "oci:", "oci-archive:", "ostree:"];
    if let Some(transport) = OTHERS.iter().find(|transport| text.starts_with(*transport)) {
        let transport = transport.trim_end_matches(':');
        bail!("push sends to registries only, not to {transport}: see 'rbox save' for files and directories");
    }
    let name = text.strip_prefix("docker://").unwrap_or(text);
    name.parse().map_err(|error| anyhow!("destination {name:?}: {error}"))
}

fn familiar_repository(text: &str) -> String {
    text.parse::<ImageRef>().map_or_else(|_| text.to_owned(), |name| name.familiar_repository())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        for (text, expected) in [
            ("docker://localhost:5000/a:1", Ok("localhost:5000/a:1")),
            ("localhost:5000/a", Ok("localhost:5000/a:latest")),
            ("a:1", Ok("docker.io/library/a:1")),
            ("oci:/tmp/x", Err("see 'rbox save'")),
            ("docker-archive:/tmp/x.tar", Err("not to docker-archive")),
            ("docker://A", Err("lowercase")),
        ] {
            match (destination(text), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.to_string(), expected),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }
}
