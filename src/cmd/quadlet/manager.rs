//! What `systemctl` is asked and told. Everything else here works without it.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use super::directories::Scope;

fn systemctl(scope: Scope) -> Command {
    let mut command = Command::new("systemctl");
    if scope == Scope::User {
        command.arg("--user");
    }
    command.stdin(Stdio::null());
    command
}

/// Has systemd read its units again; an error says why it did not.
pub fn reload(scope: Scope) -> Result<(), String> {
    run(systemctl(scope).arg("daemon-reload"))
}

/// Stops a service.
pub fn stop(scope: Scope, service: &str) -> Result<(), String> {
    run(systemctl(scope).args(["stop", "--", service]))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("systemctl: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("systemctl: {}", text.lines().next().unwrap_or("failed")))
}

/// What systemd says of services: `active/running`. Nothing where it cannot be asked.
pub fn states(scope: Scope, services: &[String]) -> BTreeMap<String, String> {
    let mut states = BTreeMap::new();
    if services.is_empty() {
        return states;
    }
    let mut command = systemctl(scope);
    command.args(["show", "--property=Id,LoadState,ActiveState,SubState", "--"]).args(services);
    let Ok(output) = command.stderr(Stdio::null()).output() else { return states };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for block in text.split("\n\n") {
        let value = |key: &str| {
            block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default().to_owned()
        };
        let state = match value("LoadState").as_str() {
            "loaded" => format!("{}/{}", value("ActiveState"), value("SubState")),
            _ => "Not loaded".to_owned(),
        };
        states.insert(value("Id"), state);
    }
    states
}

/// Whether a state is that of a service that does something. One that has made a volume, say, does no
/// more.
pub fn is_active(state: &str) -> bool {
    state != "active/exited"
        && ["active/", "activating/", "deactivating/", "reloading/"].iter().any(|begin| state.starts_with(begin))
}
