//! sd_notify(3) between systemd and a container. The container talks to a socket of its own, which the
//! supervisor reads; what is its to say goes on to systemd by the process that systemd takes for the main
//! one: the invocation while it stays in the foreground, else the supervisor.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};
use rustix::process::Pid;

use super::message::Kind;
use super::viewer::{Role, Viewer};
use crate::spec::notify::{NotifyMode, relayed};

/// Where a container finds its socket, in a directory of the same name as its mount.
pub const DIRECTORY: &str = "/run/notify";
/// podman's name for it.
pub const SOCKET: &str = "/run/notify/notify.sock";
/// The directory in the container's own that is mounted there.
pub const SOURCE: &str = "notify";

/// The longest message that is read.
const MESSAGE_MAX: usize = 8192;
/// Messages taken in one turn.
const TURN: usize = 32;

/// systemd's end: the socket that NOTIFY_SOCKET names.
#[derive(Clone, Debug)]
pub struct Manager {
    address: SocketAddrUnix,
}

impl Manager {
    /// The one that this process was started by, if it wants to be told anything.
    pub fn of_environment() -> Option<Self> {
        let name = std::env::var("NOTIFY_SOCKET").ok()?;
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
            None if name.starts_with('/') => SocketAddrUnix::new(name.as_str()),
            None => return None,
        };
        Some(Self { address: address.ok()? })
    }

    /// Tells it what a container has to say, as the main process. One that is gone needs no telling.
    pub fn tell(&self, text: &str) {
        let own = rustix::process::getpid().as_raw_nonzero();
        let ready = text.lines().any(|line| line == "READY=1");
        let named = if ready { format!("{text}\nMAINPID={own}") } else { text.to_owned() };
        let _ = self.send(&named, SendFlags::NOSIGNAL);
    }

    /// Names another main process, which may be ready already.
    pub fn hand_over(&self, process: Pid, ready: bool) {
        let ready = if ready { "\nREADY=1" } else { "" };
        let _ = self.send(&format!("MAINPID={}{ready}", process.as_raw_nonzero()), SendFlags::NOSIGNAL);
    }

    fn send(&self, text: &str, flags: SendFlags) -> io::Result<()> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        sendto(&socket, text.as_bytes(), flags, &self.address)?;
        Ok(())
    }
}

/// Who tells what, for the container that is started.
#[derive(Clone, Debug)]
pub struct NotifyPlan {
    pub mode: NotifyMode,
    pub manager: Manager,
}

impl NotifyPlan {
    /// None where nobody wants to be told, or nobody tells.
    pub fn new(mode: NotifyMode) -> Option<Self> {
        let manager = Manager::of_environment().filter(|_| mode != NotifyMode::Ignore)?;
        Some(Self { mode, manager })
    }
}

/// The supervisor's part.
#[derive(Debug, Default)]
pub struct Notifier {
    mode: NotifyMode,
    /// Whom the container talks to.
    socket: Option<OwnedFd>,
    route: Route,
    /// Readiness was told.
    ready: bool,
}

/// Who is systemd's main process.
#[derive(Debug, Default)]
enum Route {
    #[default]
    Nobody,
    /// The invocation.
    Owner,
    /// We, once the invocation has said so and is gone: its end of `invocation` is closed.
    Own { manager: Manager, invocation: Option<OwnedFd>, waiting: Vec<String> },
}

impl Notifier {
    /// Follows a plan in the container's directory. `invocation` is the socket to it where it does not stay.
    pub fn new(plan: &NotifyPlan, directory: &Path, invocation: Option<OwnedFd>) -> io::Result<Self> {
        let socket = match plan.mode {
            NotifyMode::Container => Some(listen(&directory.join(SOURCE))?),
            _ => None,
        };
        let manager = plan.manager.clone();
        let route = match invocation {
            None => Route::Owner,
            invocation => Route::Own { manager, invocation, waiting: Vec::new() },
        };
        Ok(Self { mode: plan.mode, socket, route, ready: false })
    }

    /// Where something may happen.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let invocation = match &self.route {
            Route::Own { invocation, .. } => invocation.as_ref(),
            _ => None,
        };
        self.socket.iter().chain(invocation).map(AsFd::as_fd)
    }

    /// The command was executed.
    pub fn started(&mut self, viewers: &mut [Viewer]) {
        // Where the invocation goes, it says so itself, while it is the main process.
        if self.mode == NotifyMode::Conmon && matches!(self.route, Route::Owner) {
            self.ready(viewers);
        }
    }

    /// The container is healthy.
    pub fn healthy(&mut self, viewers: &mut [Viewer]) {
        if self.mode == NotifyMode::Healthy {
            self.ready(viewers);
        }
    }

    fn ready(&mut self, viewers: &mut [Viewer]) {
        if !self.ready {
            self.ready = true;
            self.say("READY=1".to_owned(), viewers);
        }
    }

    /// Passes on what the container said.
    pub fn relay(&mut self, viewers: &mut [Viewer]) {
        self.follow_invocation();
        let mut message = [0; MESSAGE_MAX];
        for _ in 0..TURN {
            let Some(socket) = &self.socket else { return };
            // Descriptors that come along, which a barrier waits for, are closed by the kernel.
            let Ok((count, _)) = recv(socket, &mut message, RecvFlags::DONTWAIT) else { return };
            let text = relayed(&message[..count.min(MESSAGE_MAX)]);
            if !text.is_empty() {
                self.say(text, viewers);
            }
        }
    }

    fn say(&mut self, text: String, viewers: &mut [Viewer]) {
        match &mut self.route {
            Route::Nobody => {}
            Route::Owner => {
                for viewer in viewers.iter_mut().filter(|viewer| viewer.role == Role::Owner) {
                    viewer.tell(Kind::Notify, text.as_bytes());
                }
            }
            Route::Own { waiting, .. } => {
                waiting.push(text);
                self.flush();
            }
        }
    }

    /// The invocation says nothing more on its socket: what can be read is its end.
    fn follow_invocation(&mut self) {
        if let Route::Own { invocation: slot @ Some(_), .. } = &mut self.route {
            let ended = slot.as_ref().is_some_and(|socket| {
                let mut rest = [0; 64];
                !matches!(recv(socket, &mut rest, RecvFlags::DONTWAIT), Ok((1.., _)) | Err(rustix::io::Errno::AGAIN))
            });
            if ended {
                *slot = None;
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let Route::Own { manager, invocation: None, waiting } = &mut self.route else { return };
        while let Some(text) = waiting.first() {
            match manager.send(text, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                // Its queue is full: with the next message.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && waiting.len() < TURN => return,
                _ => drop(waiting.remove(0)),
            }
        }
    }
}

/// The socket that the container's processes send to, whoever they are.
fn listen(directory: &Path) -> io::Result<OwnedFd> {
    let handle = rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/notify.sock", handle.as_raw_fd()));
    let _ = std::fs::remove_file(&path);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(&path)?)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o777))?;
    Ok(socket)
}
