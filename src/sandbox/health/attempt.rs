//! One health check under way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, waitid, waitpid};

use super::tree;
use crate::sandbox::channel::{Channel, Received};
use crate::sandbox::exec::{self, ExecPlan};
use crate::sandbox::setup::{Report, SetupError};
use crate::spec::health::CheckResult;
use crate::sys::process::{self, Fork};

/// What a check without a limit of its own may say.
const OUTPUT_MAX: usize = 1 << 20;
/// The result of a check that has none of its own.
const NO_CODE: i32 = -1;

/// The result of one that was killed by SIGKILL.
const KILLED: i32 = 128 + 9;
/// How long a result may wait for the container's end, with which it would be none.
const DOUBT: Duration = Duration::from_millis(200);

/// A check that was begun.
#[derive(Debug)]
pub struct Attempt {
    start: Timestamp,
    timeout: Duration,
    /// When it has taken too long; None once it has.
    deadline: Option<Instant>,
    /// The process that goes in.
    entering: Option<Pid>,
    reports: Option<Channel>,
    /// The process that was made inside.
    command: Option<OwnedFd>,
    output: Option<OwnedFd>,
    text: Vec<u8>,
    limit: usize,
    truncated: bool,
    /// Why there is no command.
    failure: Option<String>,
    exit_code: Option<i32>,
    /// Until when its end may be but a part of the container's.
    doubted: Option<Instant>,
    /// The result was handed over.
    told: bool,
}

impl Attempt {
    /// Begins one. What fails is its result.
    pub fn begin(plan: anyhow::Result<&ExecPlan>, init: &OwnedFd, timeout: Duration, limit: usize) -> Self {
        let mut attempt = Self {
            start: Timestamp::now(),
            timeout,
            deadline: Some(Instant::now() + timeout),
            entering: None,
            reports: None,
            command: None,
            output: None,
            text: Vec::new(),
            limit: if limit == 0 { OUTPUT_MAX } else { limit.min(OUTPUT_MAX) },
            truncated: false,
            failure: None,
            exit_code: None,
            doubted: None,
            told: false,
        };
        attempt.failure = match plan {
            Ok(plan) => attempt.fork(plan, init).err().map(|error| error.to_string()),
            Err(error) => Some(format!("{error:#}")),
        };
        attempt
    }

