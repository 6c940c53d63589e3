//! How a process is made to end, how its end is noticed, and how its watchers hear of it.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal as NixSignal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitOptions, wait, waitid, waitpid};

use super::Session;
use crate::sandbox::message::Kind;
use crate::sandbox::viewer::{Role, Viewer};

/// How long an onlooker that does not read may delay the end of a supervisor.
const PARTING: Duration = Duration::from_secs(2);

/// How a process is made to end.
#[derive(Clone, Copy, Debug)]
pub struct StopRule {
    pub signal: Signal,
    /// None waits for ever.
    pub timeout: Option<Duration>,
    /// What the owning client's disappearance means: stop the process, or leave it alone.
    pub on_owner_lost: bool,
}

impl Session {
    /// Kills the process after this time.
    pub fn limit(&mut self, lifetime: Option<Duration>) {
        self.kill_at = lifetime.map(|lifetime| Instant::now() + lifetime);
    }

    /// Whether a client, or what `--health-on-failure` says, ended the process: no policy starts it again.
    pub fn was_end_wanted(&self) -> bool {
        self.end_wanted
    }

    /// Tells the clients the exit code and waits until they took everything or left; for onlookers,
    /// not long.
    pub fn finish(mut self, code: i32) {
        // Who knocks from here on finds nobody.
        self.door = None;
        self.tell(Kind::Exited, &code.to_le_bytes());
        let deadline = Instant::now() + PARTING;
        loop {
            let patient = Instant::now() < deadline;
            let waiting = |viewer: &Viewer| {
                let waits = viewer.role == Role::Owner || patient && viewer.role == Role::Onlooker;
                waits && viewer.unread() > 0 && !viewer.gone
            };
            self.viewers.retain(waiting);
            if self.viewers.is_empty() {
                return;
            }
            let mut descriptors: Vec<PollFd<'_>> =
                self.viewers.iter().map(|viewer| PollFd::new(&viewer.socket, PollFlags::OUT)).collect();
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
            let timeout = if self.viewers.iter().any(|viewer| viewer.role == Role::Onlooker) { left } else { None };
            match poll(&mut descriptors, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            for viewer in &mut self.viewers {
                viewer.flush();
            }
        }
    }

    pub(super) fn reap(&mut self) -> io::Result<()> {
        if self.exit.is_some() {
            return Ok(());
        }
        if let Some(status) = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?
        {
            let killed = status.terminating_signal().map(|signal| 128 + signal);
            self.exit = Some(status.exit_status().or(killed).unwrap_or(255));
        }
        Ok(())
    }

    pub(super) fn take_signals(&mut self) -> io::Result<()> {
        while let Some(signal) = self.signals.read_signal()? {
            if signal.ssi_signo == NixSignal::SIGCHLD as u32 {
                self.reap_others()?;
            } else {
                self.stop();
            }
        }
        Ok(())
    }

    /// As the first process of its pid namespace a supervisor inherits orphans.
    pub(super) fn reap_others(&mut self) -> io::Result<()> {
        self.reap()?;
        if let Some(helper) = self.helper
            && !matches!(waitpid(Some(helper), WaitOptions::NOHANG), Ok(None))
        {
            self.helper = None;
        }
        if let Some(links) = &mut self.links {
            links.reap();
        }
        if let Some(checks) = &mut self.checks {
            checks.reap();
        }
        if let Some(log) = &mut self.log {
            log.reap();
        }
        while self.exit.is_some() {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                _ => break,
            }
        }
        Ok(())
    }

    /// Sends the stop signal once and starts the clock for SIGKILL.
    pub(super) fn stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.send_signal(self.rule.signal);
            let patience = self.rule.timeout.map(|timeout| Instant::now() + timeout);
            self.kill_at = self.kill_at.into_iter().chain(patience).min();
        }
    }

    pub(super) fn send_signal(&self, signal: Signal) {
        // A process that ended a moment ago needs no signal.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }
}
