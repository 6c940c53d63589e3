//! `RUN --mount=type=ssh`: a socket with the owner and the mode that the mount names. What comes there is passed on
//! to the agent's own socket, by a process that lives as long as the step.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};

use super::mounts::Owner;
use super::worker::{Place, Worker};
use crate::sandbox::userns;
use crate::store::Store;

/// Makes the socket `name` in a directory and serves it. The caller has one thread.
pub fn forward(store: &Store, agent: &Path, directory: &Path, name: &str, owner: Owner) -> Result<Worker> {
    let listener = listen(directory, name).context("make the socket of an agent")?;
    let socket = directory.join(name);
    userns::run_inside(store, || {
        chown(&socket, Some(owner.uid), Some(owner.gid))?;
        Ok(std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(owner.mode))?)
    })
    .context("set the owner of an agent's socket")?;
    Worker::start(store, Place::Here, |_| {
        for client in listener.incoming().flatten() {
            // Who is not let in sees that nobody answers.
            if let Ok(agent) = UnixStream::connect(agent) {
                thread::spawn(move || join(client, agent));
            }
        }
        Ok(Default::default())
    })
}

/// Listens at a path that may be longer than an address of a socket.
fn listen(directory: &Path, name: &str) -> io::Result<UnixListener> {
    let directory: OwnedFd = std::fs::File::open(directory)?.into();
    UnixListener::bind(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

/// Passes bytes on in both directions until both have ended.
fn join(client: UnixStream, agent: UnixStream) {
    let (Ok(from_client), Ok(to_agent)) = (client.try_clone(), agent.try_clone()) else { return };
    let asking = thread::spawn(move || pass(from_client, to_agent));
    pass(agent, client);
    let _ = asking.join();
}

fn pass(mut from: UnixStream, mut to: UnixStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
