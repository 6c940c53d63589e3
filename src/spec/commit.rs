//! What an image made of a container gives its own containers: docker's rules of `commit`.

use super::config::ContainerConfig;
use super::create::DEFAULT_PATH;
use super::image::{Defaults, ImageConfig};
use super::signal::Signal;

/// The container's configuration as an image's, on top of what it was made from.
pub fn defaults(container: &ContainerConfig, base: &ImageConfig) -> Defaults {
    let empty = || serde_json::json!({});
    let keyed = |keys: &[String]| keys.iter().map(|key| (key.clone(), empty())).collect();
    let mut defaults = Defaults {
        user: container.user.clone(),
        exposed_ports: keyed(&container.exposed_ports),
        env: environment(container, base),
        entrypoint: container.entrypoint.clone(),
        cmd: container.cmd.clone(),
        volumes: keyed(&container.volumes),
        working_dir: container.working_dir.clone(),
        labels: container.labels.clone(),
        stop_signal: stop_signal(container, base),
        rest: base.config.rest.clone(),
    };
    // Triggers are for the build that comes next, which has run; docker drops them too.
    defaults.rest.remove("OnBuild");
    let check = container.health.as_ref().and_then(|health| serde_json::to_value(&health.probe).ok());
    defaults.rest.extend(check.map(|check| ("Healthcheck".to_owned(), check)));
    defaults
}

/// The container's environment without what every container is given anew.
fn environment(container: &ContainerConfig, base: &ImageConfig) -> Vec<String> {
    let given = [
        DEFAULT_PATH.to_owned(),
        format!("HOSTNAME={}", container.hostname),
        // Only with a terminal.
        if container.tty { "TERM=xterm".to_owned() } else { String::new() },
    ];
    let borrowed = |entry: &str| {
        let name = entry.split('=').next().unwrap_or_default();
        container.environment.borrowed.iter().any(|borrowed| borrowed == name)
    };
    let kept = |entry: &&String| base.config.env.contains(entry) || (!given.contains(entry) && !borrowed(entry));
    container.env.iter().filter(kept).cloned().collect()
}

fn stop_signal(container: &ContainerConfig, base: &ImageConfig) -> String {
    let base = &base.config.stop_signal;
    let same = base.parse::<Signal>().is_ok_and(|signal| signal == container.stop_signal);
    match (same, container.stop_signal == Signal::default()) {
        (true, _) => base.clone(),
        (false, true) if base.is_empty() => String::new(),
        (false, _) => container.stop_signal.to_string(),
    }
}
