//! `update`: change the limits and the restart policy of containers, running or not.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::create_options::limits::{ResourceOptions, Strictness, available};
use super::selection::Choice;
use super::{Context, each, keeper};
use crate::sandbox::cgroup::{self, Group, late};
use crate::spec::event::Happening;
use crate::spec::limits::{self, Limits, Setting};
use crate::spec::restart::RestartPolicy;
use crate::store::containers::Container;

/// Change the limits and the restart policy of one or more containers
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    resources: ResourceOptions,
    /// The container created last
    #[arg(short, long)]
    latest: bool,
    /// What follows the container's end (no, on-failure[:COUNT], always, unless-stopped)
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Containers by name, id or unique prefix
    #[arg(required_unless_present = "latest", value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let change = args.resources.limits()?;
    let policy = args.restart.as_deref().map(str::parse::<RestartPolicy>).transpose()?;
    let nothing = Limits { best_effort: args.resources.limits == Strictness::BestEffort, ..Limits::default() };
    if change == nothing && policy.is_none() {
        bail!("you must provide one or more flags when using this command");
    }
    let choice = Choice { named: &args.containers, latest: args.latest, ..Choice::default() };
    each(&choice.names(context, |_| true)?, |name| {
        let mut container = context.store()?.containers().find(name)?;
        if policy.is_some_and(RestartPolicy::restarts) && container.config.auto_remove {
            bail!("Restart policy cannot be updated because AutoRemove is enabled for the container");
        }
        if change != nothing {
            update(context, &container, &change).with_context(|| format!("cannot update container {name}"))?;
        }
        if let Some(policy) = policy {
            context.store()?.containers().set_restart_policy(container.id(), policy)?;
            // With the policy that is in force now.
            container = context.store()?.containers().get(container.id())?;
            if container.is_running() {
                keeper::ensure(context, &container);
            }
        }
        context.store()?.happened(Happening::of_container(&container.config, "update"));
        Ok(())
    })
}

/// Changes the limits of one, in its cgroup first if it runs: what the kernel refuses is recorded nowhere.
fn update(context: &Context, container: &Container, change: &Limits) -> Result<()> {
    let store = context.store()?;
    store.containers().update_limits(container.id(), |old| {
        let new = old.updated(change, &available())?;
        if new == *old {
            return Ok(new);
        }
        let Some(init) = container.state.init().filter(|_| container.is_running()) else {
            // That it can be enforced is known at the start.
            cgroup::choose(container.id(), &new, false)?;
            return Ok(new);
        };
        match Group::of(store, container.id())? {
            Some(group) => group.set_all(&differing(old, &new, &group)?)?,
            None => {
                let running = late::Running {
                    id: container.id(),
                    directory: container.directory(),
                    init,
                    own_user_namespace: !container.config.userns_host,
                };
                late::make(store, running, &new)?;
            }
        }
        Ok(new)
    })
}

/// The settings that change.
fn differing(old: &Limits, new: &Limits, group: &Group) -> Result<Vec<Setting>> {
    let settings = |limits: &Limits| -> Result<Vec<Setting>> {
        Ok(match group.is_legacy() {
            true => limits::legacy(limits, cgroup::device_number)?.0,
            false => limits::unified(limits, cgroup::device_number)?.0,
        })
    };
    let before = settings(old)?;
    let mut after = settings(new)?;
    after.retain(|setting| !before.contains(setting));
    // The limit of swap alone may have to change before that of memory.
    after.sort_by_key(|setting| setting.file == "memory.limit_in_bytes" && new.memory > old.memory);
    Ok(after)
}
