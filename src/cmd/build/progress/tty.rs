//! The table of somebody who watches: a line a step with its time, and the last lines of what runs.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::time::{Duration, Instant};

use super::Display;
use super::lines::Lines;
use crate::build::event::{Ended, Event, VertexId};
use crate::cmd::format::human;
use crate::cmd::format::text::clean_line;

/// Nobody reads faster.
const PAUSE: Duration = Duration::from_millis(100);
/// How much of a running step's output is shown.
const TAIL: usize = 6;
/// Where the terminal does not say how large it is.
const SIZE: (usize, usize) = (24, 80);
const CLEAR_BELOW: &str = "\x1b[J";
const BLUE: &str = "\x1b[34m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// Draws the table anew, over the last one.
pub struct Table {
    board: Board,
    /// Rows of the last drawing.
    rows: usize,
    drawn: Option<Instant>,
    colours: bool,
}

impl Table {
    /// On stderr.
    pub fn new() -> Self {
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { board: Board::new(), rows: 0, drawn: None, colours }
    }

    fn draw(&mut self, last: bool) {
        let (height, width) = size();
        let rows = self.board.rows(width, if last { usize::MAX } else { height.saturating_sub(1) }, last);
        let up = if self.rows > 0 { format!("\x1b[{}A\r", self.rows) } else { String::new() };
        let mut text = up + CLEAR_BELOW;
        for row in &rows {
            let colour = if self.colours { row.colour() } else { "" };
            text.push_str(colour);
            text.push_str(&row.text);
            text.push_str(if colour.is_empty() { "" } else { PLAIN });
            text.push('\n');
        }
        self.rows = rows.len();
        self.drawn = Some(Instant::now());
        // In one piece, so that no half of it is seen.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

impl Display for Table {
    fn event(&mut self, event: &Event) {
        self.board.take(event);
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= PAUSE) {
            self.draw(false);
        }
    }

    fn end(&mut self) {
        self.board.finished = true;
        self.draw(true);
    }
}

fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(rustix::stdio::stderr()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => SIZE,
    }
}

/// What is known of the build.
pub(super) struct Board {
    begun: Instant,
    vertices: BTreeMap<VertexId, Vertex>,
    /// In the order in which they began.
    order: Vec<VertexId>,
    finished: bool,
}

#[derive(Default)]
struct Vertex {
    name: String,
    started: Option<Instant>,
    ended: Option<(Ended, Duration)>,
    transfers: Vec<Transfer>,
    streams: [Lines; 2],
    tail: VecDeque<String>,
}

/// Part of a step, such as the download of a layer.
struct Transfer {
    name: String,
    done: u64,
    total: Option<u64>,
    begun: Instant,
    took: Option<Duration>,
}

/// A row of the table.
pub(super) struct Row {
    pub text: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Good,
    Bad,
    Canceled,
}

impl Row {
    fn colour(&self) -> &'static str {
        match self.kind {
            Kind::Plain => "",
            Kind::Good => BLUE,
            Kind::Bad => RED,
            Kind::Canceled => YELLOW,
        }
    }
}

