//! RUN, COPY and ADD: what they say becomes a job for a worker.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::engine::Engine;
use super::stage::{Awaited, Source};
use super::{BuildError, Directory};
use crate::build::image::StageImage;
use crate::build::step::mounts::{Cache, Owner, RunMount};
use crate::build::step::run::RunJob;
use crate::build::step::worker::Place;
use crate::spec::dockerfile::ast::{
    Command, Instruction, Lines, Located, Run, RunMount as Written, RunMountKind, RunNetwork, RunSecurity,
};
use crate::spec::dockerfile::{mount, parse_onbuild};
use crate::sys::beneath;

const SECRETS: &str = "/run/secrets";
const SSH: &str = "/run/buildkit/ssh_agent";
const PIPES: &str = "/dev/pipes";

/// What an ONBUILD of a base says, to be done now.
pub fn trigger(text: &str, lines: Lines) -> Result<Located<Instruction>, BuildError> {
    let read = parse_onbuild(text);
    let read = read.map_err(|error| BuildError::At { lines, message: format!("ONBUILD {text}: {}", error.message) })?;
    Ok(Located { lines, ..read })
}

fn at(lines: Lines) -> impl Fn(String) -> BuildError {
    move |message| BuildError::At { lines, message }
}

impl Engine<'_> {
    /// A stage's image as it is now.
    pub fn current(&self, stage: usize) -> Result<StageImage, BuildError> {
        self.stages[stage].image.clone().ok_or_else(|| anyhow!("a stage without a base").into())
    }

    /// RUN; false when it has to wait.
    pub fn run_step(&mut self, stage: usize, run: &Run, lines: Lines) -> Result<bool, BuildError> {
        let image = self.current(stage)?;
        let mut mounts = Vec::new();
        let is_agent = |mount: &&Written| matches!(mount.kind, RunMountKind::Ssh { .. });
        for (index, written) in run.mounts.iter().enumerate() {
            let number = run.mounts[..index].iter().filter(is_agent).count();
            match self.mount(stage, &image, written, number, lines)? {
                Awaited::Here(mount) => mounts.extend(mount),
                Awaited::Later => return Ok(false),
            }
        }
        let (argv, script) = command(&image, run);
        mounts.extend(script);
        self.check_allowed(run, lines)?;
        let env = image.run_environment(&self.given);
        let (uncounted_env, env) = env.into_iter().partition(|entry| self.is_uncounted(&image, entry));
        let job = RunJob {
            below: self.stages[stage].below.clone(),
            env,
            uncounted_env,
            working_dir: image.config.config.working_dir.clone(),
            user: image.config.config.user.clone(),
            mounts,
            network: if run.network == RunNetwork::Default { self.request.network } else { run.network },
            privileged: run.security == RunSecurity::Insecure,
            platform: self.stages[stage].platform.clone().unwrap_or_else(|| self.platform.clone()),
            template: self.request.template.clone(),
            youngest: self.youngest(),
            description: self.description(stage),
            known: self.known(stage),
            argv,
        };
        self.stages[stage].history = image.run_history(&job.argv);
        if job.is_known()
            && let Some(taken) = self.recorded(stage, job.key()?, &job.known, lines)?
        {
            return Ok(taken);
        }
        if !self.has_room() {
            return Ok(false);
        }
        let store = self.store;
        self.employ(stage, lines, Place::Here, move |host, lease, teller| {
            let mut job = job;
            job.mounts.iter_mut().try_for_each(|mount| mount.look(store))?;
            job.perform(store, lease, host, teller)
        })?;
        Ok(false)
    }

    /// A proxy that nobody declared.
    fn is_uncounted(&self, image: &StageImage, entry: &str) -> bool {
        let name = entry.split('=').next().unwrap_or_default();
        let of_image = image.config.config.env.iter().any(|own| own == entry);
        !of_image && crate::build::args::is_predefined(name)
    }

    fn check_allowed(&self, run: &Run, lines: Lines) -> Result<(), BuildError> {
        if run.security == RunSecurity::Insecure && !self.request.allowed.insecure {
            return Err(at(lines)("security.insecure is not allowed".to_owned()));
        }
        if run.network == RunNetwork::Host
            && !self.request.allowed.network_host
            && self.request.network != RunNetwork::Host
        {
            return Err(at(lines)("network.host is not allowed".to_owned()));
        }
        Ok(())
    }

    fn mount(
        &mut self,
        stage: usize,
        image: &StageImage,
        written: &Written,
        number: usize,
        lines: Lines,
    ) -> Result<Awaited<Option<RunMount>>, BuildError> {
        let written = mount::evaluate(&written.text, &|text| image.expand(text)).map_err(at(lines))?;
        let target = written.target.as_deref().map(|target| image.absolute(target));
        let needed = || at(lines)("invalid mount: a target is required".to_owned());
        let owner = |mode| Owner {
            uid: written.uid.unwrap_or(0),
            gid: written.gid.unwrap_or(0),
            mode: written.mode.unwrap_or(mode),
        };
        let mount = match &written.kind {
            RunMountKind::Bind { from, source } => {
                let (from, source) = (from.clone(), source.clone().unwrap_or_default());
                let target = target.ok_or_else(needed)?;
                return self.bind(stage, from, (target, source, !written.readonly), lines);
            }
            RunMountKind::Cache { id, from, source, sharing } => {
                let target = target.ok_or_else(needed)?;
                let seed = match from.clone() {
                    None => None,
                    Some(from) => match self.source(stage, &from, lines)? {
                        Awaited::Later => return Ok(Awaited::Later),
                        Awaited::Here(Source::Layers(below)) => {
                            Some((below.chains, source.clone().unwrap_or_default()))
                        }
                        Awaited::Here(Source::Directory(_)) => {
                            return Err(at(lines)("a cache mount cannot begin with a build context".to_owned()));
                        }
                    },
                };
                let id = id.clone().unwrap_or_else(|| target.clone());
                let (sharing, readonly) = (*sharing, written.readonly);
                RunMount::Cache(Cache { target, id, sharing, readonly, owner: owner(0o755), seed })
            }
            RunMountKind::Tmpfs { size } => RunMount::Tmpfs { target: target.ok_or_else(needed)?, size: *size },
            RunMountKind::Secret { id, env } => {
                let (id, env) = (id.clone(), env.clone());
                let by_target = || target.as_deref().and_then(|path| path.rsplit('/').next()).map(str::to_owned);
                let id = id.or_else(by_target).ok_or_else(|| at(lines)("secret needs an id or a target".to_owned()))?;
                let source = self.request.secrets.get(&id).cloned();
                if source.is_none() && written.required {
                    return Err(at(lines)(format!("secret {id}: not found")));
                }
                let usual = || env.is_none().then(|| format!("{SECRETS}/{id}"));
                let target = target.or_else(usual);
                RunMount::Secret { id, target, env, owner: owner(0o400), source }
            }
            RunMountKind::Ssh { id } => {
                let id = id.clone().unwrap_or_else(|| "default".to_owned());
                let Some(socket) = self.request.ssh.get(&id).cloned() else {
                    if written.required {
                        return Err(at(lines)(format!("unset ssh forward key {id}")));
                    }
                    return Ok(Awaited::Here(None));
                };
                let target = target.unwrap_or_else(|| format!("{SSH}.{number}"));
                RunMount::Ssh { target, owner: owner(0o600), socket }
            }
        };
        Ok(Awaited::Here(Some(mount)))
    }

    fn bind(
        &mut self,
        stage: usize,
        from: Option<String>,
        (target, source, writable): (String, String, bool),
        lines: Lines,
    ) -> Result<Awaited<Option<RunMount>>, BuildError> {
        let found = match from.filter(|from| !from.is_empty()) {
            Some(from) => self.source(stage, &from, lines)?,
            None => {
                let context = self.request.context.clone();
                let none = || at(lines)("there is no build context to mount".to_owned());
                Awaited::Here(Source::Directory(context.ok_or_else(none)?))
            }
        };
        Ok(match found {
            Awaited::Later => Awaited::Later,
            Awaited::Here(Source::Layers(below)) => {
                Awaited::Here(Some(RunMount::Layers { target, writable, chains: below.chains, source }))
            }
            Awaited::Here(Source::Directory(directory)) => {
                let path = within(&directory, &source).map_err(at(lines))?;
                let (digest, hides) = (None, false);
                Awaited::Here(Some(RunMount::Directory { target, writable, directory, source, path, digest, hides }))
            }
        })
    }
}

