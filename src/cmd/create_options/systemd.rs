//! Options about containers that boot a whole system.

use crate::spec::create::CreateRequest;
use crate::spec::size;
use crate::spec::systemd::SystemdMode;

/// `--systemd` and what goes with it.
#[derive(clap::Args, Clone, Debug)]
pub struct SystemdOptions {
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::cmd::go_bool)]
    pub init: Option<bool>,
    /// Size of each tmpfs that --systemd makes, 64m by default; 0 for no limit of its own
    #[arg(long, value_name = "BYTES", value_parser = size::parse_bytes)]
    pub shm_size_systemd: Option<u64>,
    /// Set up the container to boot a whole system: true where the command is an init, always, false
    #[arg(long, value_name = "MODE", default_value = "true", hide_default_value = true)]
    pub systemd: SystemdMode,
}

impl SystemdOptions {
    /// Fills in its part of the request. A configured init gives way to a system's own.
    pub fn fill(&self, request: &mut CreateRequest, configured_init: bool) {
        request.systemd = self.systemd;
        request.systemd_tmpfs_size = self.shm_size_systemd;
        request.init = self.init.unwrap_or(false);
        request.configured_init = self.init.is_none() && configured_init;
    }
}
