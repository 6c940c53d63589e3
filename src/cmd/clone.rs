//! `container clone`: make a container like another one.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;

use super::create::{self, root};
use super::create_options::image::ImageOptions;
use super::create_options::limits::{ResourceOptions, available};
use super::error::WithCode;
use super::{Context, rm, start};
use crate::sandbox::cgroup;
use crate::spec::clone::{self, Difference};
use crate::spec::config::RootSource;
use crate::spec::platform::Platform;
use crate::store::containers::{Container, CreateError};
use crate::store::lock::AliveLock;

/// Make a container like another one
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Remove the original
    #[arg(long)]
    destroy: bool,
    /// With --destroy: remove the original even if it runs
    #[arg(short, long)]
    force: bool,
    /// Name of the clone, as the second argument
    #[arg(long)]
    name: Option<String>,
    /// Start the clone
    #[arg(long)]
    run: bool,
    #[command(flatten)]
    resources: ResourceOptions,
    /// Container by name, id or unique prefix
    container: String,
    /// Name of the clone; the original's with -clone after it unless given
    #[arg(value_name = "NAME", conflicts_with = "name")]
    new_name: Option<String>,
    /// Another image to make it from, or rootfs:DIRECTORY
    image: Option<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let clone = make(&args, context).or_exit(125)?;
    if args.destroy {
        rm::remove(context, &args.container, args.force, None).inspect_err(|_| {
            // The first error is the one to report.
            let _ = rm::remove(context, clone.id().as_str(), false, None);
        })?;
    }
    if args.run {
        start::start_detached(context, clone.id().as_str())?;
    }
    super::print_line(clone.id().as_str())?;
    Ok(ExitCode::SUCCESS)
}

fn make(args: &Args, context: &Context) -> Result<Container> {
    if args.force && !args.destroy {
        bail!("--force is for --destroy: without that the original stays");
    }
    let original = context.store()?.containers().find(&args.container)?;
    if args.destroy && !args.force && !original.is_at_rest() {
        bail!("container {} runs: stop it first, or have it killed with --force", original.config.name);
    }
    let root = args.image.as_deref().map(|image| base(context, image)).transpose()?;
    let difference = Difference { root, replaces: args.destroy };
    let limits = original.config.limits.updated(&args.resources.limits()?, &available())?;
    let secrets = original.secrets()?;
    let with_name = |name: String| -> Result<Result<(Container, AliveLock), CreateError>> {
        let id = create::new_id()?;
        let mut config = clone::clone(&original.config, difference.clone(), id, name, Timestamp::now());
        config.limits = limits.clone();
        cgroup::choose(&config.id, &config.limits, false)?;
        Ok(context.store()?.containers().create_held(config, &secrets))
    };
    let made = match args.name.as_ref().or(args.new_name.as_ref()) {
        Some(name) => with_name(name.clone())?,
        None => clone::names(&original.config.name)
            .map(with_name)
            .find(|made| !matches!(made, Ok(Err(CreateError::NameTaken { .. }))))
            .context("no name is left for a clone: give one")??,
    };
    let (container, _alive) = create::prepare(context, made?)?;
    Ok(container)
}

/// Another root for the clone, with its name and its platform.
fn base(context: &Context, image: &str) -> Result<(RootSource, String, String)> {
    let options = ImageOptions::default();
    let (root, config, name) = root::find(context, image, &options, options.pull_policy(context)?)?;
    let platform = config.map_or_else(Platform::host, |config| config.platform());
    Ok((root, name, platform.to_string()))
}
