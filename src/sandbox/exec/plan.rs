//! What a further process in a container is to be.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use oci_spec::runtime::{Process, Spec};

use crate::sandbox::cgroup::Group;
use crate::sandbox::inherited::Inherited;
use crate::sandbox::seccomp::{self, Filter};
use crate::spec::env::{self, EnvChange};
use crate::spec::identity::Identity;
use crate::spec::oci;
use crate::spec::platform::Platform;
use crate::spec::seccomp as rules;
use crate::spec::security::SeccompChoice;
use crate::store::Store;
use crate::store::containers::{Container, ProcessIdentity};

/// A process to add to a running container.
#[derive(Debug)]
pub struct ExecPlan {
    /// The container's Spec as it was executed: which namespaces it has.
    pub spec: Spec,
    /// The process to run.
    pub process: Process,
    /// `user[:group]` to look up inside.
    pub user: String,
    /// Groups, and whose accounts are known inside.
    pub identity: Identity,
    pub seccomp: Option<Filter>,
    pub init: ProcessIdentity,
    pub supervisor: ProcessIdentity,
    /// The record of the container's own cgroup, if it has one.
    pub cgroup: PathBuf,
    /// Outside of it nothing may run.
    pub is_limited: bool,
    /// Descriptors that the process gets besides the standard streams.
    pub inherited: Inherited,
    pub open_stdin: bool,
    /// Nobody watches: the process goes on by itself.
    pub detached: bool,
    /// What its children leave behind becomes its own children, so that its end can be that of all.
    pub gathers: bool,
    pub size: Option<(u16, u16)>,
}

/// What was asked for; the rest is the container's. A `Default` runs nothing.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    pub command: Vec<String>,
    pub user: Option<String>,
    pub workdir: Option<String>,
    pub variables: Vec<EnvChange>,
    pub tty: bool,
    pub privileged: bool,
    pub open_stdin: bool,
    pub detached: bool,
    pub gathers: bool,
    pub size: Option<(u16, u16)>,
}

impl ExecPlan {
    /// The plan for a container, which must run.
    pub fn new(store: &Store, container: &Container, request: ExecRequest) -> Result<Self> {
        let not_running = || anyhow!("container {} is not running", container.id());
        if container.is_restarting() {
            bail!("Container {} is restarting, wait until the container is running", container.id());
        }
        if !container.is_running() {
            return Err(not_running());
        }
        if container.state.paused.is_some() {
            bail!("Container {} is paused, unpause the container before exec", container.config.name);
        }
        let (init, supervisor) = container.state.init().zip(container.state.supervisor()).ok_or_else(not_running)?;
        let bytes = std::fs::read(container.path("spec.json")).context("read the container's runtime Spec")?;
        let spec: Spec = serde_json::from_slice(&bytes).context("read the container's runtime Spec")?;
        let mut process = spec.process().clone().ok_or_else(|| anyhow!("the container's Spec has no process"))?;

        process.set_env(Some(environment(container, &process, &request)?));
        process.set_args(Some(request.command));
        process.set_terminal(Some(request.tty));
        if let Some(workdir) = &request.workdir {
            if !workdir.starts_with('/') {
                bail!("the working directory '{workdir}' is invalid, it needs to be an absolute path");
            }
            process.set_cwd(PathBuf::from(workdir));
        }
        let mut config = container.config.clone();
        config.privileged |= request.privileged;
        process.set_capabilities(Some(oci::capabilities(&config, 0)?));
        let choice = if request.privileged { SeccompChoice::Unconfined } else { config.seccomp.clone() };
        let architecture = config.platform.parse::<Platform>().unwrap_or_else(|_| Platform::host()).architecture;
        let effective = rules::circumstantial(&config);
        Ok(Self {
            spec,
            process,
            identity: config.identity.clone(),
            user: request.user.unwrap_or_else(|| config.user.clone()),
            seccomp: seccomp::filter_for(&effective, &choice, &architecture, &store.path("seccomp"))?,
            init,
            supervisor,
            cgroup: Group::record(store, container.id())?,
            is_limited: config.limits.need_cgroup() && !config.limits.best_effort,
            inherited: Inherited::default(),
            open_stdin: request.open_stdin,
            detached: request.detached,
            gathers: request.gathers,
            size: request.size,
        })
    }
}

fn environment(container: &Container, process: &Process, request: &ExecRequest) -> Result<Vec<String>> {
    let mut list = process.env().clone().unwrap_or_default();
    // HOME is that of the user looked up for this command.
    list.retain(|entry| !entry.starts_with("HOME=") && (request.tty || !entry.starts_with("TERM=")));
    if request.tty && !list.iter().any(|entry| entry.starts_with("TERM=")) {
        list.push("TERM=xterm".to_owned());
    }
    // The Spec knows no secrets.
    env::apply(&mut list, container.secret_variables()?);
    env::apply(&mut list, request.variables.iter().cloned());
    Ok(list)
}
