//! `update`: change containers, running or not: what they may use, and what follows from their health and end.

use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};

use super::create_options::health::HealthOptions;
use super::create_options::limits::{ResourceOptions, available};
use super::selection::Choice;
use super::{Context, each, keeper, warn};
use crate::sandbox::cgroup::{self, Group, late};
use crate::sandbox::client::Client;
use crate::spec::env::{self, Caller, EnvChange};
use crate::spec::event::Happening;
use crate::spec::health::{self, HealthRequest};
use crate::spec::limits::{self, Limits, Setting};
use crate::spec::restart::RestartPolicy;
use crate::spec::ulimit::Ulimit;
use crate::store::Store;
use crate::store::containers::Container;

/// Change the limits and other settings of one or more containers
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    resources: ResourceOptions,
    #[command(flatten)]
    health: HealthOptions,
    /// Set an environment variable from the next start on; without a value, the caller's
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The container created last
    #[arg(short, long)]
    latest: bool,
    /// What follows the container's end (no, on-failure[:COUNT], always, unless-stopped)
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Resource limit from the next start on, as in nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<Ulimit>,
    /// Take an environment variable away from the next start on
    #[arg(long, value_name = "NAME")]
    unsetenv: Vec<String>,
    /// Containers by name, id or unique prefix
    #[arg(required_unless_present = "latest", value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let change = Change::of(&args)?;
    if args.resources.are_absent() && change.is_nothing_else() {
        bail!("you must provide one or more flags when using this command");
    }
    let choice = Choice { named: &args.containers, latest: args.latest, ..Choice::default() };
    each(&choice.names(context, |_| true)?, |name| {
        let store = context.store()?;
        let container = store.containers().find(name)?;
        if change.restart.is_some_and(RestartPolicy::restarts) && container.config.auto_remove {
            bail!("Restart policy cannot be updated because AutoRemove is enabled for the container");
        }
        change.apply(store, &container).with_context(|| format!("cannot update container {name}"))?;
        let container = store.containers().get(container.id())?;
        if container.is_running() {
            keeper::ensure(context, &container);
        }
        store.happened(Happening::of_container(&container.config, "update"));
        Ok(())
    })
}

/// What is asked for.
struct Change {
    limits: Option<Limits>,
    restart: Option<RestartPolicy>,
    health: HealthRequest,
    environment: Vec<EnvChange>,
    ulimits: Vec<Ulimit>,
}

impl Change {
    fn of(args: &Args) -> Result<Self> {
        let caller = Caller::new(std::env::vars_os());
        let mut environment = Vec::new();
        for variable in &args.env {
            environment.extend(env::parse_env(variable, &caller)?);
        }
        environment.extend(args.unsetenv.iter().map(|name| EnvChange { name: name.clone(), value: None }));
        Ok(Self {
            limits: (!args.resources.are_absent()).then(|| args.resources.limits()).transpose()?,
            restart: args.restart.as_deref().map(str::parse).transpose()?,
            health: args.health.request()?,
            environment,
            ulimits: args.ulimit.clone(),
        })
    }

    /// Nothing besides limits.
    fn is_nothing_else(&self) -> bool {
        self.restart.is_none()
            && self.health == HealthRequest::default()
            && self.environment.is_empty()
            && self.ulimits.is_empty()
    }

    /// Changes a container's record, and its cgroup first if it runs: what the kernel refuses is recorded
    /// nowhere.
    fn apply(&self, store: &Store, container: &Container) -> Result<()> {
        let mut enforced = None;
        let recorded = store.containers().update(container.id(), |config| {
            let before = config.health.clone();
            if self.health != HealthRequest::default() {
                config.health = Some(health::update(&self.health, before.as_ref())?);
            }
            env::apply(&mut config.env, self.environment.iter().cloned());
            config.environment.borrowed.retain(|name| self.environment.iter().all(|change| change.name != *name));
            config.ulimits.retain(|old| self.ulimits.iter().all(|new| new.name != old.name));
            config.ulimits.extend(self.ulimits.iter().cloned());
            config.restart = self.restart.unwrap_or(config.restart);
            if let Some(asked) = &self.limits {
                let limits = config.limits.updated(asked, &available())?;
                enforce(store, container, &config.limits, &limits)?;
                enforced = Some((limits.clone(), std::mem::replace(&mut config.limits, limits)));
            }
            Ok(config.health != before)
        });
        if recorded.is_err()
            && let Some((new, old)) = enforced
        {
            // What is not on record is not to be in force; the first error is the one to report.
            let _ = enforce(store, container, &new, &old);
        }
        let checked = recorded?;
        if checked && container.is_running() { renew_check(container) } else { Ok(()) }
    }
}

/// Has the supervisor go by the new check.
fn renew_check(container: &Container) -> Result<()> {
    // None: it has just ended, and its next supervisor reads the record.
    let Some(client) = Client::examine(container).context("reach the container's supervisor")? else { return Ok(()) };
    match client.update() {
        Ok(result) => result.map_err(|why| anyhow!("its supervisor does not take the health check: {why}")),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error).context("hear of the health check"),
    }
}

/// Has the kernel enforce new limits.
fn enforce(store: &Store, container: &Container, old: &Limits, new: &Limits) -> Result<()> {
    if new == old {
        return Ok(());
    }
    let Some(init) = container.state.init().filter(|_| container.is_running()) else {
        // That it can be enforced is known at the start.
        cgroup::choose(container.id(), new, false)?;
        return Ok(());
    };
    let best_effort = |why: anyhow::Error| {
        if !new.best_effort {
            return Err(why);
        }
        warn(&format!("{why:#}"));
        Ok(())
    };
    let Some(group) = Group::of(store, container.id())? else {
        let running = late::Running {
            id: container.id(),
            directory: container.directory(),
            init,
            own_user_namespace: !container.config.userns_host,
        };
        return match late::make(store, running, new) {
            Ok((_, warnings)) => {
                warnings.iter().for_each(|warning| warn(warning));
                Ok(())
            }
            Err(error) => best_effort(error.context("no limit is enforced before the next start")),
        };
    };
    let settings = differing(old, new, &group)?;
    match new.best_effort {
        true => settings.chunks(1).try_for_each(|one| group.set_all(one).map_err(Into::into).or_else(best_effort)),
        false => Ok(group.set_all(&settings)?),
    }
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
    // Version 1 wants memory never above memory and swap together, at any moment.
    let raised = old.memory != 0 && new.memory > old.memory;
    after.sort_by_key(|setting| setting.file == "memory.limit_in_bytes" && raised);
    Ok(after)
}
