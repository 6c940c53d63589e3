//! The sealed copy of rbox inside a container: a step on the way to the user's command, or the
//! reaping init of `--init`.

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, WaitOptions, wait};

use super::become_process::{c_path, exec_error, report_failure};
use crate::sys::process::{self, Fork};

/// argv[0] of a stage; no user types this name.
const NAME: &CStr = c"rbox-init";

/// What goes before the command's own arguments; the report channel is at `slot`.
pub fn arguments(as_init: bool, slot: i32, path: &CStr) -> Vec<CString> {
    let mode = if as_init { c"reap" } else { c"exec" };
    let slot = CString::new(slot.to_string()).unwrap_or_default();
    vec![NAME.to_owned(), mode.to_owned(), slot, path.to_owned()]
}

/// Puts descriptor `from` at number `slot`, close-on-exec.
pub fn place(from: i32, slot: i32) -> io::Result<()> {
    crate::sys::process::duplicate_to(from, slot, true)
}

/// Lets the channel survive one exec, or not.
pub fn keep_channel(slot: i32, keep: bool) -> io::Result<()> {
    let flags = if keep { FdFlags::empty() } else { FdFlags::CLOEXEC };
    crate::sys::process::set_descriptor_flags(slot, flags)
}

/// Whether this process is a stage.
pub fn is_stage() -> bool {
    std::env::args_os().next().is_some_and(|name| name.as_encoded_bytes() == NAME.to_bytes())
}

/// The stage's whole life.
pub fn main() -> ! {
    let arguments: Vec<CString> =
        std::env::args_os().skip(1).filter_map(|argument| CString::new(argument.into_vec()).ok()).collect();
    let [mode, slot, path, argv @ ..] = &arguments[..] else { process::exit_now(125) };
    let Some(slot) = slot.to_str().ok().and_then(|slot| slot.parse().ok()) else { process::exit_now(125) };
    let _ = keep_channel(slot, false);
    let command = Command { path, argv, slot, pid: std::process::id() };
    if mode.as_c_str() == c"reap" { reap(&command) } else { execute(&command) }
}

struct Command<'a> {
    path: &'a CStr,
    argv: &'a [CString],
    /// The report channel.
    slot: i32,
    /// Ours.
    pid: u32,
}

fn execute(command: &Command<'_>) -> ! {
    // The runtime of our own start ignores SIGPIPE again.
    process::reset_signals();
    let environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(key, value)| {
            // Inherited sockets are for the command, not for its init.
            let is_ours = key == "LISTEN_PID" && *value == *command.pid.to_string();
            let value = if is_ours { OsString::from(std::process::id().to_string()) } else { value };
            let entry: OsString = [key, OsString::from("="), value].into_iter().collect();
            CString::new(entry.into_vec()).ok()
        })
        .collect();
    let error = nix::unistd::execve(command.path, command.argv, &environment)
        .err()
        .map_or_else(|| io::ErrorKind::Other.into(), io::Error::from);
    let name = command.argv.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let failure = exec_error(&name, c_path(command.path), error);
    report_failure(command.slot, &failure);
    process::exit_now(i32::from(failure.code))
}

/// Runs the command as a child in the foreground, passes every signal on to it, reaps whatever is
/// orphaned, and ends with the command's own code.
fn reap(command: &Command<'_>) -> ! {
    let all = SigSet::all();
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None);
    let child = match process::fork() {
        Ok(Fork::Child) => {
            // A group of its own in the terminal's foreground, so that ctrl-c reaches it once.
            let _ = rustix::process::setpgid(None, None);
            let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid());
            execute(command)
        }
        Ok(Fork::Parent(child)) => child,
        Err(_) => process::exit_now(125),
    };
    // From here the supervisor waits for the child's exec only.
    let _ = process::close_from(0);
    loop {
        match all.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = reap_children(child) {
                    process::exit_now(code);
                }
            }
            Ok(signal) => {
                if let Some(signal) = rustix::process::Signal::from_named_raw(signal as i32) {
                    let _ = rustix::process::kill_process(child, signal);
                }
            }
            Err(_) => {}
        }
    }
}

/// Waits for whatever has ended; the exit code when the command is among them.
fn reap_children(command: Pid) -> Option<i32> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == command => {
                return Some(
                    status.exit_status().or_else(|| status.terminating_signal().map(|n| 128 + n)).unwrap_or(255),
                );
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}
