//! What a start has to do beside the container: others that it needs first, and the file with its pid.

use anyhow::{Context as _, Result};

use crate::cmd::format::text::clean_line;
use crate::cmd::{Context, start};
use crate::spec::config::ContainerConfig;
use crate::store::containers::Container;

/// Starts the containers that it requires, and what those require. There are no circles: a container
/// can only require those that were there before it.
pub fn start(context: &Context, config: &ContainerConfig) -> Result<()> {
    for id in &config.lifetime.requires {
        let name = &config.name;
        start::start_detached(context, id.as_str())
            .with_context(|| format!("start container {}, which container {name} requires", id.short()))?;
    }
    Ok(())
}

/// Writes the file of `--pidfile`, anew at each start.
pub fn write_pid(container: &Container, pid: i32) {
    if let Some(path) = &container.config.lifetime.pidfile
        && let Err(error) = std::fs::write(path, pid.to_string())
    {
        super::super::warn(&clean_line(&format!("write the PID file {}: {error}", path.display())));
    }
}
