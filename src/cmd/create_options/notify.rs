//! Options about systemd, which may have started us.

use crate::spec::create::CreateRequest;
use crate::spec::notify::NotifyMode;

/// As typed.
#[derive(clap::Args, Clone, Debug)]
pub struct NotifyOptions {
    /// Who tells systemd that the container is ready, where NOTIFY_SOCKET is set (container: itself, by a socket of its
    /// own; conmon: rbox, once it was started; healthy: rbox, once it is healthy; ignore)
    #[arg(long, value_name = "MODE", default_value = "container", hide_default_value = true)]
    pub sdnotify: NotifyMode,
}

impl NotifyOptions {
    /// Fills in its part of the request.
    pub fn fill(&self, request: &mut CreateRequest) {
        request.notify = self.sdnotify;
    }
}