impl Board {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), vertices: BTreeMap::new(), order: Vec::new(), finished: false }
    }

    pub(super) fn take(&mut self, event: &Event) {
        match event {
            Event::Declared { vertex, name, .. } => self.vertices.entry(*vertex).or_default().name.clone_from(name),
            Event::Started { vertex } => {
                self.begin(*vertex).started = Some(Instant::now());
            }
            Event::Output { vertex, stream, bytes } => {
                let vertex = self.begin(*vertex);
                let lines = vertex.streams[usize::from(*stream == 2)].take(bytes);
                vertex.tail.extend(lines);
                let over = vertex.tail.len().saturating_sub(TAIL);
                vertex.tail.drain(..over);
            }
            Event::Progress { vertex, name, done, total } => self.begin(*vertex).transfer(name, *done, *total),
            Event::Done { vertex, outcome, elapsed } => {
                self.begin(*vertex).ended = Some((outcome.clone(), *elapsed));
            }
            Event::Warning { .. } | Event::Layer { .. } | Event::Tick => {}
        }
    }

    fn begin(&mut self, id: VertexId) -> &mut Vertex {
        if !self.order.contains(&id) {
            self.order.push(id);
        }
        self.vertices.entry(id).or_default()
    }

    /// The rows for a terminal of this size. What does not fit is left out from the top: what runs is last.
    pub(super) fn rows(&self, width: usize, height: usize, last: bool) -> Vec<Row> {
        let (running, ended): (Vec<&VertexId>, Vec<&VertexId>) =
            self.order.iter().partition(|id| self.vertices[*id].ended.is_none());
        let order: Vec<&VertexId> = if last { self.order.iter().collect() } else { [ended, running].concat() };
        let mut rows: Vec<Row> = order.iter().flat_map(|id| self.vertices[*id].rows(width)).collect();
        let over = (rows.len() + 1).saturating_sub(height);
        rows.drain(..over.min(rows.len()));
        rows.insert(0, self.head(width));
        rows
    }

    fn head(&self, width: usize) -> Row {
        let ended = self.vertices.values().filter(|vertex| vertex.ended.is_some()).count();
        let total = self.vertices.len();
        let failed = self.vertices.values().any(|vertex| matches!(vertex.ended, Some((Ended::Failed(_), _))));
        let finished = if self.finished { " FINISHED" } else { "" };
        let text = format!("[+] Building {} ({ended}/{total}){finished}", seconds(self.begun.elapsed()));
        let kind = match (self.finished, failed) {
            (true, false) => Kind::Good,
            (_, true) => Kind::Bad,
            _ => Kind::Plain,
        };
        Row { text: human::ellipsis(&text, width), kind }
    }
}

impl Vertex {
    fn transfer(&mut self, name: &str, done: u64, total: Option<u64>) {
        let known = self.transfers.iter().position(|transfer| transfer.name == name);
        let index = known.unwrap_or_else(|| {
            let begun = Instant::now();
            self.transfers.push(Transfer { name: name.to_owned(), done, total, begun, took: None });
            self.transfers.len() - 1
        });
        let transfer = &mut self.transfers[index];
        (transfer.done, transfer.total) = (done, total);
        if total.is_none_or(|total| done >= total) {
            transfer.took = transfer.took.or_else(|| Some(transfer.begun.elapsed()));
        }
    }

    fn rows(&self, width: usize) -> Vec<Row> {
        let elapsed = || self.started.map(|at| at.elapsed()).unwrap_or_default();
        let (mark, kind, time) = match &self.ended {
            None => ("", Kind::Plain, elapsed()),
            Some((Ended::Made, took)) => ("", Kind::Good, *took),
            Some((Ended::Cached, took)) => ("CACHED ", Kind::Good, *took),
            Some((Ended::Failed(_), took)) => ("ERROR ", Kind::Bad, *took),
            Some((Ended::Canceled, took)) => ("CANCELED ", Kind::Canceled, *took),
        };
        let mut rows = vec![Row { text: line(&format!(" => {mark}{}", self.name), &seconds(time), width), kind }];
        let shown = self.transfers.iter().filter(|transfer| self.ended.is_none() || transfer.total.is_some());
        rows.extend(shown.map(|transfer| transfer.row(width, kind)));
        if self.ended.is_none() {
            let tail = self.tail.iter().map(|text| format!(" => => # {}", clean_line(text)));
            rows.extend(tail.map(|text| Row { text: human::ellipsis(&text, width), kind: Kind::Plain }));
        }
        rows
    }
}

impl Transfer {
    fn row(&self, width: usize, kind: Kind) -> Row {
        let size = |bytes| human::decimal_size(bytes, 4);
        let bytes = match self.total {
            Some(total) => format!("{} / {}", size(self.done), size(total)),
            None => size(self.done),
        };
        let time = self.took.unwrap_or_else(|| self.begun.elapsed());
        Row { text: line(&format!(" => => {} {bytes}", self.name), &seconds(time), width), kind }
    }
}

/// Text on the left, time on the right.
fn line(text: &str, time: &str, width: usize) -> String {
    let text = clean_line(text);
    let room = width.saturating_sub(time.len() + 1);
    let text = human::ellipsis(&text, room);
    let gap = width.saturating_sub(human::width(&text) + time.len()).max(1);
    format!("{text}{}{time}", " ".repeat(gap))
}

fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}