    fn fork(&mut self, plan: &ExecPlan, init: &OwnedFd) -> io::Result<()> {
        let (ours, theirs) = Channel::pair()?;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&read, true)?;
        match process::fork()? {
            Fork::Parent(pid) => {
                (self.entering, self.reports, self.output) = (Some(pid), Some(ours), Some(read));
                Ok(())
            }
            Fork::Child => {
                drop((ours, read));
                if let Err(error) = go_in(plan, init, &theirs, write) {
                    let _ = theirs.send(&Report::failed(error), &[]);
                }
                process::exit_now(0)
            }
        }
    }

    /// When it has taken too long.
    pub fn deadline(&self) -> Option<Instant> {
        match self.told {
            false if self.is_ended() => Some(self.doubted.unwrap_or_else(Instant::now)),
            _ => self.deadline,
        }
    }

    /// Where something may happen.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let (reports, output) = (self.reports.as_ref().map(AsFd::as_fd), self.output.as_ref().map(AsFd::as_fd));
        reports.into_iter().chain(output).chain(self.command.as_ref().map(AsFd::as_fd))
    }

    /// Takes the end of the process that goes in.
    pub fn reap(&mut self) {
        if let Some(pid) = self.entering
            && !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None))
        {
            self.entering = None;
        }
    }

    /// Takes what came; the result, once.
    pub fn tend(&mut self) -> Option<CheckResult> {
        self.hear();
        self.look_for_end();
        self.read();
        if self.told {
            return None;
        }
        if self.is_ended() {
            if self.is_doubtful() && *self.doubted.get_or_insert_with(|| Instant::now() + DOUBT) > Instant::now() {
                return None;
            }
            self.told = true;
            self.deadline = None;
            return Some(self.result());
        }
        if self.deadline.is_some_and(|at| at <= Instant::now()) {
            self.told = true;
            self.deadline = None;
            self.kill();
            self.read();
            return Some(self.overdue());
        }
        None
    }

    /// Whether its result was handed over, though something of it may be left.
    pub fn is_told(&self) -> bool {
        self.told
    }

    /// Whether nothing of it is left.
    pub fn is_over(&self) -> bool {
        self.told && self.command.is_none() && self.entering.is_none()
    }

    /// Whether its result is known.
    fn is_ended(&self) -> bool {
        self.reports.is_none() && self.command.is_none()
    }

    /// Whether it was killed or never came to be. When a container ends, the kernel kills all in it first, and its
    /// init is seen to end only then.
    fn is_doubtful(&self) -> bool {
        self.exit_code.is_none_or(|code| code == KILLED)
    }

    /// Hears from the process that goes in, and from the one it made, until that has become the command.
    fn hear(&mut self) {
        while let Some(reports) = &self.reports {
            match reports.try_receive::<Report>() {
                Ok(Some(Received { message: Report::Init, descriptors })) => {
                    self.command = descriptors.into_iter().next();
                }
                Ok(Some(Received { message: Report::Failed(error), .. })) => self.failure = Some(error.text),
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => {
                    self.reports = None;
                    if self.command.is_none() && self.failure.is_none() {
                        self.failure = Some("the process that enters the container died".to_owned());
                    }
                }
            }
        }
    }

    fn look_for_end(&mut self) {
        let Some(command) = &self.command else { return };
        match waitid(WaitId::PidFd(command.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(None) | Err(Errno::INTR) => {}
            Ok(Some(status)) => {
                let killed = status.terminating_signal().map(|signal| 128 + signal);
                self.exit_code = status.exit_status().or(killed);
                self.command = None;
            }
            Err(_) => self.command = None,
        }
    }

    /// Takes what was said, and keeps its beginning. Once the command has ended, what others that hold its
    /// streams may still say does not count.
    fn read(&mut self) {
        let Some(output) = &self.output else { return };
        let mut chunk = [0; 4096];
        // So that one that never stops cannot keep the supervisor.
        for _ in 0..64 {
            match rustix::io::read(output, &mut chunk) {
                Ok(count) if count > 0 => {
                    let room = self.limit.saturating_sub(self.text.len());
                    self.truncated |= count > room;
                    self.text.extend_from_slice(&chunk[..count.min(room)]);
                }
                Err(Errno::AGAIN | Errno::INTR) => return,
                _ => {
                    self.output = None;
                    return;
                }
            }
        }
    }

    fn result(&mut self) -> CheckResult {
        self.output = None;
        match self.failure.take() {
            Some(text) => self.with(NO_CODE, text),
            None => self.with(self.exit_code.unwrap_or(NO_CODE), self.said()),
        }
    }

    fn overdue(&mut self) -> CheckResult {
        self.output = None;
        let said = self.said();
        let colon = if said.is_empty() { "" } else { ": " };
        self.with(NO_CODE, format!("Health check exceeded timeout ({}){colon}{said}", go_duration(self.timeout)))
    }

    fn with(&self, exit_code: i32, output: String) -> CheckResult {
        CheckResult { start: self.start, end: Timestamp::now(), exit_code, output }
    }

    fn said(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.text).into_owned();
        if self.truncated {
            text.push_str("...");
        }
        text
    }

    /// Ends the command with everything it started.
    fn kill(&mut self) {
        if let Some(command) = &self.command {
            tree::kill(command);
        } else if let Some(entering) = self.entering {
            let _ = kill_process(entering, Signal::KILL);
        }
        self.reports = None;
        self.look_for_end();
    }
}

/// In a process of its own: goes into the container and leaves the command behind there.
fn go_in(plan: &ExecPlan, init: &OwnedFd, reports: &Channel, output: OwnedFd) -> Result<(), SetupError> {
    let errors = output.try_clone().map_err(|error| SetupError::new(error.to_string()))?;
    let command = exec::enter(plan, init, reports, [None, Some(output), Some(errors)])?;
    let _ = reports.send(&Report::Init, &[command.as_fd()]);
    Ok(())
}

/// As Go prints it: `30s`, `1m0s`, `1.5s`, `250ms`.
fn go_duration(time: Duration) -> String {
    let fraction = |whole: u64, rest: u32, digits: usize| match rest {
        0 => whole.to_string(),
        rest => format!("{whole}.{}", format!("{rest:0digits$}").trim_end_matches('0')),
    };
    let (seconds, nanos) = (time.as_secs(), time.subsec_nanos());
    if seconds == 0 {
        return match nanos {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => format!("{}µs", fraction((nanos / 1_000).into(), nanos % 1_000, 3)),
            _ => format!("{}ms", fraction((nanos / 1_000_000).into(), nanos % 1_000_000, 6)),
        };
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let last = format!("{}s", fraction(seconds % 60, nanos, 9));
    match (hours, minutes) {
        (0, 0) => last,
        (0, _) => format!("{minutes}m{last}"),
        _ => format!("{hours}h{minutes}m{last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let shown = |millis| go_duration(Duration::from_millis(millis));
        assert_eq!([shown(30_000), shown(1_500), shown(60_000), shown(250)], ["30s", "1.5s", "1m0s", "250ms"]);
        assert_eq!([shown(3_723_004), shown(0), shown(1)], ["1h2m3.004s", "0s", "1ms"]);
        assert_eq!(go_duration(Duration::from_nanos(1_500)), "1.5µs");
    }
}
