//! What a build tells while it goes on, for the progress display and for `--progress rawjson`.

use std::time::Duration;

use crate::spec::digest::Digest;

/// A line of the build's display: an instruction, a base image, a context, an export.
pub type VertexId = usize;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// There will be this: the name as BuildKit shows it, `[build 2/5] RUN make`, and what it needs.
    Declared {
        vertex: VertexId,
        name: String,
        inputs: Vec<VertexId>,
    },
    Started {
        vertex: VertexId,
    },
    /// Bytes of a RUN's output; stream 1 or 2.
    Output {
        vertex: VertexId,
        stream: u8,
        bytes: Vec<u8>,
    },
    /// Part of one, such as a layer's transfer: its name, how far, of how much.
    Progress {
        vertex: VertexId,
        name: String,
        done: u64,
        total: Option<u64>,
    },
    Done {
        vertex: VertexId,
        outcome: Ended,
        elapsed: Duration,
    },
    /// A remark, once.
    Warning {
        text: String,
        rule: Option<&'static str>,
        lines: Option<(usize, usize)>,
    },
    /// What a step made.
    Layer {
        vertex: VertexId,
        diff_id: Digest,
    },
    /// Time goes by: several a second, for displays that show it.
    Tick,
}

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Made,
    Cached,
    Failed(String),
    /// Another step failed, or somebody interrupted.
    Canceled,
}
