//! What was done before, here or elsewhere, and the fetching of what is elsewhere.

use std::rc::Rc;

use super::BuildError;
use super::engine::Engine;
use super::tasks::{Purpose, Task};
use crate::build::cache::elsewhere::Entry;
use crate::build::cache::{Key, Known, Lookup, Records};
use crate::build::event::{Ended, VertexId};
use crate::build::step::worker::{Place, Report, Worker};
use crate::spec::digest::Digest;
use crate::spec::dockerfile::ast::Lines;

impl Engine<'_> {
    /// What a stage's steps may be taken from.
    pub fn known(&self, stage: usize) -> Known {
        Known { anew: self.is_anew(stage), elsewhere: Rc::clone(&self.elsewhere) }
    }

    /// Starts to read what caches elsewhere know. One that cannot be read is no cache.
    pub fn ask_caches(&mut self) -> Result<(), BuildError> {
        for place in self.request.cache_from.clone() {
            let vertex = self.declare(format!("importing cache manifest from {place}"), Vec::new());
            self.start(vertex);
            let host = &mut self.host;
            let worker = Worker::start(self.store, Place::Here, |teller| {
                let entries = host.read_cache(&place).unwrap_or_else(|error| {
                    teller.warn(&format!("failed to import the cache from {place}: {error:#}"));
                    Vec::new()
                });
                Ok(Report { entries, ..Report::default() })
            })?;
            self.tasks.push(Task::new(worker, vertex, Lines::default(), Purpose::Cache));
        }
        Ok(())
    }

    /// Takes what a cache elsewhere knows. The first one that knows a step counts.
    pub fn take_cache(&mut self, vertex: VertexId, entries: Vec<Entry>) {
        let known = Rc::make_mut(&mut self.elsewhere);
        for entry in entries {
            known.entry(entry.record.key).or_insert(entry);
        }
        self.end(vertex, Ended::Made);
    }

    /// Takes the next step of a stage from what was done before; false when its layer has to be waited for. None if
    /// the step has to be done.
    pub fn recorded(
        &mut self,
        stage: usize,
        key: Key,
        known: &Known,
        lines: Lines,
    ) -> Result<Option<bool>, BuildError> {
        match known.find(self.store, key, &self.stages[stage].below)? {
            Lookup::Nothing => Ok(None),
            Lookup::Away(entry) if self.has_room() => self.bring(stage, entry, lines).map(|()| Some(false)),
            Lookup::Away(_) => Ok(Some(false)),
            Lookup::Here(record) => {
                self.lease.add(&record.digests())?;
                // It may have been collected before that.
                if record.layer.is_some_and(|layer| !self.store.layers().contains(layer.chain_id)) {
                    return Ok(None);
                }
                self.take_step(stage, &record.report(true)).map(|()| Some(true))
            }
        }
    }

    /// Has the layer of a stage's next step brought here.
    pub fn bring(&mut self, stage: usize, entry: Entry, lines: Lines) -> Result<(), BuildError> {
        let (store, below) = (self.store, self.stages[stage].below.diff_ids.clone());
        self.employ(stage, lines, Place::Here, move |host, lease, teller| {
            let records = Records::of(store);
            let key = Key(entry.record.key);
            let _lock = records.lock(key)?;
            let brought = host.bring_layer(&entry, &below, lease, &mut |name, done, total| {
                teller.progress(name, done, total);
            });
            match brought {
                Ok(()) => {
                    records.write(&entry.record)?;
                    Ok(entry.record.report(true))
                }
                Err(error) => {
                    teller.warn(&format!("the layer of a cached step is not to be had: {error:#}"));
                    Ok(Report { missed: Some(key.0), ..Report::default() })
                }
            }
        })
    }

    /// A step is done again, as its layer is not to be had.
    pub fn forget(&mut self, stage: usize, key: Digest) -> Result<(), BuildError> {
        Rc::make_mut(&mut self.elsewhere).remove(&key);
        // A record here whose layer cannot be made of its blob.
        Records::of(self.store).remove(Key(key))?;
        self.stages[stage].working = false;
        Ok(())
    }
}
