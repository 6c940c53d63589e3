//! How a push shows itself: docker's lines, or a bar a layer for somebody who watches.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::cmd::progress::{LayerBars, advance, finish, is_watched, retry_line, seconds, show};
use crate::spec::digest::Digest;
use crate::store::push::{CopyProgress, LayerState, Progress};

/// The display for this invocation.
pub fn display(quiet: bool) -> Box<dyn Progress> {
    match quiet {
        true => Box::new(Silent),
        false if is_watched() && io::stdout().is_terminal() => Box::new(LayerBars::new()),
        false => Box::new(Lines::new(io::stdout())),
    }
}

struct Silent;

impl Progress for Silent {
    fn layers(&mut self, _: &[Digest]) {}
    fn layer(&mut self, _: usize, _: &LayerState) {}
    fn retrying(&mut self, _: Duration, _: &str) {}
}

/// One line for each change of state, none for the way between.
struct Lines<W> {
    out: W,
    names: Vec<String>,
    /// What came of the layers, each said once.
    ended: Vec<bool>,
    /// The push is repeated: it was said that layers wait.
    again: bool,
}

impl<W> Lines<W> {
    fn new(out: W) -> Self {
        Self { out, names: Vec::new(), ended: Vec::new(), again: false }
    }
}

impl<W: Write> Progress for Lines<W> {
    fn layers(&mut self, layers: &[Digest]) {
        self.again = !self.names.is_empty();
        self.names = layers.iter().map(Digest::short).collect();
        self.ended.resize(layers.len(), false);
    }

    // That nobody reads it must not end the push.
    fn layer(&mut self, index: usize, state: &LayerState) {
        match state {
            LayerState::Pushing { .. } | LayerState::Compressing { .. } => return,
            LayerState::Preparing | LayerState::Waiting if self.again => return,
            LayerState::Pushed | LayerState::AlreadyExists | LayerState::Mounted(_)
                if self.ended.get_mut(index).is_some_and(|ended| std::mem::replace(ended, true)) =>
            {
                return;
            }
            _ => {}
        }
        let name = self.names.get(index).map_or("", String::as_str);
        let _ = writeln!(self.out, "{name}: {}", words(state));
    }

    fn retrying(&mut self, pause: Duration, reason: &str) {
        let _ = writeln!(self.out, "{}", retry_line(pause, reason));
    }
}

impl Progress for LayerBars {
    fn layers(&mut self, layers: &[Digest]) {
        if self.get(0).is_none() {
            self.begin(layers);
        }
    }

    fn layer(&mut self, index: usize, state: &LayerState) {
        let Some(bar) = self.get(index) else { return };
        match state {
            LayerState::Pushing { current, total } | LayerState::Compressing { current, total } => {
                advance(bar, words(state), *current, *total);
            }
            LayerState::Pushed | LayerState::AlreadyExists | LayerState::Mounted(_) => finish(bar, words(state)),
            _ => show(bar, words(state)),
        }
    }

    fn retrying(&mut self, pause: Duration, reason: &str) {
        self.line(&retry_line(pause, reason));
    }
}

/// Docker's words, and one for what docker does unseen.
fn words(state: &LayerState) -> String {
    let fixed = match state {
        LayerState::Preparing => "Preparing",
        LayerState::Waiting => "Waiting",
        LayerState::Compressing { .. } => "Compressing",
        LayerState::Pushing { .. } => "Pushing",
        LayerState::Pushed => "Pushed",
        LayerState::AlreadyExists => "Layer already exists",
        LayerState::Mounted(from) => return format!("Mounted from {from}"),
        LayerState::Retrying { pause } => return format!("Retrying in {}", seconds(*pause)),
    };
    fixed.to_owned()
}

/// Tells on stderr what of a list was sent: its digest alone is the output.
pub struct ListLines {
    quiet: bool,
    /// Of which it was said.
    said: BTreeSet<Digest>,
}

impl ListLines {
    /// Says nothing if `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, said: BTreeSet::new() }
    }

    fn line(&self, line: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}

impl CopyProgress for ListLines {
    fn manifest(&mut self, digest: Digest, sent: bool) {
        if !self.said.insert(digest) {
            return;
        }
        self.line(&format!("{}: {}", digest.short(), if sent { "Pushed" } else { "Manifest already exists" }));
    }

    fn retrying(&mut self, pause: Duration, reason: &str) {
        self.line(&retry_line(pause, reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_dockers() {
        let mut lines = Lines::new(Vec::new());
        let layers = [Digest::of(b"a"), Digest::of(b"b")];
        lines.layers(&layers);
        for (index, state) in [
            (0, LayerState::Preparing),
            (1, LayerState::Waiting),
            (1, LayerState::Pushing { current: 1, total: 2 }),
            (1, LayerState::Retrying { pause: Duration::from_secs(1) }),
            (1, LayerState::Pushed),
        ] {
            lines.layer(index, &state);
        }
        // Something was fetched, and it begins anew.
        lines.layers(&layers);
        for (index, state) in [
            (0, LayerState::Preparing),
            (1, LayerState::Waiting),
            (1, LayerState::AlreadyExists),
            (0, LayerState::Mounted("a/b".to_owned())),
        ] {
            lines.layer(index, &state);
        }
        let (a, b) = (layers[0].short(), layers[1].short());
        let expected = format!(
            "{a}: Preparing\n{b}: Waiting\n{b}: Retrying in 1 second\n{b}: Pushed\n\
             {a}: Mounted from a/b\n"
        );
        assert_eq!(String::from_utf8(lines.out).unwrap(), expected);
    }
}
