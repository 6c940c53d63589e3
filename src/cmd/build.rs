//! `build`: an image from a Dockerfile.

mod cache;
mod call;
mod carry;
mod deliver;
mod failure;
mod named;
mod options;
mod output;
pub mod progress;
mod request;
mod result;
pub mod runner;
mod source;
mod values;
mod watch;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Context, sweep_abandoned};
use crate::build::solve;
use crate::build::step::owner;
use call::Method;
use deliver::Delivery;
use named::Contexts;
use options::{ResultOptions, RunOptions, SourceOptions, WayOptions};
use progress::Mode;
use request::Wanted;
use result::Built;
use runner::LocalHost;
use source::Source;
use watch::Watch;

/// Build an image from a Dockerfile
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    source: SourceOptions,
    #[command(flatten)]
    result: ResultOptions,
    #[command(flatten)]
    way: WayOptions,
    #[command(flatten)]
    steps: RunOptions,
    /// The files: a directory, the current one unless given, a repository of git, the address of an archive, or - for
    /// an archive or a Dockerfile on standard input
    #[arg(value_name = "PATH|URL|-", default_value = ".", hide_default_value = true)]
    context: String,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    context.settings()?;
    let mode = args.mode()?;
    let method = Method::of(&args.way)?;
    let delivery = Delivery::of(&args, context)?;
    let targets = cache::targets(&args.way.cache_to)?;
    let unattested = request::wants_attestations(&args)?;
    let wanted = Wanted::of(&args, context)?;
    let file = args.source.file.as_deref().filter(|file| !file.is_empty());
    let source = Source::read(context, &args.context, file, args.source.ignorefile.as_deref())?;
    if method != Method::Build {
        return call::run(method, &args, &source);
    }
    let store = context.store()?;
    sweep_abandoned(context)?;
    let mut watch = Watch::new(mode);
    // What cannot be parsed is said by the build.
    if let Ok(parsed) = crate::spec::dockerfile::parse(&source.dockerfile) {
        let (warnings, violation) = call::found(&parsed, &args, &source)?;
        warnings.into_iter().for_each(|warning| watch.warn(warning));
        if let Some(violation) = violation {
            failure::warnings(&watch.end());
            bail!("ERROR: failed to solve: {violation}");
        }
    }
    if unattested {
        super::warn("attestations are not made: --provenance, --sbom and --attest are left out");
    }
    let mut built = Vec::new();
    for platform in wanted.platforms() {
        let contexts = Contexts::bring(context, &wanted.contexts, platform.as_ref())?;
        let mut host = LocalHost::new(context, args.way.registry.clone(), args.way.retry);
        watch.begin();
        let outcome = solve::build(store, wanted.request(&source, &contexts, platform), &mut host, &mut |event| {
            watch.take(event)
        });
        match outcome {
            Ok(mut outcome) => {
                result::take_out(&mut outcome, &args.result.unsetenv, &args.result.unsetlabel)?;
                built.push(Built::new(store, outcome, args.result.format, &delivery.annotations)?);
            }
            Err(error) => {
                clear_away(context);
                watch.end();
                return failure::report(error, &source.name, &source.dockerfile);
            }
        }
    }
    delivery.run(context, &args, &built, &mut watch)?;
    carry::export(context, &args, &targets, &built, &mut watch)?;
    let warnings = watch.end();
    if !matches!(mode, Mode::Quiet | Mode::RawJson) {
        failure::warnings(&warnings);
    }
    if args.way.quiet {
        built.iter().try_for_each(|built| super::say(&built.id.to_string()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes what steps that were ended had made. Their supervisors take a moment to end; what is left after
/// that goes with the next sweep.
fn clear_away(context: &Context) {
    let deadline = Instant::now() + Duration::from_secs(3);
    while context.store().is_ok_and(owner::has_any) && sweep_abandoned(context).is_ok() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Args {
    /// How progress is shown.
    fn mode(&self) -> Result<Mode> {
        match self.way.progress.as_deref().filter(|mode| !mode.is_empty()) {
            _ if self.way.quiet => Ok(Mode::Quiet),
            Some(mode) => mode.parse().map_err(|why: String| anyhow::anyhow!(why)),
            None => Ok(Mode::Auto),
        }
    }
}
