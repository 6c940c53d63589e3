//! One stage: its instructions in turn, each evaluated when it is its turn.

use std::collections::VecDeque;

use anyhow::anyhow;

use super::engine::Engine;
use super::{BuildError, NamedContext, NoCache, names};
use crate::build::args;
use crate::build::cache::elsewhere::descriptor;
use crate::build::event::{Ended, Event, VertexId};
use crate::build::image::StageImage;
use crate::build::step::Below;
use crate::build::step::worker::{Layer, Place, Report};
use crate::spec::digest::Digest;
use crate::spec::dockerfile::ast::{Instruction, Lines, Located, Stage};
use crate::spec::dockerfile::stages;
use crate::spec::image::Descriptor;
use crate::spec::platform::Platform;

const SCRATCH: &str = "scratch";

/// How far a stage is.
#[derive(Debug, Default)]
pub(super) struct StageState {
    pub active: bool,
    pub done: bool,
    /// A worker does its next step.
    pub working: bool,
    /// None until its base is there.
    pub image: Option<StageImage>,
    /// What that is once the next step is done, if the step changes it.
    pub next_image: Option<StageImage>,
    pub below: Below,
    pub layers: Vec<Descriptor>,
    pub todo: VecDeque<Located<Instruction>>,
    /// Of the steps that are shown, the next one first.
    vertices: VecDeque<VertexId>,
    /// That of FROM, and the last one that was done.
    last: Option<VertexId>,
    /// How many layers are those of the image that it began with.
    pub base_layers: usize,
    /// What the history will say of the step that is being done.
    pub history: String,
    pub platform: Option<Platform>,
    /// What the build cache knows its steps by, and those of the stages below it.
    pub keys: Vec<Digest>,
}

impl StageState {
    /// Whether it can be advanced.
    pub fn is_free(&self) -> bool {
        self.active && !self.done && !self.working
    }

    /// The vertex of the next step.
    pub fn vertex(&self) -> VertexId {
        self.vertices.front().copied().or(self.last).unwrap_or_default()
    }
}

/// What a stage begins with.
enum Base {
    Scratch,
    Stage(usize),
    Image(String),
}

/// Where files are taken from.
#[derive(Debug)]
pub(super) enum Source {
    Layers(Below),
    Directory(super::Directory),
}

/// What a step is waiting for is not there yet, or it is.
pub(super) enum Awaited<T> {
    Here(T),
    Later,
}

fn at(lines: Lines) -> impl Fn(String) -> BuildError {
    move |message| BuildError::At { lines, message }
}

