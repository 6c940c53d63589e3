//! `cp`: files into and out of containers, running or not, with docker's rules.

mod locate;
mod paths;
mod report;
mod work;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressDrawTarget};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{WaitOptions, waitpid};

use self::locate::{Host, Nowhere, locate};
use self::paths::Asked;
use self::report::{Done, Teller};
use self::work::{End, Job};
use super::format::human::decimal_size;
use super::format::quote::quote;
use super::format::text::{clean_line, warn};
use super::{Context, launching, progress};
use crate::explain::reason;
use crate::sandbox::userns;
use crate::sandbox::view::{Stopped, View};
use crate::spec::config::ContainerConfig;
use crate::spec::event::Happening;
use crate::spec::identity::Maps;
use crate::store::containers::Container;
use crate::store::lock::AliveLock;

/// How often a container that is being started, or copied to by another, is looked at again.
const PAUSE: Duration = Duration::from_millis(20);
/// After which the wait is explained.
const PATIENCE: Duration = Duration::from_secs(2);

/// Copy files between a container and the host, or between containers
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Keep the owners of files
    #[arg(short, long)]
    archive: bool,
    /// Follow the source if it is a symbolic link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Let a directory take the place of another kind of file, and the other way round
    #[arg(long)]
    overwrite: bool,
    /// Show neither progress nor a summary
    #[arg(short, long)]
    quiet: bool,
    /// What to copy: CONTAINER:PATH, PATH, or - for a tar archive on standard input
    #[arg(value_name = "[CONTAINER:]SRC|-")]
    source: OsString,
    /// Where to: CONTAINER:PATH, PATH, or - for a tar archive on standard output
    #[arg(value_name = "[CONTAINER:]DEST|-")]
    destination: OsString,
}

/// An end as it was typed.
enum Typed<'a> {
    Container(&'a str, &'a [u8]),
    Host(&'a OsStr),
    Stream,
}

impl<'a> Typed<'a> {
    /// What stands before a colon is a container, but for what can only be a path.
    fn read(text: &'a OsStr) -> Result<Self> {
        let bytes = text.as_bytes();
        if bytes == b"-" {
            return Ok(Self::Stream);
        }
        let colon = bytes.iter().position(|&byte| byte == b':');
        match colon {
            Some(at) if at > 0 && !matches!(bytes[0], b'/' | b'.') => {
                let name = std::str::from_utf8(&bytes[..at])
                    .map_err(|_| anyhow!("No such container: a name of other bytes than text"))?;
                if bytes.len() == at + 1 {
                    bail!("the path in container {name} is empty");
                }
                Ok(Self::Container(name, &bytes[at + 1..]))
            }
            _ if bytes.is_empty() => bail!("a path is empty"),
            _ => Ok(Self::Host(text)),
        }
    }
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let (source, destination) = (Typed::read(&args.source)?, Typed::read(&args.destination)?);
    if !matches!(source, Typed::Container(..)) && !matches!(destination, Typed::Container(..)) {
        bail!("must specify at least one container source");
    }
    if matches!(destination, Typed::Stream) && std::io::stdout().is_terminal() {
        bail!("cowardly refusing to write an archive to a terminal: redirect the output");
    }
    let mut containers = Containers::default();
    let job = Job {
        source: match source {
            Typed::Container(name, path) => containers.end(context, name, path)?,
            Typed::Host(path) => host_source(path, args.follow_link)?,
            Typed::Stream => End::Stream,
        },
        target: match destination {
            Typed::Container(name, path) => containers.end(context, name, path)?,
            Typed::Host(path) => host_target(path)?,
            Typed::Stream => End::Stream,
        },
        views: containers.views,
        maps: containers.maps,
        caller_is_root: rustix::process::geteuid().is_root(),
        archive: args.archive,
        follow: args.follow_link,
        overwrite: args.overwrite,
    };
    let destination = shown(&job.target);
    let happenings: Vec<Happening> = [(&job.source, "archive-path"), (&job.target, "extract-to-dir")]
        .into_iter()
        .filter_map(|(end, action)| match end {
            End::Container { view, .. } => Some(Happening::of_container(&containers.configs[*view], action)),
            _ => None,
        })
        .collect();
    let done = copy(context, job, args.quiet)?;
    let store = context.store()?;
    happenings.into_iter().for_each(|what| store.happened(what));
    tell(&done, &destination, args.quiet);
    Ok(ExitCode::SUCCESS)
}

/// The containers that take part.
#[derive(Default)]
struct Containers {
    views: Vec<View>,
    maps: Vec<Option<Maps>>,
    configs: Vec<ContainerConfig>,
    /// Keeps those that do not run from being started or removed meanwhile.
    locks: Vec<AliveLock>,
}

impl Containers {
    fn end(&mut self, context: &Context, name: &str, path: &[u8]) -> Result<End> {
        let mut container = context.store()?.containers().find(name)?;
        let view = match self.configs.iter().position(|known| known.id == *container.id()) {
            Some(view) => view,
            None => {
                let (view, lock) = view(context, &mut container)?;
                self.views.push(view);
                self.maps.push(container.config.identity.maps.clone());
                self.configs.push(container.config);
                self.locks.extend(lock);
                self.views.len() - 1
            }
        };
        Ok(End::Container { view, name: name.to_owned(), path: Asked::in_container(path) })
    }
}

