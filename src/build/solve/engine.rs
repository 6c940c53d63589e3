//! The loop of a build: advances every stage as far as it goes, starts workers for what takes time, and hears
//! what they say.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;

use super::base::BaseImage;
use super::stage::StageState;
use super::tasks::{Purpose, Task};
use super::{BuildError, Host, Outcome, Request, Steps};
use crate::build::args::{self, Given};
use crate::build::cache::Records;
use crate::build::cache::elsewhere::{self, Entry, descriptor};
use crate::build::event::{Ended, Event, VertexId};
use crate::build::step::squash;
use crate::build::step::worker::{Place, Report, Worker};
use crate::spec::digest::Digest;
use crate::spec::dockerfile::ast::{Dockerfile, Lines};
use crate::spec::dockerfile::stages;
use crate::spec::platform::Platform;
use crate::store::Store;
use crate::store::gc::Lease;

/// How often displays are told that time goes by.
const TICK: Duration = Duration::from_millis(100);

/// What is known of a vertex.
#[derive(Debug, Default)]
pub(super) struct Vertex {
    pub name: String,
    started: Option<Instant>,
    done: bool,
}

/// A build under way.
pub(super) struct Engine<'a> {
    pub store: &'a Store,
    pub request: Request,
    pub host: &'a mut dyn Host,
    tell: &'a mut dyn FnMut(Event),
    pub dockerfile: Dockerfile,
    pub platform: Platform,
    pub given: Given,
    /// Of configurations and histories.
    pub created: Option<String>,
    pub lease: Lease,
    pub target: usize,
    pub stages: Vec<StageState>,
    /// By name and platform.
    pub images: BTreeMap<(String, String), BaseImage>,
    pub tasks: Vec<Task>,
    pub vertices: Vec<Vertex>,
    /// What caches elsewhere know, by the steps' keys.
    pub elsewhere: Rc<BTreeMap<Digest, Entry>>,
    /// Keeps the user namespace.
    pub keeper: Option<Worker>,
    jobs: usize,
}

impl<'a> Engine<'a> {
    /// Reads the Dockerfile and finds out what is to be done.
    pub fn new(
        store: &'a Store,
        request: Request,
        host: &'a mut dyn Host,
        tell: &'a mut dyn FnMut(Event),
    ) -> Result<Self, BuildError> {
        let dockerfile = crate::spec::dockerfile::parse(&request.dockerfile)?;
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        let name = request.target.as_deref();
        let misnamed = |error: stages::StageError| BuildError::At {
            lines: error.lines.unwrap_or(Lines { first: 1, last: 1 }),
            message: error.message,
        };
        let target = stages::target(&dockerfile, name).map_err(misnamed)?;
        let mut given = Given::new(&request.args, &platform, name.unwrap_or_default(), request.timestamp);
        for declared in &dockerfile.args {
            for item in &declared.value.0 {
                let expand = |word: &str| args::expand(word, dockerfile.directives.escape, &|name| given.global(name));
                let default = item.default.as_deref().map(expand).transpose();
                let default = default.map_err(|message| BuildError::At { lines: declared.lines, message })?;
                given.declare_global(&item.name, default);
            }
        }
        // Circles and numbers of no stage are found before anything is done.
        let is_context = |name: &str| request.contexts.contains_key(name);
        stages::needed(&dockerfile, target, &|name| given.global(name), &is_context).map_err(misnamed)?;
        let created = request.timestamp.map(Timestamp::from_second).transpose();
        let created = created.context("the timestamp is beyond any date")?.map(|moment| moment.to_string());
        let jobs = match request.jobs {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            jobs => jobs,
        };
        let stages = (0..dockerfile.stages.len()).map(|_| StageState::default()).collect();
        let lease = Lease::create(store, &[])?;
        let mut engine = Self {
            store,
            request,
            host,
            tell,
            dockerfile,
            platform,
            given,
            created,
            lease,
            target,
            stages,
            images: BTreeMap::new(),
            tasks: Vec::new(),
            vertices: Vec::new(),
            elsewhere: Rc::default(),
            keeper: None,
            jobs,
        };
        engine.load()?;
        Ok(engine)
    }

    /// Shows that the Dockerfile was read, and its warnings.
    fn load(&mut self) -> Result<(), BuildError> {
        let name = format!("[internal] load build definition from {}", self.request.name);
        let vertex = self.declare(name, Vec::new());
        self.start(vertex);
        for warning in self.dockerfile.warnings.clone() {
            let lines = Some((warning.lines.first, warning.lines.last));
            self.emit(Event::Warning { text: warning.message, rule: Some(warning.rule), lines });
        }
        self.end(vertex, Ended::Made);
        Ok(())
    }

    /// Builds the target.
    pub fn run(mut self) -> Result<Outcome, BuildError> {
        let signals = Signals::take()?;
        let outcome = self.work(&signals);
        if outcome.is_err() {
            // Workers first: what they say now counts no more.
            self.tasks.clear();
            for vertex in 0..self.vertices.len() {
                if self.vertices[vertex].started.is_some() && !self.vertices[vertex].done {
                    self.end(vertex, Ended::Canceled);
                }
            }
        }
        self.keeper = None;
        outcome?;
        self.finish()
    }

    fn work(&mut self, signals: &Signals) -> Result<(), BuildError> {
        self.ask_caches()?;
        self.finish_tasks(signals)?;
        self.activate(self.target)?;
        loop {
            let mut moved = true;
            while moved {
                moved = false;
                for stage in 0..self.stages.len() {
                    while self.stages[stage].is_free() && self.advance(stage)? {
                        moved = true;
                    }
                }
            }
            if self.stages[self.target].done {
                return self.squash(signals);
            }
            if self.tasks.is_empty() {
                return Err(anyhow!("stages wait for each other: circular references").into());
            }
            self.listen(signals)?;
        }
    }

