//! `rbox pull`, and the pull that `run` and `create` begin with when an image is missing.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::create_options::image::ImageOptions;
use super::format::text::{clean_line, warn};
use super::platform_options::PlatformOptions;
use super::progress::{Bars, Lines, Silent, is_watched};
use super::registry_options::{RegistryOptions, RetryOptions};
use super::{Context, error, short_names, sweep_abandoned};
use crate::sandbox::userns;
use crate::spec::create::PullPolicy;
use crate::spec::event::Happening;
use crate::spec::platform::Platform;
use crate::spec::reference::ImageRef;
use crate::store::pull::{self, Progress, PullOptions, Pulled, UnpackJob, UnpackStream, Unpacker};
use crate::store::{Store, unpack};
use crate::sys::process::{self, Fork};

/// Download images from a registry
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Image to download, NAME[:TAG][@DIGEST]
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Download all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Accepted for compatibility: no image is verified by docker's content trust
    #[arg(long)]
    disable_content_trust: bool,
    /// When to download (always, missing, never, newer)
    #[arg(long, value_name = "POLICY", default_value = "always")]
    policy: PullPolicy,
    /// Print only the image's full name
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    platform: PlatformOptions,
    #[command(flatten)]
    registry: RegistryOptions,
    #[command(flatten)]
    retry: RetryOptions,
}

