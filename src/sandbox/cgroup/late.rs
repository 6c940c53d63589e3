//! A cgroup for a container that runs without one.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::process::Pid;

use super::{Group, Members, Way, choose};
use crate::sandbox::idmap::IdMaps;
use crate::sandbox::leftover::Mark;
use crate::sandbox::userns;
use crate::spec::config::ContainerId;
use crate::spec::limits::{CgroupsMode, Limits};
use crate::store::Store;
use crate::store::containers::ProcessIdentity;

/// How often processes that were made meanwhile are moved too.
const ROUNDS: usize = 20;

/// A container that runs.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    pub id: &'a ContainerId,
    pub directory: &'a Path,
    pub init: ProcessIdentity,
    pub own_user_namespace: bool,
}

/// Makes a cgroup with these limits around a container's processes. Where they cannot be moved nothing has
/// changed. What the limits do not insist on is left out, and said.
pub fn make(store: &Store, container: Running<'_>, limits: &Limits) -> Result<(Group, Vec<String>)> {
    let limits = Limits { cgroups: CgroupsMode::Enabled, ..limits.clone() };
    let mut chosen = choose(container.id, &limits, false)?;
    let warnings = std::mem::take(&mut chosen.warnings);
    let Some(place) = chosen.place(store, container.id, container.directory)? else {
        bail!("the container has no cgroup of its own, and none can be made");
    };
    if matches!(place.way, Way::Legacy { .. }) {
        bail!("processes that run cannot be moved between cgroups of version 1: start the container with a limit");
    }
    userns::run_inside(store, || {
        let mark = Mark::of(container.init.pid, container.own_user_namespace).context("find its processes")?;
        let owner = IdMaps::of(container.init.pid).map_or((0, 0), |maps| maps.owner());
        let moved = gather(mark, |pids| place.make(Members::Running(pids), owner).map_err(Into::into));
        if moved.is_err() {
            place.clear();
        }
        moved
    })
    .context("make a cgroup for a container that runs")?;
    Ok((place.made().context("find the container's cgroup")?, warnings))
}

/// Makes it around those that are there, and takes in those that were made meanwhile.
fn gather(mark: Mark, make: impl FnOnce(&[Pid]) -> Result<Group>) -> Result<()> {
    let mut known = mark.members();
    let group = make(&known)?;
    for _ in 0..ROUNDS {
        let new: Vec<Pid> = mark.members().into_iter().filter(|pid| !known.contains(pid)).collect();
        if new.is_empty() {
            return Ok(());
        }
        new.iter().try_for_each(|pid| group.adopt(*pid)).context("move its processes")?;
        known.extend(new);
    }
    Ok(())
}
