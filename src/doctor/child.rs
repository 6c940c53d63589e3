//! Questions asked in a forked child: what it does to itself stays there, a filter that kills it
//! kills no more, and a file system that does not answer costs seconds, not for ever.

use std::fs::File;
use std::io::{Read, Write};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, waitpid};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sys::process::{self, Fork};

/// Seconds until a child is given up.
const LIMIT: u32 = 5;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It was killed by this signal.
    Killed(i32),
    /// It took too long.
    Late,
    /// No child could be made.
    NoChild(String),
}

impl NoAnswer {
    /// What happened, as the end of a sentence.
    pub fn describe(&self) -> String {
        match self {
            Self::Killed(signal) if *signal == rustix::process::Signal::SYS.as_raw() => {
                "a seccomp filter killed the attempt".to_owned()
            }
            Self::Killed(signal) => format!("the attempt was killed by signal {signal}"),
            Self::Late => format!("no answer in {LIMIT} seconds"),
            Self::NoChild(why) => format!("no process could be forked: {why}"),
        }
    }
}

/// Runs `work` in a child and returns what it returned. The caller has one thread.
pub fn ask<T: Serialize + DeserializeOwned>(work: impl FnOnce() -> T) -> Result<T, NoAnswer> {
    let failed = |error: std::io::Error| NoAnswer::NoChild(error.to_string());
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    match process::fork().map_err(failed)? {
        Fork::Child => {
            drop(read);
            // An ignored or blocked SIGALRM would be inherited.
            process::reset_signals();
            nix::unistd::alarm::set(LIMIT);
            answer(File::from(write), &work())
        }
        Fork::Parent(pid) => {
            drop(write);
            hear(File::from(read), pid)
        }
    }
}

/// Sends the answer and ends this process.
fn answer<T: Serialize>(mut channel: File, value: &T) -> ! {
    let sent = serde_json::to_vec(value).is_ok_and(|bytes| channel.write_all(&bytes).is_ok());
    process::exit_now(i32::from(!sent))
}

/// Waits for the answer of `pid` and for its end.
fn hear<T: DeserializeOwned>(mut channel: File, pid: process::Pid) -> Result<T, NoAnswer> {
    let mut bytes = Vec::new();
    let read = channel.read_to_end(&mut bytes);
    let status = loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other,
        }
    };
    let signal = status.ok().flatten().and_then(|(_, status)| status.terminating_signal());
    match (signal, read.ok().and_then(|_| serde_json::from_slice(&bytes).ok())) {
        (None, Some(value)) => Ok(value),
        (Some(signal), _) if signal == rustix::process::Signal::ALARM.as_raw() => Err(NoAnswer::Late),
        (Some(signal), _) => Err(NoAnswer::Killed(signal)),
        (None, None) => Err(NoAnswer::NoChild("it ended without a word".to_owned())),
    }
}

/// For unit tests, whose own process has threads: [`ask`] in a child made without the check for
/// them, in which everything has one thread again.
#[cfg(test)]
pub fn in_test_process<T: Serialize + DeserializeOwned>(work: impl FnOnce() -> T) -> T {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    match process::fork_for_tests().unwrap() {
        Fork::Child => {
            drop(read);
            answer(File::from(write), &work())
        }
        Fork::Parent(pid) => {
            drop(write);
            hear(File::from(read), pid).unwrap()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_deaths_are_told_apart() {
        let ends: Vec<String> = in_test_process(|| {
            let show = |result: Result<u32, NoAnswer>| format!("{result:?}");
            vec![
                show(ask(|| 42)),
                show(ask(|| {
                    nix::unistd::alarm::set(1);
                    std::thread::sleep(std::time::Duration::from_secs(30));
                    1
                })),
                show(ask(|| {
                    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::SYS);
                    1
                })),
                show(ask(|| process::exit_now(0))),
            ]
        });
        assert_eq!(ends, ["Ok(42)", "Err(Late)", "Err(Killed(31))", "Err(NoChild(\"it ended without a word\"))"]);
        assert!(NoAnswer::Killed(31).describe().contains("seccomp"));
    }
}
