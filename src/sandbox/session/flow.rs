//! What flows between a process, its log and its watchers.

use rustix::io::Errno;

use super::Session;
use crate::sandbox::log::Stream;
use crate::sandbox::message::{HEADER, Kind, header, wish};

impl Session {
    /// Reads once from the process and passes it on; whether there was anything.
    pub(super) fn read_stream(&mut self, stream: Stream, terminal: bool) -> bool {
        let slot = match (terminal, stream) {
            (true, _) => &mut self.streams.terminal,
            (false, Stream::Stdout) => &mut self.streams.stdout,
            (false, Stream::Stderr) => &mut self.streams.stderr,
        };
        let Some(descriptor) = slot else { return false };
        match rustix::io::read(descriptor, &mut self.chunk[HEADER..]) {
            Ok(count) if count > 0 => {
                if self.exit.is_some() {
                    self.leftover = self.leftover.saturating_sub(count);
                }
                let kind = if stream == Stream::Stdout { Kind::Stdout } else { Kind::Stderr };
                self.chunk[..HEADER].copy_from_slice(&header(kind, count));
                let frame = &self.chunk[..HEADER + count];
                // The log first: what somebody has seen must be in it.
                if let Some(log) = &mut self.log {
                    log.write(stream, &frame[HEADER..]);
                }
                for viewer in &mut self.viewers {
                    viewer.show(stream, frame, count);
                }
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            _ => {
                *slot = None;
                false
            }
        }
    }

    /// The log's receiver takes more, or should be looked after.
    pub(super) fn tend_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.tend();
        }
    }

    /// The process takes input again, or has closed its end for good.
    pub(super) fn serve_stdin(&mut self) {
        if self.stdin.is_empty() {
            self.close_stdin();
        } else {
            self.write_stdin();
        }
    }

    pub(super) fn write_stdin(&mut self) {
        let descriptor = match (&self.streams.terminal, &self.streams.stdin) {
            (Some(terminal), _) => terminal,
            (None, Some(stdin)) => stdin,
            (None, None) => return self.stdin.clear(),
        };
        match rustix::io::write(descriptor, self.stdin.rest()) {
            Ok(count) => self.stdin.consume(count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.stdin.clear();
                self.close_stdin();
            }
        }
        if self.stdin.is_empty() && self.stdin_ended {
            self.close_stdin();
        }
    }

    /// A client has no more input. That is the process's end of input, too, if its stdin was made for
    /// the client that started it (docker's StdinOnce).
    pub(super) fn end_stdin(&mut self) {
        if self.streams.terminal.is_none() && !self.streams.keep_stdin {
            self.stdin_ended = true;
            if self.stdin.is_empty() {
                self.close_stdin();
            }
        }
    }

    /// Lets go of the process's stdin, and so do all who write to it.
    pub(super) fn close_stdin(&mut self) {
        if self.streams.stdin.take().is_some() {
            for viewer in self.viewers.iter_mut().filter(|viewer| viewer.wishes & wish::STDIN != 0) {
                viewer.tell(Kind::StdinEnd, &[]);
            }
        }
    }

    /// The size of the client that came or changed last holds. `fresh`: it just came and has seen
    /// nothing yet.
    pub(super) fn resize(&mut self, size: (u16, u16), fresh: bool) {
        // A terminal that does not know its size.
        if size == (0, 0) {
            return;
        }
        if fresh && self.streams.has_size(size) {
            return self.redraw();
        }
        self.nudge = None;
        self.streams.resize(Some(size));
        if self.streams.terminal.is_some() {
            self.record("resize", &[("height", size.0.to_string()), ("width", size.1.to_string())]);
        }
    }

    pub(super) fn redraw(&mut self) {
        if self.nudge.is_none() {
            self.nudge = self.streams.nudge();
        }
    }
}
