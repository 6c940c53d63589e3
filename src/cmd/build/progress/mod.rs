//! How a build shows itself, as BuildKit does: lines for logs and pipes, a table that is drawn anew for
//! somebody who watches, JSON for programs.

mod lines;
mod plain;
mod raw;
#[cfg(test)]
mod tests;
mod tty;

pub use lines::text as shown;

use std::io;
use std::str::FromStr;

use crate::build::event::Event;
use crate::cmd::progress::is_watched;

/// `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A table on a terminal, else lines.
    #[default]
    Auto,
    Plain,
    Tty,
    Quiet,
    RawJson,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "auto" => Self::Auto,
            "plain" => Self::Plain,
            "tty" => Self::Tty,
            "quiet" => Self::Quiet,
            "rawjson" => Self::RawJson,
            _ => return Err(format!("invalid progress mode {text:?}: it is auto, plain, tty, quiet or rawjson")),
        })
    }
}

/// What shows a build.
pub trait Display {
    /// Takes what happened.
    fn event(&mut self, event: &Event);

    /// The build is over; what follows on the terminal is not ours.
    fn end(&mut self);
}

/// The display for this invocation, on stderr. A table was asked for where none can be drawn: lines.
pub fn display(mode: Mode) -> Box<dyn Display> {
    match mode {
        Mode::Quiet => Box::new(Silent),
        Mode::RawJson => Box::new(raw::Raw::new(io::stderr())),
        Mode::Auto | Mode::Tty if is_watched() => Box::new(tty::Table::new()),
        Mode::Auto | Mode::Tty | Mode::Plain => Box::new(plain::Plain::new(io::stderr())),
    }
}

struct Silent;

impl Display for Silent {
    fn event(&mut self, _: &Event) {}
    fn end(&mut self) {}
}
