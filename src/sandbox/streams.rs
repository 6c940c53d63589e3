//! A supervisor's ends of its process's standard streams.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

/// How long a terminal has another size so that programs notice: longer than one takes to look.
const NUDGE: Duration = Duration::from_millis(60);

/// The process's side of its standard streams.
#[derive(Debug, Default)]
pub struct Streams {
    /// The terminal's controller, for all three streams.
    pub terminal: Option<OwnedFd>,
    /// The terminal's user side, held so that the controller never reports an error while nobody
    /// inside has it open.
    pub terminal_user: Option<OwnedFd>,
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// The end of a client's stdin is not the end of the process's.
    pub keep_stdin: bool,
}

/// A terminal that has a wrong size for a moment.
#[derive(Debug)]
pub struct Nudge {
    /// When it gets the right one again.
    pub until: Instant,
    size: Winsize,
}

impl Streams {
    /// Gives the terminal, if there is one, its rows and columns. One that is gone has no size.
    pub fn resize(&self, size: Option<(u16, u16)>) {
        if let (Some(terminal), Some((ws_row, ws_col))) = (&self.terminal, size) {
            let _ = tcsetwinsize(terminal, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 });
        }
    }

    /// Whether the terminal has this size already, so that setting it would go unnoticed.
    pub fn has_size(&self, (rows, columns): (u16, u16)) -> bool {
        let size = self.terminal.as_ref().and_then(|terminal| tcgetwinsize(terminal).ok());
        size.is_some_and(|size| (size.ws_row, size.ws_col) == (rows, columns))
    }

    /// Makes full-screen programs and line editors draw everything anew, as docker does for who
    /// attaches: the size changes, and some time later changes back. A row less at first, because what
    /// is drawn meanwhile must fit.
    pub fn nudge(&self) -> Option<Nudge> {
        let terminal = self.terminal.as_ref()?;
        let size = tcgetwinsize(terminal).ok().filter(|size| size.ws_row > 0)?;
        let ws_row = if size.ws_row > 1 { size.ws_row - 1 } else { 2 };
        tcsetwinsize(terminal, Winsize { ws_row, ..size }).ok()?;
        Some(Nudge { until: Instant::now() + NUDGE, size })
    }

    /// Ends a nudge.
    pub fn settle(&self, nudge: &Nudge) {
        if let Some(terminal) = &self.terminal {
            let _ = tcsetwinsize(terminal, nudge.size);
        }
    }
}
