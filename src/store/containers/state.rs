//! `state.json`: what became of a container, written by its supervisor.

use std::fmt;
use std::io;

use jiff::Timestamp;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::process::{ProcessIdentity, boot_id};
use crate::spec::port::PublishedPort;
use crate::spec::restart::Restarts;

/// Records are padded to a multiple of this, so that an update needs no new block on a full disk.
const RECORD_BLOCK: usize = 4096;

/// The exit code of a container whose supervisor died: its init was killed with SIGKILL.
pub(super) const KILLED: i32 = 137;

/// Where a container is in its life, in docker's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Never ran, or is being started.
    Created,
    Running,
    /// Ended, and about to be started again by its keeper.
    Restarting,
    Exited,
}

/// How a container was paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Paused {
    /// Its cgroup is frozen.
    Frozen,
    /// Each of its processes was stopped by SIGSTOP.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
        })
    }
}

/// A container's state. As read from the store, `status` is running only while the supervisor
/// lives; one that died without a word is an exit with code 137 at an unknown time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub status: Status,
    /// The init in the host's pid namespace; 0 when there is none.
    pub pid: i32,
    /// Field 22 of the init's /proc/PID/stat.
    pub pid_start: u64,
    pub supervisor_pid: i32,
    pub supervisor_start: u64,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub exit_code: i32,
    /// Why it could not be started or was lost; empty otherwise.
    pub error: String,
    pub oom_killed: bool,
    /// The boot that pids and `running` are about.
    pub boot_id: String,
    /// Inode of the init's pid namespace.
    pub init_pid_ns: Option<u64>,
    /// `stop` or `kill` ended it.
    pub stopped_by_user: bool,
    /// Its processes stand still, by this means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Ports of the host that lead to it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PublishedPort>,
    /// Since its user started it.
    #[serde(default)]
    pub restarts: Restarts,
}

impl State {
    /// The state of a container that never ran.
    pub fn created() -> Self {
        Self {
            status: Status::Created,
            pid: 0,
            pid_start: 0,
            supervisor_pid: 0,
            supervisor_start: 0,
            started_at: None,
            finished_at: None,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            boot_id: String::new(),
            init_pid_ns: None,
            stopped_by_user: false,
            paused: None,
            ports: Vec::new(),
            restarts: Restarts::default(),
        }
    }

    /// docker's word for where it is in its life.
    pub fn word(&self) -> &'static str {
        match self.status {
            Status::Running if self.paused.is_some() => "paused",
            Status::Created => "created",
            Status::Running => "running",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
        }
    }

    /// The init, if the record is of this boot. Open it before signalling: it may be gone.
    pub fn init(&self) -> Option<ProcessIdentity> {
        self.process(self.pid, self.pid_start)
    }

    /// The supervisor, if the record is of this boot.
    pub fn supervisor(&self) -> Option<ProcessIdentity> {
        self.process(self.supervisor_pid, self.supervisor_start)
    }

    /// Whether pids in this record mean anything.
    pub(super) fn is_of_this_boot(&self) -> bool {
        self.boot_id == boot_id()
    }

    fn process(&self, pid: i32, start: u64) -> Option<ProcessIdentity> {
        // Checked here because the constructor asserts it.
        let pid = if pid > 0 { Pid::from_raw(pid) } else { None }?;
        self.is_of_this_boot().then_some(ProcessIdentity { pid, start })
    }

    /// What a state that says running is worth when no supervisor lives.
    pub(super) fn crashed(self) -> Self {
        Self {
            status: Status::Exited,
            pid: 0,
            pid_start: 0,
            supervisor_pid: 0,
            supervisor_start: 0,
            finished_at: None,
            exit_code: KILLED,
            init_pid_ns: None,
            paused: None,
            ports: Vec::new(),
            ..self
        }
    }

    /// The bytes of `state.json`, padded with blanks.
    pub(super) fn to_record(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        let padded = (bytes.len() + 1).next_multiple_of(RECORD_BLOCK);
        bytes.resize(padded - 1, b' ');
        bytes.push(b'\n');
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::port::Protocol;

    fn running() -> State {
        State {
            status: Status::Running,
            pid: 7,
            pid_start: 70,
            started_at: Some("2026-01-02T03:04:05.000000006Z".parse().unwrap()),
            boot_id: boot_id().to_owned(),
            ..State::created()
        }
    }

    #[test]
    fn a_record_reads_back_and_keeps_its_size() {
        let state = running();
        let bytes = state.to_record().unwrap();
        assert_eq!(bytes.len(), RECORD_BLOCK);
        assert_eq!(serde_json::from_slice::<State>(&bytes).unwrap(), state);
        assert!(std::str::from_utf8(&bytes).unwrap().contains(r#""started_at":"2026-01-02T03:04:05.000000006Z""#));
        let long = State { error: "x".repeat(RECORD_BLOCK), ..state };
        assert_eq!(long.to_record().unwrap().len(), 2 * RECORD_BLOCK);
        assert!(serde_json::from_slice::<State>(b"{}").is_err());
    }

    #[test]
    fn ports_are_written_while_there_are_any() {
        let port = PublishedPort {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: "::".parse().unwrap(),
            host_port: 8080,
        };
        let state = State { ports: vec![port], ..running() };
        let bytes = state.to_record().unwrap();
        assert_eq!(serde_json::from_slice::<State>(&bytes).unwrap(), state);
        let bare = String::from_utf8(running().to_record().unwrap()).unwrap();
        assert!(!bare.contains("ports"), "as records of earlier versions: {bare}");
        assert_eq!(state.crashed().ports, []);
    }

    #[test]
    fn pids_of_another_boot_mean_nothing() {
        assert_eq!(running().init(), Some(ProcessIdentity { pid: Pid::from_raw(7).unwrap(), start: 70 }));
        assert_eq!(State { boot_id: "old".to_owned(), ..running() }.init(), None);
        assert_eq!(State { pid: -7, ..running() }.init(), None);
        assert_eq!(running().supervisor(), None);
    }

    #[test]
    fn a_crash_is_an_exit_with_137() {
        let crashed = running().crashed();
        assert_eq!((crashed.status, crashed.exit_code, crashed.pid), (Status::Exited, 137, 0));
        assert_eq!(crashed.started_at, running().started_at);
    }
}
