//! The invocation's own terminal.

use std::io;
use std::sync::OnceLock;

use nix::sys::signal::{SigSet, Signal as NixSignal};
use rustix::process::{Signal, getpgrp, getpid, kill_process};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};

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
        if ORIGINAL.set(original.clone()).is_ok() {
            let default_hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                default_hook(info);
            }));
        }
        tcsetattr(stdin, OptionalActions::Now, &raw(&original))?;
        Ok(Some(Self(())))
    }

    /// Gives the terminal back for a moment: to another program, or for text of our own.
    pub fn leave(&self) {
        restore();
    }

    /// Enters raw mode again, unless another job has the terminal now.
    pub fn enter_again(&self) {
        if let Some(original) = ORIGINAL.get()
            && is_ours()
        {
            // A terminal that is gone shows at the next read.
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw(original));
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn raw(original: &Termios) -> Termios {
    let mut raw = original.clone();
    raw.make_raw();
    raw
}

fn restore() {
    if let Some(original) = ORIGINAL.get()
        && is_ours()
    {
        // The terminal may be gone; then there is nothing to restore.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, original);
    }
}

/// Whether this job is in the foreground. From the background the terminal must not be touched: its
/// settings are another's, and the kernel would stop us. Without job control it is ours.
pub fn is_ours() -> bool {
    tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|group| group == getpgrp()) || !has_job_control()
}

fn has_job_control() -> bool {
    tcgetpgrp(rustix::stdio::stdin()).is_ok()
}

/// Stops this process as SIGTSTP does by default, which its mask kept it from; returns when it is
/// continued, or at once where stopping has no sense (nobody could continue an orphaned job).
pub fn stop_self() -> io::Result<()> {
    let mut mask = SigSet::empty();
    mask.add(NixSignal::SIGTSTP);
    mask.thread_unblock()?;
    let stopped = kill_process(getpid(), Signal::TSTP);
    mask.thread_block()?;
    Ok(stopped?)
}

/// Rows and columns of the terminal on stdout, stdin or stderr.
pub fn size() -> Option<(u16, u16)> {
    let streams = [rustix::stdio::stdout(), rustix::stdio::stdin(), rustix::stdio::stderr()];
    let size = streams.into_iter().find_map(|stream| tcgetwinsize(stream).ok())?;
    Some((size.ws_row, size.ws_col))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    #[test]
    #[ignore = "run by a_panic_restores_the_terminal"]
    fn panics_in_raw_mode() {
        let _raw = RawMode::enter().unwrap().expect("a terminal");
        assert_eq!(tcgetattr(rustix::stdio::stdin()).unwrap().local_modes.bits() & 2, 0, "ICANON is off");
        println!("raw");
        panic!("on purpose");
    }

    #[test]
    fn a_panic_restores_the_terminal() {
        let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&outer).and_then(|()| unlockpt(&outer)).unwrap();
        let name = ptsname(&outer, Vec::new()).unwrap().into_string().unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let inner = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();
        let before = tcgetattr(&inner).unwrap();
        let mut child = crate::testing::alone(module_path!(), "panics_in_raw_mode");
        let output = child.stdin(inner.try_clone().unwrap()).output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("raw\n"), "{output:?}");
        let after = tcgetattr(&inner).unwrap();
        assert_eq!(
            (after.input_modes, after.output_modes, after.control_modes, after.local_modes),
            (before.input_modes, before.output_modes, before.control_modes, before.local_modes)
        );
    }
}
