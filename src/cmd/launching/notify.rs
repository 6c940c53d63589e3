//! What a container gets where systemd wants to be told that it is ready.

use anyhow::{Context as _, Result};
use oci_spec::runtime::{MountBuilder, Spec};

use crate::sandbox::notify::{DIRECTORY, Manager, NotifyPlan, SOCKET, SOURCE};
use crate::spec::env::{self, EnvChange};
use crate::spec::notify::NotifyMode;
use crate::store::containers::Container;

/// Tells the container where its socket is and how often it has to show that it lives. The process that
/// systemd watches is ours, so no process is named: any may.
pub fn tell(plan: Option<&NotifyPlan>, environment: &mut Vec<String>) {
    if plan.is_none_or(|plan| plan.mode != NotifyMode::Container) {
        return;
    }
    let ours = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
    let period = std::env::var("WATCHDOG_USEC").ok().filter(|_| ours);
    let change = |name: &str, value| EnvChange { name: name.to_owned(), value: Some(value) };
    let socket = change("NOTIFY_SOCKET", SOCKET.to_owned());
    let period = period.map(|period| change("WATCHDOG_USEC", period));
    env::apply(environment, std::iter::once(socket).chain(period));
}

/// Shows the container the directory of its socket, after everything else that is mounted.
pub fn mount(plan: Option<&NotifyPlan>, container: &Container, spec: &mut Spec) -> Result<()> {
    if plan.is_none_or(|plan| plan.mode != NotifyMode::Container) {
        return Ok(());
    }
    let source = container.path(SOURCE);
    match std::fs::create_dir(&source) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("make {}", source.display()));
        }
        _ => {}
    }
    let options = ["bind", "ro", "nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
    let mount = MountBuilder::default().destination(DIRECTORY).typ("bind").source(source).options(options).build()?;
    spec.mounts_mut().get_or_insert_default().push(mount);
    Ok(())
}

/// After a start in the background: systemd's main process is the supervisor from now on.
pub fn hand_over(container: &Container) -> Result<()> {
    let Some(manager) = Manager::of_environment().filter(|_| container.config.notify != NotifyMode::Ignore) else {
        return Ok(());
    };
    let mut container = container.clone();
    container.refresh()?;
    if let Some(supervisor) = container.state.supervisor() {
        manager.hand_over(supervisor.pid, container.config.notify == NotifyMode::Conmon);
    }
    Ok(())
}
