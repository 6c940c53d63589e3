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
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, mknodat, open};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use thiserror::Error;

use crate::sys::net_helper::die_with_parent;

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
    /// A directory of the container's that nobody else can write to, for slirp4netns's socket (so not too long a
    /// path) and pasta's FIFO. AppArmor's profile for pasta allows the home directory and /tmp.
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

    fn port_error(self, port: &HelperPort, reason: impl Into<String>) -> HelperError {
        HelperError::Port { program: self, port: port.describe(), reason: reason.into() }
    }

    fn start_error(self, source: io::Error) -> HelperError {
        HelperError::Start { program: self, source }
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

    /// Starts the helper as a child of this process, which has one thread, and waits until the container's network
    /// works and its ports are published.
    pub fn start(&self, patience: Duration) -> Result<Helper, HelperError> {
        let deadline = Instant::now() + patience;
        let arguments = self.arguments()?;
        let executable = find_helper(self.program.program()).ok_or(HelperError::NotInstalled(self.program))?;
        self.ports.iter().try_for_each(|port| self.check_free(port))?;
        let mut run = match self.program {
            HelperKind::Pasta => self.start_pasta(&executable, arguments, deadline, patience)?,
            HelperKind::Slirp4netns => self.start_slirp(&executable, arguments, deadline, patience)?,
        };
        if self.program == HelperKind::Slirp4netns {
            let guest = self.inside()?.address.map(|(address, _)| address);
            if let Err(error) = slirp::publish(&self.directory.join(slirp::SOCKET), guest, &self.ports, deadline) {
                run.kill();
                return Err(error);
            }
        }
        Ok(Helper { child: run.child })
    }

    /// Helpers say little about why they cannot publish a port, and pasta is content with one address family.
    fn check_free(&self, port: &HelperPort) -> Result<(), HelperError> {
        let address = SocketAddr::from((port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port.host_port));
        let tried = match port.protocol {
            HelperProtocol::Tcp => TcpListener::bind(address).map(drop),
            HelperProtocol::Udp => UdpSocket::bind(address).map(drop),
        };
        let reason = match tried {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => "the port is in use".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                format!("permission denied: sysctl net.ipv4.ip_unprivileged_port_start={} allows it", port.host_port)
            }
            Err(error) => error.to_string(),
        };
        Err(self.program.port_error(port, reason))
    }

    /// pasta stays in the foreground: in the background, versions before 2024 outlive a namespace under /proc. It
    /// says that it is ready by writing its process id to a file, here a FIFO.
    fn start_pasta(
        &self,
        executable: &Path,
        mut arguments: Vec<OsString>,
        deadline: Instant,
        patience: Duration,
    ) -> Result<Run, HelperError> {
        let path = self.directory.join(pasta::PID_FILE);
        let make = || {
            remove_stale(&path)?;
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            Ok(open(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?)
        };
        let ready = make().map_err(|source| self.program.start_error(source))?;
        arguments.splice(0..0, ["--foreground".into(), "--pid".into(), path.clone().into()]);
        let mut run = Run::spawn(self.program, executable, &arguments, &[])?;
        let result = run.wait_for_ready(&ready, deadline, patience);
        // It lies in a directory of ours; the next start removes what stays.
        let _ = remove_stale(&path);
        result.map(|()| run)
    }

    fn start_slirp(
        &self,
        executable: &Path,
        mut arguments: Vec<OsString>,
        deadline: Instant,
        patience: Duration,
    ) -> Result<Run, HelperError> {
        let make = || {
            remove_stale(&self.directory.join(slirp::SOCKET))?;
            Ok(pipe_with(PipeFlags::CLOEXEC)?)
        };
        let (ready, ready_inside) = make().map_err(|source| self.program.start_error(source))?;
        arguments.insert(0, format!("--ready-fd={}", ready_inside.as_raw_fd()).into());
        let mut run = Run::spawn(self.program, executable, &arguments, &[&ready_inside])?;
        drop(ready_inside);
        run.wait_for_ready(&ready, deadline, patience).map(|()| run)
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A running helper, a child of this process and killed by the kernel when this process ends. Dropping this does
/// not end it.
pub struct Helper {
    child: Child,
}

impl Helper {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it and waits until it is gone.
    pub fn stop(mut self) -> io::Result<()> {
        let pid = Pid::from_child(&self.child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        // One that is gone already but not waited for takes the signal as well.
        kill_process(pid, Signal::TERM)?;
        if !ready_before(&[pidfd.as_fd()], Instant::now() + ENDING)?[0] {
            self.child.kill()?;
        }
        self.child.wait().map(drop)
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
            die_with_parent(&mut command);
            // It has no business with the caller's directory, nor should it keep that busy.
            let child = command.current_dir("/").spawn()?;
            Ok(Self { program, child, log })
        };
        spawn().map_err(|source| program.start_error(source))
    }

    /// Until it writes to the pipe, or ends instead. After an error it is gone.
    fn wait_for_ready(&mut self, ready: &OwnedFd, deadline: Instant, patience: Duration) -> Result<(), HelperError> {
        let (readable, _) = self.wait(Some(ready), deadline)?;
        if readable && rustix::io::read(ready, &mut [0; 8]).is_ok_and(|length| length > 0) {
            return Ok(());
        }
        // Without a byte, the pipe ends where the helper ends.
        let ended = self.wait(None, deadline)?.1;
        let status = if ended { self.child.wait().ok() } else { None };
        self.kill();
        let (program, reason) = (self.program, self.reason(status));
        match ended {
            true => Err(HelperError::Failed { program, reason }),
            false => Err(HelperError::NotReady { program, waited: patience, reason }),
        }
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
        wait().map_err(|source| self.program.start_error(source))
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

/// The first line that is not mere noise, else the first, fit for a terminal.
fn complaint(log: &str) -> Option<String> {
    const NOISE: [&str; 6] = [
        "WARNING",
        "Failed to send",
        "sent tapfd",
        "received tapfd",
        // pasta says so even when it goes on with the other family.
        "No external routable interface for IPv6",
        "No interfaces with usable IPv6 routes",
    ];
    let lines = || log.split(['\n', '\r', '\0']).map(str::trim).filter(|line| !line.is_empty());
    let line = lines().find(|line| !NOISE.iter().any(|noise| line.starts_with(noise))).or_else(|| lines().next())?;
    Some(line.chars().filter(|letter| !letter.is_control()).take(REASON).collect())
}

#[cfg(test)]
mod tests;
