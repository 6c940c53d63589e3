//! `pause` and `unpause`: have the processes of containers stand still, and go on.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::selection::Chosen;
use super::{Context, each, warn};
use crate::sandbox::pause;
use crate::spec::event::Happening;
use crate::store::Store;
use crate::store::containers::{Container, Paused};

/// Have the processes of containers stand still
#[derive(clap::Args, Debug)]
pub struct PauseArgs {
    #[command(flatten)]
    chosen: Chosen,
}

/// Let the processes of paused containers go on
#[derive(clap::Args, Debug)]
pub struct UnpauseArgs {
    #[command(flatten)]
    chosen: Chosen,
}

/// Runs `pause`.
pub fn pause(args: PauseArgs, context: &Context) -> Result<ExitCode> {
    let fits = |container: &Container| container.is_running() && container.state.paused.is_none();
    each(&args.chosen.choice().names(context, fits)?, |name| {
        let store = context.store()?;
        let mut container = store.containers().find(name)?;
        if container.state.paused.is_some() {
            bail!("container {} is already paused", container.id());
        }
        let Some(init) = container.state.init().filter(|_| container.is_running()) else {
            bail!("container {} is not running", container.id());
        };
        let how = pause::pause(store, &container, init).with_context(|| format!("cannot pause container {name}"))?;
        if how == Paused::Stopped {
            warn(&format!(
                "container {name} has no freezer: its processes were stopped by SIGSTOP, which they can notice"
            ));
        }
        container.update_state(|state| state.paused = Some(how).filter(|_| state.pid != 0))?;
        store.happened(Happening::of_container(&container.config, "pause"));
        Ok(())
    })
}

/// Runs `unpause`.
pub fn unpause(args: UnpauseArgs, context: &Context) -> Result<ExitCode> {
    each(&args.chosen.choice().names(context, |container| container.state.paused.is_some())?, |name| {
        let mut container = context.store()?.containers().find(name)?;
        if container.state.paused.is_none() || !container.is_running() {
            bail!("Container {} is not paused", container.id());
        }
        resume(context.store()?, &mut container).with_context(|| format!("cannot unpause container {name}"))
    })
}

/// Lets a paused container go on; one that is not goes on already.
pub fn resume(store: &Store, container: &mut Container) -> Result<()> {
    let Some((how, init)) = container.state.paused.zip(container.state.init()) else { return Ok(()) };
    pause::resume(store, container, init, how)?;
    let mut stood = false;
    container.update_state(|state| stood = state.paused.take().is_some())?;
    // Another may have been quicker.
    if stood {
        store.happened(Happening::of_container(&container.config, "unpause"));
    }
    Ok(())
}
