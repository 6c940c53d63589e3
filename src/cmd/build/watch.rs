//! The display of a build for the whole command: it also shows what is done after the build, and keeps remarks.

use std::time::Instant;

use anyhow::Result;

use super::progress::{self, Display, Mode};
use crate::build::event::{Ended, Event};
use crate::spec::dockerfile::ast::Warning;

/// Shows events and counts their vertices.
pub struct Watch {
    display: Box<dyn Display>,
    /// How many there were so far, of this build and those before it.
    vertices: usize,
    /// How many were of builds before this one.
    before: usize,
    warnings: Vec<Event>,
    ended: bool,
}

impl Watch {
    /// For this invocation's standard error.
    pub fn new(mode: Mode) -> Self {
        Self { display: progress::display(mode), vertices: 0, before: 0, warnings: Vec::new(), ended: false }
    }

    /// A build follows, whose vertices begin with 0 again.
    pub fn begin(&mut self) {
        self.before = self.vertices;
    }

    /// Shows what happened.
    pub fn take(&mut self, mut event: Event) {
        match &mut event {
            Event::Declared { vertex, inputs, .. } => {
                *vertex += self.before;
                inputs.iter_mut().for_each(|input| *input += self.before);
                self.vertices = self.vertices.max(*vertex + 1);
            }
            Event::Started { vertex }
            | Event::Output { vertex, .. }
            | Event::Progress { vertex, .. }
            | Event::Done { vertex, .. }
            | Event::Layer { vertex, .. } => *vertex += self.before,
            Event::Warning { .. } => {
                if self.warnings.contains(&event) {
                    return;
                }
                self.warnings.push(event.clone());
            }
            Event::Tick => {}
        }
        self.display.event(&event);
    }

    /// Shows a remark of the linter's.
    pub fn warn(&mut self, warning: Warning) {
        let lines = Some((warning.lines.first, warning.lines.last));
        self.take(Event::Warning { text: warning.message, rule: Some(warning.rule), lines });
    }

    /// Shows something that the command does itself: its name, and parts of it with how far they are.
    pub fn during<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut dyn FnMut(&str, u64, u64)) -> Result<T>,
    ) -> Result<T> {
        self.begin();
        let begun = Instant::now();
        self.take(Event::Declared { vertex: 0, name: name.to_owned(), inputs: Vec::new() });
        self.take(Event::Started { vertex: 0 });
        let done = work(&mut |part, done, total| {
            self.take(Event::Progress { vertex: 0, name: part.to_owned(), done, total: Some(total) });
        });
        let outcome = match &done {
            Ok(_) => Ended::Made,
            Err(error) => Ended::Failed(format!("{error:#}")),
        };
        self.take(Event::Done { vertex: 0, outcome, elapsed: begun.elapsed() });
        done
    }

    /// Ends the display: what follows is not its own. Gives the remarks.
    pub fn end(&mut self) -> Vec<Event> {
        if !std::mem::replace(&mut self.ended, true) {
            self.display.end();
        }
        std::mem::take(&mut self.warnings)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}
