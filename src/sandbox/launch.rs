//! Starting a container from an invocation: fork the supervisor into U and hear how it went.

use std::cell::Cell;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::anchor::Birth;
use super::client::Client;
use super::plan::Plan;
use super::supervisor::{self, Charge};
use super::userns::{self, Preparation};
use crate::store::Store;
use crate::store::containers::Container;
use crate::store::lock::AliveLock;

/// How the invocation relates to what it starts.
#[derive(Clone, Copy, Debug)]
pub struct Attachment {
    /// The invocation stays, and the container ends with it.
    pub foreground: bool,
    /// Rows and columns of the invocation's terminal.
    pub size: Option<(u16, u16)>,
    /// Its keeper starts it, and not if it was stopped meanwhile.
    pub again: bool,
}

/// A supervisor that was just forked.
#[derive(Debug)]
pub struct Launched {
    pub client: Client,
    /// What the person should hear, such as missing subordinate ids.
    pub warning: Option<String>,
}

/// Clones the supervisor of `container`, whose `alive` lock goes with it, and the anchors of networks
/// that had none. The caller has one thread.
/// Whether the start succeeded is the first thing the client hears.
pub fn launch(
    store: &Store,
    container: &Container,
    plan: Plan,
    alive: AliveLock,
    attachment: Attachment,
    preparation: Preparation,
    anchors: Vec<Birth>,
) -> Result<Launched> {
    let (ours, theirs) = connection().context("make a socket to the supervisor")?;
    let charge = Charge {
        store: store.clone(),
        plan,
        container: container.clone(),
        alive,
        socket: theirs,
        foreground: attachment.foreground,
        size: attachment.size,
        again: attachment.again,
    };
    // The supervisor must not keep our end, or it would never see us go. We must not keep the lock,
    // which lives on in it.
    let end = Cell::new(Some(ours));
    let companion = |birth: Birth| -> Box<dyn FnOnce()> { Box::new(|| birth.run(None)) };
    let anchors = anchors.into_iter().map(companion).collect();
    let warning = userns::clone_supervisor(store, preparation, charge.namespaces(), anchors, || {
        drop(end.take());
        supervisor::supervise(charge);
    })?;
    let ours = end.take().context("the socket to the supervisor is gone")?;
    Ok(Launched { client: Client::new(ours), warning })
}

/// A connected pair of stream sockets for frames.
pub fn connection() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}
