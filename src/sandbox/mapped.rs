//! Mounts that show their files with other owners (mount_setattr(2), MOUNT_ATTR_IDMAP).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::libc;
use rustix::fs::{Mode, OFlags};

use super::idmap::{self, Extent, IdMaps};
use super::session;
use super::setup::{Doing, SetupError};
use super::userns;
use crate::spec::mount::{IdMapping, IdRange};
use crate::sys;
use crate::sys::process;

/// Maps the owners of the detached mount `mount` of `what`: as asked for, or without ranges as the
/// user namespace `own` maps the container's ids.
pub fn apply(
    mount: BorrowedFd<'_>,
    mapping: &IdMapping,
    own: Option<BorrowedFd<'_>>,
    maps: &IdMaps,
    what: &dyn std::fmt::Display,
) -> Result<(), SetupError> {
    let made;
    let namespace = if mapping.uids.is_empty() && mapping.gids.is_empty() {
        let Some(own) = own else {
            return Err(SetupError::new(format!(
                "cannot map the ids of {what}: the container has no user namespace of its own: say which, as in \
                 idmap=uids=0-1000-1;gids=0-1000-1"
            )));
        };
        own
    } else {
        made = namespace_of(mapping, maps).doing(format_args!("map the ids of {what}"))?;
        made.as_fd()
    };
    sys::mount::map_ids(mount, namespace).map_err(|error| refusal(&error, what))
}

/// The kernel maps ids only of file systems that the caller's own user namespace owns, and only of
/// those whose driver can.
fn refusal(error: &io::Error, what: &dyn std::fmt::Display) -> SetupError {
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => "only root may map the ids of a file system that the machine's root mounted",
        io::ErrorKind::InvalidInput => "this file system cannot, or its ids are mapped already",
        _ => return SetupError::new(format!("cannot map the ids of {what}: {error}")),
    };
    SetupError::new(format!("cannot map the ids of {what}: {why} (MOUNT_ATTR_IDMAP); U changes the owners for good"))
}

/// The init's user namespace, if it is another than ours.
pub fn namespace_of_process(child: &process::Cloned) -> io::Result<OwnedFd> {
    let pid = session::host_pid(&child.pidfd)?;
    let path = format!("/proc/{}/ns/user", pid.as_raw_nonzero());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A user namespace below ours with that map: it lives in the descriptor.
fn namespace_of(mapping: &IdMapping, maps: &IdMaps) -> Result<OwnedFd, String> {
    let text = |error: io::Error| error.to_string();
    let Some(child) = process::clone(libc::CLONE_NEWUSER).map_err(text)? else {
        // Here only until its namespace is held; killed before that if its parent is.
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        loop {
            let _ = rustix::thread::nanosleep(&rustix::thread::Timespec { tv_sec: 60, tv_nsec: 0 });
        }
    };
    let made = (|| {
        let pid = session::host_pid(&child.pidfd).map_err(text)?;
        // What is said of users only holds for groups too.
        let uids = if mapping.uids.is_empty() { &mapping.gids } else { &mapping.uids };
        let gids = if mapping.gids.is_empty() { &mapping.uids } else { &mapping.gids };
        let gids = extents(gids, &|gid| maps.outer_gid(gid))?;
        let uids = extents(uids, &|uid| maps.outer_uid(uid))?;
        for (name, extents) in [("gid_map", gids), ("uid_map", uids)] {
            userns::write_proc(pid, name, &idmap::format_map(&extents))
                .map_err(|error| format!("these ranges are not within your own: {}", error.root_cause()))?;
        }
        namespace_of_process(&child).map_err(text)
    })();
    let _ = rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL);
    let _ = rustix::process::waitpid(Some(child.pid), rustix::process::WaitOptions::empty());
    made
}

/// With ids of the container as they are outside.
fn extents(ranges: &[IdRange], outer: &dyn Fn(u32) -> Option<u32>) -> Result<Vec<Extent>, String> {
    let extent = |range: &IdRange| {
        let outside = if range.relative { outer(range.to) } else { Some(range.to) };
        let outside = outside.ok_or_else(|| format!("{} is no id of the container", range.to))?;
        Ok(Extent { inside: range.from, outside, count: range.count })
    };
    ranges.iter().map(extent).collect()
}