/// How a container's files are to be seen. One that does not run is kept from being started.
fn view(context: &Context, container: &mut Container) -> Result<(View, Option<AliveLock>)> {
    let begun = Instant::now();
    let mut told = false;
    let name = container.config.name.clone();
    let gone = || anyhow!("No such container: {name}");
    loop {
        if let Some(init) = container.state.init().filter(|_| container.is_running()) {
            return Ok((View::Running(init), None));
        }
        match container.take_alive() {
            Ok(Some(lock)) => {
                container.refresh().map_err(|_| gone())?;
                return Ok((View::Stopped(Box::new(stopped(context, container)?)), Some(lock)));
            }
            Ok(None) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(gone()),
            Err(error) => return Err(error).context("lock the container"),
        }
        // It is being started or removed, or another copy goes on.
        if !told && begun.elapsed() > PATIENCE {
            warn(&format!("waiting for another command that uses container {name}"));
            told = true;
        }
        std::thread::sleep(PAUSE);
        container.refresh().map_err(|_| gone())?;
    }
}

fn stopped(context: &Context, container: &Container) -> Result<Stopped> {
    let store = context.store()?;
    launching::shifting::ensure(store, &container.config)?;
    let (mounts, needs) = launching::lasting_mounts(store, container)?;
    Ok(Stopped {
        directory: container.directory().to_owned(),
        root: launching::root_plan(store, &container.config)?,
        mounted: launching::mounted_root(store, container)?,
        mounts,
        needs,
        maps: container.config.identity.maps.clone(),
    })
}

/// What of the host is to be copied. A link is copied as such, unless it is to be followed or the path
/// goes through it.
fn host_source(path: &OsStr, follow: bool) -> Result<End> {
    let asked = Asked::on_host(path).context("find the working directory")?;
    let absent = |error: Errno| anyhow!("lstat {}: {}", work::show(&asked.path), reason(&error.into()));
    let located = match locate(&Host, &asked.path, follow || asked.asserts_directory()) {
        Ok(located) if located.stat.is_none() => return Err(absent(Errno::NOENT)),
        Ok(located) => located,
        Err(Nowhere::NoParent(_)) => return Err(absent(Errno::NOENT)),
        Err(Nowhere::System(error)) => return Err(absent(error)),
    };
    if asked.asserts_directory() && located.kind() != Some(FileType::Directory) {
        return Err(absent(Errno::NOTDIR));
    }
    Ok(End::Host(asked, located))
}

fn host_target(path: &OsStr) -> Result<End> {
    let asked = Asked::on_host(path).context("find the working directory")?;
    let invalid = |directory: &[u8]| {
        anyhow!("invalid output path: directory {} does not exist", quote(&String::from_utf8_lossy(directory)))
    };
    let located = match locate(&Host, &asked.path, true) {
        Ok(located) => located,
        Err(Nowhere::NoParent(directory)) => return Err(invalid(&directory)),
        Err(Nowhere::System(error)) => bail!("lstat {}: {}", work::show(&asked.path), reason(&error.into())),
    };
    match located.kind() {
        None if asked.contents => return Err(invalid(&asked.path)),
        None | Some(FileType::Directory) => {}
        Some(FileType::RegularFile) if asked.asserts_directory() => {
            bail!("lstat {}/: not a directory", work::show(&asked.path))
        }
        Some(FileType::RegularFile) => {}
        Some(_) => bail!(
            "invalid output path: {} must be a directory or a regular file",
            quote(&String::from_utf8_lossy(&asked.path))
        ),
    }
    Ok(End::Host(asked, located))
}

/// Copies in the user namespace, and shows how far it got.
fn copy(context: &Context, job: Job, quiet: bool) -> Result<Done> {
    let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let parent = rustix::process::getpid();
    let forked = userns::fork_into(context.store()?, move || {
        // Whoever waits for it is gone: then so is it.
        let bound = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        if bound.is_err() || rustix::process::getppid() != Some(parent) {
            return 1;
        }
        let teller = Rc::new(Teller::new(File::from(theirs)));
        teller.finish(work::run(job, Rc::clone(&teller)))
    })?;
    if let Some(warning) = &forked.warning {
        warn(warning);
    }
    let bar = (!quiet && progress::is_watched()).then(|| {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(progress::plain_line());
        bar.set_prefix("Copying");
        bar
    });
    let outcome = report::listen(File::from(ours), |bytes| {
        if let Some(bar) = &bar {
            bar.set_message(decimal_size(bytes, 3));
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let _ = rustix::io::retry_on_intr(|| waitpid(Some(forked.pid), WaitOptions::empty()));
    outcome
}

/// The destination as docker's summary has it.
fn shown(end: &End) -> String {
    match end {
        End::Host(asked, _) => asked.shown().to_string_lossy().into_owned(),
        End::Container { name, path, .. } => format!("{name}:{}", path.shown().to_string_lossy()),
        End::Stream => String::new(),
    }
}

fn tell(done: &Done, destination: &str, quiet: bool) {
    let lost = [(done.sockets, "sockets"), (done.devices, "devices"), (done.attributes, "extended attributes")];
    for (count, what) in lost {
        if count > 0 {
            warn(&format!("left out {count} {what}"));
        }
    }
    if !quiet && !destination.is_empty() && std::io::stderr().is_terminal() {
        let size = decimal_size(done.size, 3);
        // Nobody to read it is no failure.
        let _ = writeln!(std::io::stderr(), "Successfully copied {size} to {}", clean_line(destination));
    }
}
