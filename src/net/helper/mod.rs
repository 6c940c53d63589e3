//! Fallbacks where the kernel lacks what the relay needs, and for `--network pasta|slirp4netns`: programs of
//! others, found on PATH, that join a container's network namespace to the host's network.
//!
//! A helper runs in the host's network namespace as root of the user namespace that owns, or is an
//! ancestor of the owner of, the container's network namespace.

mod pasta;
mod slirp;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use thiserror::Error;

/// What is kept of a helper's messages, in bytes.
const LOG: u64 = 64 << 10;
/// The most characters of a message that are passed on.
const REASON: usize = 300;
/// How long a helper that is asked to end may take.
const ENDING: Duration = Duration::from_secs(2);
/// The MTU inside unless asked otherwise: what an IPv4 packet holds, rounded.
const MTU: u32 = 65520;

/// A program that can do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelperKind {
    Pasta,
    Slirp4netns,
}

/// A transport that helpers publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelperProtocol {
    Tcp,
    Udp,
}

/// A port to publish; the host's port is chosen already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperPort {
    /// None: every address.
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: HelperProtocol,
}

/// What a helper is to do.
#[derive(Clone, Debug)]
pub struct HelperPlan {
    pub program: HelperKind,
    /// What stood behind `pasta:` or `slirp4netns:`, split at commas.
    pub options: Vec<String>,
    /// The container's network namespace. `/proc/PID/ns/net` is what AppArmor's profile for pasta allows
    /// everywhere.
    pub namespace: PathBuf,
    /// The user namespace to enter first; None if the calling process has its rights over `namespace`.
    pub user_namespace: Option<PathBuf>,
    pub ports: Vec<HelperPort>,
    /// None: 65520.
    pub mtu: Option<u32>,
    /// A directory of the container's that nobody else can write to, for slirp4netns's socket.
    pub directory: PathBuf,
}

/// What a container finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// None: called as on the host.
    pub interface: Option<String>,
    /// With its prefix; None: the host's own.
    pub address: Option<(IpAddr, u8)>,
    /// None: the host's own.
    pub gateway: Option<IpAddr>,
    /// The address at which the host's resolver answers.
    pub dns: Option<IpAddr>,
    /// The address that stands for the host's loopback, if that was asked for and is known.
    pub host: Option<IpAddr>,
}

/// Why there is no helper.
#[derive(Debug, Error)]
pub enum HelperError {
    #[error("{0} is not installed: install the package {package}", package = .0.package())]
    NotInstalled(HelperKind),
    #[error("invalid {program} option {option:?}: {reason}")]
    Option { program: HelperKind, option: String, reason: String },
    #[error("{program} cannot publish port {port}: {reason}")]
    Port { program: HelperKind, port: String, reason: String },
    #[error("{program} failed: {reason}")]
    Failed { program: HelperKind, reason: String },
    #[error("{program} was not ready within {} s{}", .waited.as_secs(), said(.reason))]
    NotReady { program: HelperKind, waited: Duration, reason: String },
    #[error("cannot start {program}: {source}")]
    Start { program: HelperKind, source: io::Error },
}

