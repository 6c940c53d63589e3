//! `pause` and `unpause`: have the processes of containers stand still, and go on.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::selection::Chosen;
use super::{Context, each, warn};
use crate::sandbox::pause::{self, Pause};
use crate::spec::event::Happening;
use crate::store::Store;
use crate::store::containers::{Container, Paused, ProcessIdentity};

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
        let failed = || format!("cannot pause container {name}");
        let _turn = container.pausing().with_context(failed)?;
        container.refresh()?;
        if container.state.paused.is_some() {
            bail!("container {} is already paused", container.id());
        }
        let Some(init) = container.state.init().filter(|_| container.is_running()) else {
            bail!("container {} is not running", container.id());
        };
        let how = stand_still(store, &mut container, init).with_context(failed)?;
        if how == Paused::Stopped {
            warn(&format!(
                "container {name} has no freezer: its processes were stopped by SIGSTOP, which they can notice"
            ));
        }
        store.happened(Happening::of_container(&container.config, "pause"));
        Ok(())
    })
}

/// On record first: where this process is killed in between, `unpause` mends what it left.
fn stand_still(store: &Store, container: &mut Container, init: ProcessIdentity) -> Result<Paused> {
    let pause = Pause::prepare(store, container, init)?;
    container.update_state(|state| state.paused = Some(pause.how()).filter(|_| state.pid != 0))?;
    if let Err(error) = pause.stand_still(store, container, init) {
        let _ = pause::resume(store, container, init, pause.how());
        container.update_state(|state| state.paused = None)?;
        return Err(error);
    }
    Ok(pause.how())
}

/// Runs `unpause`.
pub fn unpause(args: UnpauseArgs, context: &Context) -> Result<ExitCode> {
    each(&args.chosen.choice().names(context, |container| container.state.paused.is_some())?, |name| {
        let mut container = context.store()?.containers().find(name)?;
        let failed = || format!("cannot unpause container {name}");
        if !resume(context.store()?, &mut container).with_context(failed)? || !container.is_running() {
            bail!("Container {} is not paused", container.id());
        }
        Ok(())
    })
}

/// Lets a paused container go on; false where it was not paused.
pub fn resume(store: &Store, container: &mut Container) -> Result<bool> {
    let _turn = container.pausing()?;
    container.refresh()?;
    let Some((how, init)) = container.state.paused.zip(container.state.init()) else { return Ok(false) };
    pause::resume(store, container, init, how)?;
    container.update_state(|state| state.paused = None)?;
    store.happened(Happening::of_container(&container.config, "unpause"));
    Ok(true)
}
