//! Workers that are at work, and what becomes of what they say.

use super::BuildError;
use super::engine::Engine;
use crate::build::event::{Ended, Event, VertexId};
use crate::build::step::worker::{Failure, Frame, Place, Report, Teller, Worker};
use crate::spec::dockerfile::ast::Lines;

/// How much of a step's last output is remembered for its error.
const OUTPUT_KEPT: usize = 8 << 10;

/// What a worker is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// The next step of this stage.
    Step(usize),
    /// The layers of this stage are made one.
    Squash(usize),
    /// The image of this name and platform.
    Image((String, String)),
    /// What a cache elsewhere knows.
    Cache,
}

/// A worker with what it is for.
pub(super) struct Task {
    pub worker: Worker,
    vertex: VertexId,
    lines: Lines,
    purpose: Purpose,
    output: Vec<u8>,
}

impl Task {
    pub fn new(worker: Worker, vertex: VertexId, lines: Lines, purpose: Purpose) -> Self {
        Self { worker, vertex, lines, purpose, output: Vec::new() }
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
        if self.output.len() > 2 * OUTPUT_KEPT {
            self.output.drain(..self.output.len() - OUTPUT_KEPT);
        }
    }
}

impl Engine<'_> {
    /// Starts a worker for a stage's next step.
    pub fn employ(
        &mut self,
        stage: usize,
        lines: Lines,
        place: Place,
        work: impl FnOnce(&mut dyn super::Host, &crate::store::gc::Lease, &mut Teller) -> Result<Report, Failure>,
    ) -> Result<(), BuildError> {
        self.keep_namespace()?;
        let vertex = self.stages[stage].vertex();
        self.start(vertex);
        let (host, lease) = (&mut *self.host, &self.lease);
        let worker = Worker::start(self.store, place, |teller| work(host, lease, teller))?;
        self.stages[stage].working = true;
        self.tasks.push(Task::new(worker, vertex, lines, Purpose::Step(stage)));
        Ok(())
    }

    /// The user namespace exists as long as there is a process in it: one that does nothing else.
    fn keep_namespace(&mut self) -> Result<(), BuildError> {
        if self.keeper.is_none() && !rustix::process::geteuid().is_root() {
            let keeper = Worker::start(self.store, Place::Inside, |_| {
                loop {
                    std::thread::park();
                }
            })?;
            self.keeper = Some(keeper);
        }
        Ok(())
    }

    /// Hears what a worker has said.
    pub fn hear(&mut self, index: usize) -> Result<(), BuildError> {
        for frame in self.tasks[index].worker.hear()? {
            let vertex = self.tasks[index].vertex;
            match frame {
                Frame::Output(stream, bytes) => {
                    self.tasks[index].remember(&bytes);
                    self.emit(Event::Output { vertex, stream, bytes });
                }
                Frame::Progress(told) => {
                    self.emit(Event::Progress { vertex, name: told.name, done: told.done, total: told.total });
                }
                Frame::Warning(text) => self.emit(Event::Warning { text, rule: None, lines: None }),
                Frame::Done(done) => {
                    let task = self.tasks.remove(index);
                    return self.take(task, *done);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, task: Task, done: Result<Report, Failure>) -> Result<(), BuildError> {
        let Task { vertex, lines, purpose, mut output, .. } = task;
        let mut report = match done {
            Ok(report) => report,
            Err(failure) => {
                self.end(vertex, Ended::Failed(failure.message.clone()));
                let excess = output.len().saturating_sub(OUTPUT_KEPT);
                output.drain(..excess);
                return Err(BuildError::Step {
                    lines,
                    name: self.vertices[vertex].name.clone(),
                    message: failure.message,
                    output,
                    exit_code: failure.exit_code,
                });
            }
        };
        match purpose {
            Purpose::Step(stage) => match (report.away.take(), report.missed) {
                (Some(entry), _) => self.bring(stage, entry, lines)?,
                (None, Some(key)) => self.forget(stage, key)?,
                (None, None) => self.take_step(stage, &report)?,
            },
            Purpose::Cache => self.take_cache(vertex, report.entries),
            Purpose::Squash(stage) => {
                self.take_squashed(stage, &report);
                self.end(vertex, Ended::Made);
            }
            Purpose::Image(key) => {
                self.take_image(&key, report.image)?;
                self.end(vertex, Ended::Made);
            }
        }
        Ok(())
    }
}
