//! Which processes are a container's, and by what names it knows their users. Only the user namespace
//! can tell: the kernel shows nobody else the namespaces of mapped users' processes.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::leftover::Mark;
use super::tree::Root;
use super::{user, userns};
use crate::store::Store;
use crate::store::containers::ProcessIdentity;

/// A container's processes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Processes {
    /// As the host counts them, in ascending order.
    pub pids: Vec<i32>,
    /// The container's /etc/passwd and /etc/group; empty where they cannot be read.
    pub passwd: String,
    pub group: String,
}

/// The processes that share the init's user namespace, or its mount namespace where the user namespace
/// is not the container's own.
pub fn of(store: &Store, init: ProcessIdentity, own_user_namespace: bool) -> Result<Processes> {
    let answer = userns::answer_from_inside(store, |answer| {
        let mark = Mark::of(init.pid, own_user_namespace).context("find the container's namespaces")?;
        let mut pids: Vec<i32> = mark.members().iter().map(|pid| pid.as_raw_nonzero().get()).collect();
        pids.sort_unstable();
        let root = Root::open(&PathBuf::from(format!("/proc/{}/root", init.pid.as_raw_nonzero())))?;
        let read = |path: &str| user::read(&root, path).unwrap_or_default();
        let found = Processes { pids, passwd: read("/etc/passwd"), group: read("/etc/group") };
        Ok(serde_json::to_writer(answer, &found)?)
    })?;
    serde_json::from_reader(answer).context("hear of the container's processes")
}
