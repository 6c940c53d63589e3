//! The invocation's own terminal.

use std::io;
use std::sync::OnceLock;

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// What the terminal was like before raw mode; for the panic hook too.
static ORIGINAL: OnceLock<Termios> = OnceLock::new();

/// Raw mode of stdin's terminal, undone on drop and on panic.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Enters raw mode; None when stdin is no terminal.
    pub fn enter() -> io::Result<Option<Self>> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Ok(None);
        }
        let original = tcgetattr(stdin)?;
        let mut raw = original.clone();
        raw.make_raw();
        let _ = ORIGINAL.set(original);
        let default_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            default_hook(info);
        }));
        tcsetattr(stdin, OptionalActions::Now, &raw)?;
        Ok(Some(Self(())))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(original) = ORIGINAL.get() {
        // The terminal may be gone; then there is nothing to restore.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, original);
    }
}

/// Rows and columns of the terminal on stdout, stdin or stderr.
pub fn size() -> Option<(u16, u16)> {
    let streams = [rustix::stdio::stdout(), rustix::stdio::stdin(), rustix::stdio::stderr()];
    let size = streams.into_iter().find_map(|stream| tcgetwinsize(stream).ok())?;
    Some((size.ws_row, size.ws_col))
}