    /// `--squash`: one layer of all that were made.
    fn squash(&mut self, signals: &Signals) -> Result<(), BuildError> {
        let (target, store) = (self.target, self.store);
        let kept = self.stages[target].base_layers;
        if !self.request.squash || self.stages[target].below.chains.len() <= kept + 1 {
            return Ok(());
        }
        let below = self.stages[target].below.clone();
        let vertex = self.declare("squashing layers".to_owned(), Vec::new());
        self.start(vertex);
        let lease = &self.lease;
        let worker = Worker::start(store, Place::Inside, |_| {
            let layer = squash::squash(store, lease, &below, kept)?;
            Ok(Report { layer, ..Report::default() })
        })?;
        self.tasks.push(Task::new(worker, vertex, Lines::default(), Purpose::Squash(target)));
        self.finish_tasks(signals)
    }

    fn finish_tasks(&mut self, signals: &Signals) -> Result<(), BuildError> {
        while !self.tasks.is_empty() {
            self.listen(signals)?;
        }
        Ok(())
    }

    /// The layers of a stage are one now.
    pub fn take_squashed(&mut self, stage: usize, report: &Report) {
        let state = &mut self.stages[stage];
        let kept = state.base_layers;
        state.below.chains.truncate(kept);
        state.below.diff_ids.truncate(kept);
        state.layers.truncate(kept);
        if let Some(image) = &mut state.image {
            image.squash(kept, report);
        }
        if let Some(layer) = &report.layer {
            state.below.push(layer);
            state.layers.push(descriptor(layer));
        }
    }

    /// Whether another worker may be started.
    pub fn has_room(&self) -> bool {
        self.tasks.len() < self.jobs
    }

    fn listen(&mut self, signals: &Signals) -> Result<(), BuildError> {
        let ready = {
            let mut descriptors = vec![PollFd::from_borrowed_fd(signals.0.as_fd(), PollFlags::IN)];
            for task in &self.tasks {
                let watched = task.worker.descriptors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
                descriptors.extend(watched);
            }
            let timeout = Timespec::try_from(TICK).ok();
            match poll(&mut descriptors, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(anyhow!(error).into()),
            }
            let is_ready = |pair: &[PollFd<'_>]| pair.iter().any(|one| !one.revents().is_empty());
            descriptors[1..].chunks(2).map(is_ready).collect::<Vec<bool>>()
        };
        if let Some(signal) = signals.read()? {
            return Err(BuildError::Interrupted(signal));
        }
        // From the last one, so that the others' places stay.
        for index in (0..ready.len()).rev().filter(|index| ready[*index]) {
            self.hear(index)?;
        }
        self.emit(Event::Tick);
        Ok(())
    }

    /// Tells of something.
    pub fn emit(&mut self, event: Event) {
        (self.tell)(event);
    }

    /// Makes a vertex.
    pub fn declare(&mut self, name: String, inputs: Vec<VertexId>) -> VertexId {
        let vertex = self.vertices.len();
        self.vertices.push(Vertex { name: name.clone(), started: None, done: false });
        self.emit(Event::Declared { vertex, name, inputs });
        vertex
    }

    /// Begins with a vertex.
    pub fn start(&mut self, vertex: VertexId) {
        if self.vertices[vertex].started.is_none() {
            self.vertices[vertex].started = Some(Instant::now());
            self.emit(Event::Started { vertex });
        }
    }

    /// Ends a vertex.
    pub fn end(&mut self, vertex: VertexId, outcome: Ended) {
        let elapsed = self.vertices[vertex].started.map_or(Duration::ZERO, |started| started.elapsed());
        self.vertices[vertex].done = true;
        self.emit(Event::Done { vertex, outcome, elapsed });
    }

    fn finish(mut self) -> Result<Outcome, BuildError> {
        let stage = std::mem::take(&mut self.stages[self.target]);
        let image = stage.image.ok_or_else(|| anyhow!("the target was not built"))?;
        let mut config = image.finish(&Timestamp::now().to_string());
        config.config.labels.extend(std::mem::take(&mut self.request.labels));
        let all = self.stages.iter().flat_map(|stage| &stage.keys).chain(&stage.keys).copied();
        let steps = Steps { result: stage.keys.clone(), all: all.collect() };
        if self.request.inline_cache {
            elsewhere::embed(&mut config, &Records::of(self.store).of_keys(&steps.result))?;
        }
        let config_bytes = serde_json::to_vec(&config).map_err(anyhow::Error::from)?;
        Ok(Outcome {
            config,
            config_bytes,
            layers: stage.layers,
            chains: stage.below.chains,
            platform: self.platform,
            stage: self.dockerfile.stages[self.target].from.value.name.clone(),
            steps,
            lease: self.lease,
        })
    }
}

/// The signals that ask us to end, for as long as a build goes on.
struct Signals(SignalFd);

impl Signals {
    const ALL: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

    fn mask() -> SigSet {
        Self::ALL.into_iter().collect()
    }

    fn take() -> anyhow::Result<Self> {
        Self::mask().thread_block()?;
        Ok(Self(SignalFd::with_flags(&Self::mask(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    fn read(&self) -> anyhow::Result<Option<i32>> {
        Ok(self.0.read_signal()?.map(|signal| signal.ssi_signo as i32))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = Self::mask().thread_unblock();
    }
}
