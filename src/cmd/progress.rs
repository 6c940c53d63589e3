//! How a pull shows itself: docker's lines, or a bar a layer for somebody who watches.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;
use crate::store::pull::{LayerState, Progress};

/// A bar's line without a bar.
const WORDS: &str = "{prefix}: {msg}";
/// A bar's line with one.
const BAR: &str = "{prefix}: {msg} [{bar:40}] {decimal_bytes}/{decimal_total_bytes}";

/// Shows nothing.
#[derive(Debug)]
pub struct Silent;

impl Progress for Silent {
    fn layers(&mut self, _: &ImageRef, _: &[Digest]) {}
    fn layer(&mut self, _: usize, _: LayerState) {}
    fn retrying(&mut self, _: Duration, _: &str) {}
    fn passed_over(&mut self, _: &str, _: &str) {}
}

/// One line for each change of state, none for the way between.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
    names: Vec<String>,
}

impl<W: Write> Lines<W> {
    /// Writes to `out`; that nobody reads it must not end the pull.
    pub fn new(out: W) -> Self {
        Self { out, names: Vec::new() }
    }
}

impl<W: Write> Progress for Lines<W> {
    fn layers(&mut self, reference: &ImageRef, layers: &[Digest]) {
        let _ = writeln!(self.out, "{}", headline(reference));
        self.names = layers.iter().map(Digest::short).collect();
    }

    fn layer(&mut self, index: usize, state: LayerState) {
        if matches!(state, LayerState::Downloading { .. } | LayerState::Extracting) {
            return;
        }
        let name = self.names.get(index).map_or("", String::as_str);
        let _ = writeln!(self.out, "{name}: {}", words(state));
    }

    fn retrying(&mut self, pause: Duration, reason: &str) {
        let _ = writeln!(self.out, "{}", retry_line(pause, reason));
    }

    fn passed_over(&mut self, mirror: &str, reason: &str) {
        let _ = writeln!(self.out, "{}", mirror_line(mirror, reason));
    }
}

/// Whether bars can be seen on stderr: a dumb terminal cannot draw a line anew.
pub fn is_watched() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|kind| kind != "dumb")
}

/// A bar for each layer, on stderr. Redrawn by the events themselves: no thread.
#[derive(Debug)]
pub struct LayerBars {
    screen: MultiProgress,
    bars: Vec<ProgressBar>,
}

impl LayerBars {
    /// None yet.
    pub fn new() -> Self {
        Self { screen: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), bars: Vec::new() }
    }

    /// Begins with these layers.
    pub fn begin(&mut self, layers: &[Digest]) {
        let bar = |digest: &Digest| {
            let bar = self.screen.add(ProgressBar::no_length());
            bar.set_style(style(WORDS));
            bar.set_prefix(digest.short());
            bar
        };
        self.bars = layers.iter().map(bar).collect();
    }

    /// The bar of a layer.
    pub fn get(&self, index: usize) -> Option<&ProgressBar> {
        self.bars.get(index)
    }

    /// A line above the bars.
    pub fn line(&self, line: &str) {
        let _ = self.screen.println(line);
    }
}

/// Draws a bar of `total` bytes, `current` of which are done.
pub fn advance(bar: &ProgressBar, words: String, current: u64, total: u64) {
    if bar.length() != Some(total) || bar.message() != words {
        bar.set_length(total);
        bar.set_style(style(BAR));
        bar.set_message(words);
    }
    bar.set_position(current);
}

/// Shows words in place of the bar, for good.
pub fn finish(bar: &ProgressBar, words: String) {
    bar.set_style(style(WORDS));
    bar.finish_with_message(words);
}

/// Shows words in place of the bar.
pub fn show(bar: &ProgressBar, words: String) {
    bar.unset_length();
    bar.set_style(style(WORDS));
    bar.set_message(words);
}

/// A headline, and a bar for each layer.
#[derive(Debug)]
pub struct Bars<W> {
    head: W,
    bars: LayerBars,
}

impl<W: Write> Bars<W> {
    /// Writes the headline to `head`, above the bars.
    pub fn new(head: W) -> Self {
        Self { head, bars: LayerBars::new() }
    }
}

impl<W: Write> Progress for Bars<W> {
    fn layers(&mut self, reference: &ImageRef, layers: &[Digest]) {
        let _ = writeln!(self.head, "{}", headline(reference)).and_then(|()| self.head.flush());
        self.bars.begin(layers);
    }

    fn layer(&mut self, index: usize, state: LayerState) {
        let Some(bar) = self.bars.get(index) else { return };
        match state {
            LayerState::Downloading { current, total } => advance(bar, words(state), current, total),
            LayerState::PullComplete | LayerState::AlreadyExists => finish(bar, words(state)),
            LayerState::Extracting => bar.set_message(words(state)),
            _ => show(bar, words(state)),
        }
    }

