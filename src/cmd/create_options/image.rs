//! Options about the image that a container is made from.

use anyhow::Result;

use crate::cmd::Context;
use crate::cmd::platform_options::PlatformOptions;
use crate::cmd::registry_options::{RegistryOptions, RetryOptions};
use crate::spec::create::PullPolicy;

/// Which image, and how it comes here, as typed.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ImageOptions {
    #[command(flatten)]
    pub platform: PlatformOptions,
    /// Pull image before running (always, missing, newer, never), missing unless configured
    #[arg(long, value_name = "POLICY")]
    pub pull: Option<String>,
    /// Suppress the pull output
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub registry: RegistryOptions,
    #[command(flatten)]
    pub retry: RetryOptions,
}

impl ImageOptions {
    /// The policy of `--pull`.
    pub fn pull_policy(&self, context: &Context) -> Result<PullPolicy> {
        match &self.pull {
            Some(policy) => Ok(policy.parse()?),
            None => Ok(context.settings()?.pull.value),
        }
    }
}
