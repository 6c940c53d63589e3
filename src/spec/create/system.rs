//! Whether a container is to boot a whole system.

use super::{CreateError, CreateRequest};
use crate::spec::config::NamespaceMode;
use crate::spec::systemd::{self, FullSystem, SystemdMode};

/// What a container gets that boots a whole system. Beside another first process, or without a pid
/// namespace of its own, none can.
pub fn wanted<'a>(
    request: &CreateRequest,
    argv: impl Iterator<Item = &'a String>,
) -> Result<Option<FullSystem>, CreateError> {
    let hindered = if request.init {
        Some("--init and --systemd=always")
    } else if request.pid != NamespaceMode::Private {
        Some("--pid and --systemd=always")
    } else {
        None
    };
    let wanted = match (request.systemd, hindered) {
        (SystemdMode::Always, Some(conflict)) => return Err(CreateError::Conflict(conflict)),
        (SystemdMode::Always, None) => true,
        (SystemdMode::WhenCommand, None) => systemd::is_init(&argv.cloned().collect::<Vec<_>>()),
        (SystemdMode::WhenCommand, Some(_)) | (SystemdMode::Never, _) => false,
    };
    let tmpfs_size = request.systemd_tmpfs_size.unwrap_or(systemd::DEFAULT_TMPFS_SIZE);
    Ok(wanted.then_some(FullSystem { tmpfs_size }))
}