    fn retrying(&mut self, pause: Duration, reason: &str) {
        self.bars.line(&retry_line(pause, reason));
    }

    fn passed_over(&mut self, mirror: &str, reason: &str) {
        self.bars.line(&mirror_line(mirror, reason));
    }
}

/// A line without a bar.
pub fn plain_line() -> ProgressStyle {
    style(WORDS)
}

/// What is copied when nobody knows how much it will be: shown when it takes a while and somebody watches.
pub struct Copying {
    bar: Option<ProgressBar>,
    words: &'static str,
    begun: Instant,
    bytes: u64,
}

impl Copying {
    /// After this time there is something to see.
    const PATIENCE: Duration = Duration::from_millis(500);

    /// Shows nothing yet.
    pub fn new(words: &'static str) -> Self {
        Self { bar: None, words, begun: Instant::now(), bytes: 0 }
    }

    /// So many bytes more.
    pub fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bar.is_none() && self.begun.elapsed() > Self::PATIENCE && is_watched() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style("{prefix}: {decimal_bytes}"));
            bar.set_prefix(self.words);
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.bytes);
        }
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// One of the lines above as a style.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

fn headline(reference: &ImageRef) -> String {
    format!("{}: Pulling from {}", reference.manifest_key(), reference.path())
}

/// Why something is tried again, and when.
pub fn retry_line(pause: Duration, reason: &str) -> String {
    format!("{reason}: retrying in {}", seconds(pause))
}

fn mirror_line(mirror: &str, reason: &str) -> String {
    format!("mirror {mirror} passed over: {reason}")
}

/// Docker's words.
fn words(state: LayerState) -> String {
    let fixed = match state {
        LayerState::PullingFsLayer => "Pulling fs layer",
        LayerState::Waiting => "Waiting",
        LayerState::Downloading { .. } => "Downloading",
        LayerState::Verifying => "Verifying Checksum",
        LayerState::DownloadComplete => "Download complete",
        LayerState::Extracting => "Extracting",
        LayerState::PullComplete => "Pull complete",
        LayerState::AlreadyExists => "Already exists",
        LayerState::Retrying { pause } => return format!("Retrying in {}", seconds(pause)),
    };
    fixed.to_owned()
}

/// A pause in words.
pub fn seconds(pause: Duration) -> String {
    match pause.as_secs_f64().ceil() as u64 {
        1 => "1 second".to_owned(),
        more => format!("{more} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_dockers() {
        let mut lines = Lines::new(Vec::new());
        let layers = [Digest::of(b"a"), Digest::of(b"b")];
        lines.retrying(Duration::from_millis(1500), "cannot reach registry r: broken");
        lines.layers(&"busybox".parse().unwrap(), &layers);
        for (index, state) in [
            (0, LayerState::AlreadyExists),
            (1, LayerState::PullingFsLayer),
            (1, LayerState::Downloading { current: 1, total: 2 }),
            (1, LayerState::Retrying { pause: Duration::from_secs(1) }),
            (1, LayerState::Verifying),
            (1, LayerState::DownloadComplete),
            (1, LayerState::Extracting),
            (1, LayerState::PullComplete),
        ] {
            lines.layer(index, state);
        }
        let (a, b) = (layers[0].short(), layers[1].short());
        let expected = format!(
            "cannot reach registry r: broken: retrying in 2 seconds\nlatest: Pulling from library/busybox\n\
             {a}: Already exists\n{b}: Pulling fs layer\n{b}: Retrying in 1 second\n{b}: Verifying Checksum\n\
             {b}: Download complete\n{b}: Pull complete\n"
        );
        assert_eq!(String::from_utf8(lines.out).unwrap(), expected);
    }

    #[test]
    fn bars_take_any_order_of_events() {
        let mut bars = Bars {
            head: Vec::new(),
            bars: LayerBars { screen: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()), bars: Vec::new() },
        };
        bars.layer(0, LayerState::PullComplete);
        bars.layers(&"busybox".parse().unwrap(), &[Digest::of(b"a")]);
        for state in [
            LayerState::Waiting,
            LayerState::Downloading { current: 5, total: 10 },
            LayerState::Retrying { pause: Duration::from_secs(2) },
            LayerState::Downloading { current: 0, total: 10 },
            LayerState::Extracting,
            LayerState::PullComplete,
        ] {
            bars.layer(0, state);
            assert_eq!(bars.bars.bars[0].message(), words(state));
        }
        assert!(bars.bars.bars[0].is_finished());
    }
}
