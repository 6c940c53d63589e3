//! `--progress rawjson`: BuildKit's `SolveStatus`, one JSON document a line.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Display;
use crate::build::event::{Ended, Event, VertexId};
use crate::spec::digest::Digest;

/// Writes documents.
pub struct Raw<W> {
    out: W,
    vertices: BTreeMap<VertexId, Vertex>,
}

struct Vertex {
    digest: Digest,
    inputs: Vec<VertexId>,
    name: String,
    started: Option<Timestamp>,
}

impl<W: Write> Raw<W> {
    /// Writes to `out`; that nobody reads it must not end the build.
    pub fn new(out: W) -> Self {
        Self { out, vertices: BTreeMap::new() }
    }

    fn write(&mut self, document: &Value) {
        let _ = self.out.write_all(format!("{document}\n").as_bytes());
    }

    fn digest(&self, id: VertexId) -> String {
        self.vertices.get(&id).map(|vertex| vertex.digest.to_string()).unwrap_or_default()
    }

    fn vertex(&mut self, id: VertexId, completed: Option<&Ended>) {
        let Some(vertex) = self.vertices.get(&id) else { return };
        let mut document = json!({"digest": vertex.digest.to_string(), "name": vertex.name});
        let inputs: Vec<String> = vertex.inputs.iter().map(|input| self.digest(*input)).collect();
        if !inputs.is_empty() {
            document["inputs"] = json!(inputs);
        }
        if let Some(started) = vertex.started {
            document["started"] = json!(started.to_string());
        }
        if let Some(outcome) = completed {
            document["completed"] = json!(Timestamp::now().to_string());
            match outcome {
                Ended::Made => {}
                Ended::Cached => document["cached"] = json!(true),
                Ended::Failed(why) => document["error"] = json!(why),
                Ended::Canceled => document["error"] = json!("context canceled"),
            }
        }
        self.write(&json!({"vertexes": [document]}));
    }
}

impl<W: Write> Display for Raw<W> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Declared { vertex, name, inputs } => {
                let digest = Digest::of(format!("{vertex} {name}").as_bytes());
                let made = Vertex { digest, inputs: inputs.clone(), name: name.clone(), started: None };
                self.vertices.insert(*vertex, made);
                self.vertex(*vertex, None);
            }
            Event::Started { vertex } => {
                if let Some(known) = self.vertices.get_mut(vertex) {
                    known.started = Some(Timestamp::now());
                }
                self.vertex(*vertex, None);
            }
            Event::Output { vertex, stream, bytes } => {
                let log = json!({
                    "vertex": self.digest(*vertex), "stream": stream, "data": STANDARD.encode(bytes),
                    "timestamp": Timestamp::now().to_string(),
                });
                self.write(&json!({"logs": [log]}));
            }
            Event::Progress { vertex, name, done, total } => {
                let mut status = json!({
                    "id": name, "vertex": self.digest(*vertex), "current": done, "timestamp": Timestamp::now().to_string(),
                });
                if let Some(total) = total {
                    status["total"] = json!(total);
                }
                self.write(&json!({"statuses": [status]}));
            }
            Event::Done { vertex, outcome, .. } => self.vertex(*vertex, Some(outcome)),
            Event::Warning { text, rule, lines } => {
                let short = match rule {
                    Some(rule) => format!("{rule}: {text}"),
                    None => text.clone(),
                };
                let mut warning = json!({"level": 1, "short": STANDARD.encode(short)});
                if let Some((first, last)) = lines {
                    warning["range"] = json!([{"start": {"line": first}, "end": {"line": last}}]);
                }
                self.write(&json!({"warnings": [warning]}));
            }
            Event::Layer { .. } | Event::Tick => {}
        }
    }

    fn end(&mut self) {}
}
