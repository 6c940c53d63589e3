//! `--progress plain`: one line for each thing that happens, numbered by step.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use super::Display;
use super::lines::Lines;
use crate::build::event::{Ended, Event, VertexId};
use crate::cmd::format::human;
use crate::cmd::format::text::clean_line;

/// How long another step's lines wait for the end of the one that is shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes the lines of one step after the other where that can be had without waiting long.
pub struct Plain<W> {
    out: W,
    vertices: BTreeMap<VertexId, Vertex>,
    /// The numbers given so far.
    count: usize,
    /// Whose lines are shown, and since when.
    current: Option<(VertexId, Instant)>,
}

#[derive(Default)]
struct Vertex {
    name: String,
    /// Once it was shown.
    number: Option<usize>,
    started: Option<Instant>,
    ended: bool,
    streams: [Lines; 2],
    /// Lines that were not written yet.
    waiting: Vec<String>,
}

impl<W: Write> Plain<W> {
    /// Writes to `out`; that nobody reads it must not end the build.
    pub fn new(out: W) -> Self {
        Self { out, vertices: BTreeMap::new(), count: 0, current: None }
    }

    fn add(&mut self, id: VertexId, line: String) {
        self.vertices.entry(id).or_default().waiting.push(clean_line(&line).into_owned());
    }

    /// Writes what waits: all of the current step, then of others once it has ended or they waited too long.
    fn flush(&mut self, all: bool) {
        loop {
            if let Some((id, since)) = self.current {
                self.write(id);
                let ended = self.vertices.get(&id).is_none_or(|vertex| vertex.ended);
                if !ended && !all && since.elapsed() < PATIENCE {
                    return;
                }
                if ended {
                    self.current = None;
                }
            }
            // What has ended is whole; else who began first.
            let waits = |vertex: &Vertex| !vertex.waiting.is_empty();
            let next = self
                .vertices
                .iter()
                .filter(|(_, vertex)| waits(vertex))
                .min_by_key(|(id, vertex)| (!vertex.ended, **id));
            let Some(next) = next.map(|(id, _)| *id) else { return };
            self.current = Some((next, Instant::now()));
            self.head(next);
        }
    }

    /// The line that says whose lines follow.
    fn head(&mut self, id: VertexId) {
        let Some(vertex) = self.vertices.get_mut(&id) else { return };
        let number = *vertex.number.get_or_insert_with(|| {
            self.count += 1;
            self.count
        });
        let name = clean_line(&vertex.name);
        let _ = writeln!(self.out, "{}#{number} {name}", if number == 1 && self.count == 1 { "" } else { "\n" });
    }

    fn write(&mut self, id: VertexId) {
        let Some(vertex) = self.vertices.get_mut(&id) else { return };
        let number = vertex.number.unwrap_or_default();
        let text: String = vertex.waiting.drain(..).map(|line| format!("#{number} {line}\n")).collect();
        // In one piece: others may write there too.
        let _ = self.out.write_all(text.as_bytes());
    }

    fn output(&mut self, id: VertexId, stream: u8, bytes: &[u8]) {
        let vertex = self.vertices.entry(id).or_default();
        let lines = vertex.streams[usize::from(stream == 2)].take(bytes);
        let at = vertex.started.map(|at| at.elapsed().as_secs_f64()).unwrap_or_default();
        lines.into_iter().for_each(|line| self.add(id, format!("{at:.3} {line}")));
    }

    fn done(&mut self, id: VertexId, outcome: &Ended, elapsed: Duration) {
        let rest: Vec<String> =
            self.vertices.entry(id).or_default().streams.iter_mut().filter_map(Lines::end).collect();
        rest.into_iter().for_each(|line| self.add(id, format!("{:.3} {line}", elapsed.as_secs_f64())));
        let line = match outcome {
            Ended::Made => format!("DONE {:.1}s", elapsed.as_secs_f64()),
            Ended::Cached => "CACHED".to_owned(),
            Ended::Failed(why) => format!("ERROR: {why}"),
            Ended::Canceled => "CANCELED".to_owned(),
        };
        self.add(id, line);
        self.vertices.entry(id).or_default().ended = true;
    }
}

impl<W: Write> Display for Plain<W> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Declared { vertex, name, .. } => self.vertices.entry(*vertex).or_default().name.clone_from(name),
            Event::Started { vertex } => self.vertices.entry(*vertex).or_default().started = Some(Instant::now()),
            Event::Output { vertex, stream, bytes } => self.output(*vertex, *stream, bytes),
            Event::Progress { vertex, name, done, total } if total.is_none_or(|total| *done >= total) => {
                // Of some parts only the end counts.
                let size = if *done > 1 { format!(" {}", human::decimal_size(*done, 4)) } else { String::new() };
                self.add(*vertex, format!("{}{size} done", clean_line(name)));
            }
            Event::Done { vertex, outcome, elapsed } => self.done(*vertex, outcome, *elapsed),
            Event::Progress { .. } | Event::Warning { .. } | Event::Layer { .. } | Event::Tick => {}
        }
        self.flush(false);
    }

    fn end(&mut self) {
        self.flush(true);
    }
}