fn said(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

impl HelperKind {
    /// Its name on PATH.
    pub fn program(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    /// The distributions' package with it.
    pub fn package(self) -> &'static str {
        match self {
            Self::Pasta => "passt",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    fn option_error(self, option: &str, reason: impl Into<String>) -> HelperError {
        HelperError::Option { program: self, option: option.to_owned(), reason: reason.into() }
    }
}

impl fmt::Display for HelperKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

impl HelperPort {
    fn describe(&self) -> String {
        let protocol = match self.protocol {
            HelperProtocol::Tcp => "tcp",
            HelperProtocol::Udp => "udp",
        };
        let host = self.host_ip.map(|ip| format!("{ip} ")).unwrap_or_default();
        format!("{host}{}:{}/{protocol}", self.host_port, self.container_port)
    }
}

/// The executable file called `name` in the directories of PATH; relative ones do not count.
pub fn find_helper(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    find_in(&path, name)
}

fn find_in(path: &OsStr, name: &str) -> Option<PathBuf> {
    let executable = |file: &PathBuf| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(executable)
}

impl HelperPlan {
    /// The command line without the program's name and the descriptors that `start` adds.
    pub fn arguments(&self) -> Result<Vec<OsString>, HelperError> {
        match self.program {
            HelperKind::Pasta => pasta::arguments(self),
            HelperKind::Slirp4netns => slirp::Options::read(&self.options)?.arguments(self),
        }
    }

    /// What the container will find.
    pub fn inside(&self) -> Result<Inside, HelperError> {
        match self.program {
            HelperKind::Pasta => pasta::inside(&self.options),
            HelperKind::Slirp4netns => Ok(slirp::Options::read(&self.options)?.inside()),
        }
    }

    /// Starts the helper and waits until the container's network works and its ports are published.
    /// slirp4netns stays a child of this process; pasta goes to the background by itself.
    pub fn start(&self, patience: Duration) -> Result<Helper, HelperError> {
        let arguments = self.arguments()?;
        let executable = find_helper(self.program.program()).ok_or(HelperError::NotInstalled(self.program))?;
        let deadline = Instant::now() + patience;
        match self.program {
            HelperKind::Pasta => {
                let mut run = Run::spawn(self.program, &executable, &arguments, &[])?;
                run.wait_for_end(deadline, patience)?;
                Ok(Helper { child: None, _leash: None })
            }
            HelperKind::Slirp4netns => self.start_slirp(&executable, arguments, deadline, patience),
        }
    }

    fn start_slirp(
        &self,
        executable: &Path,
        mut arguments: Vec<OsString>,
        deadline: Instant,
        patience: Duration,
    ) -> Result<Helper, HelperError> {
        let io = |source| HelperError::Start { program: self.program, source };
        let socket = self.directory.join(slirp::SOCKET);
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let (ready, ready_inside) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| io(error.into()))?;
        let (leash_inside, leash) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| io(error.into()))?;
        let inherited = [("--ready-fd", &ready_inside), ("--exit-fd", &leash_inside)];
        for (index, (option, descriptor)) in inherited.into_iter().enumerate() {
            arguments.insert(index, slirp::descriptor_option(option, descriptor));
        }
        let mut run = Run::spawn(self.program, executable, &arguments, &[&ready_inside, &leash_inside])?;
        drop((ready_inside, leash_inside));
        let published = run.wait_for_ready(&ready, deadline, patience).and_then(|()| {
            let address = slirp::Options::read(&self.options)?.inside().address;
            slirp::publish(&socket, address.map(|(address, _)| address), &self.ports, deadline)
        });
        match published {
            Ok(()) => Ok(Helper { child: Some(run.child), _leash: Some(leash) }),
            Err(error) => {
                run.kill();
                Err(error)
            }
        }
    }
}

/// A running helper. slirp4netns ends when this is dropped or this process ends, pasta when the namespace
/// is gone.
pub struct Helper {
    child: Option<Child>,
    /// Its other end is slirp4netns's `--exit-fd`.
    _leash: Option<OwnedFd>,
}

impl Helper {
    /// The process, if it is a child of this one.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it and waits until it is gone.
    pub fn stop(mut self) -> io::Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        // One that is gone already but not waited for takes the signal as well.
        kill_process(Pid::from_child(child), Signal::TERM)?;
        if !ready_before(&[pidfd.as_fd()], Instant::now() + ENDING)?[0] {
            child.kill()?;
        }
        child.wait().map(drop)
    }
}

/// A helper that is being started.
struct Run {
    program: HelperKind,
    child: Child,
    log: File,
}

impl Run {
    fn spawn(
        program: HelperKind,
        executable: &Path,
        arguments: &[OsString],
        inherited: &[&OwnedFd],
    ) -> Result<Self, HelperError> {
        let spawn = || {
            let log = bounded_log()?;
            for descriptor in inherited {
                fcntl_setfd(descriptor, FdFlags::empty())?;
            }
            let mut command = Command::new(executable);
            command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
            // It has no business with the caller's directory, nor should it keep that busy.
            let child = command.current_dir("/").spawn()?;
            Ok(Self { program, child, log })
        };
        spawn().map_err(|source| HelperError::Start { program, source })
    }