impl Engine<'_> {
    /// Has a stage built, and what it needs, as far as that can be seen now.
    pub fn activate(&mut self, stage: usize) -> Result<(), BuildError> {
        if std::mem::replace(&mut self.stages[stage].active, true) {
            return Ok(());
        }
        let platform = self.stage_platform(stage)?;
        self.stages[stage].platform = Some(platform);
        if let Base::Stage(base) = self.base(stage)? {
            self.activate(base)?;
        }
        let sources = stages::sources(&self.dockerfile, stage);
        let names: Vec<String> = sources.into_iter().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            if !self.request.contexts.contains_key(&name)
                && let Some(source) = names::stage_before(&self.dockerfile, &name, stage)
            {
                self.activate(source)?;
            }
        }
        Ok(())
    }

    fn from(&self, stage: usize) -> &Stage {
        &self.dockerfile.stages[stage]
    }

    fn stage_platform(&self, stage: usize) -> Result<Platform, BuildError> {
        let from = &self.from(stage).from;
        let Some(text) = &from.value.platform else { return Ok(self.platform.clone()) };
        let text = self.expand_global(text).map_err(at(from.lines))?;
        if text.is_empty() {
            return Ok(self.platform.clone());
        }
        text.parse().map_err(|error: crate::spec::platform::InvalidPlatform| at(from.lines)(error.to_string()))
    }

    fn expand_global(&self, text: &str) -> Result<String, String> {
        args::expand(text, self.dockerfile.directives.escape, &|name| self.given.global(name))
    }

    fn base(&self, stage: usize) -> Result<Base, BuildError> {
        let from = &self.from(stage).from;
        let written = self.expand_global(&from.value.base).map_err(at(from.lines))?;
        let name = self.request.from.clone().filter(|_| stage == 0).unwrap_or(written);
        if name.is_empty() {
            return Err(at(from.lines)(format!("base name ({}) should not be blank", from.value.base)));
        }
        match self.request.contexts.get(&name) {
            Some(NamedContext::Image(image)) => return Ok(Base::Image(image.clone())),
            Some(NamedContext::Target(target)) => {
                let found = stages::find(&self.dockerfile, target);
                return found.map(Base::Stage).ok_or_else(|| at(from.lines)(format!("no stage {target}")));
            }
            Some(NamedContext::Directory(_)) => {
                return Err(at(from.lines)(format!("the build context {name} is a directory and cannot be a base")));
            }
            None => {}
        }
        if name == SCRATCH {
            return Ok(Base::Scratch);
        }
        Ok(match names::stage_before(&self.dockerfile, &name, stage) {
            Some(stage) => Base::Stage(stage),
            None => Base::Image(name),
        })
    }

    /// Goes on with a stage; false when it has to wait.
    pub fn advance(&mut self, stage: usize) -> Result<bool, BuildError> {
        if self.stages[stage].image.is_none() {
            return self.begin(stage);
        }
        let Some(next) = self.stages[stage].todo.front().cloned() else {
            self.stages[stage].done = true;
            return Ok(true);
        };
        let applied = self.image_of(stage, |image, engine_given| image.apply(&next.value, engine_given));
        if applied?.map_err(at(next.lines))? {
            self.stages[stage].todo.pop_front();
            return Ok(true);
        }
        self.step(stage, &next)
    }

    fn image_of<T>(
        &mut self,
        stage: usize,
        work: impl FnOnce(&mut StageImage, &crate::build::args::Given) -> T,
    ) -> Result<T, BuildError> {
        let image = self.stages[stage].image.as_mut().ok_or_else(|| anyhow!("a stage without a base"))?;
        Ok(work(image, &self.given))
    }

    /// Begins with a stage whose base is there.
    fn begin(&mut self, stage: usize) -> Result<bool, BuildError> {
        let lines = self.from(stage).from.lines;
        let platform = self.stages[stage].platform.clone().unwrap_or_else(Platform::host);
        let escape = self.dockerfile.directives.escape;
        let base = self.base(stage)?;
        let (mut image, below, layers) = match &base {
            Base::Scratch => {
                (StageImage::scratch(&platform, escape, self.created.as_deref()), Below::default(), Vec::new())
            }
            Base::Stage(from) => {
                self.activate(*from)?;
                let from = &self.stages[*from];
                match &from.image {
                    Some(image) if from.done => {
                        (StageImage::from_stage(image), from.below.clone(), from.layers.clone())
                    }
                    _ => return Ok(false),
                }
            }
            Base::Image(name) => match self.image(name, &platform, lines)? {
                Some(found) => {
                    let image = StageImage::from_base(found.config, &platform, escape, self.created.as_deref());
                    (image, found.below, found.layers)
                }
                None => return Ok(false),
            },
        };
        let mut todo = VecDeque::new();
        for trigger in image.take_triggers() {
            todo.push_back(super::evaluate::trigger(&trigger, lines)?);
        }
        todo.extend(self.from(stage).instructions.iter().cloned());
        if !matches!(base, Base::Stage(_)) {
            image.set_environment(&self.request.env);
        }
        let (base_layers, keys) = match &base {
            Base::Stage(from) => (self.stages[*from].base_layers, self.stages[*from].keys.clone()),
            _ if self.request.squash_base => (0, Vec::new()),
            _ => (layers.len(), Vec::new()),
        };
        let state = &mut self.stages[stage];
        (state.image, state.below, state.layers, state.todo) = (Some(image), below, layers, todo);
        (state.base_layers, state.keys) = (base_layers, keys);
        self.declare_steps(stage, &base);
        Ok(true)
    }

    /// Shows what there will be to do, numbered as BuildKit does it.
    fn declare_steps(&mut self, stage: usize, base: &Base) {
        let shown = names::shown(&self.dockerfile, stage);
        let prefix = if shown.is_empty() { String::new() } else { format!("{shown} ") };
        let is_shown = |instruction: &&Located<Instruction>| {
            use Instruction::{Add, Copy, Run, Workdir};
            matches!(instruction.value, Add(_) | Copy(_) | Run(_) | Workdir(_))
        };
        let texts: Vec<String> =
            self.stages[stage].todo.iter().filter(is_shown).map(|instruction| instruction.text.clone()).collect();
        let first = usize::from(matches!(base, Base::Image(_)));
        let total = texts.len() + first;
        let mut last = Vec::new();
        if let Base::Image(name) = base {
            let vertex = self.declare(format!("[{prefix}1/{total}] FROM {name}"), Vec::new());
            self.start(vertex);
            self.end(vertex, Ended::Cached);
            last = vec![vertex];
        }
        if let Base::Stage(from) = base {
            last.extend(self.stages[*from].last);
        }
        self.stages[stage].last = last.first().copied();
        for (index, text) in texts.into_iter().enumerate() {
            let vertex = self.declare(format!("[{prefix}{}/{total}] {text}", index + 1 + first), last);
            self.stages[stage].vertices.push_back(vertex);
            last = vec![vertex];
        }
    }

    /// Whether nothing of this stage is taken from the cache.
    pub fn is_anew(&self, stage: usize) -> bool {
        match &self.request.no_cache {
            NoCache::Nothing => false,
            NoCache::Everything => true,
            NoCache::Stages(stages) => {
                let name = self.from(stage).from.value.name.as_deref();
                stages.iter().any(|wanted| name == Some(wanted.to_lowercase().as_str()) || wanted.parse() == Ok(stage))
            }
        }
    }

    /// Where `--from` leads: an earlier stage, a named context or an image.
    pub fn source(&mut self, stage: usize, name: &str, lines: Lines) -> Result<Awaited<Source>, BuildError> {
        let image = match self.request.contexts.get(name) {
            Some(NamedContext::Directory(directory)) => {
                return Ok(Awaited::Here(Source::Directory(directory.clone())));
            }
            Some(NamedContext::Image(image)) => image.clone(),
            Some(NamedContext::Target(target)) => {
                let found = stages::find(&self.dockerfile, target);
                let found = found.ok_or_else(|| at(lines)(format!("no stage {target}")))?;
                return self.stage_source(found);
            }
            None => match stages::find(&self.dockerfile, name) {
                Some(found) if found < stage => return self.stage_source(found),
                Some(found) if found == stage => {
                    return Err(at(lines)(format!("circular dependency detected on stage: {name}")));
                }
                _ if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                    return Err(at(lines)(format!("invalid from flag value {name}: stage index out of range")));
                }
                _ => name.to_owned(),
            },
        };
        if image == SCRATCH {
            return Ok(Awaited::Here(Source::Layers(Below::default())));
        }
        let platform = self.stages[stage].platform.clone().unwrap_or_else(Platform::host);
        Ok(match self.image(&image, &platform, lines)? {
            Some(found) => Awaited::Here(Source::Layers(found.below)),
            None => Awaited::Later,
        })
    }

    fn stage_source(&mut self, stage: usize) -> Result<Awaited<Source>, BuildError> {
        self.activate(stage)?;
        let source = &self.stages[stage];
        Ok(if source.done { Awaited::Here(Source::Layers(source.below.clone())) } else { Awaited::Later })
    }

    /// Does an instruction that does work; false when it has to wait.
    fn step(&mut self, stage: usize, next: &Located<Instruction>) -> Result<bool, BuildError> {
        match &next.value {
            Instruction::Workdir(word) => self.workdir(stage, word, next.lines),
            Instruction::Run(run) => self.run_step(stage, run, next.lines),
            Instruction::Copy(copy) => self.copy_step(stage, copy, next.lines),
            Instruction::Add(add) => self.add_step(stage, add, next.lines),
            _ => Ok(false),
        }
    }

    fn workdir(&mut self, stage: usize, word: &str, lines: Lines) -> Result<bool, BuildError> {
        let known = self.known(stage);
        let mut image = self.stages[stage].image.clone().ok_or_else(|| anyhow!("a stage without a base"))?;
        let path = image.workdir(word).map_err(at(lines))?;
        let job = crate::build::step::files::WorkdirJob {
            below: self.stages[stage].below.clone(),
            path: path.clone(),
            user: image.config.config.user.clone(),
            platform: self.stage_platform(stage)?.to_string(),
            youngest: self.youngest(),
            description: self.description(stage),
            known,
        };
        let set = |engine: &mut Self, image| {
            let state = &mut engine.stages[stage];
            (state.next_image, state.history) = (Some(image), format!("WORKDIR {path}"));
        };
        if path == "/" {
            set(self, image);
            return self.take_step(stage, &Report { cached: true, ..Report::default() }).map(|()| true);
        }
        set(self, image);
        if let Some(taken) = self.recorded(stage, job.key()?, &job.known, lines)? {
            return Ok(taken);
        }
        if !self.has_room() {
            return Ok(false);
        }
        let store = self.store;
        self.employ(stage, lines, Place::Inside, move |_, lease, _| job.perform(store, lease))?;
        Ok(false)
    }

    /// The next step as the display shows it.
    pub fn description(&self, stage: usize) -> String {
        self.vertices.get(self.stages[stage].vertex()).map(|vertex| vertex.name.clone()).unwrap_or_default()
    }

    /// The time that files are given, if any.
    pub fn youngest(&self) -> Option<i64> {
        self.request.timestamp.filter(|_| self.request.rewrite_timestamp)
    }

    /// The next step of a stage is done.
    pub fn take_step(&mut self, stage: usize, report: &Report) -> Result<(), BuildError> {
        let vertex = self.stages[stage].vertices.pop_front();
        let state = &mut self.stages[stage];
        state.working = false;
        state.todo.pop_front();
        state.last = vertex.or(state.last);
        state.keys.extend(report.key);
        state.image = state.next_image.take().or(state.image.take());
        let history = std::mem::take(&mut state.history);
        if let Some(image) = &mut state.image {
            image.record_step(history, report);
        }
        if let Some(layer) = &report.layer {
            self.add_layer(stage, layer, vertex);
        }
        if let Some(vertex) = vertex {
            self.start(vertex);
            self.end(vertex, if report.cached { Ended::Cached } else { Ended::Made });
        }
        Ok(())
    }

    fn add_layer(&mut self, stage: usize, layer: &Layer, vertex: Option<VertexId>) {
        let state = &mut self.stages[stage];
        state.below.push(layer);
        state.layers.push(descriptor(layer));
        if let Some(image) = &mut state.image {
            image.add_layer(layer.diff_id);
        }
        if let Some(vertex) = vertex {
            self.emit(Event::Layer { vertex, diff_id: layer.diff_id });
        }
    }
}