/// The words to execute, and the script that they need if it says itself what runs it.
fn command(image: &StageImage, run: &Run) -> (Vec<String>, Option<RunMount>) {
    if let (Command::Shell(text), [heredoc]) = (&run.command, &run.heredocs[..])
        && *text == heredoc.content
        && text.starts_with("#!")
    {
        let target = format!("{PIPES}/{}", heredoc.name);
        let words = image.shell().into_iter().chain([target.clone()]).collect();
        return (words, Some(RunMount::Script { target, content: text.clone() }));
    }
    (image.command(&run.command), None)
}

/// Where a path of a directory lies; no link leads out.
fn within(directory: &Directory, path: &str) -> Result<PathBuf, String> {
    let shown = path.trim_matches('/');
    let find = || -> anyhow::Result<PathBuf> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let top = rustix::fs::openat(CWD, &directory.path, flags | OFlags::DIRECTORY, Mode::empty())?;
        let relative = if shown.is_empty() { "." } else { shown };
        let found = beneath::open(&top, relative, flags, ResolveFlags::IN_ROOT)?;
        let link = format!("/proc/self/fd/{}", found.as_raw_fd());
        std::fs::read_link(Path::new(&link)).context("find a path")
    };
    find().map_err(|error| match error.downcast_ref::<Errno>() {
        Some(&(Errno::NOENT | Errno::NOTDIR)) => format!("\"/{shown}\": not found"),
        _ => format!("/{shown}: {error:#}"),
    })
}