    /// For one that goes to the background when it is ready.
    fn wait_for_end(&mut self, deadline: Instant, patience: Duration) -> Result<(), HelperError> {
        if !self.wait(None, deadline)?.1 {
            self.kill();
            return Err(HelperError::NotReady { program: self.program, waited: patience, reason: self.reason(None) });
        }
        let status = self.child.wait().map_err(|source| HelperError::Start { program: self.program, source })?;
        if status.success() {
            return Ok(());
        }
        Err(HelperError::Failed { program: self.program, reason: self.reason(Some(status)) })
    }

    /// For one that writes to a pipe when it is ready.
    fn wait_for_ready(&mut self, ready: &OwnedFd, deadline: Instant, patience: Duration) -> Result<(), HelperError> {
        let (readable, ended) = self.wait(Some(ready), deadline)?;
        if !readable && !ended {
            return Err(HelperError::NotReady { program: self.program, waited: patience, reason: self.reason(None) });
        }
        // The end of the pipe without a byte is the end of the helper.
        if readable && rustix::io::read(ready, &mut [0; 8]).is_ok_and(|length| length > 0) {
            return Ok(());
        }
        let status = self.child.wait().ok();
        Err(HelperError::Failed { program: self.program, reason: self.reason(status) })
    }

    /// Whether the descriptor is ready, and whether the process has ended.
    fn wait(&self, ready: Option<&OwnedFd>, deadline: Instant) -> Result<(bool, bool), HelperError> {
        let wait = || {
            let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?;
            let mut waited = vec![pidfd.as_fd()];
            waited.extend(ready.map(OwnedFd::as_fd));
            let done = ready_before(&waited, deadline)?;
            Ok((done.get(1).copied().unwrap_or(false), done[0]))
        };
        wait().map_err(|source| HelperError::Start { program: self.program, source })
    }

    fn kill(&mut self) {
        // It may have ended by itself; then there is only the waiting left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The first thing it had to complain about, else how it ended.
    fn reason(&mut self, status: Option<ExitStatus>) -> String {
        let mut text = Vec::new();
        let read = self.log.rewind().and_then(|()| (&self.log).take(LOG).read_to_end(&mut text));
        let complaint = read.ok().and_then(|_| complaint(&String::from_utf8_lossy(&text)));
        complaint.or_else(|| status.map(|status| status.to_string())).unwrap_or_default()
    }
}

/// Which of the descriptors are readable or closed, when the first is or at `deadline`.
fn ready_before(descriptors: &[BorrowedFd<'_>], deadline: Instant) -> io::Result<Vec<bool>> {
    let mut polled: Vec<_> = descriptors.iter().map(|descriptor| PollFd::new(descriptor, PollFlags::IN)).collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) => return Ok(polled.iter().map(|polled| !polled.revents().is_empty()).collect()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A file in memory for a helper's messages. What does not fit is refused, so that a talkative one neither
/// blocks, dies of a closed pipe nor fills memory.
fn bounded_log() -> io::Result<File> {
    let file = memfd_create("helper-log", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, LOG)?;
    fcntl_add_seals(&file, SealFlags::GROW)?;
    Ok(file.into())
}

/// The first line that is not mere noise, fit for a terminal.
fn complaint(log: &str) -> Option<String> {
    const NOISE: [&str; 4] = ["WARNING", "Failed to send", "sent tapfd", "received tapfd"];
    let lines = log.split(['\n', '\r', '\0']).map(str::trim);
    let line = lines.filter(|line| !line.is_empty()).find(|line| !NOISE.iter().any(|noise| line.starts_with(noise)))?;
    Some(line.chars().filter(|letter| !letter.is_control()).take(REASON).collect())
}

#[cfg(test)]
mod tests;