/// Where a pull shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Lines on stdout; bars on stderr when both are terminals.
    Stdout,
    /// Everything on stderr, for commands whose stdout is not their own.
    Stderr,
    /// Nothing but errors.
    Quiet,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let platform = args.platform.wanted()?;
    let meant = args.images.iter().map(|name| short_names::candidates(context, name)).collect::<Result<Vec<_>>>()?;
    if args.registry.creds.is_some() {
        let domains: BTreeSet<&str> = meant.iter().flatten().map(ImageRef::domain).collect();
        if domains.len() > 1 {
            bail!("conflicting options: --creds is for one registry, and the images may be of several");
        }
    }
    for (name, candidates) in args.images.iter().zip(&meant) {
        let pull = |reference: &ImageRef| {
            let options = PullOptions {
                platform: platform.clone(),
                ..args.registry.pull_options(context, reference, &args.retry)?
            };
            match args.all_tags {
                true => pull_all_tags(&args, context, reference, &options),
                false => pull_one(&args, context, reference, &options).map(|()| reference.to_string()),
            }
        };
        if args.all_tags && names_version(name) {
            bail!("tag can't be used with --all-tags/-a");
        }
        if !args.all_tags && !args.quiet && !names_version(name) && args.asks(context, candidates)? {
            super::say("Using default tag: latest")?;
        }
        super::say(&short_names::in_turn(name, candidates, pull)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn output(&self) -> Output {
        if self.quiet { Output::Quiet } else { Output::Stdout }
    }

    /// Whether the registry of one of these images is asked, or that of the one which is here.
    fn asks(&self, context: &Context, candidates: &[ImageRef]) -> Result<bool> {
        Ok(match (self.policy, candidates) {
            (PullPolicy::Never, _) => false,
            (PullPolicy::Missing, [only]) => !is_here(context, only, self.platform.wanted()?.as_ref())?,
            _ => true,
        })
    }
}

fn pull_one(args: &Args, context: &Context, reference: &ImageRef, options: &PullOptions) -> Result<()> {
    let here = args.policy != PullPolicy::Always && is_here(context, reference, options.platform.as_ref())?;
    match args.policy {
        PullPolicy::Never if !here => bail!("No such image: {}", reference.familiar()),
        PullPolicy::Never | PullPolicy::Missing if here => return Ok(()),
        _ => {}
    }
    match pull_image(context, reference, options, args.output()) {
        Err(error) if here => {
            warn(&clean_line(&format!("keeping the {} that is here: {error:#}", reference.familiar())));
            Ok(())
        }
        pulled => pulled.map(drop),
    }
}

/// `--all-tags`: one after the other, as the registry lists them. Returns the repository.
fn pull_all_tags(args: &Args, context: &Context, reference: &ImageRef, options: &PullOptions) -> Result<String> {
    let reach = args.registry.reach(context, reference.domain())?;
    for tag in reach.tags(reference, args.retry.patience())? {
        // A tag that no reference can have is none of ours.
        let named: Result<ImageRef, _> = format!("{}:{tag}", reference.repository()).parse();
        let named = named.map_err(|error| anyhow!("tag {tag:?} of {}: {error}", reference.familiar_repository()))?;
        pull_one(args, context, &named, options)?;
    }
    Ok(reference.repository())
}

/// The pull before `run` and `create`; `missing` says first that the image is not here. All on
/// stderr, for stdout is the container's. It happens in a process of its own: the supervisor that is
/// forked later must not carry what a network client leaves in memory.
pub fn pull_for_run(context: &Context, image: &str, options: &ImageOptions, missing: bool) -> Result<()> {
    match process::fork().context("fork")? {
        Fork::Child => {
            let code = match pull_on_stderr(context, image, options, missing) {
                Ok(_) => 0,
                Err(error) => {
                    error::print(&error);
                    1
                }
            };
            process::exit_now(code)
        }
        Fork::Parent(child) => match waitpid(Some(child), WaitOptions::empty()).context("wait for the pull")? {
            Some((_, status)) if status.exit_status() == Some(0) => Ok(()),
            Some((_, status)) if status.exit_status() == Some(1) => Err(error::AlreadyReported(125).into()),
            _ => bail!("the process that pulls {image} was killed"),
        },
    }
}

fn pull_on_stderr(context: &Context, image: &str, options: &ImageOptions, missing: bool) -> Result<Pulled> {
    let candidates = short_names::candidates(context, image)?;
    let output = if options.quiet { Output::Quiet } else { Output::Stderr };
    if options.registry.creds.is_some() && candidates.iter().any(|other| other.domain() != candidates[0].domain()) {
        bail!("conflicting options: --creds is for one registry, and {image} may be of several");
    }
    if missing && !options.quiet {
        let name = if let [only] = &candidates[..] { only.familiar() } else { image.to_owned() };
        writeln!(io::stderr(), "Unable to find image '{name}' locally")?;
    }
    short_names::in_turn(image, &candidates, |reference| {
        let options = PullOptions {
            platform: options.platform.wanted()?,
            ..options.registry.pull_options(context, reference, &options.retry)?
        };
        pull_image(context, reference, &options, output)
    })
}

/// Pulls one image and shows how it goes. The caller has one thread and keeps it.
fn pull_image(context: &Context, reference: &ImageRef, options: &PullOptions, output: Output) -> Result<Pulled> {
    let store = context.store()?;
    sweep_abandoned(context)?;
    let mut worker = unpack_worker(store)?;
    let options = PullOptions { single_id: userns::is_single(store)?, ..options.clone() };
    let pulled = {
        let mut progress = display(output);
        pull::pull(store, reference, &options, &mut worker, &mut *progress)
    };
    drop(worker);
    if pulled.is_err() {
        // The pull's own error counts; a later sweep finds what this one cannot remove.
        let _ = sweep_abandoned(context);
    }
    let pulled = pulled?;
    store.happened(Happening::of_transfer(reference, "pull"));
    if pulled.skipped_devices > 0 {
        let count = pulled.skipped_devices;
        warn(&format!("skipped {count} device nodes of {}: containers have their own /dev", reference.familiar()));
    }
    let summarised = match output {
        Output::Stdout => summarise(io::stdout(), reference, &pulled),
        Output::Stderr => summarise(io::stderr(), reference, &pulled),
        Output::Quiet => Ok(()),
    };
    summarised.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })?;
    Ok(pulled)
}

/// Whether an image has this name and the platform asked for.
fn is_here(context: &Context, name: &ImageRef, platform: Option<&Platform>) -> Result<bool> {
    let images = context.store()?.images();
    let Some(record) = images.by_name(name)? else { return Ok(false) };
    let satisfies = |wanted| images.config(record.config).is_ok_and(|config| config.platform().satisfies(wanted));
    Ok(platform.is_none_or(satisfies))
}

