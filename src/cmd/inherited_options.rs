//! `--preserve-fds` and `--preserve-fd`, and the sockets that systemd passes: descriptors of our caller's
//! for the process that is started.

use anyhow::Result;

use super::error::WithCode;
use crate::sandbox::inherited::Inherited;
use crate::spec::descriptors::{self, Listen};

/// Options of `run` and `exec`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct InheritedOptions {
    /// Pass on these open descriptors (numbers, separated by commas), which keep their numbers
    #[arg(long, value_name = "NUMBERS")]
    preserve_fd: Vec<String>,
    /// Pass on so many descriptors after the standard streams: 3 and those that follow
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    preserve_fds: u32,
}

/// Whether anybody may want descriptors of our caller's; else all are closed at once.
pub fn are_offered() -> bool {
    let for_us = || std::env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
    std::env::args_os().any(|word| word.as_encoded_bytes().starts_with(b"--preserve-fd")) || for_us()
}

impl InheritedOptions {
    /// Takes over what they name and what the environment offers, and closes the rest. Comes first of
    /// all: nothing of ours is open yet.
    pub fn claim(&self) -> Result<Inherited> {
        if !are_offered() {
            return Ok(Inherited::default());
        }
        let numbers = descriptors::preserved(self.preserve_fds, &self.preserve_fd).or_exit(125)?;
        let listen = Listen::offered(|name| std::env::var(name).ok(), std::process::id()).or_exit(125)?;
        Inherited::claim(&numbers, listen).or_exit(125)
    }
}