/// Whether the typed name has a tag or a digest.
pub fn names_version(name: &str) -> bool {
    name.contains('@') || name.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

/// The display of a pull.
pub(super) fn display(output: Output) -> Box<dyn Progress> {
    let watched = is_watched();
    match output {
        Output::Quiet => Box::new(Silent),
        Output::Stdout if watched && io::stdout().is_terminal() => Box::new(Bars::new(io::stdout())),
        Output::Stdout => Box::new(Lines::new(io::stdout())),
        Output::Stderr if watched => Box::new(Bars::new(io::stderr())),
        Output::Stderr => Box::new(Lines::new(io::stderr())),
    }
}

fn summarise(mut out: impl Write, reference: &ImageRef, pulled: &Pulled) -> io::Result<()> {
    let status = if pulled.changed { "Downloaded newer image" } else { "Image is up to date" };
    writeln!(out, "Digest: {}\nStatus: {status} for {}", pulled.resolved, reference.familiar())
}

/// The unpacking process in the user namespace. Dropping it closes its socket, which ends it, and
/// reaps it.
pub struct UnpackProcess {
    worker: Option<unpack::Worker>,
    pid: Pid,
}

impl Unpacker for UnpackProcess {
    fn start(&mut self, job: &UnpackJob) -> io::Result<UnpackStream> {
        self.worker.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.start(job)
    }
}

impl Drop for UnpackProcess {
    fn drop(&mut self) {
        self.worker = None;
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// Forks the process that unpacks layers, before the pull opens anything it must not inherit.
pub fn unpack_worker(store: &Store) -> Result<UnpackProcess> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .context("make a socket to the unpacking process")?;
    let ends = Cell::new(Some((ours, theirs)));
    let forked = userns::fork_into(store, || {
        // Only the child's end stays open there: the end of ours must mean the end of the pull.
        let Some((ours, theirs)) = ends.take() else { return 125 };
        drop(ours);
        i32::from(unpack::serve(theirs).is_err())
    })?;
    if let Some(warning) = &forked.warning {
        warn(warning);
    }
    let worker = ends.take().map(|(ours, _)| unpack::Worker::new(ours));
    Ok(UnpackProcess { worker, pid: forked.pid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::digest::Digest;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Tool {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn flags_are_podmans() {
        let verify = |line: &[&str]| Tool::try_parse_from(line).map(|tool| tool.args.registry.tls_verify);
        assert_eq!(verify(&["pull", "a"]).unwrap(), None);
        assert_eq!(verify(&["pull", "--tls-verify", "a"]).unwrap(), Some(true));
        assert_eq!(verify(&["pull", "--tls-verify=false", "a"]).unwrap(), Some(false));
        assert_eq!(verify(&["pull", "--tls-verify=0", "a", "b"]).unwrap(), Some(false));
        for bad in [&["pull"][..], &["pull", "--tls-verify=maybe", "a"], &["pull", "--platform", "a b", "a"]] {
            assert!(verify(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_default_tag_is_named_when_none_was_typed() {
        for (name, expected) in
            [("a", false), ("localhost:5000/a", false), ("a:1", true), ("h:1/a:2", true), ("a@sha256:00", true)]
        {
            assert_eq!(names_version(name), expected, "{name}");
        }
    }

    #[test]
    fn the_summary_is_dockers() {
        let digest = Digest::of(b"x");
        let mut pulled =
            Pulled { config: digest, manifest: digest, resolved: digest, changed: true, skipped_devices: 0 };
        let shown = |pulled: &Pulled| {
            let mut out = Vec::new();
            summarise(&mut out, &"busybox".parse().unwrap(), pulled).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(&pulled), format!("Digest: {digest}\nStatus: Downloaded newer image for busybox:latest\n"));
        pulled.changed = false;
        assert_eq!(shown(&pulled), format!("Digest: {digest}\nStatus: Image is up to date for busybox:latest\n"));
    }
}
